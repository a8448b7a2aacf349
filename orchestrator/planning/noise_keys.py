"""Keys of the counter-based generator that draws shot noise: they depend on what is computed, never on who computes it."""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit


@functools.lru_cache(maxsize=64)
def noise_keys(seed: int, purpose: str, circuit: MeasuredCircuit) -> np.ndarray:
    """One key per measurement group, uint64 [G], from the run's seed and the evaluation's purpose (``"train"``, ``"val"`` ...)."""
    return np.array([noise_key(seed, purpose, group.basis) for group in circuit.groups], np.uint64)


def noise_key(seed: int, purpose: str, basis: str) -> int:
    """The key of one measurement basis."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{basis}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
