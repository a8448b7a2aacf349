"""MLflow, in the few verbs that tracking needs. This module and `pipelines.tracking.pyfunc_model` are the only ones that import mlflow.

Importing mlflow takes seconds, so it happens inside functions. Every verb may be repeated without doing anything twice; every call
names the run it means, and nothing of MLflow's process-wide state (active run, global URI) is touched, but environment defaults.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import TrackingError
from orchestrator.redaction import Redactor
from pipelines.tracking.journal import MetricPoint
from pipelines.tracking.model_code import CODE_FILE, write_code
from pipelines.tracking.sqlite_file import make_whole

logger = logging.getLogger(__name__)

_HASHED_ROWS = 1 << 14

RUN_TAG = "qfleet.run"
MODEL_TAG = "qfleet.model"
MODEL_ID_TAG = "qfleet.model_id"

# MLflow's own limits (mlflow.utils.validation); beyond them it cuts silently or refuses.
MAX_METRICS, MAX_PARAMS_OR_TAGS, MAX_REQUEST_BYTES = 1000, 100, 400_000
MAX_KEY, MAX_PARAM_VALUE, MAX_TAG_VALUE, MAX_DIGEST = 250, 6000, 8000, 36

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # The thread has a back-off of its own; MLflow's default retries would hold it for four minutes, with a warning each.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it would print the URI, credentials included
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True)
class RawDataset:
    """A data set as the run has it; the fields are those of `Tracker.log_dataset`."""

    features: np.ndarray
    targets: np.ndarray | None
    name: str
    source: str
    context: str
    digest: str | None
    feature_names: list[str]
    target_name: str
    n_rows: int


class MlflowStore:
    """MLflow's client, in the few verbs that are needed; each may be repeated without doing anything twice."""

    def __init__(self, uri: str, on_import: Callable[[], object] = lambda: None) -> None:
        mlflow = _import_mlflow()
        on_import()  # before the tables of a new SQLite file are made: MLflow says so
        make_whole(uri, _fill_new_store)
        self._entities = mlflow.entities
        self._client = mlflow.MlflowClient(tracking_uri=uri)

    def experiment_id(self, name: str, artifact_location: str | None) -> str:
        """Id of the experiment, created if absent."""
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=artifact_location))
            except Exception:  # another run may have created it just now
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"the experiment {name!r} is deleted there; restore it (mlflow experiments restore) or choose another"
            )
        return str(found.experiment_id)

    def find_run(self, experiment_id: str, run_id: str | None, tag: str) -> str | None:
        """The run by its id or by its tag; None if there is none (or it was deleted)."""
        if run_id is not None and self.is_active(run_id):
            return run_id
        found = self._client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{tag}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def is_active(self, run_id: str) -> bool:
        """Whether the run is there and not deleted."""
        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except Exception as error:
            if http_status(error) == 404:
                return False
            raise

    def create_run(self, experiment_id: str, name: str, started_ms: int, tags: dict[str, str]) -> str:
        """A new run's id."""
        run = self._client.create_run(experiment_id, start_time=started_ms, tags=tags, run_name=name)
        return str(run.info.run_id)

    def reopen(self, run_id: str) -> None:
        """Status RUNNING."""
        if self._client.get_run(run_id).info.status != "RUNNING":
            self._client.update_run(run_id, status="RUNNING")

    def terminate(self, run_id: str, status: str, ended_ms: int | None) -> None:
        """The final status, with the time training ended, not that of shipping."""
        if status != "RUNNING":
            self._client.set_terminated(run_id, status, end_time=ended_ms)

    def log_params(self, run_id: str, params: dict[str, str]) -> dict[str, str]:
        """Log the new ones; returns those that MLflow has with another value, which it never changes."""
        there = self._client.get_run(run_id).data.params
        new = [self._entities.Param(key, value) for key, value in params.items() if key not in there]
        for chunk in _chunks(new):
            self._client.log_batch(run_id, params=chunk)
        return {key: value for key, value in params.items() if key in there and there[key] != value}

    def set_tags(self, run_id: str, tags: dict[str, str]) -> None:
        """Set tags."""
        for chunk in _chunks([self._entities.RunTag(key, value) for key, value in tags.items()]):
            self._client.log_batch(run_id, tags=chunk)

    def log_points(self, run_id: str, points: Sequence[MetricPoint]) -> None:
        """Log metric points."""
        metrics = [self._entities.Metric(p.key, p.value, p.timestamp_ms, p.step) for p in points]
        for first in range(0, len(metrics), MAX_METRICS):
            self._client.log_batch(run_id, metrics=metrics[first : first + MAX_METRICS])

    def log_file(self, run_id: str, path: Path, folder: str) -> None:
        """Log (or replace) an artifact."""
        self._client.log_artifact(run_id, str(path), None if folder == "." else folder)

    def describe_dataset(self, raw: RawDataset) -> dict[str, Any]:
        """The data set as ``mlflow.data`` describes it, as plain values."""
        import mlflow.data
        import pandas as pd  # type: ignore[import-untyped]

        # Column types show in some rows as well as in all, and no copy of a large data set is made.
        frame = pd.DataFrame(np.asarray(raw.features[:1000]), columns=raw.feature_names)
        if raw.targets is not None:
            frame[raw.target_name] = np.asarray(raw.targets[:1000])
        dataset = mlflow.data.from_pandas(
            frame,
            source=_dataset_source(raw.source),
            targets=None if raw.targets is None else raw.target_name,
            name=raw.name,
            digest=(raw.digest or _array_digest(raw.features, raw.targets))[:MAX_DIGEST],
        )
        record = dict(dataset.to_dict())
        record["profile"] = json.dumps({"num_rows": raw.n_rows, "num_elements": raw.n_rows * frame.shape[1]})
        return {**record, "context": raw.context}

    def log_dataset(self, run_id: str, record: Mapping[str, Any]) -> None:
        """Log a data set as the run's input."""
        values = {
            key: record.get(key) for key in ("name", "digest", "source_type", "source", "schema", "profile")
        }
        tag = self._entities.InputTag("mlflow.data.context", record["context"])
        dataset = self._entities.DatasetInput(dataset=self._entities.Dataset(**values), tags=[tag])
        self._client.log_inputs(run_id, [dataset])

    def log_model(
        self, experiment_id: str, run_id: str, request: dict[str, Any], run_dir: Path, tag: str
    ) -> str:
        """Log the pyfunc; returns its model id."""
        found = self._client.search_logged_models([experiment_id], f"tags.`{MODEL_TAG}` = '{tag}'")
        model = found[0] if found else self._client.create_logged_model(
            experiment_id, name=request["name"], source_run_id=run_id, tags={MODEL_TAG: tag}, model_type="qfleet",
            params={key: cut(value, 500) for key, value in self._client.get_run(run_id).data.params.items()},
        )  # fmt: skip
        outputs = self._client.get_run(run_id).outputs
        if model.model_id not in {each.model_id for each in (outputs.model_outputs if outputs else [])}:
            self._client.log_outputs(run_id, [self._entities.LoggedModelOutput(model.model_id, step=0)])
        if model.status != "READY":
            with tempfile.TemporaryDirectory(prefix="qfleet-model-") as folder:
                path = Path(folder) / "model"
                _save_pyfunc(path, request, run_dir, run_id, model)
                self._client.log_model_artifacts(model.model_id, str(path))
            self._client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    def register(self, model_id: str, run_id: str, name: str, alias: str | None) -> int:
        """The version of the registered model `name` that is this model, made if absent, with its alias; returns the version."""
        try:
            self._client.create_registered_model(name)
        except Exception as error:
            if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
                raise
        found = [
            each
            for each in self._client.search_model_versions(f"name = '{name}'")
            if each.tags.get(MODEL_ID_TAG) == model_id
        ]
        # The place of the files, not models:/<id>: MLflow would look that up in the tracking store of its own process-wide state.
        version = found[0] if found else self._client.create_model_version(
            name, self._client.get_logged_model(model_id).artifact_location, run_id=run_id, model_id=model_id,
            tags={MODEL_ID_TAG: model_id}, await_creation_for=0,
        )  # fmt: skip
        if alias is not None:
            self._client.set_registered_model_alias(name, alias, version.version)
        return int(version.version)


