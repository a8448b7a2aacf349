"""qiskit-aer: one parametrised circuit, all parameter sets bound in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Pauli
from qiskit_aer import AerSimulator

from pipelines.benchmark.peers.problem import Problem, z_signs


class Peer:
    """`qiskit_aer.AerSimulator`, method statevector."""

    distribution = "qiskit-aer"
    precision = "double"
    is_batched = False
    tasks = frozenset({"values", "samples"})
    max_qubits = 26

    def __init__(self, problem: Problem) -> None:
        n = problem.n_qubits
        self._n, self._observed = n, problem.observed.tolist()
        self._simulator = AerSimulator(method="statevector", max_parallel_threads=1)
        self._angles = ParameterVector("a", n + problem.params[0].size)
        self._circuit = QuantumCircuit(n)
        angles = iter(self._angles)
        for q in range(n):
            self._circuit.ry(next(angles), q)
        for _ in range(problem.n_layers):
            for q in range(n):
                self._circuit.rx(next(angles), q)
                self._circuit.ry(next(angles), q)
                self._circuit.rz(next(angles), q)
            for control, target in problem.pairs.tolist():
                self._circuit.cx(control, target)
        if problem.shots:
            self._circuit.measure_all()
            self._signs = z_signs(n, n - 1 - problem.observed)
            return
        for q in self._observed:
            self._circuit.save_expectation_value(Pauli("Z"), [q], label=f"z{q}")

    def values(self, features: np.ndarray, params: np.ndarray) -> np.ndarray:
        """Exact expectation values [S, D, M] for features [S, n] and params [D, L, n, 3]."""
        result = self._run(features, params, 1)
        rows = [[data[f"z{q}"] for q in self._observed] for data in result]
        return np.array(rows).reshape(len(features), len(params), -1)

    def samples(self, features: np.ndarray, params: np.ndarray, shots: int) -> np.ndarray:
        """Means over `shots` shots, [S, D, M]."""
        rows = []
        for data in self._run(features, params, shots):
            outcomes = np.array([int(key, 16) for key in data["counts"]])
            counts = np.array(list(data["counts"].values()))
            rows.append(counts @ self._signs[outcomes] / shots)
        return np.array(rows).reshape(len(features), len(params), -1)

    def _run(self, features: np.ndarray, params: np.ndarray, shots: int) -> list[dict[str, Any]]:
        """The data of every circuit."""
        xs = np.repeat(features, len(params), axis=0)
        thetas = np.tile(params.reshape(len(params), -1), (len(features), 1))
        columns = np.hstack([xs, thetas]).T.tolist()
        binds = [dict(zip(self._angles, columns, strict=True))]
        result = self._simulator.run(self._circuit, parameter_binds=binds, shots=shots).result()
        if not result.success:
            raise RuntimeError(result.status)
        return [result.data(i) for i in range(len(xs))]
