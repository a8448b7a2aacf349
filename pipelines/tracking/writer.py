"""The one thread that talks to MLflow: it ships a run's journal and files in the background.

It imports mlflow (seconds, off the training path), creates or finds the run, and ships in batches about every second.

How nothing is lost and nothing is doubled:

- a point is journaled once, with its first timestamp, and MLflow keeps identical points once, so resending is harmless;
- the journal is on the disk before its points are sent, so a power cut can't make the next process journal sent points anew;
- the run is created with a tag that is unique to the run's folder; if the answer to "create" is lost, the run is found by it;
- files are compared by sha256, data sets by digest, the model by a tag of its content, a registered version by its model's id.

Non-finite values stay what they are in the journal. MLflow keeps NaN; an infinity would become 1.8e308 there and flatten every
chart, so it is sent as NaN, with a tag ``qfleet.nonfinite.<metric>`` that says what it was and at which step first.
"""

from __future__ import annotations

import logging
import math
import re
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.redaction import Redactor
from pipelines.tracking.journal import (
    MetricJournal,
    MetricPoint,
    Spool,
    file_sha256,
    read_points,
    registration_words,
)
from pipelines.tracking.markdown import NOTE_TAG, cut_description, with_links
from pipelines.tracking.mlflow_store import (
    MAX_METRICS,
    MAX_PARAM_VALUE,
    MAX_TAG_VALUE,
    RUN_TAG,
    MlflowStore,
    Quiet,
    RawDataset,
    clean_key,
    cut,
    http_status,
    in_words,
    is_refusal,
)

logger = logging.getLogger(__name__)


class TrackingWriter:
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
                f"MLflow at {self._spool.state.uri} refuses this run: {self.reason}. Nothing is lost: all is kept in "
                f"{self._spool.run_dir}."
            )
            return None
        self._n_failures += 1
        self.state = "unreachable"
        logger.debug("attempt %d failed: %s (%s)", self._n_failures, self.reason, type(error).__name__)
        self._warn_once(
            f"MLflow at {self._spool.state.uri} cannot be reached: {self.reason}. Nothing is lost: all is kept in "
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
            name = state.title or state.run_name
            run_id = server.create_run(experiment_id, name, state.started_ms, tags)
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
        for registration in state.pending_registrations:
            self._ship_registration(server, state.run_id, registration)
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
        self._spool.find_parent()
        with self._spool.lock:
            new = {key: value for key, value in state.tags.items() if state.shipped_tags.get(key) != value}
        if new:
            tags = {clean_key(key): self._tag_value(key, value, run_id) for key, value in new.items()}
            self._guard(server, "tags", lambda: server.set_tags(run_id, tags))
            self._record(lambda: state.shipped_tags.update(new))

    def _tag_value(self, key: str, value: str, run_id: str) -> str:
        if key != NOTE_TAG:
            return cut(value, MAX_TAG_VALUE)
        text = with_links(value, self._spool.state.experiment_id or "", run_id)
        return cut_description(text, MAX_TAG_VALUE)

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

    def _ship_registration(self, server: MlflowStore, run_id: str, registration: dict[str, Any]) -> None:
        model_id, made = self._spool.state.model_id, list[int]()
        if model_id is None:  # refused
            return

        def send() -> None:
            made.append(server.register(model_id, run_id, registration["name"], registration["alias"]))

        if self._guard(server, registration_words(registration), send):
            self._record(lambda: registration.update(version=made[0], model_id=model_id))

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
