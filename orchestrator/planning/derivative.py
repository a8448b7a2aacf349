"""How the derivative of every expectation value by chosen angles is to be had: from displaced circuits, or directly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from orchestrator.jobs import Displacements


@dataclass(frozen=True, eq=False)
class LinearDerivative:
    """Derivatives as fixed linear combinations of expectation values of displaced circuits.

    ``d<O>/d angle[entry_angle[i]] = sum_i coefficient[i] * <O>[row[i]]``; entries of one angle follow each other.

    Attributes:
        displacements: D rows, row 0 the undisplaced circuit.
        position: int64 [E], which of the wanted angles an entry belongs to, ascending.
        row: int64 [E], displacement row.
        coefficient: float64 [E], per radian.
    """

    displacements: Displacements
    position: np.ndarray
    row: np.ndarray
    coefficient: np.ndarray

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.flatnonzero(np.diff(self.position, prepend=-1))

    def combine(self, values: np.ndarray, power: int = 1) -> np.ndarray:
        """[S, M, Kj] from [S, D, M]; with power 2 the coefficients are squared, which combines variances."""
        weighted = values[:, self.row, :] * (self.coefficient**power)[None, :, None]
        return np.add.reduceat(weighted, self._starts, axis=1).transpose(0, 2, 1)


@dataclass(frozen=True, eq=False)
class DirectDerivative:
    """The backend is asked for the derivative itself (capability `has_jacobian`)."""


Derivative = LinearDerivative | DirectDerivative
