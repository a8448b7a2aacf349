"""The outcome |0...0>, read from expectation values: its projector is the product of (1 + Z)/2 over the qubits.

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
