"""qsimcirq: Google's qsim behind cirq's interface, a sweep over all parameter sets, its matrices fused."""

from __future__ import annotations

import itertools

import cirq
import numpy as np
import qsimcirq
import sympy

from pipelines.benchmark.peers.cirq import operations
from pipelines.benchmark.peers.problem import Problem


class Peer:
    """`qsimcirq.QSimSimulator`."""

    distribution = "qsimcirq"
    precision = "single"
    is_batched = False
    tasks = frozenset({"values", "samples"})
    max_qubits = 26

    def __init__(self, problem: Problem) -> None:
        n = problem.n_qubits
        self._symbols = [sympy.Symbol(f"t{i}") for i in range(n + problem.params[0].size)]
        x = np.array(self._symbols[:n])
        theta = np.array(self._symbols[n:]).reshape(problem.params[0].shape)
        qubits = cirq.LineQubit.range(n)
        observed = [qubits[q] for q in problem.observed.tolist()]
        self._circuit = cirq.Circuit(operations(problem, x, theta))
        self._measured = self._circuit + cirq.measure(*observed, key="m")
        self._observables = [cirq.PauliSum.from_pauli_strings([cirq.Z(q)]) for q in observed]
        options = qsimcirq.QSimOptions(cpu_threads=1, max_fused_gate_size=3)
        self._simulator = qsimcirq.QSimSimulator(options)

    def values(self, features: np.ndarray, params: np.ndarray) -> np.ndarray:
        """Exact expectation values [S, D, M] for features [S, n] and params [D, L, n, 3]."""
        rows = self._simulator.simulate_expectation_values_sweep(
            self._circuit, self._observables, self._resolvers(features, params)
        )
        return np.real(np.array(rows)).reshape(len(features), len(params), -1)

    def samples(self, features: np.ndarray, params: np.ndarray, shots: int) -> np.ndarray:
        """Means over `shots` shots, [S, D, M]."""
        results = self._simulator.run_sweep(
            self._measured, self._resolvers(features, params), repetitions=shots
        )
        means = [1.0 - 2.0 * result.measurements["m"].mean(axis=0) for result in results]
        return np.array(means).reshape(len(features), len(params), -1)

    def _resolvers(self, features: np.ndarray, params: np.ndarray) -> list[cirq.ParamResolver]:
        return [
            cirq.ParamResolver(dict(zip(self._symbols, [*x.tolist(), *theta.ravel().tolist()], strict=True)))
            for x, theta in itertools.product(features, params)
        ]
