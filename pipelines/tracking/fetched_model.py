"""A model that a run logged at MLflow, fetched: its files as they were logged, and which run they are of. Nothing of it is executed."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import InputError, TrackingError, nearest
from orchestrator.redaction import Redactor, redact_uri
from pipelines.tracking.mlflow_store import _import_mlflow, http_status, in_words

_URI = re.compile(
    r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+|latest))?|runs:/(?P<run>[^/]+)/(?P<path>.+)"
)


@dataclass(frozen=True)
class FetchedModel:
    """What was fetched.

    Attributes:
        uri: of exactly this model: with the version in place of an alias.
        name: for people and folders: ``fraud-v3``, or the beginning of the run's id.
        run_id: of the run that logged it; None where MLflow does not say. experiment: name of its experiment.
        tracking_uri: of the server, without credentials.
    """

    uri: str
    name: str
    run_id: str | None
    experiment: str | None
    tracking_uri: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def is_model_uri(text: str) -> bool:
    """Whether it names a model at MLflow, rightly or wrongly written."""
    return text.startswith(("models:/", "runs:/"))


def fetch_model(uri: str, tracking_uri: str, folder: Path) -> FetchedModel:
    """Fetch the predictor of a logged model into ``folder/<name>/model``, as `Predictor.load` reads it.

    Args:
        uri: ``models:/NAME``, ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/RUN_ID/NAME``; without a version the newest.
        tracking_uri: of the server or store, with credentials where it wants some.

    Raises:
        InputError: no such model, or none that qfleet logged. TrackingError: MLflow does not answer.
    """
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise InputError(
            f"{uri!r} is no model: models:/NAME, models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/model"
        )
    if tracking_uri.startswith("sqlite:///"):
        store = Path(tracking_uri.removeprefix("sqlite:///").partition("?")[0])
        if not store.is_file():
            raise InputError(f"{uri}: there is no MLflow store {store}; name another with --tracking-uri")
    redact = Redactor(tracking_uri)
    try:
        client = _import_mlflow().MlflowClient(tracking_uri=tracking_uri)
        found = _of_registry(client, uri, parts) if parts["run"] is None else None
        run_id = parts["run"] if found is None else (found.run_id or None)
        exact = uri if found is None else f"models:/{found.name}/{found.version}"
        name = f"{run_id}"[:8] if found is None else f"{found.name}-v{found.version}"
        experiment = None
        if run_id is not None:
            experiment = client.get_experiment(client.get_run(run_id).info.experiment_id).name
        model = FetchedModel(exact, _as_folder(name), run_id, experiment, redact_uri(tracking_uri))
        location = (
            _of_run(client, uri, parts["run"], parts["path"]) if found is None else _of_version(client, found)
        )
        _download(uri, location, tracking_uri, folder / model.name)
    except (
        InputError,
        TrackingError,
        TypeError,
        AttributeError,
        NameError,
    ):  # the latter are defects, not answers
        raise
    except Exception as error:  # a dozen kinds, of MLflow's, SQLAlchemy's and urllib3's
        reason = in_words(error, redact)
        if http_status(error) == 404:
            raise InputError(f"{uri}: {reason}") from None
        raise TrackingError(f"{uri} cannot be fetched from {redact_uri(tracking_uri)}: {reason}") from None
    return model


def _of_registry(client: Any, uri: str, parts: re.Match[str]) -> Any:
    """The registered version that is meant."""
    name, alias, version = parts["name"], parts["alias"], parts["version"]
    versions = client.search_model_versions("name = '" + name.replace("'", "\\'") + "'")
    if not versions:
        known = [model.name for model in client.search_registered_models(max_results=1000)]
        close = nearest(name, known)
        hint = (
            f"did you mean {close!r}?" if close else f"there are: {', '.join(sorted(known)[:10]) or 'none'}"
        )
        raise InputError(f"{uri}: no registered model {name!r}; {hint}")
    newest = max(versions, key=lambda one: int(one.version))
    if alias is not None:
        aliases = client.get_registered_model(name).aliases
        version = aliases.get(alias)
        if version is None:
            close = nearest(alias, aliases)
            hint = (
                f"did you mean {close!r}?" if close else f"there are: {', '.join(sorted(aliases)) or 'none'}"
            )
            raise InputError(f"{uri}: the model {name!r} has no alias {alias!r}; {hint}")
    if version in (None, "latest"):
        return newest
    found = next((one for one in versions if str(one.version) == str(version)), None)
    if found is None:
        raise InputError(f"{uri}: no version {version}; the newest of {name!r} is {newest.version}")
    return found


def _of_version(client: Any, found: Any) -> str:
    """Where its files lie. MLflow would look a ``models:/`` or ``runs:/`` up in the store of its own process-wide state."""
    return str(client.get_model_version_download_uri(found.name, found.version))


def _of_run(client: Any, uri: str, run_id: str, name: str) -> str:
    """Where the files of the newest model lie that the run logged under this name."""
    experiment = client.get_run(run_id).info.experiment_id
    logged = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    named = [model for model in logged if model.name == name]
    if not named:
        names = ", ".join(sorted({model.name for model in logged})) or "none"
        raise InputError(f"{uri}: the run logged no model {name!r}; there are: {names}")
    return str(max(named, key=lambda model: int(model.creation_timestamp)).artifact_location)


def _download(uri: str, location: str, tracking_uri: str, folder: Path) -> None:
    """The predictor's files into ``folder/model``, whole or not at all; what is there stays if it is the same model."""
    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
        place = Path(download_artifacts(location, dst_path=scratch, tracking_uri=tracking_uri))
        flavour = (
            Model.load(str(place)).flavors.get("python_function", {}) if (place / "MLmodel").is_file() else {}
        )
        inside = flavour.get("artifacts", {}).get("predictor", {}).get("path")
        predictor = None if inside is None else (place / inside).resolve()
        if predictor is None or not (
            predictor.is_relative_to(place.resolve()) and (predictor / "structure.json").is_file()
        ):
            raise InputError(f"{uri}: is no model that qfleet logged (no predictor among its files)")
        if (folder / "model").is_dir():
            shutil.rmtree(folder / "model")
        shutil.move(predictor, folder / "model")


def _as_folder(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
