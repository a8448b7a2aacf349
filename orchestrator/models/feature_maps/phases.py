"""Encodings by phases: Hadamards, then a diagonal of products of features, repeated ``model.feature_repeats`` times.

``(D(x) H^n)^r |0...0>`` with ``D(x) = exp(-i/2 (sum_i a_i Z_i + sum_(i,j) b_ij Z_i Z_j))``; the pairs (i, j) are those of
``model.entanglement``. A map says what the angles a and b are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cirq
import sympy

from orchestrator.config import ModelConfig
from orchestrator.models.entanglement import pairs_of


class _PhaseMap:
    """Everything but the angles."""

    def __init__(self, config: ModelConfig) -> None:
        self.n_features = config.n_qubits
        self._pairs = pairs_of(config)
        self._repeats = config.feature_repeats

    def operations(
        self, qubits: Sequence[cirq.Qid], features: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        """Per repetition H and RZ on every qubit, and one ZZ rotation per pair."""
        for _ in range(self._repeats):
            yield from cirq.H.on_each(*qubits)
            for qubit, feature in zip(qubits, features, strict=True):
                yield cirq.rz(self._single(feature))(qubit)
            for i, j in self._pairs:
                angle = self._pair(features[i], features[j])
                # exp(-i angle/2 ZZ) as one gate: the angle occurs once
                yield cirq.ZZPowGate(exponent=angle / sympy.pi, global_shift=-0.5)(qubits[i], qubits[j])

    def _single(self, x: sympy.Symbol) -> sympy.Expr:
        raise NotImplementedError

    def _pair(self, x: sympy.Symbol, y: sympy.Symbol) -> sympy.Expr:
        raise NotImplementedError


class ZZFeatureMap(_PhaseMap):
    """a_i = 2 x_i, b_ij = 2 (π - x_i)(π - x_j): Havlíček et al., arXiv 1804.11326.

    The paper's exponent has the other sign, which conjugates every state and leaves their overlaps as they are.
    """

    def _single(self, x: sympy.Symbol) -> sympy.Expr:
        return 2 * x

    def _pair(self, x: sympy.Symbol, y: sympy.Symbol) -> sympy.Expr:
        return 2 * (sympy.pi - x) * (sympy.pi - y)


class IQPFeatureMap(_PhaseMap):
    """a_i = x_i, b_ij = x_i x_j: instantaneous quantum polynomial, as in Huang et al., arXiv 2011.01938 (there with two repetitions)."""

    def _single(self, x: sympy.Symbol) -> sympy.Expr:
        return x

    def _pair(self, x: sympy.Symbol, y: sympy.Symbol) -> sympy.Expr:
        return x * y
