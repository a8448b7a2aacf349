"""The loss of a batch and its gradient: the evaluations it takes, and the chain rule through them.

Mostly one evaluation answers values and derivatives together. Where there are many observables on a large circuit
(`TrainingTask.is_contracted`) there are two: the values first, which fix the derivative of the loss by each of them, and with
these as cotangents one vector-Jacobian product, which costs what a single observable would.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orchestrator.coordinator import Coordinator
from orchestrator.phases import PhaseClock
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.training.reports import Samples
from orchestrator.training.task import TrainingTask


class BatchGradient(NamedTuple):
    """What a step needs to know of its batch.

    Attributes:
        loss: mean over the samples.
        gradient: float64 [P], dL/d params.
        evaluations: what was run for it, in order.
    """

    loss: float
    gradient: np.ndarray
    evaluations: tuple[Evaluation, ...]


def batch_gradient(
    task: TrainingTask,
    params: np.ndarray,
    batch: Samples,
    coordinator: Coordinator,
    *,
    step: int,
    clock: PhaseClock | None = None,
) -> BatchGradient:
    """Mean loss and gradient of `batch` at params [P].

    Args:
        step: optimizer steps done, which keys the shot noise.
        clock: told the phases up to the last answer.

    Raises:
        CapabilityError, ExecutionError, FleetError: see `Coordinator.evaluate`.
    """
    model = task.model
    values = EvaluationPlan(
        circuit=model.measured,
        angles=model.angles(params, batch.features),
        shots=task.shots,
        step=step,
        noise_keys=noise_keys(task.run.seed, "train", model.measured),
    )
    wanted, derivative = model.differentiated_angles, task.derivative
    if not task.is_contracted:
        evaluation = coordinator.evaluate(replace(values, wanted=wanted, derivative=derivative), clock)
        return BatchGradient(*_loss_and_gradient(task, params, batch, evaluation), (evaluation,))
    first = coordinator.evaluate(values, clock)
    loss, output_gradient = task.loss.value_and_gradient(model.outputs(params, first.values), batch.targets)
    of_values, of_head = model.backward(params, first.values, output_gradient)
    plan = replace(values, wanted=wanted, derivative=derivative, cotangents=of_values)
    second = coordinator.evaluate(plan, clock)
    assert second.jacobian is not None
    gradient = model.pullback(batch.features, second.jacobian[:, 0], of_head)
    return BatchGradient(loss, gradient, (first, second))


def _loss_and_gradient(
    task: TrainingTask, params: np.ndarray, batch: Samples, evaluation: Evaluation
) -> tuple[float, np.ndarray]:
    """Mean loss of a batch and its gradient [P] by the chain rule from expectation values and all their derivatives."""
    model = task.model
    outputs = model.outputs(params, evaluation.values)
    loss, output_gradient = task.loss.value_and_gradient(outputs, batch.targets)
    jacobian = evaluation.jacobian
    if jacobian is None:  # every circuit parameter is frozen
        jacobian = np.zeros((*evaluation.values.shape, 0))
    return loss, model.gradient(params, batch.features, evaluation.values, jacobian, output_gradient)
