"""How far two states of one circuit are apart: the circuit at one set of angles, then its inverse at another.

The probability of |0...0> at the end is ``|<psi(b)|psi(a)>|**2``.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np

from orchestrator.circuits.derived import overlap_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate
from orchestrator.circuits.zero_outcome import zero_probability, zero_strings
from orchestrator.jobs import Displacements
from orchestrator.models.angle_map import Angles


class Overlap:
    """The overlap circuit of a template of K angles.

    Attributes:
        circuit: measured in `zero_strings`.
        ket: int64 [K], the overlap circuit's angle that stands for each of the template's in the first half.
    """

    def __init__(self, template: CircuitTemplate) -> None:
        found = overlap_circuit(template)
        self.circuit = MeasuredCircuit(found.template, zero_strings(template.n_qubits))
        self._n_angles, self._source, self._sign = template.n_angles, found.source, found.sign

    @cached_property
    def ket(self) -> np.ndarray:
        """See the class."""
        return np.argsort(self._source)[: self._n_angles]

    def angles(self, ket: np.ndarray, bra: np.ndarray) -> Angles:
        """For Q pairs of angle vectors, float64 [Q, K] each."""
        table = np.concatenate([ket, bra], axis=1)[:, self._source] * self._sign
        return Angles(np.zeros(table.shape[1]), np.arange(table.shape[1]), table)

    def rows(self, indptr: np.ndarray, angles: np.ndarray, deltas: np.ndarray) -> Displacements:
        """Displacements of ket angles, given in the template's numbers."""
        return Displacements(indptr, self.ket[angles], deltas * self._sign[self.ket[angles]])

    def fidelity(self, values: np.ndarray) -> np.ndarray:
        """[...] from the strings' values [..., 2**n - 1]."""
        return zero_probability(values, self.circuit.template.n_qubits)


@lru_cache(maxsize=16)
def overlap(template: CircuitTemplate) -> Overlap:
    """Of `template`, made once."""
    return Overlap(template)


def full_angles(angles: Angles) -> np.ndarray:
    """float64 [S, K]: every sample's whole angle vector."""
    table = np.repeat(angles.shared[None], len(angles.data), axis=0)
    table[:, angles.columns] = angles.data
    return table
