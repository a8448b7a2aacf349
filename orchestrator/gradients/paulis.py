"""Hermitian matrices as sums of Pauli strings, and products of such sums that commute."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as pairs

import numpy as np

PauliSum = dict[str, float]
"""Coefficient of each Pauli string, one letter of ``IXYZ`` per qubit."""

_MATRICES = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}
_TIMES = {
    ("X", "Y"): ("Z", 1j), ("Y", "Z"): ("X", 1j), ("Z", "X"): ("Y", 1j),
    ("Y", "X"): ("Z", -1j), ("Z", "Y"): ("X", -1j), ("X", "Z"): ("Y", -1j),
}  # fmt: skip
_NEGLIGIBLE = 1e-12


def sum_of(matrix: np.ndarray, qubits: Sequence[int], n_qubits: int) -> PauliSum:
    """The Hermitian `matrix` [d, d] on `qubits` (the first the most significant) over all `n_qubits`."""
    found: PauliSum = {}
    for letters in pairs("IXYZ", repeat=len(qubits)):
        string = np.eye(1)
        for letter in letters:
            string = np.kron(string, _MATRICES[letter])
        coefficient = float(np.real(np.trace(string @ matrix))) / len(matrix)
        if abs(coefficient) > _NEGLIGIBLE:
            whole = ["I"] * n_qubits
            for letter, qubit in zip(letters, qubits, strict=True):
                whole[qubit] = letter
            found["".join(whole)] = coefficient
    return found


def product(one: PauliSum, other: PauliSum) -> PauliSum:
    """The product of two sums that commute, which is Hermitian."""
    found: dict[str, complex] = {}
    for (a, x), (b, y) in pairs(one.items(), other.items()):
        letters, phase = [], complex(x * y)
        for p, q in zip(a, b, strict=True):
            letter, factor = (
                ("I", 1) if p == q else (q, 1) if p == "I" else (p, 1) if q == "I" else _TIMES[p, q]
            )
            letters.append(letter)
            phase *= factor
        key = "".join(letters)
        found[key] = found.get(key, 0.0) + phase
    return {pauli: value.real for pauli, value in found.items() if abs(value) > _NEGLIGIBLE}
