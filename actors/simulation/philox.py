"""Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw ("Parallel random numbers: as easy as 1, 2, 3", SC'11).

A block cipher of the coordinates of a draw: any draw of any circuit is computed by itself, from (run key, place in the run), so the
bits do not depend on who computes them, in what order or in what pieces. Words are kept in uint64 with the high half zero,
which numba and the vector units multiply without conversions.
"""

from __future__ import annotations

import numpy as np

from actors.simulation.jit import kernel

_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@kernel
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Four 32-bit words (in uint64) of the counter (c0, c1, c2, c3) under the key (k0, k1); ten rounds."""
    for _ in range(10):
        product_0 = _MULTIPLIER_0 * c0
        product_1 = _MULTIPLIER_1 * c2
        c0 = (product_1 >> _HALF) ^ c1 ^ k0
        c1 = product_1 & _LOW
        c2 = (product_0 >> _HALF) ^ c3 ^ k1
        c3 = product_0 & _LOW
        k0 = (k0 + _WEYL_0) & _LOW
        k1 = (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@kernel
def fill_words(key, displacement, sample, step, out):
    """out uint32 [4 b]: the draws of one circuit in one measurement group; block i has the counter (i, displacement, sample, step)."""
    k0, k1 = np.uint64(key) & _LOW, np.uint64(key) >> _HALF
    c1, c2, c3 = np.uint64(displacement) & _LOW, np.uint64(sample) & _LOW, np.uint64(step) & _LOW
    for block in range(out.size // 4):
        w0, w1, w2, w3 = philox4x32(np.uint64(block), c1, c2, c3, k0, k1)
        out[4 * block] = w0
        out[4 * block + 1] = w1
        out[4 * block + 2] = w2
        out[4 * block + 3] = w3
