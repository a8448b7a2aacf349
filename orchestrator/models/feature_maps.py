"""Feature maps: the data-dependent block of a circuit.

A feature map is a class made with the model's configuration; `n_features` says how many features it takes, and `operations`
writes the block with one symbol per feature. One entry in `orchestrator.registry.FEATURE_MAPS` makes it known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import cirq
import sympy

from orchestrator.config import ModelConfig

ROTATIONS = {"x": cirq.rx, "y": cirq.ry, "z": cirq.rz}


class FeatureMap(Protocol):
    """What a feature map offers."""

    n_features: int

    def operations(
        self, qubits: Sequence[cirq.Qid], features: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        """The block on `qubits`, its angles polynomial in `features`."""
        ...


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
