"""Covariances of expectation values estimated from the same shots.

Strings of one measurement group are read from the same shots, so their estimates are correlated, and the variance of a weighted sum
of them needs the covariances. The product of two strings of a group is itself a string that the group's setting reads: measured
along, at no further circuit or shot, it gives

    Cov(v_i, v_j) = (<P_i P_j> - <P_i><P_j>) / N,    estimated without bias by (w_ij - v_i v_j) / (N - 1),

with v and w the means over N shots. Strings of different groups come from different shots and are independent.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit


class JointStrings:
    """A circuit's M strings and the products of those that are measured together.

    Attributes:
        circuit: the M strings first, then the products that are none of them.
        n_strings: M.
        pairs: int64 [Q, 2], strings i < j of one group. product: int64 [Q], the string that is their product.
    """

    def __init__(self, circuit: MeasuredCircuit) -> None:
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
        values = rows[:, :, : self.n_strings]
        total = np.einsum("sdm,sm->sd", 1.0 - values**2, weights**2)
        if len(i):
            excess = rows[:, :, self.product] - values[:, :, i] * values[:, :, j]
            total = total + 2.0 * np.einsum("sdq,sq->sd", excess, weights[:, i] * weights[:, j])
        return np.maximum(total, 0.0) / max(shots - 1, 1)

    def covariance(self, values: np.ndarray, shots: int) -> np.ndarray:
        """Estimated covariance matrices [S, M, M] of the estimates `values` [S, M'] of `circuit`."""
        i, j = self.pairs.T
        own = values[:, : self.n_strings]
        matrix = np.zeros((len(values), self.n_strings, self.n_strings))
        diagonal = np.arange(self.n_strings)
        matrix[:, diagonal, diagonal] = 1.0 - own**2
        matrix[:, i, j] = matrix[:, j, i] = values[:, self.product] - own[:, i] * own[:, j]
        return matrix / max(shots - 1, 1)


@lru_cache(maxsize=64)
def joint_strings(circuit: MeasuredCircuit) -> JointStrings:
    """Of `circuit`, made once."""
    return JointStrings(circuit)
