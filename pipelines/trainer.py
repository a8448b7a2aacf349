"""Trainer: what a Python user holds. It composes a run, drives the training loop, and returns a result.

::

    from orchestrator import TrainingConfig
    from pipelines import Trainer

    result = Trainer(TrainingConfig.from_toml("pipelines/configs/breast_cancer.toml")).fit()
    print(result.metrics["test/accuracy"])
"""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from orchestrator.config import DataConfig, FleetConfig, TrainingConfig, actor_overrides
from orchestrator.coordinator import Coordinator
from orchestrator.costs.money import in_usd
from orchestrator.errors import BudgetError, CheckpointError, NotRecordedError, QfleetError
from orchestrator.models.model import Model
from orchestrator.training.loop import initial_state, train
from orchestrator.training.reports import StepReport, Totals
from orchestrator.training.state import TrainState
from pipelines.artifacts import log_outcome, start_tracker
from pipelines.callbacks import (
    Callback,
    Callbacks,
    Checkpointing,
    Display,
    Metrics,
    Money,
    TrainingStopped,
)
from pipelines.checkpoints import Checkpoints
from pipelines.compose import (
    at_address,
    build_backend,
    build_coordinator,
    check_fallback,
    failure_policy,
    warming_up,
)
from pipelines.data.circuit_writer import FOLDER, CircuitWriter
from pipelines.data.table import Table, table_from_arrays
from pipelines.display.formatting import qfleet_command
from pipelines.display.progress import make_progress
from pipelines.display.protocol import Progress
from pipelines.evaluate import score
from pipelines.given_up import GivenUpFile
from pipelines.interrupts import Interrupts
from pipelines.latency import LatencyReport, latency_report
from pipelines.reconcile import Reconciliation, reconcile_run
from pipelines.report import headline
from pipelines.result import TrainingResult
from pipelines.run_folder import RunFolder
from pipelines.run_setup import PreparedRun, load_run, prepare_run, save_run
from pipelines.spending import Spending, check_allowed, has_book, spending_of, with_book
from pipelines.storage import disk_told
from pipelines.studies.predictions import predictions_of, write_predictions
from pipelines.tracking.provenance import ray_submission_id
from pipelines.tracking.tracker import RunStatus, Tracker, TrackingReport, ship_pending
from pipelines.transfer import starting_params
from pipelines.watching.history import FleetHistory
from pipelines.watching.status_file import FINISHED, STOPPED
from pipelines.watching.watch import Watch, check_log_file


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM during training. The state is saved; `result` holds the best so far."""

    def __init__(self, run_name: str, n_steps: int, result: TrainingResult) -> None:
        super().__init__(run_name, n_steps, result)
        self.run_name = run_name
        self.n_steps = n_steps
        self.result = result

    def __str__(self) -> str:
        how = qfleet_command("resume", self.result.folder.handle)
        text = f"interrupted after step {self.n_steps}; the state is saved. Continue with: {how}"
        held = None if self.result.spending is None else self.result.spending.held_text("that")
        return text if held is None else f"{text}\n{held}"


@dataclass(frozen=True, eq=False)
class _Active:
    """What a run in progress holds; `stack` closes it, and `leaving` comes last. `display` is of the terminal and of `watch`."""

    run: PreparedRun
    folder: RunFolder
    state: TrainState
    display: Progress
    tracker: Tracker
    saving: Checkpointing
    stack: ExitStack
    leaving: ExitStack
    watch: Watch


class Trainer:
    """Trains one run, from the start or from its last checkpoint.

    Args:
        config: the configuration; the default trains on the breast cancer data set.
        model: a model of your own in place of the one that ``config.model`` describes.
        data: (features [S, F], targets [S]) in place of what ``config.data`` names; targets None for an autoencoder.
        callbacks: called after each step and epoch.
        progress: False for messages only; True or None for a display on stderr, live where that is a terminal.
        yes_spend_usd: dollars that the run may cost in all; must be given where the backend's target costs money.
        log_file: a file that gets the lines of the run's log, too; see docs/watching.md.
        fleet: where this process runs the circuits, in place of ``config.fleet``, which stays what the run's folder says.
    """

    def __init__(
        self,
        config: TrainingConfig | None = None,
        *,
        model: Model | None = None,
        data: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
        yes_spend_usd: float | None = None,
        log_file: str | Path | None = None,
        fleet: FleetConfig | None = None,
    ) -> None:
        self.config = config or TrainingConfig()
        self._fleet = fleet
        self._model = model
        self._table: Table | None = None
        if data is not None:
            self._table = table_from_arrays(*data)
            self.config = _for_arrays(self.config)
        self._user_callbacks = tuple(callbacks)
        self._progress = progress
        self._yes_spend_usd = yes_spend_usd
        self._log_file = log_file
        self._stopped_by: str | None = None
        self._read_spending: Callable[[], Spending] | None = None
        self._latency: LatencyReport | None = None
        self._reconciliation: Reconciliation | None = None
        self._folder: RunFolder | None = None
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._circuits_per_second: float | None = None

    @classmethod
    def resume(
        cls,
        run: str,
        *,
        directory: str = "runs",
        n_actors: int | None = None,
        address: str | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
        yes_spend_usd: float | None = None,
        log_file: str | Path | None = None,
        fleet: FleetConfig | None = None,
    ) -> Trainer:
        """A trainer that continues a run from its last checkpoint; `fit` then ends on the bits of an undisturbed run.

        Args:
            run: run name, path of its folder, MLflow run id, or ``latest``.
            directory: where run names are looked up.
            n_actors: another number of actors; it changes no number of the result.
            address: of another Ray cluster than the run was begun on, in place of ``fleet.address``; ``none``: as if that were not set.
            yes_spend_usd: dollars that the run may cost in all, what it has spent already included.
            log_file, fleet: as for a new run.
        """
        folder = RunFolder.find(run, directory)
        config = folder.read_config()
        if n_actors is not None:
            config = config.with_overrides(actor_overrides(n_actors))
            threads = config.backend.threads
            if isinstance(threads, int) and threads > config.fleet.cpus_per_actor:  # set for one process
                config = config.with_overrides([f"fleet.cpus_per_actor={float(threads)}"])
        config = at_address(config, address)
        trainer = cls(
            config,
            callbacks=callbacks,
            progress=progress,
            yes_spend_usd=yes_spend_usd,
            log_file=log_file,
            fleet=fleet,
        )
        trainer._folder = folder
        return trainer

    def fit(self) -> TrainingResult:
        """Train to the end.

        Raises:
            InputError: bad input, before anything starts; QfleetError: a failure, the state saved.
            TrainingInterrupted: Ctrl-C or SIGTERM, the state saved, the best so far in its `result`.
        """
        started = time.perf_counter()
        self._seconds.clear()
        self._stopped_by = self._latency = self._reconciliation = self._read_spending = None
        with Interrupts(is_safe=lambda: True), disk_told(self._how_to_go_on), ExitStack() as stack:
            display = make_progress(quiet=self._progress is False)
            stack.callback(display.stop)
            is_new = self._folder is None
            with self._phase("setup"):
                log_file = check_log_file(self._log_file)
                check_allowed(self.config, build_backend(self.config), self._yes_spend_usd)
                check_fallback(self.config)
                run, folder, checkpoints = self._open(stack)
                state, problems = checkpoints.load_newest()
                state = state or initial_state(run.task, starting_params(run))
            is_paid = build_backend(run.config).capabilities.is_paid
            display.start(f"qfleet · {folder.name}", headline(run), is_paid=is_paid)
            # Where the last checkpoint is gone or damaged, what comes after the one before it is done again, to the same bits.
            if folder.is_finished and state.is_finished:
                return self._finished(run, folder, state, started)
            leaving = stack.enter_context(ExitStack())  # what comes after everything else has been closed
            saving = Checkpointing(checkpoints, run.config.checkpoint, state)
            with self._telling_how_to_go_on(folder, state, saving, leaving, is_new):
                watch = stack.enter_context(Watch(folder, run, state.totals, log_file))
                display = watch.beside(display, f"qfleet · {folder.name}", headline(run))
                for note in _notes(run, state, problems):
                    display.message(note)
                tracker = start_tracker(folder, run, display.message)
                stack.callback(tracker.close)
                return self._trained(
                    _Active(run, folder, state, display, tracker, saving, stack, leaving, watch), started
                )

    def _trained(self, active: _Active, started: float) -> TrainingResult:
        """Train, with the state saved whatever happens, and the result written."""
        run, folder, state, display = active.run, active.folder, active.state, active.display
        try:
            metrics = self._run(active)
        except BaseException as error:
            is_interrupt = isinstance(error, KeyboardInterrupt)
            tracked = _save(active, "KILLED" if is_interrupt else "FAILED")
            if not is_interrupt:
                raise
            self._seconds["total"] = time.perf_counter() - started
            result = self._result(run, folder, state, _best_metrics(state), tracked)
            raise TrainingInterrupted(folder.name, state.step, result) from None
        with self._phase("log"):
            display.phase("logging the rest to MLflow")
            tracked = active.tracker.finish("FINISHED")
        self._seconds["total"] = time.perf_counter() - started
        result = self._result(run, folder, state, metrics, tracked)
        if self._stopped_by is None:  # else it can be resumed with more money
            folder.write_json("result.json", result.to_json())
        ended = FINISHED if self._stopped_by is None else STOPPED
        active.watch.end(ended, self._stopped_by or "", state.totals)
        if not tracked.is_complete:
            display.message(tracked.message)
        return result

    def _how_to_go_on(self) -> str | None:
        return None if self._folder is None else qfleet_command("resume", self._folder.handle)

    @contextmanager
    def _telling_how_to_go_on(
        self, folder: RunFolder, state: TrainState, saving: Checkpointing, leaving: ExitStack, is_new: bool
    ) -> Iterator[None]:
        """Have a failure say how to go on; a new run that has not done a step leaves no folder."""
        try:
            yield
        except TrainingInterrupted:
            raise
        except Exception as error:
            how = qfleet_command("resume", folder.handle)
            if is_new and not state.step and not has_book(folder):
                leaving.callback(shutil.rmtree, folder.path, ignore_errors=True)
                self._folder = None
                raise
            saved = "The state is saved." if saving.has(state) else "What was saved last stands."
            error.add_note(f"{saved} Continue with: {how}")
            spending = self._spending_now()
            held = None if spending is None else spending.held_text(how)
            if held is not None:
                error.add_note(held)
            raise

    def _finished(
        self, run: PreparedRun, folder: RunFolder, state: TrainState, started: float
    ) -> TrainingResult:
        """The result of a run that has come to its end; whatever MLflow lacks of it is sent."""
        with self._phase("log"):
            tracked = ship_pending(folder.path, run.config.tracking)
        recorded = folder.recorded_result() or {}
        # Those of the checkpoint lack the final test.
        state.totals = Totals(
            recorded["circuits"],
            recorded["shots"],
            recorded["cost_usd"],
            recorded.get("samples_skipped", 0),
            recorded.get("jobs_simulated", 0),
            recorded.get("jobs_by_target", {}),
        )
        self._seconds["total"] = time.perf_counter() - started
        return self._result(run, folder, state, dict(recorded["metrics"]), tracked)

    def _open(self, stack: ExitStack) -> tuple[PreparedRun, RunFolder, Checkpoints]:
        """The run, its folder (locked until `stack` closes) and its checkpoints; made new, or found."""
        prepared = None if self._folder else prepare_run(self.config, self._model, self._table)
        if prepared is not None:
            starting_params(prepared)  # refuse what cannot be started from before there is a folder
        folder = self._folder or RunFolder.create(self.config)
        folder.lock()
        stack.callback(folder.unlock)
        if prepared is not None:
            self._folder, run, fingerprint = folder, prepared, save_run(folder, prepared)
        else:
            run, fingerprint = load_run(folder, self.config.fleet)
        return run, folder, Checkpoints(folder.checkpoints, run.config.checkpoint.keep, fingerprint)

    def _run(self, active: _Active) -> dict[str, float]:
        """Start the fleet, train what is left, score the best parameters. Returns the final metrics by tracking name."""
        run, state, display, tracker = active.run, active.state, active.display, active.tracker
        with self._phase("fleet"):
            fleet = self._fleet or run.config.fleet
            display.phase(_starting(fleet))
            backend = with_book(
                run.config, build_backend(run.config), active.folder, self._yes_spend_usd, active.stack
            )
            with warming_up(backend, run.task.model.measured, run.config.backend.shots, display.message):
                failures = failure_policy(run.config, GivenUpFile(active.folder.path))
                coordinator = build_coordinator(
                    fleet, backend, failures, active.watch.waits, active.folder.name
                )
            dispatcher = coordinator.dispatcher
            active.watch.watch(dispatcher)
            active.stack.callback(dispatcher.close)
            if failures.fallback is not None:
                active.stack.callback(failures.fallback.close)
        if run.config.tracking.circuit_log:
            log = CircuitWriter(
                active.folder.path / FOLDER, run.config.run.seed, step=state.step, cursor=state.cursor
            )
            active.stack.callback(log.close)
            coordinator.observe, active.saving.before_save = log.add, log.flush
        journal = Metrics(tracker, dispatcher, state)
        own: list[Callback] = [Display(display, dispatcher), journal, active.saving]
        read = self._read_spending = spending_of(backend)
        if read is not None:
            own.insert(0, Money(read, display, tracker))
        n_before = state.totals.n_circuits
        scores = None
        try:
            with self._phase("train"):
                self._train(run, state, coordinator, Callbacks([*own, *self._user_callbacks]))
            if len(run.data.test.targets):
                with self._phase("test"):
                    display.phase("scoring the best parameters")
                    scores = score(run, run.config, state.best_params, coordinator, "test")
                    write_predictions(active.folder, predictions_of(run, scores))
        except BudgetError as error:
            self._stopped_by = f"the budget is reached: {error}"
            display.message(self._stopped_by)
            dispatcher.close()  # what is under way stays in the book, and nothing is added to it any more
        except NotRecordedError as error:
            self._stopped_by = f"the record ends after step {state.step}: {error}"
            display.message(self._stopped_by)
        except TrainingStopped as error:
            self._stopped_by = str(error)
            tracker.set_tags({"stopped": self._stopped_by})
        self._circuits_per_second = (state.totals.n_circuits - n_before) / self._seconds["train"]
        metrics = _best_metrics(state)
        if scores is not None:
            state.totals = state.totals.plus(*astuple(scores.used))
            metrics |= scores.metrics
        journal.finish(state, scores.metrics if scores else {})
        if has_book(active.folder):
            self._reconcile(active)
        history = FleetHistory.of(dispatcher, failures)
        n_at_once = coordinator.capabilities.jobs_in_flight
        self._latency = latency_report(history.spans, dispatcher.n_workers, n_at_once)
        with self._phase("plots"):
            display.phase("drawing plots")
            run.predictor(state.best_params).save(active.folder.model)
            log_outcome(tracker, active.folder, run, state, scores, history, self._latency)
        return metrics

    def _reconcile(self, active: _Active) -> None:
        """Compare what was charged with what was booked; a provider that does not answer is no failure of the run."""
        with self._phase("reconcile"):
            active.display.phase("asking IonQ for its bill")
            outcome = self._reconciliation = reconcile_run(active.folder, active.run.config.backend)
        if outcome.is_complete:
            active.tracker.log_metrics({"cost/billed_usd": in_usd(outcome.billed)}, active.state.step)

    def _train(
        self, run: PreparedRun, state: TrainState, coordinator: Coordinator, callbacks: Callback
    ) -> None:
        """Drive the loop to its end, or to an interrupt between two steps."""
        with Interrupts(is_safe=lambda: coordinator.is_evaluating) as interrupts:
            try:
                callbacks.on_begin(state)
                with closing(train(run.task, state, coordinator)) as reports:
                    for report in reports:
                        if isinstance(report, StepReport):
                            callbacks.on_step(report, state)
                        else:
                            for phase, seconds in report.phases.items():
                                self._seconds[f"train.{phase}"] += seconds
                            callbacks.on_epoch(report, state)
                        interrupts.check()
            except TrainingStopped:
                interrupts.check()  # one that came while the callback decided
                raise
            finally:
                callbacks.on_stop(state)

    def _result(
        self,
        run: PreparedRun,
        folder: RunFolder,
        state: TrainState,
        metrics: dict[str, float],
        tracked: TrackingReport,
    ) -> TrainingResult:
        return TrainingResult(
            config=run.config,
            folder=folder,
            run_id=tracked.run_id or folder.name,
            tracking_uri=tracked.tracking_uri,
            experiment_id=tracked.experiment_id,
            run=run,
            params=state.params,
            best_params=state.best_params,
            history=tuple(state.history),
            metrics=metrics,
            n_steps=state.step,
            totals=state.totals,
            seconds=dict(self._seconds),
            circuits_per_second=self._circuits_per_second,
            stop_reason=self._stopped_by or state.stop_reason,
            latency=self._latency,
            reconciliation=self._reconciliation,
            spending=self._spending_now(),
        )

    def _spending_now(self) -> Spending | None:
        """What the run's book says; None where there is none, or it cannot be read any more."""
        if self._read_spending is None:
            return None
        try:
            return self._read_spending()
        except QfleetError:  # its process has died
            return None

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Add the wall time of the block to phase `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - started


def _best_metrics(state: TrainState) -> dict[str, float]:
    """Figures of the best epoch, by tracking name; empty before the first has ended."""
    return dict(state.history[state.best_epoch - 1].metrics) if state.best_epoch else {}


def _save(active: _Active, status: RunStatus) -> TrackingReport:
    """Save the state and the best parameters after an interrupt or a failure, and tell MLflow how the run stands."""
    active.display.phase("saving")
    try:
        active.saving.on_stop(active.state)
        active.run.predictor(active.state.best_params).save(active.folder.model)
    except (CheckpointError, OSError) as problem:
        active.display.message(f"the last steps could not be saved: {problem}")
    return active.tracker.finish(status, timeout_seconds=5.0)


def _for_arrays(config: TrainingConfig) -> TrainingConfig:
    """The configuration, its data section naming arrays; what it says of preparing them stays, unless it is all default."""
    if "data" not in config.model_fields_set:
        return config.model_copy(update={"data": DataConfig(name="arrays")})
    return config.with_overrides(
        ["data.name=arrays", "data.path=none", "data.target=none", "data.features=none"]
    )


def _starting(fleet: FleetConfig) -> str:
    if fleet.dispatcher == "serial":
        return "loading the simulator"
    return f"joining the fleet {fleet.name}" if fleet.is_shared else f"starting {fleet.size} Ray actors"


def _notes(run: PreparedRun, state: TrainState, problems: Sequence[str]) -> Iterator[str]:
    """What a person should know before the run goes on."""
    for problem in problems:
        yield f"skipped a damaged checkpoint: {problem}"
    yield from run.notes
    advice = run.task.rule.advice(run.task.shots)
    if advice is not None:
        yield advice
    if state.step:
        yield f"continuing after step {state.step}, {state.epoch} epochs finished"
    if ray_submission_id() and not Path(run.config.run.directory).is_absolute():
        yield (
            f"this Ray job runs in a copy of the working directory that goes with it: run.directory = "
            f"{run.config.run.directory!r} and a default tracking store are lost with it; set run.directory to an absolute path "
            "and MLFLOW_TRACKING_URI"
        )
