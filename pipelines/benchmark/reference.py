"""Is it right? A sample of a workload's circuits against cirq in double precision, built from the workload and not from our template."""

from __future__ import annotations

import math
from typing import Any

import cirq
import numpy as np

from pipelines.benchmark.peers.cirq import Peer, operations
from pipelines.benchmark.peers.problem import Problem

MAX_CONE = 14
"""Qubits of a circuit that cirq simulates here; a larger one is cut down to what an observable can feel."""
_SEED = 1


def check(problem: Problem) -> dict[str, Any]:
    """``max_abs_error`` of ``problem.expected`` over a fixed sample of circuits, and over which values it was taken.

    For shots also ``max_standard_errors``, the largest deviation in units of its predicted standard error.
    """
    if problem.task == "gradient":
        return _check_gradient(problem)
    n_circuits = problem.n_samples * problem.n_rows
    rng = np.random.default_rng(_SEED)
    picked = rng.choice(n_circuits, min(_n_checked(problem), n_circuits), replace=False)
    errors, deviations, skipped = [], [], 0
    for index in picked:
        s, d = divmod(int(index), problem.n_rows)
        exact = expectations(problem, problem.features[s], problem.params[d])
        known = np.isfinite(exact)
        skipped += int((~known).sum())
        error = np.abs(problem.expected[s, d] - exact)[known]
        errors += error.tolist()
        if problem.shots:
            deviations += (error / np.sqrt(np.maximum(1 - exact**2, 1e-12) / problem.shots)).tolist()
    found: dict[str, Any] = {"max_abs_error": max(errors, default=None), "values_checked": len(errors)}
    if skipped:
        found["values_not_checked"] = f"{skipped}: they depend on more than {MAX_CONE} qubits"
    if deviations:
        found["max_standard_errors"] = max(deviations)
    return found


def _n_checked(problem: Problem) -> int:
    """How many circuits cirq does in a second or two."""
    if len(problem.noise):
        return 4
    return 24 if problem.n_qubits <= 8 else 6


def expectations(problem: Problem, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """float64 [M] by cirq; NaN where an observable depends on more than `MAX_CONE` qubits of a circuit larger than that."""
    if len(problem.noise):
        return Peer(problem, np.complex128).values(x[None], theta[None])[0, 0]
    gates = operations(problem, x, theta)
    qubits = cirq.LineQubit.range(problem.n_qubits)
    if problem.n_qubits <= 16:
        return _z_values(gates, qubits, problem.observed)
    values = np.full(len(problem.observed), math.nan)
    for i, qubit in enumerate(problem.observed):
        kept, cone = light_cone(gates, qubits[qubit])
        if len(cone) <= MAX_CONE:
            values[i] = _z_values(kept, cone, np.array([cone.index(qubits[qubit])]))[0]
    return values


def light_cone(
    gates: list[cirq.Operation], observed: cirq.Qid
) -> tuple[list[cirq.Operation], list[cirq.Qid]]:
    """The gates that an observable of one qubit can feel, and their qubits: all others cancel against their inverses."""
    cone = {observed}
    kept = []
    for gate in reversed(gates):
        if cone.intersection(gate.qubits):
            cone.update(gate.qubits)
            kept.append(gate)
    return kept[::-1], sorted(cone)


def _z_values(gates: list[cirq.Operation], qubits: list[Any], observed: np.ndarray) -> np.ndarray:
    state = cirq.Simulator(dtype=np.complex128).simulate(cirq.Circuit(gates), qubit_order=qubits)
    probabilities = (np.abs(state.final_state_vector) ** 2).reshape((2,) * len(qubits))
    others = tuple(range(len(qubits)))
    marginals = [probabilities.sum(axis=others[:q] + others[q + 1 :]) for q in observed.tolist()]
    return np.array([m[0] - m[1] for m in marginals])


def _check_gradient(problem: Problem) -> dict[str, Any]:
    """A few derivatives against the difference of two shifted circuits (exact for Pauli rotations)."""
    rng = np.random.default_rng(_SEED)
    errors = []
    for _ in range(12):
        s, place = rng.integers(problem.n_samples), tuple(rng.integers(problem.params.shape[1:]))
        shifted = []
        for shift in (math.pi / 2, -math.pi / 2):
            theta = problem.params[0].copy()
            theta[place] += shift
            shifted.append(problem.weights[s] @ expectations(problem, problem.features[s], theta))
        errors.append(abs(problem.expected[(s, *place)] - (shifted[0] - shifted[1]) / 2))
    return {"max_abs_error": float(max(errors)), "values_checked": len(errors)}
