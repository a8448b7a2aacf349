"""Angle encoding: a feature is the angle of a rotation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cirq
import sympy

from orchestrator.config import ModelConfig

ROTATIONS = {"x": cirq.rx, "y": cirq.ry, "z": cirq.rz}


class AngleFeatureMap:
    """Feature i is the angle, in radians, of one rotation of qubit i (axis ``model.feature_axis``)."""

    def __init__(self, config: ModelConfig) -> None:
        self.n_features = config.n_qubits
        self._axis = config.feature_axis

    def operations(
        self, qubits: Sequence[cirq.Qid], features: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        """One rotation per qubit; around z each starts with a Hadamard, since |0> does not feel RZ."""
        for qubit, feature in zip(qubits, features, strict=True):
            if self._axis == "z":
                yield cirq.H(qubit)
            yield ROTATIONS[self._axis](feature)(qubit)
