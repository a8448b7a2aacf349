"""Tracking: what the training loop says of a run, journaled on disk for MLflow.

The training loop calls `Tracker.log_metrics` and the like; these only touch files of the run's folder (see `pipelines.tracking.journal`).
A thread of its own ships them (see `pipelines.tracking.writer`, also for how nothing is lost and nothing is doubled). A server that
is down or slow costs the loop nothing: points stay in the journal and are sent later, by this process or by the next one that opens
the run.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from orchestrator.config import TrackingConfig
from orchestrator.errors import InputError
from orchestrator.redaction import Redactor
from pipelines.tracking.journal import MetricJournal, Spool, now_ms
from pipelines.tracking.markdown import NOTE_TAG
from pipelines.tracking.mlflow_store import RawDataset, fetch_metrics
from pipelines.tracking.registered_names import check_names
from pipelines.tracking.report import TrackingReport, tracking_report
from pipelines.tracking.tracked_model import PREDICTION_REQUIREMENTS, model_request
from pipelines.tracking.uri import given_uri, resolve_uri, without_mask
from pipelines.tracking.writer import TrackingWriter

logger = logging.getLogger(__name__)

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker:
    """Logs one run. All methods return at once, but `finish` and `close`; all may be called from any thread.

    Args:
        run_dir: the run's folder; on resume, the same.
        config: where to log.
        run_name: name of the run in MLflow.
        params: flat parameters; None keeps those of an earlier process.
        tags: tags beside those of ``config.tags``.
        description: Markdown shown at the top of the run in MLflow's UI.
        on_warning: called (from the thread) with the few sentences a person should see; by default they are logged.
        interval_seconds: pause between two shipments.
        parent: folder of the run that this one stands below in MLflow; None: as an earlier process said.
        title: name in MLflow's lists, given when the run is made there; None: `run_name`.
    """

    def __init__(
        self,
        run_dir: str | Path,
        config: TrackingConfig,
        run_name: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        *,
        description: str | None = None,
        on_warning: Callable[[str], None] | None = None,
        interval_seconds: float = 1.0,
        parent: str | Path | None = None,
        title: str | None = None,
    ) -> None:
        self._config = config
        self._pid = os.getpid()
        self.spool = Spool(run_dir)
        given = given_uri(config)
        self._redact = Redactor(given)
        self.journal = MetricJournal(self.spool.run_dir / "metrics.jsonl")
        self._describe(run_name, params, {**config.tags, **(tags or {})}, description)
        if title is not None:
            self.spool.state.title = self._redact(title)
        if parent is not None:
            self.spool.state.parent = os.path.relpath(parent, self.spool.run_dir)
        self._writer: TrackingWriter | None = None
        if config.enabled:
            uri = self._choose_uri(given)
            self._writer = TrackingWriter(
                self.spool, self.journal, uri, self._redact, on_warning, interval_seconds
            )
        self._report: TrackingReport | None = None
        self._finish_lock = threading.Lock()

    @property
    def run_id(self) -> str | None:
        """The MLflow run id; None while the run has not been created there."""
        return self.spool.state.run_id if self._writer else None

    def start(self) -> None:
        """Start the thread. On resume the MLflow run is reopened and gets what it lacks."""
        with self.spool.lock:
            self.spool.state.status, self.spool.state.ended_ms = "RUNNING", None
            self.spool.state.refused = {}
            self.spool.save(durable=True)  # the token has to outlive the request that will carry it
        self._start_writer()

    def log_metrics(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Journal metrics of a step. A None is left out; a metric already journaled at this step keeps its first value."""
        if os.getpid() == self._pid:
            self.journal.log({key: value for key, value in metrics.items() if value is not None}, step)

    def sync(self) -> None:
        """Put the journal on the disk itself; to be called with each checkpoint."""
        self.journal.sync()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or change tags."""
        with self.spool.lock:
            self.spool.state.tags.update(self._clean(tags))
            self.spool.save()

    def describe(self, markdown: str) -> None:
        """Set the description; links to ``artifacts/FILE`` lead to the run's artifacts, there and in the run's folder."""
        self.set_tags({NOTE_TAG: markdown})

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Log a file, or a folder with all in it, below `folder` of the run's artifacts.

        A copy is taken into the run's ``artifacts`` (unless it lies there already), so the original may change or go. Whatever else
        lies there when the run is finished is logged too.
        """
        if os.getpid() == self._pid:
            self._queue_files(self.spool.put_file(path, folder, self._redact.mask))

    def log_text(self, text: str, file: str) -> None:
        """Log `text` as artifact `file`."""
        if os.getpid() == self._pid:
            self._queue_files([self.spool.put_text(self._redact(text), file)])

    def log_dataset(
        self,
        features: np.ndarray,
        targets: np.ndarray | None = None,
        *,
        name: str,
        source: str,
        context: str = "training",
        digest: str | None = None,
        feature_names: Sequence[str] | None = None,
        target_name: str = "target",
        n_rows: int | None = None,
    ) -> None:
        """Log a data set as an input of the run (through ``mlflow.data``).

        Args:
            features: [S, F], all rows or some of them; not to be changed afterwards.
            targets: [S].
            source: path or URI of the file, or in words where the data came from.
            context: ``training``, ``validation``, ``test`` ...
            digest: hash of the data; of the given arrays if absent. The same digest and context are logged once.
            n_rows: rows of the whole data set where `features` are only some of them.
        """
        if self._writer is None or os.getpid() != self._pid:
            return
        names = list(feature_names or (f"feature_{i}" for i in range(features.shape[1])))
        self._writer.raw_datasets.append(
            RawDataset(
                features,
                targets,
                name,
                self._redact(source),
                context,
                digest,
                names,
                target_name,
                n_rows or len(features),
            )
        )
        self._wake()

    def log_model(
        self,
        folder: str | Path,
        *,
        feature_names: Sequence[str],
        example_features: np.ndarray,
        example_predictions: Mapping[str, np.ndarray],
        name: str = "model",
        requirements: Sequence[str] = PREDICTION_REQUIREMENTS,
    ) -> None:
        """Log a saved predictor as an MLflow pyfunc of the run: ``runs:/<run id>/<name>``.

        Args:
            folder: what ``Predictor.load`` reads; kept as it is (copied if it lies outside the run's folder).
            example_features: a few raw rows [S, F]; example_predictions: what ``predict_table`` says of them.
            requirements: distributions needed to predict, besides qfleet; pinned at the versions installed here.
        """
        if os.getpid() != self._pid:
            return
        request = model_request(
            self.spool.run_dir,
            Path(folder),
            name=name,
            feature_names=feature_names,
            example_features=example_features,
            example_predictions=example_predictions,
            requirements=requirements,
            git_commit=self.spool.state.tags.get("mlflow.source.git.commit"),
        )
        with self.spool.lock:
            state = self.spool.state
            if state.model is None or state.model["sha256"] != request["sha256"]:
                state.model, state.model_id = request, None
                self.spool.save()
        self._wake()

    def register_model(self, name: str, alias: str | None = None) -> None:
        """Register the run's model, once it is logged, as a version of `name`; the same model is registered there once.

        Args:
            alias: given to the version, and taken from the one that had it.

        Raises:
            InputError: MLflow would not take the name or the alias.
        """
        check_names(name, alias)
        if os.getpid() != self._pid:
            return
        with self.spool.lock:
            registrations = self.spool.state.registrations
            known = next((r for r in registrations if (r["name"], r["alias"]) == (name, alias)), None)
            if known is None:
                registrations.append({"name": name, "alias": alias, "version": None, "model_id": None})
            elif alias is not None:
                known["model_id"] = None  # another version may have got the alias since
            self.spool.save()
        self._wake()

    def status(self) -> TrackingReport:
        """How tracking stands now."""
        return tracking_report(self.spool, self.journal, self._writer)

    def finish(self, status: RunStatus | None = "FINISHED", timeout_seconds: float = 30.0) -> TrackingReport:
        """Ship the rest, end the run in MLflow with `status` (None: as an earlier process left it), and stop the thread.

        Waits `timeout_seconds` at most, and only some seconds for a server that refuses connections. What could not be shipped
        stays in the run's folder. A later call returns the same report.
        """
        with self._finish_lock:
            if self._report is None and os.getpid() != self._pid:
                return self.status()
            if self._report is None:
                self._end(status)
                try:
                    if self._writer is not None:
                        self._writer.finish(timeout_seconds)
                finally:
                    self._report = self.status()
            return self._report

    def close(self) -> None:
        """Stop the thread and close the journal. A run that has not been finished by now failed."""
        if os.getpid() != self._pid:
            return
        try:
            self.finish("FAILED", timeout_seconds=5.0)
        finally:
            self.journal.close()

    def __enter__(self) -> Tracker:
        self.start()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        if exc_type is not None:
            self.finish(
                "KILLED" if issubclass(exc_type, KeyboardInterrupt) else "FAILED", timeout_seconds=5.0
            )
        else:
            self.finish()
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Tracker stays in the driver: the log has one writer, and actors never talk to MLflow"
        )

    def _describe(
        self,
        run_name: str,
        params: Mapping[str, Any] | None,
        tags: Mapping[str, str],
        description: str | None,
    ) -> None:
        with self.spool.lock:
            state = self.spool.state
            state.run_name, state.experiment = run_name, self._config.experiment
            if params is not None:
                state.params = {key: self._redact(_as_text(value)) for key, value in params.items()}
            state.tags.update(self._clean(tags))
            if description is not None:
                state.tags[NOTE_TAG] = self._redact(description)

    def _choose_uri(self, given: str | None) -> str:
        """The URI to use; if it is another than last time, all is to be shipped anew."""
        with self.spool.lock:
            state = self.spool.state
            uri = resolve_uri(given, state)
            if state.uri is not None and without_mask(state.uri) != without_mask(self._redact(uri)):
                logger.info("run %s moves from %s to %s", state.run_name, state.uri, self._redact(uri))
                state.forget_shipped()
            state.uri, state.uri_given = self._redact(uri), given and self._redact(given)
            return uri

    def _clean(self, tags: Mapping[str, str]) -> dict[str, str]:
        return {key: self._redact(str(value)) for key, value in tags.items()}

    def _queue_files(self, names: Iterable[str]) -> None:
        if self._writer is not None:
            self._writer.files.extend(names)
            self._wake()

    def _start_writer(self) -> None:
        if self._writer is not None:
            self._writer.start()

    def _wake(self) -> None:
        if self._writer is not None:
            self._writer.wake.set()

    def _end(self, status: str | None) -> None:
        with self.spool.lock:
            state = self.spool.state
            if status is not None:
                # A clock that was set back does not end a run before it began.
                state.status, state.ended_ms = status, max(now_ms(), state.started_ms)
        try:
            self.journal.sync()
            self.spool.save(durable=True)
        except OSError as error:  # of a full disk those that write the run itself tell, and should be heard
            logger.warning("%s: how the run ended could not be noted: %s", self.spool.path, error)


def ship_pending(
    run_dir: str | Path, config: TrackingConfig | None = None, timeout_seconds: float = 60.0
) -> TrackingReport:
    """Ship what an earlier process could not, and end the MLflow run as that process wished.

    Raises:
        InputError: the folder holds no run, or another process is writing it.
    """
    run_dir = Path(run_dir)
    if not (run_dir / "tracking.json").is_file():
        raise InputError(f"{run_dir} holds no tracking.json: nothing was logged there")
    recorded = Spool(run_dir).state
    config = config or TrackingConfig(experiment=recorded.experiment or "qfleet")
    tracker = Tracker(run_dir, config, recorded.run_name)
    try:
        with tracker.spool.lock:
            tracker.spool.state.refused = {}  # what was refused then may have been mended since
        tracker._start_writer()
        return tracker.finish(None, timeout_seconds)
    finally:
        tracker.close()


def _as_text(value: Any) -> str:
    """A parameter's value as MLflow shows it: None as ``none``, lists as JSON."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, default=str)
    return str(value)


__all__ = [
    "RunStatus",
    "Tracker",
    "TrackingReport",
    "fetch_metrics",
    "resolve_uri",
    "ship_pending",
]
