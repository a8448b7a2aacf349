"""What each gradient rule would take of this configuration: circuits, shots, time and money; a step and the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from orchestrator.errors import QfleetError
from orchestrator.gradients.base import GradientRule, drive
from orchestrator.gradients.problem import GradientProblem
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.protocols import Capabilities
from orchestrator.registry import GRADIENT_RULES
from orchestrator.training.gradient import first_problem
from pipelines.compose import choose_rule, mitigation_of
from pipelines.report import summary
from pipelines.run_setup import PreparedRun

Pace = Callable[[EvaluationPlan], float]
"""Seconds that one circuit of a plan takes."""


class Cost(NamedTuple):
    """Dollars of a step and of the run, None where they are not known."""

    step: float | None
    run: float | None


def examine_rules(run: PreparedRun, capabilities: Capabilities, pace: Pace | None) -> list[dict[str, Any]]:
    """One row for every registered rule, and for the configured one if it is none of them, as plain values.

    Args:
        capabilities: of the configured backend.
        pace: measures; None: no times.
    """
    rows = []
    costs = _quoted(run) if capabilities.is_paid else None
    configured = run.config.gradient.rule
    configured = run.task.rule.name if configured == "auto" else configured
    for name in dict.fromkeys([*GRADIENT_RULES, configured]):
        row: dict[str, Any] = {"rule": name, "is_configured": name == configured}
        try:
            rows.append(row | _figures(with_rule(run, name, capabilities), costs, pace))
        except QfleetError as error:  # the rule does not apply, or the backend cannot run its circuits
            rows.append(row | {"refused": str(error)})
    return rows


def with_rule(run: PreparedRun, name: str, capabilities: Capabilities) -> PreparedRun:
    """`run` with another gradient rule, all other settings of it as configured.

    Raises:
        InputError: it does not apply.
    """
    gradient = run.config.gradient.model_copy(update={"rule": name})
    config = run.config.model_copy(update={"gradient": gradient})
    task = replace(run.task, rule=choose_rule(config, capabilities))
    task.rule.check(first_problem(task, 1))
    return replace(run, config=config, task=task)


def plans_of(rule: GradientRule, problem: GradientProblem) -> list[EvaluationPlan]:
    """What a step of `rule` asks for. Nothing is run: it is answered zeros."""
    plans: list[EvaluationPlan] = []

    def answer(plan: EvaluationPlan) -> Evaluation:
        plans.append(plan)
        return plan.blank()

    drive(rule.estimate(problem), answer)
    return plans


def n_run(run: PreparedRun, plans: Sequence[EvaluationPlan]) -> int:
    """Circuits that plans take, with those that error mitigation adds to each."""
    return sum(plan.n_circuits for plan in plans) * mitigation_of(run.config.backend).circuits_per_point


def first_step(run: PreparedRun) -> GradientProblem:
    """The first step's problem, with a whole batch."""
    return first_problem(run.task, min(run.config.run.batch_size, len(run.task.train.targets)))


def _quoted(run: PreparedRun) -> dict[str, Cost]:
    """At most, by rule; empty where the backend has no price list."""
    if run.config.backend.name != "ionq":
        return {}
    from pipelines.quote import quote

    (target,) = quote(run, [run.config.backend.target])["targets"]
    able = [row for row in target["rules"] if "refused" not in row]
    return {row["rule"]: Cost(*(row[k].get("most", row[k])["usd"] for k in ("step", "run"))) for row in able}


def _figures(run: PreparedRun, costs: dict[str, Cost] | None, pace: Pace | None) -> dict[str, Any]:
    shots = run.config.backend.shots or 0
    problem = first_step(run)
    plans = plans_of(run.task.rule, problem)
    in_step, in_run = n_run(run, plans), summary(run)["circuits"]
    cost = Cost(0.0, 0.0) if costs is None else costs.get(run.config.gradient.rule, Cost(None, None))
    step: dict[str, Any] = {"circuits": in_step, "shots": in_step * shots, "cost_usd": cost.step}
    whole: dict[str, Any] = {"circuits": in_run, "shots": in_run * shots, "cost_usd": cost.run}
    if pace is not None:
        step["seconds"], whole["seconds"] = _seconds(run, problem, plans, in_run, pace)
    return {"step": step, "run": whole, "advice": run.task.rule.advice(run.config.backend.shots)}


def _seconds(
    run: PreparedRun, problem: GradientProblem, plans: Sequence[EvaluationPlan], in_run: int, pace: Pace
) -> tuple[float, float]:
    """Of one step and of the run, on one worker: training circuits as in the step, all others as plain values."""
    step = sum(n_run(run, [plan]) * pace(plan) for plan in plans)
    in_step = n_run(run, plans)
    measured = run.task.model.measured
    keys = noise_keys(run.config.run.seed, "doctor", measured)
    forward = EvaluationPlan(measured, problem.angles, shots=problem.shots, noise_keys=keys)
    n_forward = _n_scored(run) * n_run(run, [forward]) // problem.n_samples
    return step, step * (in_run - n_forward) / in_step + n_forward * pace(forward)


def _n_scored(run: PreparedRun) -> int:
    """Samples that are scored without a gradient: the validation split once an epoch, the test split once."""
    task = run.task
    n_validation = 0 if task.validation is None else len(task.validation.targets)
    return math.ceil(task.n_steps / task.n_batches) * n_validation + len(run.data.test.targets)
