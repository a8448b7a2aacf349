"""Gates and channels as real matrices on Pauli operators, and how a gate's matrix depends on its angle.

A density matrix on k qubits is written as the real vector of its components ``tr(P rho)`` over the 4**k Pauli operators, in the
order I, X, Y, Z of each qubit, the first qubit the most significant digit. A channel acts on it as its Pauli transfer matrix
``R[P, Q] = tr(P E(Q)) / 2**k`` (D. Greenbaum, "Introduction to quantum gate set tomography", arXiv:1509.02921, section 2.2). For a
gate ``exp(i a G)`` every entry is a trigonometric polynomial of the angle a whose frequencies are the differences of G's eigenvalues.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from orchestrator.circuits.template import Gate

LETTERS = "IXYZ"
_PAULIS = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=complex
)
_TOLERANCE = 1e-13


@functools.cache
def pauli_operators(n_qubits: int) -> np.ndarray:
    """complex128 [4**k, 2**k, 2**k]: all Pauli operators on k qubits, the first qubit the most significant digit."""
    operators = np.ones((1, 1, 1), complex)
    for _ in range(n_qubits):
        operators = np.einsum("aij,bkl->abikjl", operators, _PAULIS).reshape(
            4 * len(operators), 2 * operators.shape[1], -1
        )
    return operators


def transfer_matrix(kraus: np.ndarray) -> np.ndarray:
    """float64 [4**k, 4**k] of the channel ``rho -> sum_i K_i rho K_i+``; kraus: complex128 [., 2**k, 2**k]."""
    paulis = pauli_operators(kraus.shape[1].bit_length() - 1)
    images = np.einsum("iab,qbc,idc->qad", kraus, paulis, kraus.conj(), optimize=True)
    return _exact(np.einsum("pda,qad->pq", paulis, images, optimize=True).real / kraus.shape[1])


@dataclass(frozen=True, eq=False)
class TransferSeries:
    """``R(a) = constant + sum_f cos(frequencies[f] a) cosine[f] + sin(frequencies[f] a) sine[f]``.

    Attributes:
        angle: index of the angle a, -1 for a fixed gate (then there is no frequency).
        frequencies: float64 [F], positive, per radian.
        constant: float64 [d, d] with d = 4**k. cosine, sine: float64 [F, d, d].
    """

    angle: int
    frequencies: np.ndarray
    constant: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray

    def at(self, angle: float) -> np.ndarray:
        """float64 [d, d] at `angle` radians."""
        cos, sin = np.cos(self.frequencies * angle), np.sin(self.frequencies * angle)
        return self.constant + np.tensordot(cos, self.cosine, axes=1) + np.tensordot(sin, self.sine, axes=1)

    def followed_by(self, channel: np.ndarray) -> TransferSeries:
        """This gate with the channel `channel` [d, d] acting after it."""
        return TransferSeries(
            self.angle, self.frequencies, channel @ self.constant, channel @ self.cosine, channel @ self.sine
        )


def transfer_series(gate: Gate) -> TransferSeries:
    """The Pauli transfer matrix of `gate` as a function of its angle.

    With ``U(a) = sum_j exp(i a s_j) P_j`` the channel is ``sum_jk exp(i a (s_j - s_k)) P_j . P_k+``.
    """
    paulis = pauli_operators(len(gate.qubits))
    size = len(paulis)
    constant = np.zeros((size, size))
    parts: dict[float, list[np.ndarray]] = {}
    for j, left in enumerate(gate.projectors):
        for k, right in enumerate(gate.projectors):
            images = np.einsum("ab,qbc,dc->qad", left, paulis, right.conj(), optimize=True)
            term = np.einsum("pda,qad->pq", paulis, images, optimize=True) / left.shape[0]
            frequency = round(float(gate.eigenphases[j] - gate.eigenphases[k]), 12)
            if gate.angle is None or frequency == 0.0:
                constant += term.real
                continue
            cosine, sine = parts.setdefault(abs(frequency), [np.zeros((size, size)), np.zeros((size, size))])
            cosine += term.real
            sine -= np.sign(frequency) * term.imag
    frequencies = sorted(
        f for f, part in parts.items() if max(np.abs(part[0]).max(), np.abs(part[1]).max()) > _TOLERANCE
    )
    exact = {f: _exact_frequency(gate, f) for f in frequencies}
    shape = (len(frequencies), size, size)
    return TransferSeries(
        -1 if gate.angle is None or not frequencies else gate.angle,
        np.array([exact[f] for f in frequencies]),
        _exact(constant),
        _exact(np.array([parts[f][0] for f in frequencies]).reshape(shape)),
        _exact(np.array([parts[f][1] for f in frequencies]).reshape(shape)),
    )


def _exact_frequency(gate: Gate, rounded: float) -> float:
    """The difference of eigenphases that was rounded to `rounded`."""
    differences = np.abs(gate.eigenphases[:, None] - gate.eigenphases[None, :])
    return float(differences.flat[np.abs(differences - rounded).argmin()])


def _exact(matrix: np.ndarray) -> np.ndarray:
    """`matrix` with entries within rounding of a multiple of 1/2 made exactly so: keeps sparse what is sparse."""
    doubled = np.round(2 * matrix) / 2
    return np.where(np.abs(matrix - doubled) < _TOLERANCE, doubled, matrix)
