"""Readout errors undone in expectation values, qubit by qubit (the tensored model).

A qubit whose state gives 0 is read as 1 with probability e0, one that gives 1 as 0 with e1, each qubit by itself. A letter of a string
is then read as ``s P + o`` with ``s = 1 - e0 - e1`` and ``o = e1 - e0``, so with z the +-1 that a shot reads, the product over a
string's qubits of

    (z_q - o_q) / s_q

has the true expectation value as its mean. Multiplied out, that is a sum over the substrings of the string, all of which the same setting
reads. Sources: F. B. Maciejewski, Z. Zimboras, M. Oszmaniec, Quantum 4, 257 (arXiv 1907.08518); S. Bravyi et al., arXiv 2006.14044.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError, ExecutionError

MAX_WEIGHT = 8
"""Letters of a string; it takes 2**8 substrings then."""
LEAST_CONTRAST = 0.1
"""Of s; a qubit that is read almost at random would be divided by almost nothing."""


@dataclass(frozen=True, eq=False)
class FlipRates:
    """How each qubit is read.

    Attributes:
        scale, offset: float64 [n], s and o of each qubit.
    """

    scale: np.ndarray
    offset: np.ndarray

    @classmethod
    def from_values(cls, zero: np.ndarray, one: np.ndarray) -> FlipRates:
        """From <Z> of every qubit as it is read in ``|0...0>`` and in ``|1...1>``, float64 [n] each.

        Raises:
            ExecutionError: a qubit is read almost at random, or inverted.
        """
        scale, offset = (zero - one) / 2, (zero + one) / 2
        worst = int(np.argmin(scale))
        if scale[worst] < LEAST_CONTRAST:
            raise ExecutionError(
                f"readout mitigation: qubit {worst} reads <Z> = {zero[worst]:.3f} prepared as 0 and {one[worst]:.3f} as 1, and so tells "
                f"next to nothing (contrast {scale[worst]:.3f}; at least {LEAST_CONTRAST}): more backend.calibration_shots, another "
                "target, or backend.readout_mitigation = false"
            )
        return cls(scale, offset)


def with_substrings(circuit: MeasuredCircuit) -> MeasuredCircuit:
    """`circuit` with all substrings of its strings behind them; no further measurement group.

    Raises:
        CapabilityError: a string is too long.
    """
    found = dict.fromkeys(circuit.paulis)
    for pauli in circuit.paulis:
        weight = sum(letter != "I" for letter in pauli)
        if weight > MAX_WEIGHT:
            raise CapabilityError(
                f"readout mitigation of a string on {weight} qubits takes 2**{weight} strings; nearest valid: observables on at most "
                f"{MAX_WEIGHT} qubits, or backend.readout_mitigation = false"
            )
        found |= dict.fromkeys(_substrings(pauli)[:-1])
    return circuit if len(found) == len(circuit.paulis) else MeasuredCircuit(circuit.template, tuple(found))


def _substrings(pauli: str) -> list[str]:
    """`pauli` and what is left of it with some letters taken out, but for I alone, in a fixed order; I alone comes last."""
    choices = [(letter,) if letter == "I" else (letter, "I") for letter in pauli]
    return ["".join(letters) for letters in product(*choices)]


class _Sum(NamedTuple):
    """A weighted sum of strings: their places, int64 [T], and coefficients, float64 [T]."""

    places: np.ndarray
    coefficients: np.ndarray

    def of(self, values: np.ndarray) -> np.ndarray:
        """float64 [...] from [..., M']; each sum is taken in the same order, whatever stands beside it."""
        taken: np.ndarray = np.take(values, self.places, axis=-1)  # in C order, unlike what indexing gives
        return np.asarray((taken * self.coefficients).sum(axis=-1))


class _Estimate(NamedTuple):
    """A string freed of readout errors.

    Attributes:
        constant: what is added to the sum. by_group: the sum, in parts that are read from the same shots.
        square: the sum over the parts of their squares' expectation values, without `square_constant`.
    """

    constant: float
    by_group: tuple[_Sum, ...]
    square: _Sum
    square_constant: float


class Inversion:
    """Values of a circuit's M strings from values of the M' strings of `with_substrings`.

    With c the coefficients of the substrings T of a string and g the groups that they are read in, the estimate ``sum_T c_T v_T`` has the
    variance of N shots

        ( sum_g sum_{T, T' in g} c_T c_T' <T T'>  -  sum_g (sum_{T in g} c_T <T>)**2 ) / N,

    where the product T T' is a substring again. With means of shots for the expectation values, and N - 1 for N, that is without bias.

    Args:
        circuit: M strings. rates: of its qubits.
    """

    def __init__(self, circuit: MeasuredCircuit, rates: FlipRates) -> None:
        wide = with_substrings(circuit)
        places = {pauli: place for place, pauli in enumerate(wide.paulis)}
        group_of = np.empty(len(wide.paulis), np.int64)
        for number, group in enumerate(wide.groups):
            group_of[list(group.members)] = number
        self._n_wide = len(wide.paulis)
        self._estimates = [_estimate(pauli, rates, places, group_of) for pauli in circuit.paulis]

    def values(self, wide: np.ndarray) -> np.ndarray:
        """float64 [..., M] from [..., M']."""
        found = np.empty((*wide.shape[:-1], len(self._estimates)))
        for m, estimate in enumerate(self._estimates):
            found[..., m] = estimate.constant + sum(part.of(wide) for part in estimate.by_group)
        return found

    def derivatives(self, wide: np.ndarray) -> np.ndarray:
        """Derivatives of `values`, float64 [..., M], from those of the M' strings."""
        constants = np.array([estimate.constant for estimate in self._estimates])
        return self.values(wide) - constants

    def pulled_back(self, cotangents: np.ndarray) -> np.ndarray:
        """Weights of the M' strings, float64 [S, M'], from weights of the M values, [S, M]."""
        found = np.zeros((len(cotangents), self._n_wide))
        for m, estimate in enumerate(self._estimates):
            for part in estimate.by_group:
                found[:, part.places] += cotangents[:, m, None] * part.coefficients
        return found

    def variances(self, wide: np.ndarray, shots: int) -> np.ndarray:
        """Estimated variance of each of `values` as means over `shots` shots; of one shot, which shows no spread, the mean square."""
        found = np.empty((*wide.shape[:-1], len(self._estimates)))
        for m, estimate in enumerate(self._estimates):
            found[..., m] = estimate.square.of(wide) + estimate.square_constant
            if shots > 1:
                found[..., m] -= sum(part.of(wide) ** 2 for part in estimate.by_group)
        return np.maximum(found, 0.0) / max(shots - 1, 1)


def _estimate(pauli: str, rates: FlipRates, places: dict[str, int], group_of: np.ndarray) -> _Estimate:
    """Of one string, whose substrings are at `places`, read in the groups `group_of`."""
    substrings, coefficients = _substrings(pauli), np.ones(1)
    for q, letter in enumerate(pauli):
        if letter != "I":
            coefficients = np.outer(coefficients, [1.0, -rates.offset[q]]).ravel() / rates.scale[q]
    at = np.array([places[text] for text in substrings[:-1]], np.int64)
    parts, square = [], np.zeros(len(substrings))
    everything = len(substrings) - 1
    for group in np.unique(group_of[at]):
        members = np.flatnonzero(group_of[at] == group)
        own = coefficients[members]
        parts.append(_Sum(at[members], own))
        # Bit b of a substring's number says that letter b is left out; of a product, those that both substrings have, or neither.
        np.add.at(square, everything ^ members[:, None] ^ members[None], np.outer(own, own))
    return _Estimate(float(coefficients[-1]), tuple(parts), _Sum(at, square[:-1]), float(square[-1]))
