"""Tracking: what a run journals on disk, shipped to MLflow by one background thread.

The training loop calls `Tracker.log_metrics` and the like; these only touch files of the run's folder (see `pipelines.journal`).
The thread imports mlflow (seconds, off the training path), creates or finds the run, and ships in batches about every second. A
server that is down or slow costs the loop nothing: points stay in the journal and are sent later, by this process or by the next
one that opens the run.

How nothing is lost and nothing is doubled:

- a point is journaled once, with its first timestamp, and MLflow keeps identical points once, so resending is harmless;
- the journal is on the disk before its points are sent, so a power cut can't make the next process journal sent points anew;
- the run is created with a tag that is unique to the run's folder; if the answer to "create" is lost, the run is found by it;
- files are compared by sha256, data sets by digest, the model by a tag of its content.

Non-finite values stay what they are in the journal. MLflow keeps NaN; an infinity would become 1.8e308 there and flatten every
chart, so it is sent as NaN, with a tag ``qfleet.nonfinite.<metric>`` that says what it was and at which step first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from orchestrator.config import TrackingConfig
from orchestrator.errors import InputError
from pipelines.journal import (
    MetricJournal,
    MetricPoint,
    Spool,
    SpoolState,
    file_sha256,
    now_ms,
    read_points,
    replace_file,
)
from pipelines.mlflow_store import (
    MAX_METRICS,
    MAX_PARAM_VALUE,
    MAX_TAG_VALUE,
    RUN_TAG,
    MlflowStore,
    Quiet,
    RawDataset,
    clean_key,
    cut,
    fetch_metrics,
    http_status,
    in_words,
    is_refusal,
)
from pipelines.provenance import Redactor, redact_uri, versions

logger = logging.getLogger(__name__)

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
# What the prediction side of the package imports. qfleet itself is not listed: it is on no index, and a requirement by bare name
# would make `mlflow models` fetch whatever someone else may publish under that name. MLmodel's metadata says which qfleet it was.
PREDICTION_REQUIREMENTS = (
    "mlflow",
    "cirq-core",
    "numba",
    "numpy",
    "pandas",
    "pydantic",
    "scikit-learn",
    "scipy",
)


@dataclass(frozen=True)
class TrackingReport:
    """How tracking stands, or ended.

    Attributes:
        state: ``off`` (disabled), ``starting``, ``connected``, ``unreachable`` or ``refused``.
        run_id, experiment_id: at MLflow; None while there is none.
        tracking_uri: without credentials; None if tracking is off.
        n_points: points in the journal; n_points_pending: those MLflow does not have yet.
        n_items_pending: files, data sets, tags, the model or the final status still to be sent.
        refused: what MLflow refused for good, in words.
        message: one line for people; it says how to ship the rest if there is any.
    """

    state: str
    run_id: str | None
    experiment_id: str | None
    tracking_uri: str | None
    n_points: int
    n_points_pending: int
    n_items_pending: int
    refused: tuple[str, ...]
    message: str

    @property
    def is_complete(self) -> bool:
        """MLflow has everything, or was not asked to."""
        return self.state == "off" or not (self.n_points_pending or self.n_items_pending or self.refused)


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
    ) -> None:
        self._config = config
        self._pid = os.getpid()
        self.spool = Spool(run_dir)
        given = _given_uri(config)
        self._redact = Redactor(given)
        self.journal = MetricJournal(self.spool.run_dir / "metrics.jsonl")
        self._describe(run_name, params, {**config.tags, **(tags or {})}, description)
        self._writer: _Writer | None = None
        if config.enabled:
            uri = self._choose_uri(given)
            self._writer = _Writer(self.spool, self.journal, uri, self._redact, on_warning, interval_seconds)
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
        self._writer.wake.set()

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
        request = {
            "name": name,
            "folder": str(self._model_folder(Path(folder))),
            "feature_names": list(feature_names),
            "example": np.asarray(example_features, np.float64).tolist(),
            "outputs": {key: _column_type(values) for key, values in example_predictions.items()},
            "requirements": [f"{key}=={value}" for key, value in versions(tuple(requirements)).items()],
            "metadata": {"qfleet": versions(("qfleet",)).get("qfleet", "unknown")},
        }
        if commit := self.spool.state.tags.get("git.commit"):
            request["metadata"]["git_commit"] = commit
        request["sha256"] = _model_sha256(self.spool.run_dir, request)
        with self.spool.lock:
            state = self.spool.state
            if state.model is None or state.model["sha256"] != request["sha256"]:
                state.model, state.model_id = request, None
                self.spool.save()
        self._wake()

    def status(self) -> TrackingReport:
        """How tracking stands now."""
        return _report(self.spool, self.journal, self._writer)

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
                state.tags["mlflow.note.content"] = self._redact(description)

    def _choose_uri(self, given: str | None) -> str:
        """The URI to use; if it is another than last time, all is to be shipped anew."""
        with self.spool.lock:
            state = self.spool.state
            uri = resolve_uri(given, state)
            if state.uri is not None and _without_mask(state.uri) != _without_mask(self._redact(uri)):
                logger.info("run %s moves from %s to %s", state.run_name, state.uri, self._redact(uri))
                state.forget_shipped()
            state.uri, state.uri_given = self._redact(uri), given and self._redact(given)
            return uri

    def _clean(self, tags: Mapping[str, str]) -> dict[str, str]:
        return {key: self._redact(str(value)) for key, value in tags.items()}

    def _queue_files(self, names: Iterable[str]) -> None:
        if self._writer is not None:
            self._writer.files.extend(names)
            self._writer.wake.set()

    def _model_folder(self, folder: Path) -> Path:
        """Where the predictor lies, relative to the run's folder."""
        run_dir = self.spool.run_dir.absolute()
        if not folder.absolute().is_relative_to(run_dir):
            kept = run_dir / "model"
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    replace_file(kept / path.relative_to(folder), path.read_bytes())
            return Path("model")
        return folder.absolute().relative_to(run_dir)

    def _start_writer(self) -> None:
        if self._writer is not None:
            self._writer.start()

    def _wake(self) -> None:
        if self._writer is not None:
            self._writer.wake.set()

    def _end(self, status: str | None) -> None:
        self.journal.sync()
        with self.spool.lock:
            state = self.spool.state
            if status is not None:
                state.status, state.ended_ms = status, now_ms()
            self.spool.save(durable=True)


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
        tracker._start_writer()
        return tracker.finish(None, timeout_seconds)
    finally:
        tracker.close()


