"""Runs of an experiment at MLflow, listed, and their small files, fetched."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import InputError, TrackingError, nearest
from orchestrator.redaction import Redactor, redact_uri
from pipelines.tracking.mlflow_store import _import_mlflow, in_words

_AT_ONCE = 1000


@dataclass(frozen=True)
class LoggedRun:
    """A finished run at MLflow: its id, its name in the lists, and the last value of each metric."""

    run_id: str
    name: str
    metrics: dict[str, float]


def logged_runs(tracking_uri: str, experiment: str) -> list[LoggedRun]:
    """The finished runs of an experiment, the newest first.

    Raises:
        InputError: there is no such experiment. TrackingError: MLflow does not answer.
    """
    try:
        client = _import_mlflow().MlflowClient(tracking_uri=tracking_uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            close = nearest(experiment, [each.name for each in client.search_experiments()])
            hint = f"; did you mean {close!r}?" if close else ""
            raise InputError(f"{redact_uri(tracking_uri)} has no experiment {experiment!r}{hint}")
        runs, token = [], None
        while True:
            page = client.search_runs(
                [found.experiment_id],
                "attributes.status = 'FINISHED'",
                max_results=_AT_ONCE,
                page_token=token,
            )
            runs += [LoggedRun(run.info.run_id, run.info.run_name, dict(run.data.metrics)) for run in page]
            token = page.token
            if not token:
                return runs
    except InputError:
        raise
    except Exception as error:  # a dozen kinds, of MLflow's, SQLAlchemy's and urllib3's
        raise _failed(error, tracking_uri) from None


def fetch_files(tracking_uri: str, run_id: str, names: Sequence[str], folder: Path) -> None:
    """Fetch artifacts of a run into `folder`, all of them or none.

    Raises:
        InputError: the run has no such artifact. TrackingError: MLflow does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
        try:
            client = _import_mlflow().MlflowClient(tracking_uri=tracking_uri)
            there = {file.path for file in client.list_artifacts(run_id)}
            missing = [name for name in names if name not in there]
            if missing:
                raise InputError(f"run {run_id} has no artifact {missing[0]!r}")
            for name in names:
                client.download_artifacts(run_id, name, scratch)
        except InputError:
            raise
        except Exception as error:
            raise _failed(error, tracking_uri) from None
        for name in names:
            (Path(scratch) / name).replace(folder / name)


def _failed(error: Exception, tracking_uri: str) -> TrackingError:
    return TrackingError(
        f"{redact_uri(tracking_uri)} cannot be read: {in_words(error, Redactor(tracking_uri))}"
    )
