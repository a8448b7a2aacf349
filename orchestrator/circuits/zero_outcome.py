"""The outcome |0...0>, and all others, read from expectation values: its projector is the product of (1 + Z)/2 over the qubits.

So its probability is the mean of all 2**n strings of I and Z, which one measurement setting gives together; with shots it is then exactly
the share of shots whose outcome is zero.
"""

from __future__ import annotations

import itertools

import numpy as np

MAX_QUBITS = 10
"""2**n - 1 strings: 1,023 numbers a circuit at ten qubits."""


def zero_strings(n_qubits: int) -> tuple[str, ...]:
    """The 2**n - 1 strings of I and Z other than that of I alone, which is 1."""
    return tuple(map("".join, itertools.product("IZ", repeat=n_qubits)))[1:]


def zero_probability(values: np.ndarray, n_qubits: int) -> np.ndarray:
    """[...] from the values [..., 2**n - 1] of `zero_strings`; up to rounding, and with shots exactly, within [0, 1]."""
    return np.asarray((1 + values.sum(axis=-1)) / 2**n_qubits)


def outcome_probabilities(values: np.ndarray, n_qubits: int) -> np.ndarray:
    """Probabilities [S, 2**n] of all outcomes from the values [S, 2**n - 1] of `zero_strings`: a Walsh-Hadamard transform."""
    found = np.concatenate([np.ones((len(values), 1)), values], axis=1).reshape(-1, *[2] * n_qubits)
    for axis in range(1, n_qubits + 1):
        one, z = np.take(found, 0, axis), np.take(found, 1, axis)
        found = np.stack([(one + z) / 2, (one - z) / 2], axis)
    return found.reshape(len(values), -1)
