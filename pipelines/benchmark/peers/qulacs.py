"""qulacs: one parametric circuit in C++, its parameters set circuit by circuit.

A single observable goes through its simulator of causal cones; several are read from the state at once, which is faster than its
expectation values one by one.
"""

from __future__ import annotations

import itertools

import numpy as np
import qulacs

from pipelines.benchmark.peers.problem import Problem, z_signs


class Peer:
    """`qulacs.ParametricQuantumCircuit`. Its rotations are exp(+i a P / 2), so every angle changes sign."""

    distribution = "qulacs"
    precision = "double"
    is_batched = False
    tasks = frozenset({"values", "samples", "gradient"})
    max_qubits = 20

    def __init__(self, problem: Problem) -> None:
        n = problem.n_qubits
        self._observed = problem.observed
        self._circuit = qulacs.ParametricQuantumCircuit(n)
        for q in range(n):
            self._circuit.add_parametric_RY_gate(q, 0.0)
        for _ in range(problem.n_layers):
            for q in range(n):
                self._circuit.add_parametric_RX_gate(q, 0.0)
                self._circuit.add_parametric_RY_gate(q, 0.0)
                self._circuit.add_parametric_RZ_gate(q, 0.0)
            for control, target in problem.pairs.tolist():
                self._circuit.add_CNOT_gate(control, target)
        self._state = qulacs.QuantumState(n)
        self._only = self._weighted(np.ones(1)) if len(problem.observed) == 1 else None
        # its qubit 0 is the least significant bit
        self._signs = z_signs(n, n - 1 - problem.observed)

    def values(self, features: np.ndarray, params: np.ndarray) -> np.ndarray:
        """Exact expectation values [S, D, M] for features [S, n] and params [D, L, n, 3]."""
        rows = []
        for x, theta in itertools.product(features, params):
            if self._only is not None:
                rows.append(np.array([self._in_cone(x, theta)]))
                continue
            self._run(x, theta)
            amplitudes = self._state.get_vector()
            rows.append((amplitudes.real**2 + amplitudes.imag**2) @ self._signs)
        return np.array(rows).reshape(len(features), len(params), -1)

    def samples(self, features: np.ndarray, params: np.ndarray, shots: int) -> np.ndarray:
        """Means over `shots` shots, [S, D, M]."""
        rows = []
        for x, theta in itertools.product(features, params):
            self._run(x, theta)
            rows.append(self._signs[self._state.sampling(shots)].mean(axis=0))
        return np.array(rows).reshape(len(features), len(params), -1)

    def gradient(self, features: np.ndarray, params: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Derivative of the loss by params [L, n, 3], by qulacs' reverse sweep."""
        total = np.zeros(params.size)
        for x, w in zip(features, weights, strict=True):
            self._set(x, params)
            total -= np.array(self._circuit.backprop(self._weighted(w)))[len(x) :]
        return total.reshape(params.shape) / len(features)

    def _in_cone(self, x: np.ndarray, theta: np.ndarray) -> float:
        self._set(x, theta)
        simulator = qulacs.CausalConeSimulator(self._circuit, self._only)
        simulator.build()
        return float(simulator.get_expectation_value().real)

    def _run(self, x: np.ndarray, theta: np.ndarray) -> None:
        self._set(x, theta)
        self._state.set_zero_state()
        self._circuit.update_quantum_state(self._state)

    def _set(self, x: np.ndarray, theta: np.ndarray) -> None:
        for i, angle in enumerate(itertools.chain(x.tolist(), theta.ravel().tolist())):
            self._circuit.set_parameter(i, -angle)

    def _weighted(self, weights: np.ndarray) -> qulacs.Observable:
        observable = qulacs.Observable(self._circuit.get_qubit_count())
        for weight, qubit in zip(weights.tolist(), self._observed.tolist(), strict=True):
            if weight:
                observable.add_operator(weight, f"Z {qubit}")
        return observable
