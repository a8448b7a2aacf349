"""IonQ's QIS gates as instructions, and their unitaries.

Qubit 0 of a matrix's index is the most significant bit, as everywhere in qfleet. Rotations are ``exp(-i rotation/2 P)`` with P one of
X, Y, Z, XX, YY, ZZ, as IonQ's documents and the client's serialiser have them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

ROOT = math.sqrt(0.5)
PAULI_MATRICES: dict[str, np.ndarray] = {
    "I": np.eye(2, dtype=np.complex128),
    "X": np.array([[0, 1], [1, 0]], np.complex128),
    "Y": np.array([[0, -1j], [1j, 0]], np.complex128),
    "Z": np.array([[1, 0], [0, -1]], np.complex128),
}
FIXED_MATRICES: dict[str, np.ndarray] = {
    "x": PAULI_MATRICES["X"],
    "y": PAULI_MATRICES["Y"],
    "z": PAULI_MATRICES["Z"],
    "h": ROOT * np.array([[1, 1], [1, -1]], np.complex128),
    "s": np.diag([1, 1j]).astype(np.complex128),
    "si": np.diag([1, -1j]).astype(np.complex128),
    "t": np.diag([1, ROOT + ROOT * 1j]),
    "ti": np.diag([1, ROOT - ROOT * 1j]),
    "v": ROOT * np.array([[1, -1j], [-1j, 1]], np.complex128),
    "vi": ROOT * np.array([[1, 1j], [1j, 1]], np.complex128),
    "cnot": np.eye(4, dtype=np.complex128)[[0, 1, 3, 2]],
    "swap": np.eye(4, dtype=np.complex128)[[0, 2, 1, 3]],
}
"""Gates without an angle, up to a global phase."""
ROTATIONS = {"rx": "X", "ry": "Y", "rz": "Z", "xx": "XX", "yy": "YY", "zz": "ZZ"}
"""Gates with an angle, and the Pauli string that generates them."""


@dataclass(frozen=True)
class Instruction:
    """One QIS gate; a rotation is either constant or proportional to one angle.

    Attributes:
        name: a key of `FIXED_MATRICES` or of `ROTATIONS`.
        qubits: what it acts on; of a cnot, the control first.
        angle: index of the angle that moves it; None for a constant.
        amount: of a rotation, radians; where an angle moves it, radians per radian of the angle.
    """

    name: str
    qubits: tuple[int, ...]
    angle: int | None = None
    amount: float = 0.0

    def rotation(self, angles: Sequence[float] | np.ndarray) -> float:
        """Radians, at the circuit's `angles`."""
        return self.amount if self.angle is None else self.amount * float(angles[self.angle])

    def unitary(self, angles: Sequence[float] | np.ndarray) -> np.ndarray:
        """complex128 [d, d], d = 2**len(qubits), at the circuit's `angles`."""
        if self.name in FIXED_MATRICES:
            return FIXED_MATRICES[self.name]
        return rotation_matrix(ROTATIONS[self.name], self.rotation(angles))


def pauli_matrix(letters: str) -> np.ndarray:
    """complex128 [2**n, 2**n] of a string of I, X, Y, Z."""
    matrix = np.eye(1, dtype=np.complex128)
    for letter in letters:
        matrix = np.kron(matrix, PAULI_MATRICES[letter])
    return matrix


def rotation_matrix(letters: str, rotation: float) -> np.ndarray:
    """``exp(-i rotation/2 P)`` of the Pauli string `letters`, complex128 [2**n, 2**n]."""
    generator = pauli_matrix(letters)
    return math.cos(rotation / 2) * np.eye(len(generator)) - 1j * math.sin(rotation / 2) * generator


def unitary_of(
    instructions: Iterable[Instruction], n_qubits: int, angles: Sequence[float] | np.ndarray
) -> np.ndarray:
    """The product of `instructions`, the first applied first: complex128 [2**n, 2**n]."""
    total = np.eye(2**n_qubits, dtype=np.complex128).reshape((2,) * n_qubits + (-1,))
    for instruction in instructions:
        wires = instruction.qubits
        n = len(wires)
        matrix = instruction.unitary(angles).reshape((2,) * (2 * n))
        total = np.moveaxis(np.tensordot(matrix, total, axes=(range(n, 2 * n), wires)), range(n), wires)
    return total.reshape(2**n_qubits, 2**n_qubits)


def distance(left: np.ndarray, right: np.ndarray) -> float:
    """The largest entry of the difference of two unitaries, the global phase that aligns them best taken out."""
    overlap = np.vdot(right, left)
    phase = overlap / abs(overlap) if abs(overlap) > 0 else 1.0
    return float(np.abs(left - phase * right).max())
