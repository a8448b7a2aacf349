"""Runs whose model can be had: folders on this machine, and runs at MLflow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.errors import CheckpointError, InputError, QfleetError
from pipelines.data.datasets import dataset_summary
from pipelines.predictor import Predictor
from pipelines.run_folder import RunFolder
from pipelines.run_setup import load_run
from pipelines.similarity.embedding import VERSION, Embedding, architecture, data_set
from pipelines.similarity.probe import behaviour
from pipelines.tracking.fetched_model import fetch_model
from pipelines.tracking.logged_runs import LoggedRun, fetch_files, logged_runs

_MODEL_FILES = ("structure.json", "structure.npz", "params.npz", "preprocessing.npz", "about.json")


@dataclass(frozen=True)
class KnownRun:
    """A run, before its model is looked at.

    Attributes:
        name: for people. key: of its content, the same while that is.
        config: as it was trained. metrics: final figures by tracking name.
        model: folder of the predictor.
        describe: (what `dataset_summary` says, its spectrum or None), when it is asked for.
    """

    name: str
    key: str
    config: TrainingConfig
    metrics: dict[str, float]
    model: Path
    describe: Callable[[], tuple[dict[str, Any], np.ndarray | None]]

    def embed(self, n_probes: int) -> Embedding:
        """Its embedding, made now.

        Raises:
            CheckpointError: a file is damaged.
        """
        predictor = Predictor.load(self.model)
        about, spectrum = self.describe()
        vector, kind = behaviour(predictor, n_probes)
        ratio = predictor.preprocessing.explained_variance_ratio
        return Embedding(
            architecture(predictor.model, self.config.model),
            data_set(about, spectrum if ratio is None else np.asarray(ratio)),
            vector,
            kind,
        )


def runs_in_folders(directory: str) -> list[RunFolder]:
    """Runs in `directory`, those of studies too."""
    parent = Path(directory)
    found = [*parent.glob("*/config.toml"), *parent.glob("*/members/*/config.toml")]
    return [RunFolder(path.parent) for path in sorted(found)]


def of_folder(folder: RunFolder) -> KnownRun:
    """The run of a folder.

    Raises:
        InputError: it has no trained model yet. QfleetError: a file is damaged.
    """
    if not (folder.model / "params.npz").is_file():
        raise InputError(f"run {folder.name} has no trained model yet")
    name = folder.name if folder.study is None else f"{folder.study.name}/{folder.name}"
    recorded = folder.recorded_result() or {"metrics": {}}
    content = [folder.model / each for each in _MODEL_FILES] + [
        folder.data / "about.json",
        folder.path / "config.toml",
    ]

    def describe() -> tuple[dict[str, Any], np.ndarray | None]:
        run, _ = load_run(folder)
        return dataset_summary(run.data), _spectrum(run.data.train.features)

    return KnownRun(
        name, _key(content), folder.read_config(), dict(recorded["metrics"]), folder.model, describe
    )


def of_mlflow(logged: LoggedRun, tracking_uri: str, kept: Path) -> KnownRun:
    """A run at MLflow: its model, configuration and data description are fetched into `kept`, once.

    Raises:
        InputError: it logged no model of qfleet's. TrackingError: MLflow does not answer.
    """
    place = kept / logged.run_id
    model = place / logged.run_id[:8] / "model"
    if not (model / "params.npz").is_file():
        fetch_model(f"runs:/{logged.run_id}/model", tracking_uri, place)
    if not (place / "dataset.json").is_file():
        fetch_files(tracking_uri, logged.run_id, ("config.toml", "dataset.json"), place)
    about = RunFolder(place).read_json("dataset.json")
    content = [*(model / each for each in _MODEL_FILES), place / "config.toml", place / "dataset.json"]
    config = TrainingConfig.from_toml(place / "config.toml")
    return KnownRun(logged.name, _key(content), config, logged.metrics, model, lambda: (about, None))


def known_runs(
    directory: str, tracking_uri: str | None, experiment: str, kept: Path, say: Callable[[str], None]
) -> list[KnownRun]:
    """All whose model can be had; of a run that has a folder here MLflow is not asked. `say` is told of what is left out, and why."""
    found, here = [], set()
    for folder in runs_in_folders(directory):
        here.add(folder.mlflow_run_id)
        try:
            found.append(of_folder(folder))
        except QfleetError as error:
            say(f"left out {folder.name}: {error}")
    if tracking_uri is None:
        return found
    for logged in logged_runs(tracking_uri, experiment):
        if logged.run_id in here:
            continue
        try:
            found.append(of_mlflow(logged, tracking_uri, kept))
        except (InputError, CheckpointError) as error:
            say(f"left out {logged.name} at MLflow: {error}")
    return found


def _spectrum(features: np.ndarray) -> np.ndarray:
    """Variance of the training features by direction, float64 [F], of at most 10,000 samples spread over all of them."""
    rows = np.asarray(features[:: max(1, len(features) // 10_000)], np.float64)
    centred = rows - rows.mean(axis=0)
    return np.maximum(np.linalg.eigvalsh(centred.T @ centred / len(rows))[::-1], 0.0)


def _key(files: list[Path]) -> str:
    digest = hashlib.sha256(f"embedding {VERSION}".encode())
    for file in files:
        try:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error}") from None
    return digest.hexdigest()[:32]
