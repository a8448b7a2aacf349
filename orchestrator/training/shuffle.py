"""ShuffledOrder: a random order of very many samples, of which any part can be had without holding the whole.

A permutation of 10^8 int64 takes 800 MB. This one is a function of the position: a Feistel network on the numbers of 2w bits, and cycle
walking, which applies it again until the result is below n (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). A
Feistel network is a bijection whatever its round function; cycle walking keeps it one. The round function is the finaliser of SplitMix64
(Steele, Lea and Flood, OOPSLA 2014) on the half and a key of the round. It mixes well; it is no cipher, and need not be one.
"""

from __future__ import annotations

import numpy as np

_ROUNDS = 6
"""Four make a pseudo-random permutation of a pseudo-random round function (Luby and Rackoff, 1988); this function is a little less."""


class ShuffledOrder:
    """A permutation of 0 to n - 1; the same for the same keys on any machine.

    Args:
        n: how many. keys: uint64 [6] at least, of the rounds.
    """

    def __init__(self, n: int, keys: np.ndarray) -> None:
        self._n = n
        self._keys = np.asarray(keys[:_ROUNDS], np.uint64)
        self._half = np.uint64(max(((n - 1).bit_length() + 1) // 2, 1))
        self._mask = np.uint64((1 << int(self._half)) - 1)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, positions: slice | np.ndarray) -> np.ndarray:
        """What stands at these positions (from 0), int64."""
        if isinstance(positions, slice):
            positions = np.arange(*positions.indices(self._n))
        found = self._permuted(np.asarray(positions, np.uint64))
        outside = np.flatnonzero(found >= self._n)
        while len(outside):  # fewer than three in four each time: the domain is less than 4 n
            found[outside] = self._permuted(found[outside])
            outside = outside[found[outside] >= self._n]
        return found.astype(np.int64)

    def _permuted(self, numbers: np.ndarray) -> np.ndarray:
        left, right = numbers >> self._half, numbers & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mixed(right ^ key) & self._mask)
        return (left << self._half) | right


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64, uint64; products wrap."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