def fetch_metrics(uri: str, run_id: str) -> dict[str, list[MetricPoint]]:
    """Every point that MLflow has of a run, by metric, in order of step; as MLflow gives them."""
    client = _import_mlflow().MlflowClient(tracking_uri=uri)
    keys = client.get_run(run_id).data.metrics
    return {
        key: sorted(
            (
                MetricPoint(m.key, m.value, m.step, m.timestamp)
                for m in client.get_metric_history(run_id, key)
            ),
            key=lambda point: (point.step, point.timestamp_ms),
        )
        for key in keys
    }


class Quiet(logging.Filter):
    """Keeps chatter that one thread causes in MLflow, alembic and urllib3 off the terminal, and credentials out of the rest."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact
        self._thread = threading.get_ident()
        self._places: list[logging.Handler | logging.Logger] = []

    def install(self) -> None:
        """Hang the filter where the records pass; MLflow makes its handlers when it is imported."""
        self.close()
        loggers = [
            logging.getLogger(name)
            for name in ("alembic.runtime.migration", "urllib3.connectionpool", "urllib3.util.retry")
        ]
        self._places = [
            *logging.getLogger("mlflow").handlers,
            *logging.getLogger("alembic").handlers,
            *loggers,
        ]
        for place in self._places:
            place.addFilter(self)

    def close(self) -> None:
        """Take it away again."""
        for place in self._places:
            place.removeFilter(self)
        self._places = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Of this thread only errors pass, redacted."""
        if record.thread != self._thread:
            return True
        if record.levelno < logging.ERROR:
            return False
        record.msg, record.args = self._redact(record.getMessage()), None
        return True


