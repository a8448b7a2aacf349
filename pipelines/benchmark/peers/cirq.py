"""cirq: its state-vector and, for noise, its density-matrix simulator, one circuit at a time. The reference of all figures."""

from __future__ import annotations

from collections.abc import Iterator

import cirq
import numpy as np
import sympy

from pipelines.benchmark.peers.problem import Problem, z_signs


class Peer:
    """`cirq.Simulator`, `cirq.DensityMatrixSimulator`; the circuit is built once and its symbols resolved per circuit."""

    distribution = "cirq-core"
    precision = "single"
    is_batched = False
    tasks = frozenset({"values", "samples", "noise"})
    max_qubits = 20

    def __init__(self, problem: Problem, dtype: type[np.complexfloating] = np.complex64) -> None:
        self._problem = problem
        self._qubits = cirq.LineQubit.range(problem.n_qubits)
        self._symbols = [sympy.Symbol(f"t{i}") for i in range(problem.n_qubits + problem.params[0].size)]
        x = np.array(self._symbols[: problem.n_qubits])
        theta = np.array(self._symbols[problem.n_qubits :]).reshape(problem.params[0].shape)
        self._circuit = cirq.Circuit(operations(problem, x, theta))
        self._state = cirq.Simulator(dtype=dtype)
        self._density = cirq.DensityMatrixSimulator(dtype=dtype)
        self._signs = z_signs(min(problem.n_qubits, self.max_qubits), problem.observed)

    def values(self, features: np.ndarray, params: np.ndarray) -> np.ndarray:
        """Exact expectation values [S, D, M] for features [S, n] and params [D, L, n, 3]."""
        rows = [self._probabilities(r) @ self._signs for r in self._resolvers(features, params)]
        return np.array(rows).reshape(len(features), len(params), -1)

    def samples(self, features: np.ndarray, params: np.ndarray, shots: int) -> np.ndarray:
        """Means over `shots` shots, [S, D, M]."""
        measured = self._circuit + cirq.measure(*(self._qubits[i] for i in self._problem.observed), key="m")
        results = self._state.run_sweep(measured, list(self._resolvers(features, params)), repetitions=shots)
        means = [1.0 - 2.0 * result.measurements["m"].mean(axis=0) for result in results]
        return np.array(means).reshape(len(features), len(params), -1)

    def _probabilities(self, resolver: cirq.ParamResolver) -> np.ndarray:
        if len(self._problem.noise):
            mixed = self._density.simulate(self._circuit, resolver, qubit_order=self._qubits)
            return np.real(np.diag(mixed.final_density_matrix))
        pure = self._state.simulate(self._circuit, resolver, qubit_order=self._qubits)
        return np.asarray(np.abs(pure.final_state_vector) ** 2)

    def _resolvers(self, features: np.ndarray, params: np.ndarray) -> Iterator[cirq.ParamResolver]:
        for x in features:
            for theta in params:
                numbers = [*x.tolist(), *theta.ravel().tolist()]
                yield cirq.ParamResolver(dict(zip(self._symbols, numbers, strict=True)))


def operations(problem: Problem, x: np.ndarray, theta: np.ndarray) -> list[cirq.Operation]:
    """The circuit of features x [n] and parameters theta [L, n, 3], numbers or symbols, with the problem's noise."""
    qubits = cirq.LineQubit.range(problem.n_qubits)
    gates: list[cirq.Operation] = [cirq.ry(a)(q) for a, q in zip(x, qubits, strict=True)]
    for layer in theta:
        for q, angles in zip(qubits, layer, strict=True):
            gates += [turn(a)(q) for turn, a in zip((cirq.rx, cirq.ry, cirq.rz), angles, strict=True)]
        gates += [cirq.CNOT(qubits[control], qubits[target]) for control, target in problem.pairs]
    return [op for gate in gates for op in (gate, *_noise_after(gate, problem.noise))]


def _noise_after(gate: cirq.Operation, rates: np.ndarray) -> list[cirq.Operation]:
    """A depolarising channel on the gate's qubits; cirq counts the probability of all errors together."""
    if not len(rates):
        return []
    k = len(gate.qubits)
    return [cirq.depolarize(float(rates[k - 1]) * (1 - 4.0**-k), k).on(*gate.qubits)]
