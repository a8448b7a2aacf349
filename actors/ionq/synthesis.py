"""From a gate's matrix to QIS gates: exact up to a global phase, by Pauli algebra rather than by a table of gates.

A gate moved by an angle is ``exp(i a G)``. Where G's Pauli strings commute, it is a product of Pauli rotations; where only the axes of
single qubits stand in the way (a controlled rotation about any axis), those are turned to Z first. A string of more than two
letters is turned to Z and its parity gathered on one qubit by CNOTs. What is left is diagonalised, and its fixed eigenbasis taken apart:
two qubits by the Cartan (KAK) decomposition, more by Shannon's (Shende, Bullock, Markov, arXiv quant-ph/0406176), both cirq's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from actors.ionq.gates import FIXED_MATRICES, Instruction, distance

_NOTHING = 1e-13
"""Coefficients below are rounding: those of real gates are of order 1."""
_EXACT = 1e-10
"""How near a matrix must be to a named gate's to be taken for it."""
_NATIVE_STRINGS = {"X": "rx", "Y": "ry", "Z": "rz", "XX": "xx", "YY": "yy", "ZZ": "zz"}
_TO_Z = {"X": ("h", "h"), "Y": ("v", "vi")}
"""Gates before and after that make a rotation about Z one about the letter."""
_INVERSE = {"s": "si", "si": "s", "t": "ti", "ti": "t", "v": "vi", "vi": "v"}


class Term(NamedTuple):
    """One Pauli string of a generator: `letters`, one per qubit, and its real coefficient."""

    letters: str
    coefficient: float


def exponential(generator: np.ndarray, is_free: bool) -> list[Instruction]:
    """``exp(i a G)`` on qubits 0..n-1, up to a global phase.

    Args:
        generator: Hermitian G, complex128 [2**n, 2**n].
        is_free: whether a is angle 0 of the instructions; else a = 1.
    """
    terms = pauli_terms(generator)
    if _commute(terms) and all(term.letters.replace("I", "") in _NATIVE_STRINGS for term in terms):
        return [instruction for term in terms for instruction in _pauli_rotation(term, is_free)]
    frame = _single_axes(terms)
    if frame is not None:
        before, after, turned = frame
        return [*before, *(i for term in turned for i in _pauli_rotation(term, is_free)), *after]
    if _commute(terms):
        return [instruction for term in terms for instruction in _pauli_rotation(term, is_free)]
    values, vectors = np.linalg.eigh(generator)
    diagonal = exponential(np.diag(values).astype(np.complex128), is_free)
    return [*fixed_gate(vectors.conj().T), *diagonal, *fixed_gate(vectors)]


def fixed_gate(unitary: np.ndarray) -> list[Instruction]:
    """The fixed gate `unitary` complex128 [2**n, 2**n] on qubits 0..n-1, up to a global phase."""
    n_qubits = len(unitary).bit_length() - 1
    if distance(unitary, np.eye(len(unitary))) < _NOTHING:
        return []
    for name, matrix in FIXED_MATRICES.items():
        if len(matrix) == len(unitary) and distance(unitary, matrix) < _NOTHING:
            return [Instruction(name, tuple(range(n_qubits)))]
    if n_qubits == 2 and distance(unitary, _REVERSED_CNOT) < _NOTHING:
        return [Instruction("cnot", (1, 0))]
    generator = _logarithm(unitary)
    terms = pauli_terms(generator)
    if n_qubits == 1 and len(terms) > 1:
        return _euler(unitary)
    if _commute(terms) or _single_axes(terms) is not None:
        return exponential(generator, is_free=False)
    return _dense(unitary)


def pauli_terms(matrix: np.ndarray) -> list[Term]:
    """The Pauli strings of a Hermitian matrix [2**n, 2**n] with their coefficients; the string of I alone is left out."""
    n_qubits = len(matrix).bit_length() - 1
    tensor = matrix.reshape((2,) * (2 * n_qubits))
    for qubit in range(
        n_qubits
    ):  # row and column axis of the next qubit -> one axis of I, X, Y, Z at the end
        remaining = n_qubits - qubit
        tensor = np.tensordot(tensor, _PAULI_TRACE, axes=([0, remaining], [0, 1]))
    letters = ("I", "X", "Y", "Z")
    return [
        Term("".join(letters[i] for i in index), _rounded(float(tensor[tuple(index)].real)))
        for index in np.argwhere(np.abs(tensor) > _NOTHING)
        if any(index)
    ]


