"""The random words of a shot, and the errors they mean.

A shot's words come from a Philox key of its own, which is the Philox cipher of its coordinates (shot, displacement, sample, step) under the
key of its measurement group. The counter's first word has its top bit set there, so it meets none that outcomes are drawn by.
"""

from __future__ import annotations

import numpy as np

from actors.simulation.jit import kernel
from actors.simulation.philox import philox4x32

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ERRORS = np.uint64(2**31)
_ZERO = np.uint64(0)


@kernel
def fill_shot_words(key, shot, displacement, sample, step, words):
    """words uint64 [4 b]: the 32-bit words of one shot of one circuit in one measurement group."""
    k0, k1 = np.uint64(key) & _LOW, np.uint64(key) >> _HALF
    c1, c2, c3 = np.uint64(displacement) & _LOW, np.uint64(sample) & _LOW, np.uint64(step) & _LOW
    own0, own1, _, _ = philox4x32(_ERRORS + np.uint64(shot), c1, c2, c3, k0, k1)
    for block in range(words.size // 4):
        w0, w1, w2, w3 = philox4x32(np.uint64(block), _ZERO, _ZERO, _ZERO, own0, own1)
        words[4 * block] = w0
        words[4 * block + 1] = w1
        words[4 * block + 2] = w2
        words[4 * block + 3] = w3


@kernel
def pauli_error(errors, kind, word):
    """The Pauli error (1..4**kind - 1) that `word` means at a site of `kind` qubits, 0 for none."""
    n_errors = np.int64(4**kind - 1)
    if word >= errors.pauli_below[kind - 1, n_errors - 1]:
        return 0
    p = 0
    while word >= errors.pauli_below[kind - 1, p]:
        p += 1
    return p + 1


@kernel
def has_event(errors, site, word):
    """Whether `word` takes a shot off the path without errors at `site`: a Pauli error, or damping that may jump."""
    kind = errors.site_kind[site]
    if kind == 0:
        return word < errors.damping_below
    return word < errors.pauli_below[kind - 1, 4**kind - 2]


@kernel
def first_event(errors, words, n_operations):
    """The operation of the first event among a shot's `words`, `n_operations` if there is none."""
    for site in range(errors.site_kind.size):
        if has_event(errors, site, words[site]):
            return errors.site_operation[site]
    return n_operations


@kernel
def read_out(errors, outcome, n_qubits, words):
    """`outcome` as it is read."""
    if errors.flip_slot < 0:
        return outcome
    for bit in range(n_qubits):
        if words[errors.flip_slot + bit] < errors.flip_below[(outcome >> bit) & 1]:
            outcome ^= np.int64(1) << bit
    return outcome
