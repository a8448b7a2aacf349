"""What a gradient rule offers: a generator that asks for evaluations and ends with an estimate.

A rule runs nothing itself. It yields `EvaluationPlan`s (pure data), is sent each one's `Evaluation`, and returns what it makes of them,
so the same rule can be driven by a fleet, or by zeros to count the circuits it would take (`predict`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from orchestrator.circuits.template import CircuitTemplate
from orchestrator.gradients.problem import GradientProblem
from orchestrator.optimizers.transform import State
from orchestrator.planning.derivative import Derivative
from orchestrator.planning.plan import Evaluation, EvaluationPlan


@dataclass(frozen=True, eq=False)
class GradientEstimate:
    """What a step needs to know of its batch.

    Attributes:
        loss: mean over the samples.
        gradient: float64 [P], dL/d params, zero for frozen ones.
        variance: float64 [P], estimated variance of each component over shots and the rule's own random choices; zeros if it is exact.
        covariance: float64 [P, P] of the gradient, where another rule asked for it.
        update: float64 [P], added to the parameters as it is, in place of what an optimizer makes of the gradient; None: it does that.
        state: what the rule wants to be given in the next step, flat float64 arrays; it goes into checkpoints.
        evaluations: what was run for it, in order.
        notes: what the rule decided on the way and why, by name.
        n_skipped: samples of the batch that were left out because their circuits failed for good.
    """

    loss: float
    gradient: np.ndarray
    variance: np.ndarray
    covariance: np.ndarray | None = None
    update: np.ndarray | None = None
    state: State = field(default_factory=dict)
    evaluations: tuple[Evaluation, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    n_skipped: int = 0


Steps = Generator[EvaluationPlan, Evaluation, GradientEstimate]


class GradientRule(Protocol):
    """How the gradient of a batch's loss is had.

    Attributes:
        name: the registry key.
        needs_jacobian: the backend must answer derivatives directly.
    """

    name: str
    needs_jacobian: bool

    def estimate(self, problem: GradientProblem) -> Steps:
        """Ask for evaluations; return the estimate."""
        ...

    def check(self, problem: GradientProblem) -> None:
        """Refuse, before anything runs, what the rule cannot do.

        Raises:
            ConfigError, CapabilityError: a model, loss or number of shots that it does not hold for; the text says why.
        """
        ...

    def advice(self, shots: int | None) -> str | None:
        """What a person should know before using it with `shots`, if anything."""
        ...


class Rule:
    """Base of the rules: no state, no restrictions, no advice."""

    name = ""
    needs_jacobian = False

    def check(self, problem: GradientProblem) -> None:
        """Nothing is refused."""

    def advice(self, shots: int | None) -> str | None:
        """Nothing that a person should know."""
        return None


class LinearRule(GradientRule, Protocol):
    """A rule that has the derivative of every expectation value by single angles."""

    def derivative(self, template: CircuitTemplate, angles: np.ndarray) -> Derivative:
        """How to get the derivative by `angles` (int64 [Kj])."""
        ...


def drive(steps: Steps, evaluate: Callable[[EvaluationPlan], Evaluation]) -> GradientEstimate:
    """Run `steps` to their end; the estimate holds all evaluations."""
    evaluations = []
    try:
        plan = next(steps)
        while True:
            evaluations.append(evaluate(plan))
            plan = steps.send(evaluations[-1])
    except StopIteration as end:
        estimate: GradientEstimate = end.value
        return replace(estimate, evaluations=tuple(evaluations))


class Prediction(NamedTuple):
    """What a step takes.

    Attributes:
        n_circuits, n_shots: in all of it.
        n_evaluations: plans that are asked for one after the other, each of which waits for the answer to the one before.
    """

    n_circuits: int
    n_shots: int
    n_evaluations: int


def predict(rule: GradientRule, problem: GradientProblem) -> Prediction:
    """Circuits and shots of one step, found by giving the rule zeros for answers. Nothing is run."""
    found = drive(rule.estimate(problem), EvaluationPlan.blank).evaluations
    return Prediction(sum(e.n_circuits for e in found), sum(e.n_shots for e in found), len(found))