_PAULI_TRACE = (
    np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, 1j], [-1j, 0]], [[1, 0], [0, -1]]]).transpose(1, 2, 0)
    / 2
)
"""[row, column, letter]: the coefficient of a letter is ``trace(P M) / 2 = sum_rc P[c, r] M[r, c] / 2``."""
_REVERSED_CNOT = FIXED_MATRICES["cnot"].reshape(2, 2, 2, 2).transpose(1, 0, 3, 2).reshape(4, 4)


def _rounded(value: float) -> float:
    """Without the rounding error of a multiple of 1/64, which the generators of cirq's own gates consist of."""
    near = round(value * 64) / 64
    return near if abs(value - near) < _NOTHING else value


def _commute(terms: Sequence[Term]) -> bool:
    """Whether all strings commute: each pair differs at an even number of qubits where neither is I."""
    codes = np.array([["IXYZ".index(letter) for letter in term.letters] for term in terms], np.int64)
    if len(terms) < 2:
        return True
    clash = (codes[:, None] != codes[None]) & (codes[:, None] > 0) & (codes[None] > 0)
    return not bool(np.any(clash.sum(axis=2) % 2))


def _pauli_rotation(term: Term, is_free: bool) -> list[Instruction]:
    """``exp(i a c P)``, a rotation of P by -2 c a."""
    qubits = [q for q, letter in enumerate(term.letters) if letter != "I"]
    letters = term.letters.replace("I", "")
    amount = -2 * term.coefficient
    angle = 0 if is_free else None
    if letters in _NATIVE_STRINGS:
        return [Instruction(_NATIVE_STRINGS[letters], tuple(qubits), angle, amount)]
    turned = [(q, _TO_Z[letter]) for q, letter in zip(qubits, letters, strict=True) if letter != "Z"]
    ladder = [Instruction("cnot", pair) for pair in pairwise(qubits[:-1])]
    return [
        *(Instruction(before, (q,)) for q, (before, _) in turned),
        *ladder,
        Instruction("zz", (qubits[-2], qubits[-1]), angle, amount),
        *reversed(ladder),
        *(Instruction(after, (q,)) for q, (_, after) in turned),
    ]


def _single_axes(terms: Sequence[Term]) -> tuple[list[Instruction], list[Instruction], list[Term]] | None:
    """Gates before and after that turn each qubit's axis to Z, and the terms in between; None if a qubit has several axes."""
    n_qubits = len(terms[0].letters) if terms else 0
    axes = [_axis(terms, qubit) for qubit in range(n_qubits)]
    before: list[Instruction] = []
    after: list[Instruction] = []
    tensor = np.zeros((4,) * n_qubits)
    for term in terms:
        tensor[tuple("IXYZ".index(letter) for letter in term.letters)] = term.coefficient
    for qubit, axis in enumerate(axes):
        if axis is None:
            return None
        to_z, back = _turn(axis)
        before += [Instruction(i.name, (qubit,), amount=i.amount) for i in to_z]
        after += [Instruction(i.name, (qubit,), amount=i.amount) for i in back]
        # along the axis the coefficients of X, Y, Z become that of Z
        along = np.vstack([np.eye(4)[0], np.zeros((2, 4)), np.concatenate([[0.0], axis])])
        tensor = np.moveaxis(np.tensordot(along, tensor, axes=(1, qubit)), 0, qubit)
    turned = [
        Term("".join("IXYZ"[i] for i in index), _rounded(float(tensor[tuple(index)])))
        for index in np.argwhere(np.abs(tensor) > _NOTHING)
    ]
    return before, after, turned


