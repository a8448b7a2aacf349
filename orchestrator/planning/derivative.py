"""How the derivative of every expectation value by chosen angles is to be had: from displaced circuits, or directly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Displacements

CONTRACT_FROM = 2**11
"""Reverse sweeps saved x amplitudes from which a vector-Jacobian product pays: with 32 samples that saves about the 1 ms that its
additional round trip to an actor takes."""


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


def pays_to_contract(circuit: MeasuredCircuit, derivative: Derivative | None) -> bool:
    """Whether values first and one vector-Jacobian product then are faster than the Jacobian of every expectation value.

    The Jacobian takes a reverse sweep for each of M strings; the other way one in all, another forward sweep and another round trip.
    The answer follows from the circuit's structure alone and never from measured times, because the two ways round differently and
    the bits of a run must not depend on the machine.
    """
    n_saved = len(circuit.paulis) - 1
    return isinstance(derivative, DirectDerivative) and n_saved << circuit.template.n_qubits >= CONTRACT_FROM
