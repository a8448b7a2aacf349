"""Kraus operators of the elementary channels, complex128 [., 2**k, 2**k] with ``sum_i K_i+ K_i = I``.

Source: M. A. Nielsen and I. L. Chuang, "Quantum Computation and Quantum Information", section 8.3.
"""

from __future__ import annotations

import numpy as np

from actors.simulation.pauli_transfer import pauli_operators


def depolarizing(rate: float, n_qubits: int) -> np.ndarray:
    """Depolarising of k = `n_qubits` qubits: every Pauli string but the identity is damped by ``1 - rate``.

    The identity has weight ``1 - (4**k - 1) rate / 4**k`` and every other Pauli ``rate / 4**k``: at rate 1 the state is fully mixed.
    """
    n_paulis = 4**n_qubits
    weights = np.full(n_paulis, rate / n_paulis)
    weights[0] = 1 - (n_paulis - 1) * rate / n_paulis
    operators: np.ndarray = np.sqrt(weights)[:, None, None] * pauli_operators(n_qubits)
    return operators


def amplitude_damping(probability: float) -> np.ndarray:
    """Decay of ``|1>`` to ``|0>`` with `probability` (the convention of ``cirq.amplitude_damp``)."""
    keep = [[1, 0], [0, np.sqrt(1 - probability)]]
    decay = [[0, np.sqrt(probability)], [0, 0]]
    return np.array([keep, decay], complex)


def phase_damping(probability: float) -> np.ndarray:
    """Loss of phase without loss of energy: X and Y are damped by ``sqrt(1 - probability)`` (as ``cirq.phase_damp``)."""
    keep = [[1, 0], [0, np.sqrt(1 - probability)]]
    scatter = [[0, 0], [0, np.sqrt(probability)]]
    return np.array([keep, scatter], complex)