def _axis(terms: Sequence[Term], qubit: int) -> np.ndarray | None:
    """The unit vector [3] that all terms' letters at `qubit` add up to, its largest component positive; None if there is none."""
    rows: dict[str, np.ndarray] = {}
    for letters, coefficient in terms:
        if letters[qubit] != "I":
            rest = letters[:qubit] + letters[qubit + 1 :]
            rows.setdefault(rest, np.zeros(3))["XYZ".index(letters[qubit])] = coefficient
    if not rows:
        return np.array([0.0, 0.0, 1.0])
    vectors = np.array(list(rows.values()))
    longest = vectors[np.argmax((vectors**2).sum(axis=1))]
    axis = longest / np.linalg.norm(longest)
    if np.abs(vectors - np.outer(vectors @ axis, axis)).max() > _NOTHING:
        return None
    return np.asarray(axis * np.sign(axis[np.argmax(np.abs(axis))]))


def _turn(axis: np.ndarray) -> tuple[list[Instruction], list[Instruction]]:
    """Gates on qubit 0 that turn `axis` to Z, and their inverses."""
    for letter, (before, after) in _TO_Z.items():
        if axis["XYZ".index(letter)] == 1.0:
            return [Instruction(before, (0,))], [Instruction(after, (0,))]
    polar, azimuth = math.acos(min(1.0, max(-1.0, axis[2]))), math.atan2(axis[1], axis[0])
    to_z = [("rz", -azimuth), ("ry", -polar)] if polar > 0 else []
    return (
        [Instruction(name, (0,), amount=value) for name, value in to_z if value != 0],
        [Instruction(name, (0,), amount=-value) for name, value in reversed(to_z) if value != 0],
    )


def _logarithm(unitary: np.ndarray) -> np.ndarray:
    """Hermitian G with ``exp(i G)`` = `unitary`, eigenvalues in (-pi, pi]."""
    import cirq

    values, vectors = cirq.linalg.unitary_eig(unitary)
    phases = np.angle(values)
    phases[phases < _EXACT - math.pi] = math.pi  # an eigenvalue -1 is on the branch cut
    return np.asarray(vectors @ np.diag(phases) @ vectors.conj().T)


def _euler(unitary: np.ndarray) -> list[Instruction]:
    """One qubit: ``Rz Ry Rz``."""
    a, b = unitary[0, 0], unitary[1, 0]
    determinant = np.linalg.det(unitary)
    root = np.sqrt(determinant)
    first, second = float(np.angle(a / root)), float(np.angle(b / root))
    turns = [
        ("rz", -first - second),
        ("ry", 2 * math.atan2(abs(b), abs(a))),
        ("rz", second - first),
    ]
    return [Instruction(name, (0,), amount=value) for name, value in turns if value != 0]


def _dense(unitary: np.ndarray) -> list[Instruction]:
    """A fixed gate with no structure to use."""
    import cirq

    n_qubits = len(unitary).bit_length() - 1
    if n_qubits == 2:
        return _cartan(unitary)
    qubits = cirq.LineQubit.range(n_qubits)
    found: list[Instruction] = []
    for op in cirq.flatten_to_ops(cirq.quantum_shannon_decomposition(list(qubits), unitary)):
        wires = [q.x for q in op.qubits if isinstance(q, cirq.LineQubit)]
        if wires:  # a global phase has none
            found += [on(i, wires) for i in fixed_gate(cirq.unitary(op))]
    return found


def _cartan(unitary: np.ndarray) -> list[Instruction]:
    """Two qubits: gates on each, at most three of xx, yy, zz, gates on each."""
    import cirq

    kak = cirq.kak_decomposition(unitary)
    found: list[Instruction] = []
    for qubit, matrix in enumerate(kak.single_qubit_operations_before):
        found += [on(i, [qubit]) for i in fixed_gate(matrix)]
    for name, strength in zip(("xx", "yy", "zz"), kak.interaction_coefficients, strict=True):
        if abs(strength) > _NOTHING:
            found.append(Instruction(name, (0, 1), amount=-2 * float(strength)))
    for qubit, matrix in enumerate(kak.single_qubit_operations_after):
        found += [on(i, [qubit]) for i in fixed_gate(matrix)]
    return found


def on(instruction: Instruction, wires: Sequence[int], angle: int | None = None) -> Instruction:
    """`instruction` with its qubits 0, 1, ... put on `wires`, and its angle 0, if any, made number `angle`."""
    return Instruction(
        instruction.name,
        tuple(wires[q] for q in instruction.qubits),
        None if instruction.angle is None else angle,
        instruction.amount,
    )
