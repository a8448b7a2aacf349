"""Entanglement patterns: which pairs (control, target) of qubits the two-qubit gates of a layer join, in order."""

from __future__ import annotations

from itertools import combinations


def linear(n_qubits: int) -> list[tuple[int, int]]:
    """(0,1), (1,2), ..., (n-2, n-1)."""
    return [(i, i + 1) for i in range(n_qubits - 1)]


def circular(n_qubits: int) -> list[tuple[int, int]]:
    """The linear chain closed by (n-1, 0); with two qubits just (0,1), the ring being the chain twice."""
    return linear(n_qubits) + ([(n_qubits - 1, 0)] if n_qubits > 2 else [])


def full(n_qubits: int) -> list[tuple[int, int]]:
    """Every pair (i, j) with i < j."""
    return list(combinations(range(n_qubits), 2))
