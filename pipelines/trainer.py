"""Trainer: what a Python user holds. It composes a run, drives the training loop, and returns a result.

::

    from orchestrator import TrainingConfig
    from pipelines import Trainer

    result = Trainer(TrainingConfig.from_toml("pipelines/configs/breast_cancer.toml")).fit()
    print(result.metrics["test/accuracy"])
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import QfleetError
from orchestrator.models.model import Model
from orchestrator.training.loop import evaluate_samples, initial_state, train
from orchestrator.training.reports import EpochReport, StepReport
from orchestrator.training.state import TrainState
from pipelines.callbacks import Callback, Callbacks, Checkpointing, Display, Tracking
from pipelines.checkpoints import Checkpoints
from pipelines.compose import build_backend, build_coordinator
from pipelines.datasets import Table, table_from_arrays
from pipelines.interrupts import Interrupts
from pipelines.progress import Progress, make_progress
from pipelines.report import run_parameters, write_artifacts
from pipelines.result import TrainingResult, params_sha256
from pipelines.run_folder import RunFolder
from pipelines.run_setup import PreparedRun, load_run, prepare_run, save_run
from pipelines.tracking import NoTracker, Tracker, start_tracker


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM during training. The state is saved; `result` holds the best so far."""

    def __init__(self, run_name: str, n_steps: int, result: TrainingResult) -> None:
        super().__init__(run_name, n_steps, result)
        self.run_name = run_name
        self.n_steps = n_steps
        self.result = result

    def __str__(self) -> str:
        return f"interrupted after step {self.n_steps}; the state is saved. Continue with: qfleet resume {self.run_name}"


class Trainer:
    """Trains one run, from the start or from its last checkpoint.

    Args:
        config: the configuration; the default trains on the breast cancer data set.
        model: a model of your own in place of the one that ``config.model`` describes.
        data: (features [S, F], targets [S]) in place of what ``config.data`` names.
        callbacks: called after each step and epoch.
        progress: True for a live display, False for none, None to decide by whether stderr is a terminal.
    """

    def __init__(
        self,
        config: TrainingConfig | None = None,
        *,
        model: Model | None = None,
        data: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
    ) -> None:
        self.config = config or TrainingConfig()
        self._model = model
        self._table: Table | None = None if data is None else table_from_arrays(*data)
        self._user_callbacks = tuple(callbacks)
        self._progress = progress
        self._folder: RunFolder | None = None
        self._seconds: dict[str, float] = {}

    @classmethod
    def resume(
        cls,
        run: str,
        *,
        directory: str = "runs",
        n_actors: int | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
    ) -> Trainer:
        """A trainer that continues a run from its last checkpoint; `fit` then ends on the bits of an undisturbed run.

        Args:
            run: run name, path of its folder, MLflow run id, or ``latest``.
            directory: where run names are looked up.
            n_actors: another number of actors; it changes no number of the result.
        """
        folder = RunFolder.find(run, directory)
        config = folder.read_config()
        if n_actors is not None:
            config = config.with_overrides([f"fleet.n_actors={n_actors}"])
        trainer = cls(config, callbacks=callbacks, progress=progress)
        trainer._folder = folder
        return trainer

    def fit(self) -> TrainingResult:
        """Train to the end.

        Raises:
            InputError: bad input, before anything starts; QfleetError: a failure, the state saved.
            TrainingInterrupted: Ctrl-C or SIGTERM, the state saved, the best so far in its `result`.
        """
        started = time.perf_counter()
        with ExitStack() as stack:
            with self._phase("setup"):
                run, folder, fingerprint = self._open()
                folder.lock()
                stack.callback(folder.unlock)
                checkpoints = Checkpoints(folder.checkpoints, run.config.checkpoint.keep, fingerprint)
                state, problems = checkpoints.load_newest()
            display = make_progress(self._progress)
            stack.callback(display.stop)
            tracker = start_tracker(folder, run, run_parameters(run))
            stack.callback(tracker.close)
            session = _Session(self, run, folder, display, tracker, checkpoints, started)
            display.start(f"qfleet · {folder.name}", session.headline())
            for problem in problems:
                display.message(f"skipped a damaged checkpoint: {problem}")
            if state is not None and state.step:
                display.message(f"continuing after step {state.step} (epoch {state.epoch} finished)")
            return session.run(state or initial_state(run.task), stack)

    def _open(self) -> tuple[PreparedRun, RunFolder, str]:
        """The run and its folder, new or found."""
        if self._folder is not None:
            run, fingerprint = load_run(self._folder, self.config)
            return run, self._folder, fingerprint
        run = prepare_run(self.config, self._model, self._table)
        folder = RunFolder.create(run.config)
        return run, folder, save_run(folder, run)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Add the wall time of the block to phase `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - started
