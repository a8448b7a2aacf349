"""The gradient of a batch: the task's rule, driven by the coordinator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orchestrator.coordinator import Coordinator
from orchestrator.gradients.base import GradientEstimate, Prediction, drive, predict
from orchestrator.gradients.problem import GradientProblem
from orchestrator.optimizers.transform import State
from orchestrator.phases import PhaseClock
from orchestrator.training.reports import Samples
from orchestrator.training.task import TrainingTask


def gradient_problem(
    task: TrainingTask, params: np.ndarray, batch: Samples, step: int, state: State | None = None
) -> GradientProblem:
    """What the rule is given. `step`: optimizer steps done, which keys the shot noise; `state`: what the rule left in the last one."""
    return GradientProblem(
        model=task.model,
        loss=task.loss,
        params=params,
        features=batch.features,
        targets=batch.targets,
        shots=task.shots,
        step=step,
        seed=task.run.seed,
        has_jacobian=task.has_jacobian,
        state=state or {},
        variance_factor=task.variance_factor,
    )


def batch_gradient(
    task: TrainingTask,
    params: np.ndarray,
    batch: Samples,
    coordinator: Coordinator,
    *,
    step: int,
    state: State | None = None,
    clock: PhaseClock | None = None,
) -> GradientEstimate:
    """Mean loss and gradient of `batch` at params [P]; of those of its samples that were answered, where failed jobs are skipped.

    Args:
        step: optimizer steps done.
        state: the rule's, from the step before.
        clock: told the phases up to the last answer.

    Raises:
        CapabilityError, ExecutionError, FleetError: see `Coordinator.evaluate`.
    """
    lost = np.zeros(len(batch.targets), bool)
    problem = replace(gradient_problem(task, params, batch, step, state), lost=lost)
    estimate = drive(task.rule.estimate(problem), lambda plan: coordinator.evaluate(plan, clock, lost))
    return replace(estimate, n_skipped=int(np.count_nonzero(lost)))


def first_problem(task: TrainingTask, n_samples: int) -> GradientProblem:
    """A problem of the first step, with `n_samples` (at most the training split) and the initial parameters."""
    batch = Samples(task.train.features[:n_samples], task.train.targets[:n_samples])
    return gradient_problem(task, task.model.initial_params(task.run.seed), batch, 0)


def predicted_step(task: TrainingTask, n_samples: int) -> Prediction:
    """What a step with a batch of `n_samples` takes. Nothing is run."""
    return predict(task.rule, first_problem(task, n_samples))
