"""Covariances of expectation values estimated from the same shots.

Strings of one measurement group are read from the same shots, so their estimates are correlated, and the variance of a weighted sum
of them needs the covariances. The product of two strings of a group is itself a string that the group's setting reads: measured
along, at no further circuit or shot, it gives

    Cov(v_i, v_j) = (<P_i P_j> - <P_i><P_j>) / N,    estimated without bias by (w_ij - v_i v_j) / (N - 1),

with v and w the means over N shots. Strings of different groups come from different shots and are independent.

Of values that error mitigation puts together from several circuits, which may lie beyond [-1, 1], that is not the covariance, but times a
known factor it comes near.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.models.angle_map import scattered

_MANY_PAIRS = 4096
"""Of strings; more are not held for every circuit."""


class JointStrings:
    """A circuit's M strings and the products of those that are measured together.

    Attributes:
        circuit: the M strings first, then the products that are none of them.
        n_strings: M.
        pairs: int64 [Q, 2], strings i < j of one group. product: int64 [Q], the string that is their product.

    Args:
        circuit: the M strings.
        factor: of all variances and covariances; see ``Capabilities.variance_factor``.
    """

    def __init__(self, circuit: MeasuredCircuit, factor: float = 1.0) -> None:
        self._factor = factor
        self.n_strings = len(circuit.paulis)
        places = {pauli: i for i, pauli in enumerate(circuit.paulis)}
        pairs, product = [], []
        for group in circuit.groups:
            for i, j in combinations(group.members, 2):
                joint = "".join(
                    "I" if a == b else a if b == "I" else b
                    for a, b in zip(circuit.paulis[i], circuit.paulis[j], strict=True)
                )
                pairs.append((i, j))
                product.append(places.setdefault(joint, len(places)))
        self.circuit = (
            circuit if len(places) == self.n_strings else MeasuredCircuit(circuit.template, tuple(places))
        )
        self._groups = [np.array(group.members) for group in circuit.groups]
        self.pairs = np.array(pairs, np.int64).reshape(-1, 2)
        self.product = np.array(product, np.int64)

    def quadratic(self, rows: np.ndarray, weights: np.ndarray, shots: int) -> np.ndarray:
        """Estimated variance of the weighted sum of each circuit's values.

        Args:
            rows: float64 [S, D, M'], values of `circuit`.
            weights: float64 [S, M], the same for all D circuits of a sample.

        Returns:
            float64 [S, D].
        """
        i, j = self.pairs.T
        if len(i) > _MANY_PAIRS:
            by_products = np.maximum(self._quadratic_by_products(rows, weights), 0.0)
            return by_products * self._factor / max(shots - 1, 1)
        values = rows[:, :, : self.n_strings]
        total = np.einsum("sdm,sm->sd", 1.0 - values**2, weights**2)
        if len(i):
            excess = rows[:, :, self.product] - values[:, :, i] * values[:, :, j]
            total = total + 2.0 * np.einsum("sdq,sq->sd", excess, weights[:, i] * weights[:, j])
        return np.maximum(total, 0.0) * self._factor / max(shots - 1, 1)

    def _quadratic_by_products(self, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Variances of one shot, [S, D], the weights of all pairs summed by their product first.

        ``sum_ij w_i w_j (<P_i P_j> - v_i v_j)`` over the pairs of a group, i = j among them, whose second part is a square. Where the
        variance is 0, that is left with a rounding of the sum of squared weights.
        """
        i, j = self.pairs.T
        of_products = scattered(weights[:, i] * weights[:, j], self.product, rows.shape[2])
        total = np.sum(weights**2, axis=1)[:, None] + 2.0 * np.einsum("sdm,sm->sd", rows, of_products)
        for members in self._groups:
            total -= np.einsum("sdm,sm->sd", rows[:, :, members], weights[:, members]) ** 2
        return np.asarray(total)

    def covariance(self, values: np.ndarray, shots: int) -> np.ndarray:
        """Estimated covariance matrices [S, M, M] of the estimates `values` [S, M'] of `circuit`."""
        i, j = self.pairs.T
        own = values[:, : self.n_strings]
        matrix = np.zeros((len(values), self.n_strings, self.n_strings))
        diagonal = np.arange(self.n_strings)
        matrix[:, diagonal, diagonal] = np.maximum(1.0 - own**2, 0.0)
        matrix[:, i, j] = matrix[:, j, i] = values[:, self.product] - own[:, i] * own[:, j]
        return matrix * self._factor / max(shots - 1, 1)


@lru_cache(maxsize=64)
def joint_strings(circuit: MeasuredCircuit, factor: float = 1.0) -> JointStrings:
    """Of `circuit`, made once."""
    return JointStrings(circuit, factor)
