"""PennyLane's default.qubit: all circuits in one broadcast; gradients by backpropagation through JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml

from pipelines.benchmark.peers.problem import Problem


def apply(problem: Problem, x: Any, theta: Any) -> None:
    """Queue the circuit: x[i] and theta[l][q][g] are numbers or arrays of one value per circuit."""
    for q in range(problem.n_qubits):
        qml.RY(x[q], wires=q)
    for layer in range(problem.n_layers):
        for q in range(problem.n_qubits):
            for gate, turn in enumerate((qml.RX, qml.RY, qml.RZ)):
                turn(theta[layer][q][gate], wires=q)
        for control, target in problem.pairs.tolist():
            qml.CNOT(wires=[control, target])


def z_values(problem: Problem) -> list[Any]:
    """One <Z> per observed qubit."""
    return [qml.expval(qml.PauliZ(q)) for q in problem.observed.tolist()]


class Peer:
    """`default.qubit` with parameter broadcasting."""

    distribution = "pennylane"
    precision = "double"
    is_batched = True
    tasks = frozenset({"values", "samples", "gradient"})
    max_qubits = 20

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._device = qml.device("default.qubit", wires=problem.n_qubits)
        self._gradient: Callable[..., Any] | None = None

        def circuit(x: Any, theta: Any) -> Any:
            apply(problem, x, theta)
            return z_values(problem)

        self._node = qml.QNode(circuit, self._device, interface=None, diff_method=None)

    def values(self, features: np.ndarray, params: np.ndarray) -> np.ndarray:
        """Exact expectation values [S, D, M] for features [S, n] and params [D, L, n, 3]."""
        return self._broadcast(self._node, features, params)

    def samples(self, features: np.ndarray, params: np.ndarray, shots: int) -> np.ndarray:
        """Means over `shots` shots, [S, D, M]."""
        return self._broadcast(qml.set_shots(self._node, shots=shots), features, params)

    def gradient(self, features: np.ndarray, params: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Derivative of the loss by params [L, n, 3]."""
        if self._gradient is None:
            self._gradient = self._compiled_gradient()
        return np.asarray(self._gradient(params, features, weights))

    def _broadcast(self, node: Callable[..., Any], features: np.ndarray, params: np.ndarray) -> np.ndarray:
        xs = np.repeat(features, len(params), axis=0)
        thetas = np.tile(params, (len(features), 1, 1, 1))
        found = node(xs.T, thetas.transpose(1, 2, 3, 0))
        return np.stack(found, axis=-1).reshape(len(features), len(params), -1)

    def _compiled_gradient(self) -> Callable[..., Any]:
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)
        node = qml.QNode(self._node.func, self._device, interface="jax", diff_method="backprop")

        def loss(theta: Any, features: Any, weights: Any) -> Any:
            return jnp.sum(weights * jnp.stack(node(features.T, theta), axis=-1)) / len(features)

        compiled: Callable[..., Any] = jax.jit(jax.grad(loss))
        return compiled
