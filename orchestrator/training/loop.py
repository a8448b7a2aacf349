"""The training loop, as a generator: the whole algorithm on one screen. It yields reports; whoever drives it logs and saves."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import astuple

import numpy as np

from orchestrator.coordinator import Coordinator
from orchestrator.errors import ExecutionError
from orchestrator.models.model import Model
from orchestrator.phases import PhaseClock, added
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.registry import resolve
from orchestrator.training.reports import EpochReport, Samples, StepReport, Totals
from orchestrator.training.shuffle import ShuffledOrder
from orchestrator.training.staleness import refuse_state
from orchestrator.training.state import TrainState
from orchestrator.training.task import TrainingTask
from orchestrator.training.under_way import StepsUnderWay

_LARGE = 1 << 24
"""Samples from which on an epoch's order is computed as it is gone through: as an array it takes 128 MiB and more."""


def initial_state(task: TrainingTask, params: np.ndarray | None = None) -> TrainState:
    """The state before the first step, from the run's seed or from given parameters [P]."""
    start = task.model.initial_params(task.run.seed) if params is None else np.array(params, np.float64)
    return TrainState(params=start, optimizer=task.update.init(start), best_params=start.copy())


def train(
    task: TrainingTask, state: TrainState, coordinator: Coordinator
) -> Generator[StepReport | EpochReport, None, None]:
    """Train from `state` (changed in place) to the end, yielding a report after every step and every epoch.

    At each yield `state` stands between two steps: a copy of it, given back later, continues to the same bits; circuits that are out then
    (`training.staleness`) are asked for again. They are called back when the generator is closed.
    """
    clock = PhaseClock()
    while not state.is_finished:
        seconds: dict[str, float] = {}
        order = epoch_order(task.run.seed, state.epoch, len(task.train.targets))
        rate = learning_rate(task, state)
        with StepsUnderWay(task, coordinator, clock) as under_way:
            while state.cursor < task.n_batches and state.step < task.n_steps:
                _begin_steps(task, state, order, under_way)
                report = _step(task, state, under_way, rate, clock)
                seconds = added(seconds, report.seconds)
                yield report
                clock.lap("log")
        yield _finish_epoch(task, state, coordinator, rate, clock, seconds)
        clock.lap("log")


def epoch_order(seed: int, epoch: int, n_samples: int) -> np.ndarray | ShuffledOrder:
    """The order in which epoch number `epoch` (from 0) goes through the samples; to be sliced, and from `_LARGE` on never held whole."""
    philox = np.random.Philox(key=[seed, 1], counter=[0, 0, 0, epoch])
    if n_samples >= _LARGE:
        return ShuffledOrder(n_samples, philox.random_raw(8))
    return np.random.Generator(philox).permutation(n_samples)


def learning_rate(task: TrainingTask, state: TrainState) -> float:
    """The rate of the current epoch, never below the configured minimum."""
    schedule = resolve("schedule", task.optimizer.schedule)
    rate = schedule(task.optimizer, state.epoch, task.run.epochs, state.monitored)
    return max(float(rate), task.optimizer.minimum_learning_rate)


def _begin_steps(
    task: TrainingTask, state: TrainState, order: np.ndarray | ShuffledOrder, under_way: StepsUnderWay
) -> None:
    """Send out the next step, and so many after it as may be stale; those of this epoch that are not out already.

    Step number `cursor` of the epoch takes its gradient at the parameters before update ``max(cursor - max_staleness, 0)``.
    """
    n_left = min(task.n_batches - state.cursor, task.n_steps - state.step)
    for ahead in range(len(under_way), min(task.max_staleness + 1, n_left)):
        first = (state.cursor + ahead) * task.run.batch_size
        rows = order[first : first + task.run.batch_size]
        batch = Samples(task.train.features[rows], task.train.targets[rows])
        params = state.params_before(min(task.max_staleness - ahead, state.cursor))
        under_way.begin(params, batch, step=state.step + ahead, state=state.rule)


def _step(
    task: TrainingTask, state: TrainState, under_way: StepsUnderWay, rate: float, clock: PhaseClock
) -> StepReport:
    """One gradient and one update of `state`."""
    batch, estimate = under_way.finish()
    loss, gradient, evaluations = estimate.loss, estimate.gradient, estimate.evaluations
    if not (np.isfinite(loss) and np.isfinite(gradient).all()):
        raise ExecutionError(
            f"step {state.step + 1}: the loss is {loss}; lower optimizer.learning_rate or clip the gradient"
        )
    clock.lap("assemble")
    if task.max_staleness:
        refuse_state(task, estimate)
    staleness = min(task.max_staleness, state.cursor)
    state.rule = estimate.state
    update = estimate.update
    if update is None:
        update, state.optimizer = task.update.update(gradient, state.optimizer, state.params, rate)
    state.move_to(np.where(task.model.frozen, state.params, state.params + update), task.max_staleness)
    state.step += 1
    state.cursor += 1
    state.epoch_loss += loss * len(batch.targets)
    state.step_losses.append(loss)
    for evaluation in evaluations:
        state.totals = state.totals.plus(*used_by(evaluation))
    state.totals = state.totals.plus(0, 0, 0.0, estimate.n_skipped)
    norm = float(np.sqrt(np.sum(gradient**2)))
    clock.lap("update")
    return StepReport(
        step=state.step,
        n_steps=task.n_steps,
        epoch=state.epoch + 1,
        n_epochs=task.run.epochs,
        loss=loss,
        gradient_norm=norm,
        notes=estimate.notes,
        gradient_noise=float(np.sqrt(np.sum(np.maximum(estimate.variance, 0.0)))),
        learning_rate=rate,
        totals=state.totals,
        seconds=clock.take(),
        compute_seconds=sum(evaluation.compute_seconds for evaluation in evaluations),
        n_jobs=sum(evaluation.n_jobs for evaluation in evaluations),
        samples_skipped=estimate.n_skipped,
        jobs_simulated=sum(evaluation.n_simulated for evaluation in evaluations),
        staleness=staleness if task.max_staleness else None,
    )


