"""Callbacks: what happens beside training. Each looks at the run after a step, an epoch, and at the end; none changes it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from orchestrator.config import CheckpointConfig
from orchestrator.training.reports import EpochReport, StepReport
from orchestrator.training.state import TrainState
from pipelines.checkpoints import Checkpoints


class Callback:
    """Base class; override what you need. The state stands between two steps and must not be changed."""

    def on_step(self, report: StepReport, state: TrainState) -> None:
        """After every optimizer step."""

    def on_epoch(self, report: EpochReport, state: TrainState) -> None:
        """After every epoch, validation included."""

    def on_stop(self, state: TrainState) -> None:
        """When training ends or is interrupted."""


class Checkpointing(Callback):
    """Saves the state every so many epochs, steps or seconds, and whenever training stops."""

    def __init__(self, checkpoints: Checkpoints, config: CheckpointConfig) -> None:
        self._checkpoints = checkpoints
        self._config = config
        self._saved: tuple[int, int] | None = None
        self._saved_at = time.monotonic()

    def on_step(self, report: StepReport, state: TrainState) -> None:
        """Within an epoch: by steps or seconds."""
        every = self._config.every_steps
        is_due = every is not None and report.step % every == 0
        if is_due or time.monotonic() - self._saved_at > self._config.every_seconds:
            self._save(state)

    def on_epoch(self, report: EpochReport, state: TrainState) -> None:
        """At the end of an epoch."""
        if report.epoch % self._config.every_epochs == 0:
            self._save(state)

    def on_stop(self, state: TrainState) -> None:
        """Whatever has not been saved yet."""
        self._save(state)

    def _save(self, state: TrainState) -> None:
        place = (state.step, state.epoch)
        if place != self._saved:
            self._checkpoints.save(state)
            self._saved, self._saved_at = place, time.monotonic()


class Callbacks(Callback):
    """Several callbacks as one, called in order."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = tuple(callbacks)

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
