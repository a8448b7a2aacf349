"""PennyLane's observables as real combinations of Pauli words, which is what a fleet measures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.ops import Prod, SProd, Sum
from pennylane.ops.qubit.observables import BasisStateProjector
from pennylane.pauli import PauliSentence, PauliWord

from orchestrator.circuits.zero_outcome import MAX_QUBITS
from pipelines.frontends.pennylane.errors import QfleetDeviceError

MAX_DENSE_WIRES = 6
"""Of an observable given by its matrix: up to 4**6 Pauli words."""
_REAL = 1e-10
"""An imaginary part of a coefficient, of the largest coefficient, from which an observable is not Hermitian; less is rounding."""
_NOTHING = 1e-15
"""A coefficient, of the largest, that is rounding: to measure its word would take circuits, which may cost money, for no digit."""
_LETTER = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], np.complex128
).transpose(0, 2, 1)
"""[letter, row, column]: the coefficient of a letter P is ``trace(P M) / 2 = sum_rc P[c, r] M[r, c] / 2``."""


def words_of(observable: Any) -> dict[PauliWord, float]:
    """{Pauli word: coefficient} of an observable; the empty word is the identity.

    Raises:
        QfleetDeviceError: it is not Hermitian, or a matrix on too many wires.
    """
    return real_words(_sentence(observable), observable)


def square_of(observable: Any) -> dict[PauliWord, float]:
    """{Pauli word: coefficient} of its square.

    Raises:
        QfleetDeviceError: see `words_of`.
    """
    sentence = _sentence(observable)
    wires = observable.wires
    if len(wires) <= MAX_DENSE_WIRES and len(sentence) > 2 ** len(wires):
        matrix = sentence.to_mat(
            wires
        )  # the square of a matrix is quick, that of two thousand words takes a minute
        return real_words(_decomposed(matrix @ matrix, wires.labels), observable)
    return real_words(sentence @ sentence, observable)


def real_words(sentence: PauliSentence, observable: Any) -> dict[PauliWord, float]:
    """The sentence with real coefficients.

    Raises:
        QfleetDeviceError: they are not, so that `observable` is not Hermitian, or they are no finite numbers.
    """
    weights = qml.math.unwrap(list(sentence.values()))
    if any(map(np.ndim, weights)):
        raise QfleetDeviceError(
            f"the weights of {observable} are arrays; gates may be broadcast, observables not"
        )
    found = dict(zip(sentence, map(complex, weights), strict=True))
    largest = max(map(abs, found.values()), default=0.0)
    for word, coefficient in found.items():
        if not np.isfinite(coefficient):
            raise QfleetDeviceError(
                f"the weight of {word} in {observable} is {coefficient}: every weight must be finite"
            )
        if abs(coefficient.imag) > _REAL * largest:
            raise QfleetDeviceError(
                f"the observable {observable} is not Hermitian: its part along {word} is {coefficient}; an expectation value is real"
            )
    return {word: c.real for word, c in found.items() if abs(c.real) > _NOTHING * largest}


def diagonal(values: np.ndarray, wires: Sequence[Any]) -> PauliSentence:
    """The observable that is diagonal with `values` [2**n], as Z strings: their coefficients are a Walsh-Hadamard transform.

    Raises:
        QfleetDeviceError: too many wires.
    """
    n = len(wires)
    if n > MAX_QUBITS:
        raise QfleetDeviceError(
            f"an observable given by its 2**{n} eigenvalues takes as many expectation values; at most {MAX_QUBITS} wires are supported"
        )
    table = np.asarray(values, np.float64).reshape([2] * n)
    for axis in range(n):
        low, high = np.take(table, 0, axis), np.take(table, 1, axis)
        table = np.stack([low + high, low - high], axis) / 2
    return PauliSentence(
        {
            PauliWord({wire: "Z" for wire, bit in zip(wires, index, strict=True) if bit}): float(table[index])
            for index in np.ndindex(*table.shape)
            if table[index]
        }
    )


def _sentence(observable: Any) -> PauliSentence:
    if observable.pauli_rep is not None:
        return observable.pauli_rep
    if isinstance(observable, Sum):
        found = PauliSentence({})
        for part in observable.operands:
            found = found + _sentence(part)
        return found
    if isinstance(observable, Prod):
        found = PauliSentence({PauliWord({}): 1.0})
        for part in observable.operands:
            found = found @ _sentence(part)
        return found
    if isinstance(observable, SProd):
        return _sentence(observable.base) * observable.scalar
    if isinstance(observable, BasisStateProjector):
        outcome = np.zeros([2] * len(observable.wires))
        outcome[tuple(np.asarray(observable.data[0], int))] = 1.0
        return diagonal(outcome, observable.wires.labels)
    return _dense(observable)


def _dense(observable: Any) -> PauliSentence:
    n_wires = len(observable.wires)
    if n_wires > MAX_DENSE_WIRES:
        raise QfleetDeviceError(
            f"the observable {observable.name} is a matrix on {n_wires} wires, up to 4**{n_wires} Pauli words; at most {MAX_DENSE_WIRES} "
            "wires are supported: write it as a sum of Pauli words (qml.Hamiltonian)"
        )
    matrix = observable.sparse_matrix() if not observable.has_matrix else observable.matrix()
    matrix = np.asarray(matrix.todense() if hasattr(matrix, "todense") else matrix, np.complex128)
    if not np.isfinite(matrix).all():
        raise QfleetDeviceError(
            f"the matrix of the observable {observable.name} holds {matrix[~np.isfinite(matrix)][0]}: every entry must be finite"
        )
    if not np.allclose(matrix, matrix.conj().T, rtol=0, atol=_REAL * np.abs(matrix).max()):
        raise QfleetDeviceError(
            f"the observable {observable.name} is not Hermitian; an expectation value is real"
        )
    return _decomposed(matrix, observable.wires.labels)


def _decomposed(matrix: np.ndarray, wires: Sequence[Any]) -> PauliSentence:
    """Of a Hermitian matrix. PennyLane's own, `qml.pauli_decompose`, leaves out coefficients below 1e-8, however small all of them are."""
    n = len(wires)
    table = matrix.reshape([2] * (2 * n))
    for done in range(n):  # row and column axis of the next wire -> an axis of letters at the end
        table = np.tensordot(table, _LETTER, axes=([0, n - done], [1, 2])) / 2
    return PauliSentence(
        {
            PauliWord({wire: letter for wire, letter in zip(wires, word, strict=True) if letter != "I"}): c
            for word, c in zip(product("IXYZ", repeat=n), table.real.ravel().tolist(), strict=True)
            if c
        }
    )
