"""PennyLane's lightning.qubit: circuits one by one in C++, gradients by its adjoint method."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pennylane as qml

from pipelines.benchmark.peers.pennylane_default import apply, z_values
from pipelines.benchmark.peers.problem import Problem


class Peer:
    """`lightning.qubit`."""

    distribution = "pennylane-lightning"
    precision = "double"
    is_batched = False
    tasks = frozenset({"values", "samples", "gradient"})
    max_qubits = 26

    def __init__(self, problem: Problem) -> None:
        device = qml.device("lightning.qubit", wires=problem.n_qubits)

        def circuit(x: Any, theta: Any) -> Any:
            apply(problem, x, theta)
            return z_values(problem)

        def weighted(theta: Any, x: Any, weights: np.ndarray) -> Any:
            apply(problem, x, theta)
            zs = [qml.PauliZ(q) for q in problem.observed.tolist()]
            return qml.expval(qml.Hamiltonian(weights, zs))

        self._node = qml.QNode(circuit, device, interface=None, diff_method=None)
        self._gradient = qml.grad(
            qml.QNode(weighted, device, interface="autograd", diff_method="adjoint"), argnums=0
        )

    def values(self, features: np.ndarray, params: np.ndarray) -> np.ndarray:
        """Exact expectation values [S, D, M] for features [S, n] and params [D, L, n, 3]."""
        return self._loop(self._node, features, params)

    def samples(self, features: np.ndarray, params: np.ndarray, shots: int) -> np.ndarray:
        """Means over `shots` shots, [S, D, M]."""
        return self._loop(qml.set_shots(self._node, shots=shots), features, params)

    def gradient(self, features: np.ndarray, params: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Derivative of the loss by params [L, n, 3]."""
        theta = qml.numpy.array(params, requires_grad=True)
        return sum(self._gradient(theta, x, w) for x, w in zip(features, weights, strict=True)) / len(
            features
        )

    def _loop(self, node: Any, features: np.ndarray, params: np.ndarray) -> np.ndarray:
        rows = [node(x, theta) for x, theta in itertools.product(features, params)]
        return np.array(rows).reshape(len(features), len(params), -1)