def evaluate_samples(
    model: Model,
    params: np.ndarray,
    features: np.ndarray,
    coordinator: Coordinator,
    *,
    shots: int | None,
    seed: int,
    purpose: str,
    step: int = 0,
    clock: PhaseClock | None = None,
    lost: np.ndarray | None = None,
) -> tuple[np.ndarray, Totals]:
    """Outputs [S, C] of the model for features [S, F], and what they took.

    Args:
        purpose: keys the shot noise.
        lost: bool [S], given by callers that can do without some samples: where failed jobs are skipped, theirs are marked, and their
            outputs mean nothing.
    """
    evaluation = coordinator.evaluate(
        EvaluationPlan(
            circuit=model.measured,
            angles=model.angles(params, features),
            shots=shots,
            step=step,
            noise_keys=noise_keys(seed, purpose, model.measured),
            of_batch=np.arange(len(features)).repeat(model.states_per_sample),
        ),
        clock,
        lost,
    )
    used = Totals().plus(*used_by(evaluation))
    if lost is not None:
        used = used.plus(0, 0, 0.0, int(np.count_nonzero(lost)))
    return model.outputs(params, evaluation.values), used


def used_by(evaluation: Evaluation) -> tuple[int, int, float, int, int, Mapping[str, int]]:
    """What `Totals.plus` takes of an evaluation; samples that were skipped are counted by whoever knows the batch."""
    return (
        evaluation.n_circuits,
        evaluation.n_shots,
        evaluation.cost_usd,
        0,
        evaluation.n_simulated,
        evaluation.jobs_by_target,
    )


def _finish_epoch(
    task: TrainingTask,
    state: TrainState,
    coordinator: Coordinator,
    rate: float,
    clock: PhaseClock,
    of_steps: dict[str, float],
) -> EpochReport:
    """Validate, note the best, decide whether to go on. `of_steps`: seconds of the epoch's steps by phase."""
    n_seen = min(state.cursor * task.run.batch_size, len(task.train.targets))
    metrics = {"train/epoch_loss": state.epoch_loss / max(n_seen, 1)}
    if task.validation is not None:
        lost = np.zeros(len(task.validation.targets), bool)
        outputs, used = evaluate_samples(
            task.model, state.params, task.validation.features, coordinator,
            shots=task.shots, seed=task.run.seed, purpose="val", step=state.step, clock=clock, lost=lost,
        )  # fmt: skip
        state.totals = state.totals.plus(*astuple(used))
        found = task.loss.metrics(outputs[~lost], task.validation.targets[~lost])
        metrics |= {f"val/{k}": v for k, v in found.items()}
    value = metrics[task.monitored]
    state.epoch += 1
    state.cursor = 0
    state.epoch_loss = 0.0
    state.past = state.past[:0]
    is_best = value < state.best_value - task.run.early_stopping_min_delta or state.best_epoch == 0
    if is_best:
        state.best_value, state.best_epoch, state.best_params = value, state.epoch, state.params.copy()
    state.stop_reason = _stop_reason(task, state)
    clock.lap("assemble")
    phases = added(of_steps, clock.take())
    report = EpochReport(
        epoch=state.epoch,
        n_epochs=task.run.epochs,
        step=state.step,
        metrics=metrics,
        monitored=task.monitored,
        is_best=is_best,
        best_epoch=state.best_epoch,
        best_value=state.best_value,
        learning_rate=rate,
        totals=state.totals,
        seconds=sum(phases.values()),
        stop_reason=state.stop_reason,
        phases=phases,
    )
    state.history.append(report)
    return report


def _stop_reason(task: TrainingTask, state: TrainState) -> str | None:
    patience = task.run.early_stopping_patience
    if patience is not None and state.epoch - state.best_epoch >= patience:
        return f"no better {task.monitored} for {patience} epochs"
    if state.step >= task.n_steps:
        return (
            "max_steps reached"
            if task.run.max_steps and state.step >= task.run.max_steps
            else "all epochs done"
        )
    return None
