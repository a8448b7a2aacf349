"""The best linear subspace for a set of states: what an autoencoder of pure states is held against, and what bounds it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.circuits.template import Gate


def dense_states(gates: Sequence[Gate], n_qubits: int, table: np.ndarray) -> np.ndarray:
    """States complex128 [S, 2**n] of `gates` applied to |0...0>, for whole angle vectors [S, K]."""
    states = np.zeros((len(table), 2**n_qubits), np.complex128)
    states[:, 0] = 1.0
    for gate in gates:
        axes, front = [1 + q for q in gate.qubits], range(1, 1 + len(gate.qubits))
        moved = np.moveaxis(states.reshape(-1, *[2] * n_qubits), axes, front)
        phases = np.zeros((1, 1)) if gate.angle is None else np.outer(table[:, gate.angle], gate.eigenphases)
        unitary = np.einsum("sj,jab->sab", np.exp(1j * phases), gate.projectors)
        turned = (unitary @ moved.reshape(len(table), unitary.shape[1], -1)).reshape(moved.shape)
        states = np.moveaxis(turned, front, axes).reshape(len(table), -1)
    return states


def best_subspace(states: np.ndarray, dimension: int) -> np.ndarray:
    """An orthonormal basis, complex128 [up to dimension, D], of the subspace that holds most of the states [S, D] on average.

    The leading right singular vectors. An encoder to k qubits loses nothing of a subspace of 2**k dimensions, and its trash fidelity
    is a state's weight there; so on average over these states neither its trash nor its reconstruction fidelity exceeds the weight in
    the best one (K. Fan, PNAS 35 (1949) 652).
    """
    triangle = np.linalg.qr(states, mode="r")  # with the same right singular vectors, and no more rows than D
    return np.asarray(np.linalg.svd(triangle, full_matrices=False)[2][:dimension])


def weight_in(basis: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Float64 [S]: weight of each state [S, D] in the subspace of an orthonormal basis [m, D], its fidelity with its own projection."""
    return np.asarray(np.sum(np.abs(states @ basis.conj().T) ** 2, axis=1))
