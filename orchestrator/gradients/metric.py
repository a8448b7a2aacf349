"""The Fubini-Study metric of a batch: how far the state moves when parameters do.

``F_kl = Re <d_k psi|d_l psi> - <d_k psi|psi><psi|d_l psi>`` by angles, each sample by itself, then pulled back to the parameters and
averaged over the samples.

*Block*: gates of one level (none in the past of another) see the state before the level, where ``F_kl`` is the covariance of their
generators, an expectation value of a shorter circuit; entries between levels are left out (J. Stokes, J. Izaac, N. Killoran and
G. Carleo, Quantum 4 (2020) 269, arXiv 1909.02108). One circuit for each level and measurement setting, on hardware too.

*Full*: ``F_kl = -1/2 d_k d_l |<psi(a)|psi(a + d)>|**2`` at d = 0, by the shift rule for both angles (A. Mari, T. R. Bromley and
N. Killoran, arXiv 2008.06517), from overlap circuits of twice the depth; where the backend differentiates, one of the two derivatives
is its own.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from orchestrator.circuits.derived import some_gates
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate, Gate
from orchestrator.gradients.overlap import full_angles, overlap
from orchestrator.gradients.paulis import PauliSum, product, sum_of
from orchestrator.gradients.problem import GradientProblem
from orchestrator.models.angle_map import Angles
from orchestrator.planning.derivative import DirectDerivative
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.planning.shift_rule import shift_rule

Metric = Generator[EvaluationPlan, Evaluation, np.ndarray]
"""Asks for evaluations; returns float64 [P_circuit, P_circuit]."""


def block_metric(problem: GradientProblem) -> Metric:
    """The metric with the blocks of the levels, zero between them."""
    n_params = problem.model.n_circuit_params
    metric = np.zeros((n_params, n_params))
    for level in _levels(problem.model.template, _moved(problem).tobytes()):
        evaluation = yield _plan(
            problem, level.circuit, level.angles_of(problem.angles), f"metric/{level.number}"
        )
        of_angles = level.covariance(evaluation.values)
        metric += _pulled_back(problem, level.angles, of_angles)
    return metric


def full_metric(problem: GradientProblem) -> Metric:
    """The whole metric."""
    if problem.has_jacobian:
        return (yield from _by_derivatives(problem))
    wanted, made = _moved(problem), overlap(problem.model.template)
    table = full_angles(problem.angles)
    angles = made.angles(table, table)
    of_angles = np.zeros((len(table), len(wanted), len(wanted)))
    rules = [shift_rule(problem.model.template.gate_of_angle[k].frequencies) for k in wanted]
    signed = [[(sign * x, sign * y) for x, y in rule for sign in (1, -1)] for rule in rules]
    for i in range(len(wanted)):
        terms = [(j, x, u, y * v) for j in range(i, len(wanted)) for x, y in signed[i] for u, v in signed[j]]
        entries = [
            [(wanted[i], x + u)] if j == i else [(wanted[i], x), (wanted[j], u)] for j, x, u, _ in terms
        ]
        indptr = np.cumsum([0, *map(len, entries)]).astype(np.int64)
        flat = [entry for row in entries for entry in row]
        rows = made.rows(indptr, np.array([k for k, _ in flat]), np.array([d for _, d in flat]))
        evaluation = yield _plan(problem, made.circuit, angles, f"metric/{i}", moved=rows)
        curvature = made.fidelity(evaluation.rows) * np.array([weight for *_, weight in terms])
        place = np.array([j for j, *_ in terms])
        starts = np.flatnonzero(np.diff(place, prepend=-1))
        of_angles[:, i, i:] = -0.5 * np.add.reduceat(curvature, starts, axis=1)
        of_angles[:, i:, i] = of_angles[:, i, i:]
    return _pulled_back(problem, wanted, of_angles)


def _moved(problem: GradientProblem) -> np.ndarray:
    """int64: all angles that the trainable parameters move: the metric is that of states, which feel what no observable does."""
    return problem.model.angles_moved_by(problem.trainable)


def _by_derivatives(problem: GradientProblem) -> Metric:
    """Every angle shifted by its rule, the overlap's derivative there by all angles from the backend: all in one evaluation."""
    wanted, made = _moved(problem), overlap(problem.model.template)
    table = full_angles(problem.angles)
    moved, place, weight = [], [], []
    for i, k in enumerate(wanted):
        for x, y in shift_rule(problem.model.template.gate_of_angle[k].frequencies):
            for sign in (1, -1):
                point = table.copy()
                point[:, k] += sign * x
                moved.append(point)
                place.append(i)
                weight.append(sign * y)
    angles = made.angles(np.concatenate(moved), np.tile(table, (len(moved), 1)))
    cotangents = np.full((len(angles.data), len(made.circuit.paulis)), 2.0**-problem.model.template.n_qubits)
    plan = _plan(
        problem,
        made.circuit,
        angles,
        "metric",
        wanted=made.ket[wanted],
        derivative=DirectDerivative(),
        cotangents=cotangents,
    )
    evaluation = yield plan
    assert evaluation.jacobian is not None
    slopes = evaluation.jacobian[:, 0].reshape(len(moved), len(table), len(wanted))
    of_angles = np.zeros((len(table), len(wanted), len(wanted)))
    for i, y, slope in zip(place, weight, slopes, strict=True):
        of_angles[:, i] -= 0.5 * y * slope
    return _pulled_back(problem, wanted, (of_angles + of_angles.transpose(0, 2, 1)) / 2)


