"""Gates as the three forms the kernels know: unit quaternions, signed permutations, direct sums of small blocks.

An SU(2) matrix ``[[a, -conj(b)], [b, conj(a)]]`` is written as the four reals ``(Re a, Im a, Re b, Im b)``, a unit quaternion.
The global phase of a circuit moves no expectation value and is dropped wherever that makes a gate cheaper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.circuits.template import Gate
from orchestrator.errors import CircuitError

TOLERANCE = 1e-11
MAX_BLOCK = 16
"""Largest dense block, in rows: a four-qubit gate without structure."""


@dataclass(frozen=True)
class Rotation:
    """A one-qubit gate ``cos(rate a) even + sin(rate a) odd`` (up to a phase), both terms quaternions.

    Attributes:
        angle: index of the angle a, -1 for a fixed gate (then `rate` is 0 and `even` the gate).
        rate: half the difference of the eigenphases.
        even, odd: float64 [4].
    """

    angle: int
    rate: float
    even: np.ndarray
    odd: np.ndarray

    def after(self, fixed: np.ndarray) -> Rotation:
        """This gate with the fixed quaternion `fixed` acting before it."""
        return Rotation(self.angle, self.rate, multiply(self.even, fixed), multiply(self.odd, fixed))

    def before(self, fixed: np.ndarray) -> Rotation:
        """This gate with the fixed quaternion `fixed` acting after it."""
        return Rotation(self.angle, self.rate, multiply(fixed, self.even), multiply(fixed, self.odd))

    def axis(self) -> np.ndarray:
        """float64 [3]: (x, y, z) with ``dU/da = i (x X + y Y + z Z) U``, the same for every angle."""
        a_re, a_im, b_re, b_im = self.even
        inverse = np.array([a_re, -a_im, -b_re, -b_im])
        _, z, minus_y, x = self.rate * multiply(self.odd, inverse)
        return np.array([x, -minus_y, z])


def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The quaternion of the matrix product ``left @ right``."""
    return to_quaternion(to_matrix(left) @ to_matrix(right))


def to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """complex128 [2, 2]."""
    a, b = complex(*quaternion[:2]), complex(*quaternion[2:])
    return np.array([[a, -b.conjugate()], [b, a.conjugate()]])


def to_quaternion(matrix: np.ndarray) -> np.ndarray:
    """float64 [4] of a matrix that has the SU(2) form up to scale."""
    a, b = matrix[0, 0], matrix[1, 0]
    return np.array([a.real, a.imag, b.real, b.imag])


def rotation(gate: Gate) -> Rotation:
    """The one-qubit `gate` as a Rotation.

    With eigenphases s0, s1 the gate is ``exp(i a (s0+s1)/2) (cos(rate a) (P0+P1) + i sin(rate a) (P1-P0))``; dividing by the
    phase and by the square root of ``det(P0+P1)`` leaves SU(2).

    Raises:
        CircuitError: the gate is not unitary.
    """
    phases, projectors = _distinct_eigenphases(gate)
    even = projectors.sum(axis=0)
    if not np.allclose(even @ even.conj().T, np.eye(2), atol=1e-8) or len(phases) > 2:
        raise CircuitError(f"gate {gate.name!r} on qubit {gate.qubits[0]} is not unitary")
    scale = 1 / np.sqrt(complex(np.linalg.det(even)))
    if len(phases) == 1:
        return Rotation(-1, 0.0, to_quaternion(scale * even), np.zeros(4))
    odd = 1j * (projectors[1] - projectors[0])
    angle = -1 if gate.angle is None else gate.angle
    return Rotation(
        angle, (phases[1] - phases[0]) / 2, to_quaternion(scale * even), to_quaternion(scale * odd)
    )


def _distinct_eigenphases(gate: Gate) -> tuple[np.ndarray, np.ndarray]:
    """Eigenphases [J] and projectors [J, d, d] with equal eigenphases merged; a fixed gate is one eigenphase 0."""
    if gate.angle is None:
        return np.zeros(1), gate.unitary()[None]
    phases = np.unique(np.round(gate.eigenphases, 12))
    nearest = np.abs(phases[:, None] - gate.eigenphases[None, :]).argmin(axis=0)
    projectors = np.zeros((len(phases), *gate.projectors.shape[1:]), complex)
    np.add.at(projectors, nearest, gate.projectors)
    exact = np.array([gate.eigenphases[nearest == j][0] for j in range(len(phases))])
    return exact, projectors