def _import_mlflow() -> Any:
    """mlflow, with our defaults in the environment; what the user has set there stands."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow.entities

    # Advice on integer columns, which tells a user of qfleet nothing. Not catch_warnings: it is not thread-safe.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"mlflow\.types\.")
    return mlflow


def _fill_new_store(uri: str) -> None:
    """Make MLflow's tables in a new SQLite file, and let go of it."""
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(uri)
    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()


def _save_pyfunc(path: Path, request: dict[str, Any], run_dir: Path, run_id: str, model: Any) -> None:
    import pandas as pd
    from mlflow.models import Model, ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, Schema

    names = request["feature_names"]
    save_model(
        path=str(path),
        python_model=str(Path(__file__).with_name("pyfunc_model.py")),
        artifacts={
            "predictor": str(run_dir / request["folder"]),
            "code": str(write_code(path.with_name(CODE_FILE))),
        },
        signature=ModelSignature(
            inputs=Schema([ColSpec("double", name) for name in names]),
            outputs=Schema([ColSpec(kind, name) for name, kind in request["outputs"].items()]),
        ),
        input_example=pd.DataFrame(request["example"], columns=names),
        pip_requirements=request["requirements"],
        metadata=request["metadata"],
        mlflow_model=Model(
            artifact_path=model.artifact_location,
            run_id=run_id,
            model_id=model.model_id,
            model_uuid=model.model_id,
        ),
    )


