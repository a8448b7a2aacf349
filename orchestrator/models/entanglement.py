"""Entanglement patterns: which pairs (control, target) of qubits the two-qubit gates of a layer join, in order."""

from __future__ import annotations

from itertools import combinations

from orchestrator.config import ModelConfig
from orchestrator.registry import resolve


def pairs_of(config: ModelConfig) -> list[tuple[int, int]]:
    """The pairs that ``model.entanglement`` names or, custom, lists."""
    if not isinstance(config.entanglement, str):
        return list(config.entanglement)
    return list(resolve("entanglement", config.entanglement)(config.n_qubits))


def linear(n_qubits: int) -> list[tuple[int, int]]:
    """(0,1), (1,2), ..., (n-2, n-1)."""
    return [(i, i + 1) for i in range(n_qubits - 1)]


def circular(n_qubits: int) -> list[tuple[int, int]]:
    """The linear chain closed by (n-1, 0); with two qubits just (0,1), the ring being the chain twice."""
    return linear(n_qubits) + ([(n_qubits - 1, 0)] if n_qubits > 2 else [])


def full(n_qubits: int) -> list[tuple[int, int]]:
    """Every pair (i, j) with i < j."""
    return list(combinations(range(n_qubits), 2))
