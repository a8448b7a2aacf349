"""Trainable data re-uploading: every layer rotates by ``weight * feature + bias``, all weights and biases trainable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cirq
import sympy

from orchestrator.config import ModelConfig

_AXES = (cirq.ry, cirq.rz, cirq.ry)


class ReuploadingFeatureMap:
    """Pérez-Salinas et al., arXiv 1907.02085: features in threes, each three the angles of one rotation of a qubit.

    Qubit 0 takes features 0 to 2, qubit 1 the next three, and after the last qubit the first goes on. A rotation for which no
    feature is left has a bias alone. The rotations are about y, z, y: like the paper's z, y, z they make any rotation, but
    |0> feels the first of them too. ``model.n_features`` says how many features there are; three per qubit if absent.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.n_features = config.n_features or 3 * config.n_qubits

    def params_per_layer(self, n_qubits: int) -> int:
        """A bias per rotation and a weight per feature."""
        return self._n_rotations(n_qubits) + self.n_features

    def layer(
        self, qubits: Sequence[cirq.Qid], params: Sequence[sympy.Symbol], features: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        """Parameters rotation by rotation: its weight, if it has a feature, then its bias."""
        values = iter(params)
        for number in range(self._n_rotations(len(qubits))):
            upload = next(values) * features[number] if number < self.n_features else 0
            rotation = _AXES[number % 3]
            yield rotation(upload + next(values))(qubits[number // 3 % len(qubits)])

    def _n_rotations(self, n_qubits: int) -> int:
        """Three per qubit, as often as the features go round."""
        per_round = 3 * n_qubits
        return -(-self.n_features // per_round) * per_round
