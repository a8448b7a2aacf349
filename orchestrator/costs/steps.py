"""What training steps ask for, by gradient rule, and what that takes: exact where it is known beforehand, else within bounds.

A rule is given zeros for answers, as in `gradients.base.predict`. For most rules that shows every step. What `adaptive` asks for depends
on the answers, and so does a budget of shots shared out by variance; of these the bounds hold whatever the answers are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from orchestrator.config import GradientConfig
from orchestrator.costs.bill import price_bounds
from orchestrator.costs.catalogue import TaskShot
from orchestrator.costs.work import Bounds, PlanPricer, Work, together
from orchestrator.errors import CapabilityError
from orchestrator.gradients.adaptive import Adaptive
from orchestrator.gradients.allocation import LEAST_SHOTS
from orchestrator.gradients.base import GradientRule, drive
from orchestrator.gradients.finite_difference import FiniteDifference
from orchestrator.gradients.guided_spsa import GuidedSPSA
from orchestrator.gradients.natural_gradient import NaturalGradient
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.gradients.problem import GradientProblem
from orchestrator.gradients.qn_spsa import QNSPSA
from orchestrator.gradients.random_coordinate import RandomCoordinate
from orchestrator.gradients.rotosolve import Rotosolve
from orchestrator.gradients.spsa import SPSA
from orchestrator.gradients.stochastic_parameter_shift import StochasticParameterShift
from orchestrator.optimizers.transform import State
from orchestrator.planning.plan import Evaluation, EvaluationPlan

ProblemOf = Callable[[int, int, State], GradientProblem]
"""The problem of a step: steps done, samples in its batch, and what the rule left in the step before."""

_SAME_EVERY_STEP = (ParameterShift, FiniteDifference, SPSA, GuidedSPSA, QNSPSA, NaturalGradient)
_BY_DRAW = (StochasticParameterShift, RandomCoordinate)
_CANDIDATES = (ParameterShift, SPSA, GuidedSPSA)
"""Of `Adaptive`, by the numbers that its candidates give them."""


class Demand(NamedTuple):
    """What a step may ask for.

    Attributes:
        plans: evaluations.
        budget: shots of all of them together, where answers decide how they are shared out; None: as the plans say.
        pays_all: the budget is used up, but for less than one shot a circuit, which levels of equal shots leave over.
    """

    plans: tuple[EvaluationPlan, ...]
    budget: int | None = None
    pays_all: bool = True


Demands = tuple[Demand, ...]
"""Alternatives: a step asks for one of them."""


def demands_of(
    rule: GradientRule, gradient: GradientConfig, batch_sizes: Iterable[int], problem_of: ProblemOf
) -> list[Demands]:
    """What every step asks for, in order; the same object for steps that ask for the same. Nothing is run.

    Args:
        gradient: the configuration that `rule` was made with.
        batch_sizes: samples of each step.
    """
    known: dict[Any, tuple[Demands, State]] = {}
    state: State = {}
    found = []
    for step, n_samples in enumerate(batch_sizes):
        key = _what_decides(rule, step, n_samples, state)
        if key not in known:
            known[key] = _of_step(rule, gradient, problem_of(step, n_samples, state))
        demands, state = known[key]
        found.append(demands)
    return found


def step_bounds(demands: Demands, pricer: PlanPricer) -> Bounds:
    """What one of `demands` takes.

    Raises:
        CapabilityError: the target does not take what is asked for.
    """
    first, *others = (_bounds(demand, pricer) for demand in demands)
    for other in others:
        first = first.or_else(other)
    return first


def is_bounded_only(rule: GradientRule, gradient: GradientConfig) -> bool:
    """Whether answers decide what `rule` asks for, as far as it is known."""
    is_shared_out = gradient.shots_per_step is not None and gradient.shot_allocation != "uniform"
    return type(rule) is Adaptive or (is_shared_out and type(rule) is ParameterShift)


def is_known(rule: GradientRule) -> bool:
    """Whether `rule` is one of qfleet's own; what another asks for may depend on answers that a quote does not have."""
    return type(rule) in (*_SAME_EVERY_STEP, *_BY_DRAW, Adaptive, Rotosolve)


def _what_decides(rule: GradientRule, step: int, n_samples: int, state: State) -> Any:
    """Steps with the same key take the same."""
    if type(rule) in (*_SAME_EVERY_STEP, Adaptive):
        return n_samples
    if type(rule) is Rotosolve:  # the parameters whose turn it is
        return n_samples, tuple((name, array.tobytes()) for name, array in sorted(state.items()))
    return step


def _of_step(rule: GradientRule, gradient: GradientConfig, problem: GradientProblem) -> tuple[Demands, State]:
    if type(rule) is Adaptive:
        demands: list[Demand] = []
        for candidate in rule.candidates(problem):
            at = replace(problem, shots=candidate.shots, state={})
            demands.extend(_of_step(_CANDIDATES[candidate.rule](gradient), gradient, at)[0])
        return tuple(demands), {}
    plans, state = _plans(rule, problem)
    if is_bounded_only(rule, gradient) and len(plans) > 1:
        return (Demand(plans, gradient.shots_per_step, gradient.shot_allocation != "gradient"),), {}
    return (Demand(plans),), state


def _plans(rule: GradientRule, problem: GradientProblem) -> tuple[tuple[EvaluationPlan, ...], State]:
    """What a step asks for if all answers are zeros, and what the rule keeps of it."""
    plans: list[EvaluationPlan] = []

    def answer(plan: EvaluationPlan) -> Evaluation:
        plans.append(plan)
        return plan.blank()

    estimate = drive(rule.estimate(problem), answer)
    return tuple(plans), estimate.state


def _bounds(demand: Demand, pricer: PlanPricer) -> Bounds:
    works = [pricer.work(plan) for plan in demand.plans]  # refuses what the target does not take
    if demand.budget is None:
        return Bounds.exactly(together(works))
    least_taken = pricer.entry.min_shots_mitigated if pricer.settings.is_mitigated else None
    if least_taken is not None and least_taken > LEAST_SHOTS:
        raise CapabilityError(
            f"gradient.shots_per_step may leave a circuit {LEAST_SHOTS} shots, and error mitigation on {pricer.entry.target} "
            f"needs {least_taken}; nearest valid: gradient.shot_allocation = 'uniform', or backend.error_mitigation = false"
        )
    run = pricer.counts_of_point(demand.plans[0].circuit)  # in place of each circuit, all with its shots
    counts = tuple(count for of_circuit in run for count in of_circuit)
    n_points = sum(plan.n_samples * len(plan.displacements) for plan in demand.plans)
    n_circuits = n_points * len(counts)
    budget = demand.budget * len(run)
    least = budget - n_circuits if demand.pays_all else 0
    shots = max(LEAST_SHOTS * n_circuits, least), budget
    n_together = 1 if isinstance(pricer.entry, TaskShot) else pricer.settings.circuits_per_job
    n_jobs = len(run) * -(-(n_circuits // len(run)) // n_together), n_circuits
    prices = price_bounds(pricer.entry, counts, n_points, shots, n_jobs, pricer.settings.is_mitigated)
    low, high = (Work(n_circuits, *parts) for parts in zip(shots, n_jobs, prices, strict=True))
    return Bounds(low, high)
