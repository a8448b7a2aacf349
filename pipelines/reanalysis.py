"""``qfleet replay RUN --along``: what other shots, mitigation or gradient rule would have measured at each step that a run has done.

The parameters are moved as they were; only what is measured is asked for anew. So the record goes on where a replay that took other
steps would soon be at points that nobody has measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import NotRecordedError
from orchestrator.gradients.base import GradientEstimate
from orchestrator.optimizers.transform import State
from orchestrator.training.gradient import batch_gradient
from orchestrator.training.loop import epoch_order, initial_state, train
from orchestrator.training.reports import Samples, StepReport
from orchestrator.training.task import TrainingTask
from pipelines.compose import build_backend, build_coordinator
from pipelines.run_folder import RunFolder
from pipelines.run_setup import PreparedRun, assemble, load_run
from pipelines.transfer import starting_params

_SHOWN = 10
"""Steps of the table."""


@dataclass(frozen=True)
class StepComparison:
    """One step as it was measured, and as it would have been.

    Attributes:
        step: from 1.
        loss, recorded_loss: of the batch.
        gradient_norm, recorded_norm: Euclidean.
        gradient_noise, recorded_noise: predicted standard error of the gradient: the root of the sum of its components' variances.
        distance: Euclidean distance of the two gradients.
        cosine: of the angle between them; None where one is zero.
    """

    step: int
    loss: float
    recorded_loss: float
    gradient_norm: float
    recorded_norm: float
    gradient_noise: float
    recorded_noise: float
    distance: float
    cosine: float | None


@dataclass(frozen=True)
class Reanalysis:
    """Steps in order, and why there are no more: None where the run had no more."""

    steps: tuple[StepComparison, ...]
    ended: str | None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"steps": [asdict(step) for step in self.steps], "ended": self.ended}


def reanalyse(folder: RunFolder, as_recorded: TrainingConfig, changed: TrainingConfig) -> Reanalysis:
    """Compare step by step.

    Args:
        folder: of the recorded run.
        as_recorded, changed: two replays of it, see `pipelines.replay.replayed_config`; seed, batches and optimizer are those of the first.
    """
    whole, _ = load_run(folder)
    steps: list[StepComparison] = []
    with ExitStack() as stack:
        first, second = (assemble(config, whole.task.model, whole.data) for config in (as_recorded, changed))
        one, other = (_coordinator(config, stack) for config in (as_recorded, changed))
        try:
            steps.extend(_steps(first, second.task, one, other))
        except NotRecordedError as error:
            return Reanalysis(tuple(steps), f"the record ends after step {len(steps)}: {error}")
    return Reanalysis(tuple(steps), None)


def sections(found: Reanalysis) -> dict[str, dict[str, Any]]:
    """For people: what the steps have in common, and some of them, evenly spaced."""
    steps = found.steps
    if not steps:
        return {"Along the recorded steps": {"steps": "none", "ended": found.ended or "nothing was trained"}}
    cosines = [step.cosine for step in steps if step.cosine is not None]
    about = {
        "steps": str(len(steps)),
        "ended": found.ended or "with the run",
        "gradient noise": f"{_mean(s.gradient_noise for s in steps):.3g}, as recorded {_mean(s.recorded_noise for s in steps):.3g}",
        "gradient norm": f"{_mean(s.gradient_norm for s in steps):.3g}, as recorded {_mean(s.recorded_norm for s in steps):.3g}",
        "cosine": f"{_mean(cosines):.4f} (least {min(cosines):.4f})" if cosines else "–",
    }
    chosen = sorted({round(i * (len(steps) - 1) / (_SHOWN - 1)) for i in range(_SHOWN)})
    rows = {
        f"step {steps[i].step}": {
            "loss": f"{steps[i].loss:.4f}",
            "recorded": f"{steps[i].recorded_loss:.4f}",
            "noise": f"{steps[i].gradient_noise:.3g}",
            "cosine": "–" if steps[i].cosine is None else f"{steps[i].cosine:.3f}",
        }
        for i in chosen
    }
    return {"Along the recorded steps (means)": about, "Steps": rows}


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _coordinator(config: TrainingConfig, stack: ExitStack) -> Coordinator:
    coordinator = build_coordinator(config.fleet, build_backend(config))
    stack.callback(coordinator.dispatcher.close)
    return coordinator


def _steps(
    run: PreparedRun, changed: TrainingTask, one: Coordinator, other: Coordinator
) -> Iterator[StepComparison]:
    """The recorded training goes on by its own gradients; at each of its points both are asked for."""
    task = run.task
    state = initial_state(task, starting_params(run))
    reports = train(task, state, one)
    rule_states: tuple[State, State] = ({}, {})
    while not state.is_finished:
        step, is_step = state.step, state.cursor < task.n_batches
        age = min(
            task.max_staleness, state.cursor
        )  # in updates, of the parameters where its gradient is taken
        params = state.params_before(age).copy()
        batch = _batch(task, state.epoch, state.cursor)
        if is_step and step < task.n_steps:
            estimates = [
                batch_gradient(each, params, batch, coordinator, step=step, state=before)
                for each, coordinator, before in zip((task, changed), (one, other), rule_states, strict=True)
            ]
            rule_states = (estimates[0].state, estimates[1].state)
            yield _comparison(step + 1, *estimates)
        report = next(reports)
        assert isinstance(report, StepReport) == (is_step and step < task.n_steps)


def _batch(task: TrainingTask, epoch: int, cursor: int) -> Samples:
    size = task.run.batch_size
    rows = epoch_order(task.run.seed, epoch, len(task.train.targets))[cursor * size : (cursor + 1) * size]
    return Samples(task.train.features[rows], task.train.targets[rows])


def _comparison(step: int, recorded: GradientEstimate, found: GradientEstimate) -> StepComparison:
    norms = [float(np.sqrt(np.sum(each.gradient**2))) for each in (recorded, found)]
    noises = [float(np.sqrt(np.sum(np.maximum(each.variance, 0.0)))) for each in (recorded, found)]
    product = float(np.sum(recorded.gradient * found.gradient))
    return StepComparison(
        step=step,
        loss=found.loss,
        recorded_loss=recorded.loss,
        gradient_norm=norms[1],
        recorded_norm=norms[0],
        gradient_noise=noises[1],
        recorded_noise=noises[0],
        distance=float(np.sqrt(np.sum((recorded.gradient - found.gradient) ** 2))),
        cosine=product / (norms[0] * norms[1]) if norms[0] * norms[1] else None,
    )