@dataclass(frozen=True)
class Monomial:
    """A matrix with one entry per row and column: ``out[j] = phase[j] * in[source[j]]``.

    Attributes:
        source: int64 [d]. phase: complex128 [d].
    """

    source: np.ndarray
    phase: np.ndarray


def monomial(gate: Gate) -> Monomial | None:
    """The fixed `gate` as a signed permutation (complex phases allowed), or None if it is none."""
    if gate.angle is not None and len(_distinct_eigenphases(gate)[0]) > 1:
        return None
    matrix = gate.unitary()
    source = np.abs(matrix).argmax(axis=1)
    phase = matrix[np.arange(len(matrix)), source]
    rest = matrix.copy()
    rest[np.arange(len(matrix)), source] = 0
    if (
        len(set(source)) < len(matrix)
        or np.abs(rest).max() > TOLERANCE
        or np.abs(np.abs(phase) - 1).max() > TOLERANCE
    ):
        return None
    return Monomial(source, _snap(phase))


def _snap(phase: np.ndarray) -> np.ndarray:
    """Phases within rounding of 1, i, -1, -i made exactly so."""
    rounded = np.round(phase)
    return np.where(np.abs(phase - rounded) < TOLERANCE, rounded, phase)


@dataclass(frozen=True)
class BlockGate:
    """A gate on k qubits as a direct sum of blocks, which the eigenphases and their projectors share.

    Attributes:
        angle: index of its angle, -1 if fixed.
        rates: float64 [J] eigenphases, the commonest made 0 by a global phase.
        blocks: per block its local basis indices, each int64 [m]; blocks that are always the identity are left out.
        terms: per block complex128 [J, m, m], so that the block is ``sum_j exp(i a rates[j]) terms[j]``.
    """

    angle: int
    rates: np.ndarray
    blocks: tuple[np.ndarray, ...]
    terms: tuple[np.ndarray, ...]


def block_gate(gate: Gate) -> BlockGate:
    """Split `gate` into the finest blocks that all its projectors share.

    Raises:
        CircuitError: a block is larger than `MAX_BLOCK`.
    """
    phases, projectors = _distinct_eigenphases(gate)
    labels = _components((np.abs(projectors) > TOLERANCE).any(axis=0))
    blocks = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    largest = max(len(block) for block in blocks)
    if largest > MAX_BLOCK:
        raise CircuitError(
            f"gate {gate.name!r} on qubits {gate.qubits} mixes {largest} basis states densely; the engine takes up to {MAX_BLOCK} "
            "(four qubits): decompose the gate"
        )
    terms = [projectors[:, block[:, None], block[None, :]] for block in blocks]
    phases = phases - _commonest_phase(phases, terms)
    kept = [i for i, term in enumerate(terms) if not _is_identity(phases, term)]
    angle = -1 if gate.angle is None else gate.angle
    return BlockGate(angle, phases, tuple(blocks[i] for i in kept), tuple(terms[i] for i in kept))


def _components(pattern: np.ndarray) -> np.ndarray:
    """Label [d] of the connected component of each index in the graph whose edges are the True entries of `pattern`."""
    labels = np.arange(len(pattern))
    for row, column in zip(*np.nonzero(pattern), strict=True):
        low, high = sorted((labels[row], labels[column]))
        labels[labels == high] = low
    return labels


def _commonest_phase(phases: np.ndarray, terms: list[np.ndarray]) -> float:
    """The eigenphase of most one-row blocks: removed as a global phase, it makes those blocks the identity."""
    counts = np.zeros(len(phases))
    for term in terms:
        if term.shape[1] == 1:
            counts += np.abs(term[:, 0, 0] - 1) < TOLERANCE
    return float(phases[counts.argmax()]) if counts.any() else 0.0


def _is_identity(phases: np.ndarray, term: np.ndarray) -> bool:
    """Whether ``sum_j exp(i a phases[j]) term[j]`` is the identity at every angle."""
    still = phases == 0
    moving = np.abs(term[~still]).max(initial=0.0)
    return bool(
        moving < TOLERANCE and np.abs(term[still].sum(axis=0) - np.eye(term.shape[1])).max() < TOLERANCE
    )
