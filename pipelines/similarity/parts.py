"""Parts of an embedding: plain vectors of unit length whose scalar product says how alike two quantities are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

N_SLOTS = 128
"""Of a hashed name; two different names meet in one with probability 1/128."""
N_BINS = 33
N_SHARES = 100
_WIDTH = 1.0


def size(quantity: float) -> np.ndarray:
    """float64 [N_BINS] of a count: soft bins of its logarithm to base 2, so that equal counts have product 1, a factor of two
    about 0.78, four 0.37, sixteen 0.02."""
    at = np.log2(1.0 + quantity)
    return unit(np.exp(-((np.arange(N_BINS) - at) ** 2) / (2 * _WIDTH**2)))


def name(text: str) -> np.ndarray:
    """float64 [N_SLOTS], one-hot by a hash that is the same on every machine (feature hashing, Weinberger et al., ICML 2009)."""
    return counted({text: 1.0})


def counted(counts: Mapping[str, float]) -> np.ndarray:
    """float64 [N_SLOTS]: how counts are shared among names. The product of two is the Bhattacharyya coefficient of the shares."""
    slots = np.zeros(N_SLOTS)
    for text, count in counts.items():
        slots[int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") % N_SLOTS] += (
            count
        )
    return shares(slots, N_SLOTS)


def shares(values: Iterable[float], n: int = N_SHARES) -> np.ndarray:
    """float64 [n]: square roots of the shares of `values` (in the order given; what is beyond the first n counts as one)."""
    given = np.array(list(values), np.float64)
    padded = np.zeros(n)
    padded[: min(len(given), n)] = given[:n]
    padded[-1] += given[n:].sum()
    total = padded.sum()
    return np.sqrt(padded / total) if total > 0 else padded


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One vector of several parts: the product of two is the mean over the parts, one that is unknown (zeros) left at 0."""
    return unit(np.concatenate(parts))


def unit(values: np.ndarray) -> np.ndarray:
    """Of length 1; zeros stay zeros."""
    length = float(np.sqrt((values * values).sum()))
    return values / length if length > 0 else values


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of the angle between two vectors of length 1 (or zeros: then 0); exactly 1 for equal ones."""
    if one.shape == other.shape and one.any() and (one == other).all():
        return 1.0
    return float(np.clip((one * other).sum(), -1.0, 1.0))
