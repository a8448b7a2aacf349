"""One gate with the noise after it, as a matrix on Pauli components that depends on one angle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actors.simulation.pauli_transfer import TransferSeries

_TOLERANCE = 1e-13


@dataclass(frozen=True, eq=False)
class Factor:
    """``sum_j cos(rates[j] a) cosine[j] + sin(rates[j] a) sine[j]``, the constant part being the term of rate 0.

    Attributes:
        angle: index of the angle a, -1 for a fixed factor (then the only rate is 0).
        rates: float64 [J], the first one 0.
        cosine, sine: float64 [J, d, d] with d = 4**k.
    """

    angle: int
    rates: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray

    @staticmethod
    def from_series(series: TransferSeries) -> Factor:
        """The same matrix in this form."""
        zero = np.zeros_like(series.constant)[None]
        return Factor(
            series.angle,
            np.concatenate([[0.0], series.frequencies]),
            np.concatenate([series.constant[None], series.cosine]),
            np.concatenate([zero, series.sine]),
        )

    @staticmethod
    def fixed(matrix: np.ndarray) -> Factor:
        """The constant `matrix`."""
        return Factor(-1, np.zeros(1), np.array(matrix)[None], np.zeros((1, *matrix.shape)))

    @property
    def is_fixed(self) -> bool:
        """Whether no angle moves it."""
        return self.angle < 0

    @property
    def constant(self) -> np.ndarray:
        """float64 [d, d]: the matrix of a fixed factor."""
        return np.asarray(self.cosine[0])

    def followed_by(self, matrix: np.ndarray) -> Factor:
        """This factor with `matrix` acting after it."""
        return Factor(self.angle, self.rates, matrix @ self.cosine, matrix @ self.sine)

    def preceded_by(self, matrix: np.ndarray) -> Factor:
        """This factor with `matrix` acting before it."""
        return Factor(self.angle, self.rates, self.cosine @ matrix, self.sine @ matrix)


def fuse(run: list[Factor], size: int = 4) -> tuple[Factor, ...]:
    """`run`, in order of time, with its fixed factors multiplied into their neighbours; at least one factor."""
    fused: list[Factor] = []
    pending = np.eye(size)
    for factor in run:
        if not factor.is_fixed:
            fused.append(factor.preceded_by(pending))
            pending = np.eye(size)
        elif fused:
            fused[-1] = fused[-1].followed_by(factor.constant)
        else:
            pending = factor.constant @ pending
    return tuple(fused) or (Factor.fixed(pending),)


@dataclass(frozen=True, eq=False)
class WeightedPermutation:
    """A matrix with at most one entry per row: ``out[j] = weight[j] in[source[j]]``; int64 [d], float64 [d]."""

    source: np.ndarray
    weight: np.ndarray


def weighted_permutation(factor: Factor) -> WeightedPermutation | None:
    """A fixed `factor` in this form (a Clifford gate with Pauli noise), or None."""
    if not factor.is_fixed:
        return None
    matrix = factor.constant
    is_entry = np.abs(matrix) > _TOLERANCE
    if is_entry.sum(axis=1).max() > 1:
        return None
    source = np.where(is_entry.any(axis=1), is_entry.argmax(axis=1), np.arange(len(matrix)))
    return WeightedPermutation(source, matrix[np.arange(len(matrix)), source])
