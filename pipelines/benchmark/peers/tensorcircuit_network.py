"""tensorcircuit-ng on JAX, tensor network: each <Z> contracted over its light cone only."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorcircuit as tc

from pipelines.benchmark.peers.problem import Problem
from pipelines.benchmark.peers.tensorcircuit_state import circuit_of, over_product


class Peer:
    """``tc.Circuit.expectation_ps`` under ``jax.jit`` and ``jax.vmap``, contracted along a greedily found path."""

    distribution = "tensorcircuit-ng"
    precision = "single"
    is_batched = True
    tasks = frozenset({"values", "gradient"})
    max_qubits = 60

    def __init__(self, problem: Problem) -> None:
        tc.set_backend("jax")
        tc.set_dtype("complex64")
        self._problem = problem
        self._values = jax.jit(over_product(self._one))
        self._gradient = jax.jit(jax.grad(self._loss))

    def values(self, features: np.ndarray, params: np.ndarray) -> np.ndarray:
        """Exact expectation values [S, D, M] for features [S, n] and params [D, L, n, 3]."""
        return np.asarray(self._values(jnp.float32(features), jnp.float32(params)))

    def gradient(self, features: np.ndarray, params: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Derivative of the loss by params [L, n, 3]."""
        return np.asarray(self._gradient(*map(jnp.float32, (params, features, weights))))

    def _one(self, x: Any, theta: Any) -> Any:
        circuit = circuit_of(self._problem, x, theta)
        return jnp.stack(
            [
                circuit.expectation_ps(z=[q], reuse=False, enable_lightcone=True).real
                for q in self._problem.observed.tolist()
            ]
        )

    def _loss(self, theta: Any, features: Any, weights: Any) -> Any:
        values = jax.vmap(self._one, in_axes=(0, None))(features, theta)
        return jnp.sum(weights * values) / len(features)