def _plan(
    problem: GradientProblem, circuit: MeasuredCircuit, angles: Angles, purpose: str, **parts: Any
) -> EvaluationPlan:
    keys = noise_keys(problem.seed, f"{problem.purpose}/{purpose}", circuit)
    return problem.plan(circuit=circuit, angles=angles, noise_keys=keys, n_differentiated=None, **parts)


def _pulled_back(problem: GradientProblem, wanted: np.ndarray, of_angles: np.ndarray) -> np.ndarray:
    """float64 [P_circuit, P_circuit], mean over samples of W+ F W, from F by the angles `wanted`, [S, Kj, Kj]."""
    slopes = problem.slopes
    kept = np.flatnonzero(np.isin(slopes.angle, wanted))
    jacobian = np.zeros((len(slopes.weight), len(wanted), problem.model.n_circuit_params))
    place = np.searchsorted(wanted, slopes.angle[kept])
    jacobian[:, place, slopes.param[kept]] = slopes.weight[:, kept]
    of_angles = problem.kept(of_angles)
    if len(jacobian) == 1:
        return np.asarray(jacobian[0].T @ of_angles.mean(axis=0) @ jacobian[0])
    jacobian = problem.kept(jacobian)
    return np.asarray(
        np.einsum("skp,skl,slq->pq", jacobian, of_angles, jacobian, optimize=True) / len(jacobian)
    )


@dataclass(frozen=True, eq=False)
class _Level:
    """Gates none of which is in the past of another, and the circuit before them.

    Attributes:
        number: of the level, from 1.
        angles: int64 [k], ascending: the angles of its gates that are differentiated.
        circuit: what comes before, measured in what the generators' covariances need.
        source: int64 [K'], the template's angle for each of the circuit's.
        generators: of `angles`, as sums of Pauli strings over all qubits.
    """

    number: int
    angles: np.ndarray
    circuit: MeasuredCircuit
    source: np.ndarray
    generators: tuple[PauliSum, ...]

    def angles_of(self, angles: Angles) -> Angles:
        """The circuit's angles from the template's."""
        column = np.full(len(angles.shared), -1)
        column[angles.columns] = np.arange(len(angles.columns))
        own = np.flatnonzero(column[self.source] >= 0)
        return Angles(angles.shared[self.source], own, angles.data[:, column[self.source[own]]])

    def covariance(self, values: np.ndarray) -> np.ndarray:
        """[S, k, k] from the circuit's values [S, M]."""
        place = {pauli: i for i, pauli in enumerate(self.circuit.paulis)}

        def mean(terms: PauliSum) -> np.ndarray:
            total = np.zeros(len(values))
            for pauli, coefficient in terms.items():
                total = total + coefficient * (values[:, place[pauli]] if pauli in place else 1.0)
            return total

        n = len(self.generators)
        found = np.zeros((len(values), n, n))
        means = [mean(generator) for generator in self.generators]
        for i in range(n):
            for j in range(i, n):
                joint = mean(product(self.generators[i], self.generators[j]))
                found[:, i, j] = found[:, j, i] = joint - means[i] * means[j]
        return found


@lru_cache(maxsize=16)
def _levels(template: CircuitTemplate, wanted: bytes) -> tuple[_Level, ...]:
    """The levels of the angles `wanted` (int64, as bytes): how many such angles in a row come before a gate, fixed gates not counted.

    So the rotations of a layer share a level whatever entangling gates are between the layers: none is in the past of another.
    """
    chosen = set(np.frombuffer(wanted, np.int64).tolist())
    busy = [0] * template.n_qubits
    depth = []
    for gate in template.gates:
        level = max((busy[q] for q in gate.qubits), default=0) + (gate.angle in chosen)
        depth.append(level)
        for qubit in gate.qubits:
            busy[qubit] = level
    numbers = sorted({d for d, gate in zip(depth, template.gates, strict=True) if gate.angle in chosen})
    found = []
    for number in numbers:
        gates = [g for d, g in zip(depth, template.gates, strict=True) if d == number and g.angle in chosen]
        before = [d < number for d in depth]
        found.append(_level(template, number, sorted(gates, key=lambda g: g.angle or 0), before))
    return tuple(found)


def _level(template: CircuitTemplate, number: int, gates: list[Gate], before: list[bool]) -> _Level:
    circuit = some_gates(template, before)
    generators = tuple(sum_of(gate.generator, gate.qubits, template.n_qubits) for gate in gates)
    strings: dict[str, None] = {}
    for i, one in enumerate(generators):
        for other in (None, *generators[i:]):
            strings |= dict.fromkeys(one if other is None else product(one, other))
    strings.pop("I" * template.n_qubits, None)
    angles = np.array([gate.angle for gate in gates], np.int64)
    return _Level(
        number, angles, MeasuredCircuit(circuit.template, tuple(strings)), circuit.source, generators
    )