def resolve_uri(given: str | None, recorded: SpoolState | None = None) -> str:
    """The tracking URI: the given one; else where the run is already; else ``mlflow.db`` in the working directory.

    A relative SQLite path is made absolute, so that a resume from another directory finds the same file.
    """
    if given is None:
        if recorded is not None and recorded.uri is not None:
            return _without_mask(recorded.uri)
        return f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    if not given.startswith("sqlite:///"):
        return given
    if recorded is not None and recorded.uri is not None and recorded.uri_given == given:
        return recorded.uri
    path, question, query = given.removeprefix("sqlite:///").partition("?")
    return f"sqlite:///{Path(path).absolute()}{question}{query}"


def _given_uri(config: TrackingConfig) -> str | None:
    """The configured URI, else the environment's; one that was masked when it was saved is completed from the environment."""
    environment = os.environ.get("MLFLOW_TRACKING_URI") or None
    if config.uri is None or (environment is not None and redact_uri(environment) == config.uri):
        return environment
    return _without_mask(config.uri)


def _without_mask(uri: str) -> str:
    """A redacted URI as one that can be used: MLflow takes credentials from MLFLOW_TRACKING_USERNAME and _PASSWORD too."""
    return uri.replace("***@", "")


class _Writer:
    """The one thread that talks to MLflow."""

    def __init__(
        self,
        spool: Spool,
        journal: MetricJournal,
        uri: str,
        redact: Redactor,
        on_warning: Callable[[str], None] | None,
        interval_seconds: float,
    ) -> None:
        self._spool, self._journal, self._uri, self._redact = spool, journal, uri, redact
        self._on_warning = on_warning or logger.warning
        self._interval = interval_seconds
        self.files: deque[str] = deque()
        self.raw_datasets: deque[RawDataset] = deque()
        self.wake = threading.Event()
        self.state = "starting"
        self.reason = ""
        self._server: MlflowStore | None = None
        self._is_attached = False
        self._has_warned = False
        self._n_failures = 0
        self._is_finishing = threading.Event()
        self._is_stopped = threading.Event()
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="qfleet-tracking", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def finish(self, timeout_seconds: float) -> None:
        """Wait until all is shipped, MLflow is given up on, or the time is over; then let the thread end."""
        if not self._thread.is_alive():
            return
        try:
            self._n_failures = 0
            self._is_finishing.set()
            self.wake.set()
            self._is_done.wait(timeout_seconds)
        finally:  # on Ctrl-C too; a request under way is left to itself, the thread is a daemon
            self._is_stopped.set()
            self.wake.set()
        if self._is_done.is_set():
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        quiet = Quiet(self._redact)
        try:
            delay: float | None = 0.0
            while delay is not None and not self._is_stopped.is_set():
                self.wake.wait(delay)
                self.wake.clear()
                delay = self._turn(quiet)
        finally:
            quiet.close()
            self._is_done.set()

    def _turn(self, quiet: Quiet) -> float | None:
        """Ship what there is; returns the seconds to wait before the next turn, None to end."""
        is_finishing = (
            self._is_finishing.is_set()
        )  # read first: all logged before it was set is shipped below
        try:
            if self._server is None:
                self._server = MlflowStore(self._uri, quiet.install)
            self._describe_datasets(self._server)
            if not self._is_attached:
                self._attach(self._server)
            is_drained = self._ship(self._server, is_finishing)
        except _Detached:
            self._is_attached = False
            return self._interval
        except Exception as error:
            return self._failed(error)
        self.state, self._n_failures = "connected", 0
        if is_finishing and is_drained:
            return None
        return self._interval if is_drained else 0.0

    def _failed(self, error: Exception) -> float | None:
        self.reason = in_words(error, self._redact)
        if is_refusal(error):
            self.state = "refused"
            self._warn_once(
                f"MLflow at {self._spool.state.uri} refuses this run: {self.reason}. Training goes on; all is kept in "
                f"{self._spool.run_dir}."
            )
            return None
        self._n_failures += 1
        self.state = "unreachable"
        logger.debug("attempt %d failed: %s (%s)", self._n_failures, self.reason, type(error).__name__)
        self._warn_once(
            f"MLflow at {self._spool.state.uri} cannot be reached: {self.reason}. Training goes on; all is kept in "
            f"{self._spool.run_dir} and sent when it answers."
        )
        if self._is_finishing.is_set():
            return float(self._n_failures) if self._n_failures < 3 else None
        return min(2.0 ** (self._n_failures - 1), 60.0)

    def _warn_once(self, sentence: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._on_warning(sentence)

    def _describe_datasets(self, server: MlflowStore) -> None:
        """Turn waiting arrays into records that tracking.json can hold; needs no connection."""
        while self.raw_datasets:
            record = server.describe_dataset(self.raw_datasets[0])
            self.raw_datasets.popleft()
            with self._spool.lock:
                known = self._spool.state.datasets
                if any(
                    (each["digest"], each["context"]) == (record["digest"], record["context"])
                    for each in known
                ):
                    continue
                if any(
                    (each["digest"], each["name"]) == (record["digest"], record["name"]) for each in known
                ):
                    record["name"] += f" ({record['context']})"  # else MLflow takes it for the input it has
                known.append({**record, "shipped": False})
                self._spool.save()

    def _attach(self, server: MlflowStore) -> None:
        """Find or create the run, reopen it, and send params."""
        state = self._spool.state
        experiment_id = server.experiment_id(state.experiment, self._artifact_location())
        run_id = server.find_run(experiment_id, state.run_id, f"{state.run_name}-{state.token}")
        if state.run_id is not None and run_id != state.run_id:
            with self._spool.lock:
                state.forget_shipped()
        self._queue_unshipped()
        if run_id is None:
            tags = {RUN_TAG: f"{state.run_name}-{state.token}"}
            run_id = server.create_run(experiment_id, state.run_name, state.started_ms, tags)
        with self._spool.lock:
            state.experiment_id, state.run_id = experiment_id, run_id
            self._spool.save()
        if state.status == "RUNNING" or state.shipped_status is None:
            server.reopen(run_id)
            state.shipped_status = "RUNNING"
        changed = server.log_params(
            run_id, {clean_key(k): cut(v, MAX_PARAM_VALUE) for k, v in state.params.items()}
        )
        with self._spool.lock:
            state.tags.update({f"resumed.{key}": value for key, value in changed.items()})
            self._spool.save()
        self._is_attached = True

    def _artifact_location(self) -> str | None:
        """With an embedded store, files lie beside the data base, wherever the process was started."""
        if not self._uri.startswith("sqlite:///"):
            return None
        path = Path(self._uri.removeprefix("sqlite:///").partition("?")[0])
        return str(path.parent / "mlruns" / re.sub(r"[^\w.-]+", "_", self._spool.state.experiment))

    def _ship(self, server: MlflowStore, is_finishing: bool) -> bool:
        """Send a batch of each kind; True when nothing is left."""
        state = self._spool.state
        assert state.run_id is not None
        is_more = self._ship_metrics(server, state.run_id)
        self._ship_tags(server, state.run_id)
        for dataset in [each for each in state.datasets if not each["shipped"]]:
            self._ship_dataset(server, state.run_id, dataset)
        if is_finishing and not is_more:
            self._queue_unshipped()
        while self.files and not self._is_stopped.is_set():
            self._ship_file(server, state.run_id, self.files[0])
            self.files.popleft()
        if is_more or self._is_stopped.is_set():
            return False
        if state.model is not None and state.model_id is None and "model" not in state.refused:
            self._ship_model(server, state.run_id, state.model)
        self._ship_tags(server, state.run_id)
        if is_finishing and state.shipped_status != state.status:
            server.terminate(state.run_id, state.status, state.ended_ms)
            self._record(lambda: setattr(state, "shipped_status", state.status))
        return True

    def _ship_metrics(self, server: MlflowStore, run_id: str) -> bool:
        """Send one batch; True if there are more."""
        state = self._spool.state
        if state.shipped_bytes >= self._journal.size:
            return False
        self._journal.sync()  # first the disk, then the server: see the module's text
        points, offset = read_points(self._journal.path, state.shipped_bytes, MAX_METRICS)
        batch = [self._sendable(point) for point in points]
        self._guard(server, "metrics", lambda: server.log_points(run_id, batch))

        def record() -> None:
            state.shipped_bytes = offset
            state.n_shipped_points += len(points)

        self._record(record)
        return offset < self._journal.size

    def _sendable(self, point: MetricPoint) -> MetricPoint:
        key = clean_key(point.key)
        if math.isinf(point.value):
            with self._spool.lock:
                text = f"{point.value} at step {point.step}; kept as NaN, see metrics.jsonl"
                self._spool.state.tags.setdefault(f"qfleet.nonfinite.{key}", text)
            return point._replace(key=key, value=math.nan)
        return point._replace(key=key)

    def _ship_tags(self, server: MlflowStore, run_id: str) -> None:
        state = self._spool.state
        with self._spool.lock:
            new = {key: value for key, value in state.tags.items() if state.shipped_tags.get(key) != value}
        if new:
            tags = {clean_key(key): cut(value, MAX_TAG_VALUE) for key, value in new.items()}
            self._guard(server, "tags", lambda: server.set_tags(run_id, tags))
            self._record(lambda: state.shipped_tags.update(new))

    def _queue_unshipped(self) -> None:
        """Files of an earlier process, or put among the artifacts by others; what is queued twice is sent once."""
        self.files.extend(
            name for name in self._spool.unshipped_files() if f"file {name}" not in self._spool.state.refused
        )

    def _ship_dataset(self, server: MlflowStore, run_id: str, dataset: dict[str, Any]) -> None:
        what = f"data set {dataset['name']} ({dataset['context']})"
        self._guard(server, what, lambda: server.log_dataset(run_id, dataset))
        self._record(lambda: dataset.update(shipped=True))  # or refused, which the report says

    def _ship_file(self, server: MlflowStore, run_id: str, name: str) -> None:
        path = self._spool.artifacts / name
        if not path.is_file():
            return
        digest = file_sha256(path)
        if self._spool.state.files.get(name) != digest and self._guard(
            server, f"file {name}", lambda: server.log_file(run_id, path, str(Path(name).parent))
        ):
            self._record(lambda: self._spool.state.files.update({name: digest}))

    def _ship_model(self, server: MlflowStore, run_id: str, request: dict[str, Any]) -> None:
        state = self._spool.state
        tag = f"{state.token}-{request['sha256'][:16]}"
        made: list[str] = []

        def send() -> None:
            made.append(
                server.log_model(state.experiment_id or "", run_id, request, self._spool.run_dir, tag)
            )

        if self._guard(server, "model", send):
            self._record(lambda: setattr(state, "model_id", made[0]))

    def _record(self, change: Callable[[], object]) -> None:
        with self._spool.lock:
            change()
            self._spool.save()

    def _guard(self, server: MlflowStore, what: str, send: Callable[[], object]) -> bool:
        """Send one thing. If it is refused on its own account, say so once and go on without it: False."""
        run_id = self._spool.state.run_id
        try:
            send()
            return True
        except Exception as error:
            if not is_refusal(error) or http_status(error) in (401, 403) or run_id is None:
                raise
            if not server.is_active(run_id):  # deleted, or the server began anew with an empty store
                raise _Detached from error
            reason = in_words(error, self._redact)
            self._record(lambda: self._spool.state.refused.update({what: reason}))
            self._on_warning(f"MLflow refuses the {what}: {reason}. It is kept in {self._spool.run_dir}.")
            return False


class _Detached(Exception):
    """The run is no longer at the server."""


def _model_sha256(run_dir: Path, request: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode())
    folder = run_dir / request["folder"]
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _column_type(values: np.ndarray) -> str:
    """MLflow's name for the type of an output column."""
    kind = np.asarray(values).dtype.kind
    return {"f": "double", "i": "long", "u": "long", "b": "boolean"}.get(kind, "string")


def _as_text(value: Any) -> str:
    """A parameter's value as MLflow shows it: None as ``none``, lists as JSON."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, default=str)
    return str(value)


def _report(spool: Spool, journal: MetricJournal, writer: _Writer | None) -> TrackingReport:
    with spool.lock:
        state = spool.state
        if writer is None:
            return TrackingReport("off", None, None, None, journal.n_points, 0, 0, (), "tracking is off")
        n_points = max(journal.n_points - state.n_shipped_points, 0)
        n_points = n_points if state.shipped_bytes < journal.size else 0
        n_items = _n_items(state, writer)
        refused = tuple(f"{what}: {reason}" for what, reason in state.refused.items())
        return TrackingReport(
            writer.state, state.run_id, state.experiment_id, state.uri, journal.n_points, n_points, n_items, refused,
            _message(spool, writer, n_points, n_items),
        )  # fmt: skip


def _n_items(state: SpoolState, writer: _Writer) -> int:
    return (
        len(writer.files)
        + len(writer.raw_datasets)
        + sum(not each["shipped"] for each in state.datasets)
        + (state.model is not None and state.model_id is None and "model" not in state.refused)
        + sum(state.shipped_tags.get(key) != value for key, value in state.tags.items())
        + (state.status != "RUNNING" and state.shipped_status != state.status)
    )


def _message(spool: Spool, writer: _Writer, n_points: int, n_items: int) -> str:
    state = spool.state
    if not n_points and not n_items:
        rest = f"; MLflow refused {', '.join(state.refused)}" if state.refused else ""
        return f"logged to MLflow at {state.uri}, run {state.run_id}{rest}"
    kept = f"{n_points} metric points and {n_items} other items are kept in {spool.run_dir}"
    how = f"'qfleet resume {state.run_name}' sends them"
    if writer.state == "refused":
        return f"MLflow at {state.uri} refused: {writer.reason}; {kept}; once that is mended, {how}"
    if writer.state == "unreachable":
        return f"MLflow at {state.uri} cannot be reached ({writer.reason}); {kept}; {how}"
    return f"MLflow at {state.uri} has not got everything yet; {kept}; {how}"


__all__ = [
    "RunStatus",
    "Tracker",
    "TrackingReport",
    "fetch_metrics",
    "redact_uri",
    "resolve_uri",
    "ship_pending",
]
