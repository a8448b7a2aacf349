"""A gradient by displaced circuits that get different numbers of shots, under a budget for the whole step.

Two stages. The undisplaced circuits come first, with an equal share; they fix the derivative c_s of the loss by the
values of each sample. Then follow the displaced circuits, in blocks of equal shots. What one shot of row r of sample s adds to the summed
variance of the gradient is ``w_k coefficient_r**2 c_s+ Cov c_s``, w_k the squared slopes of the angle k that the row moves. The
covariance is taken apart into ``|c_s|**2``, now known, and a number v_k for the angle, which running means over the steps estimate.
So shots go by ``|c_s|`` among samples and by ``|coefficient_r| sqrt(w_k v_k)`` among displacements; before the first step v_k is 1.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from orchestrator.gradients.allocation import (
    LEAST_SHOTS,
    Allocation,
    Block,
    allocate,
    best_total,
    check_budget,
)
from orchestrator.gradients.base import GradientEstimate, Steps
from orchestrator.gradients.problem import Backward, GradientProblem
from orchestrator.gradients.variance import shot_variance, spread_by_param
from orchestrator.jobs import Displacements
from orchestrator.models.angle_map import Angles, scattered
from orchestrator.optimizers.transform import State
from orchestrator.planning.derivative import LinearDerivative
from orchestrator.planning.plan import Evaluation, EvaluationPlan

_MEMORY = 0.9
"""Share of a running mean that a step leaves."""

_LEAST_AT_BASE = 30
"""Undisplaced circuits are few, and their noise multiplies that of all others: fewer shots save little, and the variance, which leaves
out products of two noises, would be off by more than some per cent."""


@dataclass(frozen=True)
class Budget:
    """What a step may use, and how.

    Attributes:
        shots: in all.
        method: ``uniform``, ``variance`` (all of it, where it lowers the noise most) or ``gradient`` (as much of it as pays).
        rate: learning rate assumed by ``gradient``; none: one over the smoothness.
    """

    shots: int
    method: Literal["uniform", "variance", "gradient"]
    rate: float | None = None

    def check(self, problem: GradientProblem, n_rows: int) -> None:
        """Refuse too small a budget for `n_rows` circuits a sample.

        Raises:
            ConfigError: the text says what would do.
        """
        check_budget(self.shots, problem.n_states * n_rows * n_settings(problem))

    def equal(self, problem: GradientProblem, n_rows: int) -> int:
        """Shots of each circuit where all get the same.

        Raises:
            ConfigError: see `check`.
        """
        self.check(problem, n_rows)
        return self.shots // (problem.n_states * n_rows * n_settings(problem))


class _Rows(NamedTuple):
    """Answers: float64 [N, D, M'] and int64 [N, D]; column 0 is undisplaced."""

    values: np.ndarray
    shots: np.ndarray


def n_settings(problem: GradientProblem) -> int:
    """Circuits that one point of one sample takes where shots are drawn."""
    return len(problem.joint.circuit.groups)


def allocated(
    problem: GradientProblem, wanted: np.ndarray, derivative: LinearDerivative, budget: Budget
) -> Steps:
    """The gradient by the angles `wanted`, int64 [Kj], whose `derivative` gives every angle displaced rows of its own.

    Raises:
        ConfigError: the budget is too small.
    """
    n_rows, n = len(derivative.displacements), problem.n_strings
    equal = _at_base(problem, budget, n_rows)
    base = replace(problem, shots=equal)
    first = yield base.plan()
    back = problem.backward(first.rows[:, 0, :n])
    allocation = _allocation(problem, wanted, derivative, budget, back, first.values, equal)
    rows = yield from _measured(problem, derivative, allocation, first.values, equal)
    back = problem.backward(first.rows[:, 0, :n])  # again: samples may have been lost since
    jacobian = derivative.combine(rows.values[:, :, :n])
    of_angles = np.einsum("sp,spk->sk", back.of_values, jacobian)
    gradient = problem.model.pullback(problem.features, of_angles, back.of_head.sum(axis=0), wanted)
    one_shot = _one_shot(problem, rows, back)
    variance = shot_variance(base, rows.values[:, :1], None, wanted, back, jacobian)
    variance[: problem.model.n_circuit_params] += _of_displaced(
        problem, wanted, derivative, one_shot / rows.shots
    )
    state = _remembered(problem, wanted, derivative, back, one_shot, gradient)
    state["allocation/shots"] = np.array([rows.shots[:, 1:].mean()])
    notes = {"shots_least": int(rows.shots[:, 1:].min()), "shots_most": int(rows.shots[:, 1:].max())}
    return GradientEstimate(back.loss, gradient, variance, state=state, notes=notes)


def _at_base(problem: GradientProblem, budget: Budget, n_rows: int) -> int:
    """Shots of an undisplaced circuit: its equal share, of what the last step found to pay where that decides."""
    equal = budget.equal(problem, n_rows)
    if budget.method != "gradient" or "allocation/shots" not in problem.state:
        return equal
    return min(equal, max(_LEAST_AT_BASE, round(float(problem.state["allocation/shots"][0]))))


def _allocation(
    problem: GradientProblem,
    wanted: np.ndarray,
    derivative: LinearDerivative,
    budget: Budget,
    back: Backward,
    values: np.ndarray,
    equal: int,
) -> Allocation:
    """Shots of the displaced circuits."""
    n_states, n_rows = problem.n_states, len(derivative.displacements) - 1
    left = budget.shots - equal * n_states * n_settings(problem)
    if budget.method == "uniform":
        return allocate(np.ones(n_states), np.ones(n_rows), left, n_settings(problem))
    of_sample = np.sqrt(np.sum(back.of_values**2, axis=1))
    of_angle = _squared_slopes(problem) * _known_variance(problem.state, problem.model.template.n_angles)
    of_entry = derivative.coefficient**2 * of_angle[wanted[derivative.position]]
    of_row = np.sqrt(np.bincount(derivative.row, of_entry, n_rows + 1)[1:])
    if budget.method == "gradient":
        total = best_total(
            np.outer(of_sample, of_row) ** 2,
            float(np.sum(problem.state.get("allocation/gradient", np.zeros(1)) ** 2)),
            smoothness(problem, back, values),
            budget.rate,
        )
        # the formula counts the shots of a point, whatever the number of settings that it takes
        least = LEAST_SHOTS * n_states * n_rows * n_settings(problem)
        left = int(min(max(total * n_settings(problem), least), left))
    return allocate(of_sample, of_row, left, n_settings(problem))


def _measured(
    problem: GradientProblem,
    derivative: LinearDerivative,
    allocation: Allocation,
    base: np.ndarray,
    base_shots: int,
) -> Generator[EvaluationPlan, Evaluation, _Rows]:
    """All circuits' values, one evaluation for each block of equal shots, each with noise of its own."""
    n_rows = len(derivative.displacements)
    values = np.empty((problem.n_states, n_rows, base.shape[1]))
    values[:, 0] = base
    shots = np.full((problem.n_states, n_rows), base_shots)
    for number, block in enumerate(allocation.blocks()):
        evaluation = yield _plan(problem, derivative.displacements, block, number)
        place = np.ix_(block.samples, block.rows + 1)
        values[place], shots[place] = evaluation.rows, block.shots
    return _Rows(values, shots)


def _plan(
    problem: GradientProblem, displacements: Displacements, block: Block, number: int
) -> EvaluationPlan:
    angles = problem.angles
    part = replace(problem, shots=block.shots, purpose=f"{problem.purpose}/shots{number}")
    return part.plan(
        of_states=block.samples,
        angles=Angles(angles.shared, angles.columns, angles.data[block.samples]),
        moved=_picked(displacements, block.rows + 1),
    )


def _picked(displacements: Displacements, rows: np.ndarray) -> Displacements:
    """Some rows, in the order given."""
    begin, end = displacements.indptr[rows], displacements.indptr[rows + 1]
    place = np.concatenate([np.arange(b, e) for b, e in zip(begin, end, strict=True)])
    indptr = np.concatenate([[0], np.cumsum(end - begin)]).astype(np.int64)
    return Displacements(indptr, displacements.angles[place], displacements.deltas[place])


def _squared_slopes(problem: GradientProblem) -> np.ndarray:
    """w [K]: squared derivatives of each angle by the trainable parameters, summed over these, in the mean over samples."""
    slopes = problem.slopes
    own = np.mean(slopes.weight**2, axis=0) * problem.trainable[slopes.param]
    return np.bincount(slopes.angle, own, problem.model.template.n_angles)


def _one_shot(problem: GradientProblem, rows: _Rows, back: Backward) -> np.ndarray:
    """float64 [N, D], estimated without bias: the variance of ``c_s . O`` in one shot of each circuit."""
    plain = problem.joint.quadratic(rows.values, back.of_values, 2)  # divided by one
    return plain * rows.shots / (rows.shots - 1)


def _of_displaced(
    problem: GradientProblem, wanted: np.ndarray, derivative: LinearDerivative, variances: np.ndarray
) -> np.ndarray:
    """float64 [P_circuit]: what the noise of the displaced rows, [N, D], gives to each component."""
    entries = variances[:, derivative.row] * derivative.coefficient**2
    of_angles = scattered(entries, wanted[derivative.position], problem.model.template.n_angles)
    return np.where(
        problem.trainable, spread_by_param(problem.slopes, of_angles, len(problem.trainable)), 0.0
    )


def smoothness(problem: GradientProblem, back: Backward, values: np.ndarray) -> float:
    """A bound of the second derivatives of the loss by the circuit's parameters, from the frequencies of the gates.

    A value in [-1, 1] with the largest frequency F_k in angle k has ``|d v / d a_k| <= F_k`` and ``|d2 v / d a_k d a_l| <= F_k F_l``
    (Bernstein). With ``B_p = sum_k |d a_k / d p| F_k`` the matrix of second derivatives of a value is at most ``sum_p B_p**2`` long, and
    the loss adds its own curvature times the squared gradient. Of the loss it is taken at the present values.
    """
    slopes, template = problem.slopes, problem.model.template
    largest = np.array([max(gate.frequencies, default=0.0) for gate in template.gate_of_angle])
    reach = scattered(np.abs(slopes.weight) * largest[slopes.angle], slopes.param, len(problem.trainable))
    curvature = problem.curvature(values[:, : problem.n_strings])
    curvature = curvature[:, :, : curvature.shape[1]]
    of_values = np.abs(problem.by_sample(back.of_values)).sum(axis=1) + np.abs(curvature).sum(axis=(1, 2))
    squared = np.sum(
        (reach * problem.trainable) ** 2, axis=1
    )  # [N], or [1] where it is the same for all states
    largest_of_sample = squared.reshape(-1, problem.model.states_per_sample if len(squared) > 1 else 1).max(
        axis=1
    )
    return float(np.sum(of_values * largest_of_sample))


def _known_variance(state: State, n_angles: int) -> np.ndarray:
    """v [K], one where nothing is known."""
    weight = state.get("allocation/weight", np.zeros(n_angles))
    known = state.get("allocation/variance", np.zeros(n_angles))
    return np.where(weight > 0, known, 1.0)


def _remembered(
    problem: GradientProblem,
    wanted: np.ndarray,
    derivative: LinearDerivative,
    back: Backward,
    one_shot: np.ndarray,
    gradient: np.ndarray,
) -> State:
    """Running means, each new one weighted so that the first steps count in full: of v for the angles of this step, and of the gradient."""
    n_angles, angle = problem.model.template.n_angles, wanted[derivative.position]
    square = derivative.coefficient**2
    scale = np.bincount(angle, square, n_angles) * float(np.sum(back.of_values**2))
    found = np.bincount(angle, square * one_shot.sum(axis=0)[derivative.row], n_angles)
    seen = scale > 0
    old = problem.state
    weight = old.get("allocation/weight", np.zeros(n_angles))
    grown = np.where(seen, _MEMORY * weight + 1.0, weight)
    known = _known_variance(old, n_angles)
    steps = _MEMORY * old.get("allocation/steps", np.zeros(1)) + 1.0
    own = gradient[: problem.model.n_circuit_params]
    mean = old.get("allocation/gradient", np.zeros_like(own))
    fresh = np.divide(found, scale, out=known.copy(), where=seen)
    return {
        "allocation/weight": grown,
        "allocation/variance": known + np.where(seen, (fresh - known) / np.maximum(grown, 1.0), 0.0),
        "allocation/steps": steps,
        "allocation/gradient": mean + (own - mean) / steps,
    }
