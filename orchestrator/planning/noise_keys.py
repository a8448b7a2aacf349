"""Keys of the counter-based generator that draws shot noise: they depend on what is computed, never on who computes it."""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit


@functools.lru_cache(maxsize=64)
def noise_keys(seed: int, purpose: str, circuit: MeasuredCircuit) -> np.ndarray:
    """One key per measurement group, uint64 [G], from the run's seed and the evaluation's purpose (``"train"``, ``"val"`` ...)."""
    texts = [f"{seed}/{purpose}/{group.basis}" for group in circuit.groups]
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
    return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)
