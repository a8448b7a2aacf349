"""Callbacks: what happens beside training. Each looks at the run after a step, an epoch, and at the end; none changes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from orchestrator.config import CheckpointConfig
from orchestrator.protocols import Dispatcher
from orchestrator.training.reports import EpochReport, StepReport
from orchestrator.training.state import TrainState
from pipelines.checkpoints import Checkpoints
from pipelines.display.protocol import Progress
from pipelines.spending import Spending
from pipelines.tracking.tracker import Tracker


class TrainingStopped(Exception):
    """Raised by a callback: training ends here, the state saved and nothing scored on the test split; the text says why."""


class Callback:
    """Base class; override what you need. The state stands between two steps and must not be changed.

    To end training there, with its state saved, raise `TrainingStopped`. Any other error ends the run as a failure that can be resumed.
    """

    def on_begin(self, state: TrainState) -> None:
        """Before the first step that this process does; of a resumed run the state is that of its checkpoint."""

    def on_step(self, report: StepReport, state: TrainState) -> None:
        """After every optimizer step."""

    def on_epoch(self, report: EpochReport, state: TrainState) -> None:
        """After every epoch, validation included."""

    def on_stop(self, state: TrainState) -> None:
        """When training ends or is interrupted."""


class Checkpointing(Callback):
    """Saves the state every so many epochs, steps or seconds, and whenever training stops.

    Comes after the callbacks that record: a step that did not get here failed while it was recorded (the disk was full, the book's
    process died). Its state is not saved, so that a resumed run does the step again and records it.

    Args:
        state: where the run begins, or is resumed.

    Attributes:
        before_save: called before a checkpoint is written, with what must be on the disk by then.
    """

    def __init__(self, checkpoints: Checkpoints, config: CheckpointConfig, state: TrainState) -> None:
        self.before_save: Callable[[], None] | None = None
        self._checkpoints = checkpoints
        self._config = config
        self._recorded = (state.step, state.epoch)
        self._saved: tuple[int, int] | None = None
        self._saved_at = time.monotonic()

    def on_step(self, report: StepReport, state: TrainState) -> None:
        """Within an epoch: by steps or seconds."""
        self._recorded = (state.step, state.epoch)
        every = self._config.every_steps
        is_due = every is not None and report.step % every == 0
        if is_due or time.monotonic() - self._saved_at > self._config.every_seconds:
            self._save(state)

    def on_epoch(self, report: EpochReport, state: TrainState) -> None:
        """At the end of an epoch."""
        self._recorded = (state.step, state.epoch)
        if report.epoch % self._config.every_epochs == 0:
            self._save(state)

    def on_stop(self, state: TrainState) -> None:
        """Whatever has been recorded and not been saved yet."""
        if (state.step, state.epoch) == self._recorded:
            self._save(state)

    def has(self, state: TrainState) -> bool:
        """Whether the state is on the disk as it stands."""
        return (state.step, state.epoch) == self._saved

    def _save(self, state: TrainState) -> None:
        if not self.has(state):
            if self.before_save is not None:
                self.before_save()
            self._checkpoints.save(state)
            self._saved, self._saved_at = (state.step, state.epoch), time.monotonic()


class Display(Callback):
    """Shows the run to whoever watches."""

    def __init__(self, progress: Progress, dispatcher: Dispatcher) -> None:
        self._progress = progress
        self._dispatcher = dispatcher

    def on_step(self, report: StepReport, state: TrainState) -> None:
        """Costs about a microsecond; the display draws a few times a second."""
        self._progress.on_step(report)

    def on_epoch(self, report: EpochReport, state: TrainState) -> None:
        """The figures of the epoch, and how the actors are."""
        self._progress.on_fleet(self._dispatcher.stats())
        self._progress.on_epoch(report)


class Metrics(Callback):
    """Journals metrics under stable names, by step; a background thread ships them.

    A point is journaled once, so the running totals of a step wait until no more can be added to them: the last step of an epoch
    carries its validation, the last of all the final test (`finish`).
    """

    def __init__(self, tracker: Tracker, dispatcher: Dispatcher, state: TrainState) -> None:
        self._tracker = tracker
        self._dispatcher = dispatcher
        # On resume, the totals of the checkpoint's step may not have been journaled; if they have, this changes nothing.
        self._waiting = (state.step, state.totals) if state.step else None
        self._is_tagged = False

    def on_step(self, report: StepReport, state: TrainState) -> None:
        """Loss, gradient and times of a step."""
        self._journal_totals()
        self._waiting = (report.step, report.totals)
        out = sum(report.seconds[phase] for phase in ("ship", "queue", "compute"))
        available = out * max(self._dispatcher.n_workers, 1)
        metrics = {
            "train/loss": report.loss,
            "train/gradient_norm": report.gradient_norm,
            "train/learning_rate": report.learning_rate,
            "time/step_seconds": sum(report.seconds.values()),
            "time/compute_seconds": report.compute_seconds,
            "fleet/utilisation": min(report.compute_seconds / max(available, 1e-9), 1.0),
        }
        if report.gradient_noise:
            metrics["train/gradient_noise"] = report.gradient_noise
        if report.samples_skipped:
            metrics["fleet/samples_skipped"] = report.samples_skipped
        if report.jobs_simulated:
            metrics["fleet/jobs_simulated"] = report.jobs_simulated
        if report.staleness is not None:
            metrics["train/staleness"] = report.staleness
        metrics |= {
            f"rule/{key}": value for key, value in report.notes.items() if isinstance(value, (int, float))
        }
        self._tracker.log_metrics(metrics, report.step)

    def on_epoch(self, report: EpochReport, state: TrainState) -> None:
        """Figures of the epoch, at its last step; put on the disk itself, since a checkpoint follows."""
        self._waiting = (report.step, report.totals)
        stats = self._dispatcher.stats()
        metrics: dict[str, float | None] = {
            **report.metrics,
            "train/epoch": report.epoch,
            "time/epoch_seconds": report.seconds,
            **{f"time/epoch_{phase}_seconds": seconds for phase, seconds in report.phases.items()},
            "fleet/cache_hit_rate": stats.cache_hits / stats.cache_lookups if stats.cache_lookups else None,
            "fleet/workers": stats.n_workers,
            "fleet/jobs_retried": stats.jobs_retried,
        }
        self._tracker.log_metrics(metrics, report.step)
        self._tracker.sync()

    def finish(self, state: TrainState, metrics: dict[str, float]) -> None:
        """The final figures and totals."""
        self._waiting = (state.step, state.totals)
        self._journal_totals()
        self._tracker.log_metrics(metrics, state.step)

    def _journal_totals(self) -> None:
        if self._waiting is not None:
            step, totals = self._waiting
            named = {
                "cost/circuits": totals.n_circuits,
                "cost/shots": totals.n_shots,
                "cost/usd": totals.cost_usd,
            }
            for target, n_jobs in totals.jobs_by_target.items():
                named[f"fleet/jobs.{target.removeprefix('ionq:').replace(':', '-')}"] = n_jobs
            self._tracker.log_metrics(named, step)
            if totals.jobs_simulated and not self._is_tagged:
                self._tracker.set_tags({"fallback": "true"})
                self._is_tagged = True


class Money(Callback):
    """Shows and journals what the run's book says: spent, reserved and saved dollars, step by step.

    Args:
        read: what the book says now.
    """

    def __init__(self, read: Callable[[], Spending], progress: Progress, tracker: Tracker) -> None:
        self._read = read
        self._progress = progress
        self._tracker = tracker

    def on_step(self, report: StepReport, state: TrainState) -> None:
        """A call to the book, a millisecond beside a step of many seconds."""
        spending = self._read()
        self._progress.on_spending(spending)
        names = ("spent", "reserved", "saved")
        self._tracker.log_metrics(
            {f"cost/{name}_usd": getattr(spending, name) for name in names}, report.step
        )


class Callbacks(Callback):
    """Several callbacks as one, called in order."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = tuple(callbacks)

    def on_begin(self, state: TrainState) -> None:
        """To each."""
        for callback in self._callbacks:
            callback.on_begin(state)

    def on_step(self, report: StepReport, state: TrainState) -> None:
        """To each."""
        for callback in self._callbacks:
            callback.on_step(report, state)

    def on_epoch(self, report: EpochReport, state: TrainState) -> None:
        """To each."""
        for callback in self._callbacks:
            callback.on_epoch(report, state)

    def on_stop(self, state: TrainState) -> None:
        """To each."""
        for callback in self._callbacks:
            callback.on_stop(state)