def _dataset_source(source: str) -> Any:
    """MLflow's source object: a file or URI where `source` is one, else the words as a code source."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.dataset_source_registry import resolve_dataset_source

    if "://" in source or Path(source).exists():
        try:
            with (
                warnings.catch_warnings()
            ):  # it tells how it guesses, once for every kind of source that a path may be
                warnings.simplefilter("ignore")
                return resolve_dataset_source(source if "://" in source else str(Path(source).absolute()))
        except Exception as error:  # an unusual scheme is no reason to have no source at all
            logger.debug("data source %s: %s", source, error)
    return CodeDatasetSource(tags={"source": source})


def _array_digest(features: np.ndarray, targets: np.ndarray | None) -> str:
    digest = hashlib.sha256()
    for start in range(
        0, len(features), _HASHED_ROWS
    ):  # the features may be a file that is larger than memory
        digest.update(np.ascontiguousarray(features[start : start + _HASHED_ROWS]).tobytes())
    if targets is not None:  # the text of the list of them, a part at a time
        for start in range(0, len(targets), _HASHED_ROWS):
            part = str(np.asarray(targets[start : start + _HASHED_ROWS]).tolist())[1:-1]
            digest.update(f"{', ' if start else '['}{part}".encode())
        digest.update(b"]" if len(targets) else b"[]")
    return digest.hexdigest()[:MAX_DIGEST]


def clean_key(key: str) -> str:
    """A key that MLflow takes: letters, digits and ``_-. :/``, a plain relative path, no longer than it allows."""
    parts = [part for part in re.sub(r"[^\w\-. :/]", "_", key).split("/") if part not in ("", ".", "..")]
    return ("/".join(parts) or "_")[:MAX_KEY]


def cut(value: str, limit: int) -> str:
    """At most `limit` characters; a cut says so, where MLflow would cut silently."""
    if len(value) <= limit:
        return value
    note = f" ... [cut; {len(value)} characters in all]"
    return value[: limit - len(note)] + note


def _chunks(entities: Sequence[Any]) -> Iterator[list[Any]]:
    """Parts that fit MLflow's limits of number and request size."""
    chunk: list[Any] = []
    size = 0
    for entity in entities:
        n_bytes = len(entity.key.encode()) + len(entity.value.encode())
        if chunk and (len(chunk) == MAX_PARAMS_OR_TAGS or size + n_bytes > MAX_REQUEST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(entity)
        size += n_bytes
    if chunk:
        yield chunk


def http_status(error: BaseException) -> int | None:
    """The HTTP status that MLflow's exception stands for, None if it is no answer of a server."""
    response = getattr(error, "response", None)
    if response is not None and getattr(response, "status_code", None):
        return int(response.status_code)
    status = getattr(error, "get_http_status_code", None)
    return int(status()) if callable(status) else None


def is_refusal(error: BaseException) -> bool:
    """Whether waiting will not mend it: credentials, an unknown scheme, a missing driver, a deleted experiment."""
    return isinstance(error, (ModuleNotFoundError, TrackingError)) or http_status(error) in (
        400,
        401,
        403,
        404,
    )


def in_words(error: BaseException, redact: Redactor) -> str:
    """A short reason for a person."""
    if isinstance(error, ModuleNotFoundError):
        return f"the Python package {error.name!r}, which this tracking URI needs, is not installed"
    if (status := http_status(error)) in (401, 403):
        return f"it does not accept the credentials (HTTP {status})"
    text = redact(" ".join(str(error).split()))
    for pattern, words in _REASONS:
        if re.search(pattern, text, re.I):
            return words
    return text if len(text) <= 300 else text[:297] + "..."


_REASONS = (
    (
        r"sqlite3\.OperationalError\) (no such (index|table|column)|table \S+ already exists|duplicate column|index \S+ already exists)",
        "its SQLite file is not whole, as one is whose creation was stopped half-way; move it away, and it is made anew",
    ),
    (r"connection refused", "connection refused"),
    (r"name or service not known|name resolution|failed to resolve", "its host name is unknown"),
    (r"timed out|timeout", "no answer in time"),
    (
        r"got unsupported URI",
        "MLflow knows no such kind of tracking URI; use sqlite:///file.db or http(s)://host",
    ),
    (
        r"filesystem tracking backend",
        "MLflow no longer logs into plain folders; use sqlite:///file.db or http(s)://host",
    ),
)
