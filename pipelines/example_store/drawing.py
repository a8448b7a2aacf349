"""Weighted random sampling without replacement, the same rows wherever they lie in the table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def draw(ids: Sequence[str], weights: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Positions int64 [min(k, S)] of examples drawn one after the other, each with probability proportional to its weight among those
    left.

    Method A-Res of P. S. Efraimidis and P. G. Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters
    97 (2006) 181: the k largest of ``u_i ** (1 / w_i)``, u_i uniform in (0, 1), taken here as ``log(u_i) / w_i``. u_i is a hash of
    `seed` and the example's id, so the same seed draws the same examples whatever the order of the rows and whatever else is added
    with a smaller key; ties go by id.

    Args:
        ids: [S], unique. weights: float64 [S], positive and finite.
    """
    keys = np.log(uniform(ids, seed)) / weights
    return _first(-keys, ids, k)


def nearest_first(ids: Sequence[str], distances: np.ndarray, k: int) -> np.ndarray:
    """Positions int64 [min(k, S)] by rising distance, ties by id."""
    return _first(distances, ids, k)


def heaviest_first(ids: Sequence[str], weights: np.ndarray, k: int) -> np.ndarray:
    """Positions int64 [min(k, S)] by falling weight, ties by id."""
    return _first(-weights, ids, k)


def uniform(ids: Sequence[str], seed: int) -> np.ndarray:
    """float64 [S] in (0, 1), of the seed and each id alone: 53 bits of BLAKE2b."""
    key = str(seed).encode()
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest() for name in ids)
    return ((np.frombuffer(digests, "<u8") >> np.uint64(11)) + 0.5) / 2.0**53


def effective_size(weights: np.ndarray) -> float:
    """(sum w)² / sum w²: how many examples of equal weight say as much (L. Kish, Survey Sampling, 1965); 0 of none."""
    total = float(np.sum(weights))
    return total * total / float(np.sum(weights**2)) if total > 0 else 0.0


def _first(sort_by: np.ndarray, ids: Sequence[str], k: int) -> np.ndarray:
    order = np.lexsort((np.asarray(ids, dtype=str), sort_by))
    return order[:k].astype(np.int64)
