"""tensorcircuit-ng on JAX, state vector: samples and displacements by nested vmap, compiled once.

Nested, so that a layer's fused rotations are computed once per displacement and not once per circuit: three times faster than one
flat batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorcircuit as tc

from pipelines.benchmark.peers.problem import Problem, z_signs


def circuit_of(problem: Problem, x: Any, theta: Any) -> Any:
    """The tensorcircuit circuit of features x [n] and theta [L, n, 3], the three rotations of a qubit fused."""
    circuit = tc.Circuit(problem.n_qubits)
    for q in range(problem.n_qubits):
        circuit.ry(q, theta=x[q])
    for layer in range(problem.n_layers):
        for q in range(problem.n_qubits):
            rx, ry, rz = (
                make(theta[layer, q, g]).tensor
                for g, make in enumerate((tc.gates.rx_gate, tc.gates.ry_gate, tc.gates.rz_gate))
            )
            circuit.unitary(q, unitary=rz @ ry @ rx)
        for control, target in problem.pairs.tolist():
            circuit.cnot(control, target)
    return circuit


class Peer:
    """``tc.Circuit.state`` under ``jax.jit`` and ``jax.vmap``."""

    distribution = "tensorcircuit-ng"
    precision = "single"
    is_batched = True
    tasks = frozenset({"values", "samples", "gradient"})
    max_qubits = 20

    def __init__(self, problem: Problem) -> None:
        tc.set_backend("jax")
        tc.set_dtype("complex64")
        self._problem = problem
        self._signs = jnp.asarray(z_signs(problem.n_qubits, problem.observed), jnp.float32)
        self._key = jax.random.key(0)
        self._values = jax.jit(over_product(self._one))
        self._samples = jax.jit(self._all_samples, static_argnums=3)
        self._gradient = jax.jit(jax.grad(self._loss))

    def values(self, features: np.ndarray, params: np.ndarray) -> np.ndarray:
        """Exact expectation values [S, D, M] for features [S, n] and params [D, L, n, 3]."""
        return np.asarray(self._values(jnp.float32(features), jnp.float32(params)))

    def samples(self, features: np.ndarray, params: np.ndarray, shots: int) -> np.ndarray:
        """Means over `shots` shots, [S, D, M]."""
        return np.asarray(self._samples(self._key, jnp.float32(features), jnp.float32(params), shots))

    def gradient(self, features: np.ndarray, params: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Derivative of the loss by params [L, n, 3]."""
        return np.asarray(self._gradient(*map(jnp.float32, (params, features, weights))))

    def _probabilities(self, x: Any, theta: Any) -> Any:
        state = circuit_of(self._problem, x, theta).state()
        return state.real**2 + state.imag**2

    def _one(self, x: Any, theta: Any) -> Any:
        return self._probabilities(x, theta) @ self._signs

    def _loss(self, theta: Any, features: Any, weights: Any) -> Any:
        values = jax.vmap(self._one, in_axes=(0, None))(features, theta)
        return jnp.sum(weights * values) / len(features)

    def _all_samples(self, key: Any, features: Any, params: Any, shots: int) -> Any:
        """By inversion of the cumulated probabilities, a random number per shot."""
        cumulated = jnp.cumsum(over_product(self._probabilities)(features, params), axis=-1)
        draws = jax.random.uniform(key, (*cumulated.shape[:-1], shots)) * cumulated[..., -1:]

        def mean(cdf: Any, draw: Any) -> Any:
            return self._signs[jnp.searchsorted(cdf, draw, side="right")].mean(axis=0)

        return jax.vmap(jax.vmap(mean))(cumulated, draws)


def over_product(one: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """``one(x, theta)`` for every sample (outer) and every displacement (inner)."""
    product: Callable[[Any, Any], Any] = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))
    return product
