"""What is evaluated: a run of this machine, or a model that some run logged at MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.config import LossConfig, TrackingConfig, TrainingConfig
from orchestrator.errors import CheckpointError, InputError
from orchestrator.models.model import Model
from pipelines.predictor import Predictor
from pipelines.run_folder import RunFolder
from pipelines.run_setup import PreparedRun
from pipelines.saved_run import Request, open_run
from pipelines.tracking.fetched_model import fetch_model, is_model_uri
from pipelines.tracking.uri import given_uri, resolve_uri

MODELS = "models"
"""Folder, below that of the runs, where fetched models and their evaluations are kept."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained model, and where it is to be run.

    Attributes:
        name: for people: of the run, or of the model with its version. uri: of the model at MLflow; None of a run.
        folder: keeps its evaluations and the book of what they cost.
        predictor: the model with its parameters and preprocessing.
        config: with the backend, shots and actors that are asked for.
        prepared: the run; None of a model, which comes without its data.
        epoch: of which the parameters are; None of a model.
        mlflow_run_id: at MLflow, if it is there.
    """

    name: str
    uri: str | None
    folder: RunFolder
    predictor: Predictor
    config: TrainingConfig
    prepared: PreparedRun | None
    epoch: int | None
    mlflow_run_id: str | None

    @property
    def model(self) -> Model:
        """The circuit and its head."""
        return self.predictor.model

    @property
    def params(self) -> np.ndarray:
        """float64 [P]."""
        return self.predictor.params

    @property
    def is_tracked(self) -> bool:
        """Whether its evaluations belong at MLflow."""
        if self.prepared is None:
            return True
        return self.config.tracking.enabled and (self.folder.path / "tracking.json").is_file()


def open_subject(
    name: str, directory: str = "runs", request: Request | None = None, tracking_uri: str | None = None
) -> Subject:
    """The run or model that is meant, to be run as `request` says.

    Args:
        name: as of `RunFolder.find`; or ``models:/NAME``, ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``runs:/RUN_ID/model``.
        directory: where runs are, and where fetched models are kept.
        tracking_uri: of MLflow, for models; None: as ``qfleet train`` would log to here.

    Raises:
        InputError: there is none, or the request cannot be met. CheckpointError: it has no parameters yet, or a file is damaged.
        TrackingError: MLflow does not answer.
    """
    request = request or Request()
    if is_model_uri(name):
        return _model(name, directory, request, tracking_uri)
    saved = open_run(name, directory, request)
    return Subject(
        name=saved.folder.name,
        uri=None,
        folder=saved.folder,
        predictor=saved.prepared.predictor(saved.params),
        config=saved.config,
        prepared=saved.prepared,
        epoch=saved.epoch,
        mlflow_run_id=saved.folder.mlflow_run_id,
    )


def _model(uri: str, directory: str, request: Request, tracking_uri: str | None) -> Subject:
    where = resolve_uri(given_uri(TrackingConfig(uri=tracking_uri)))
    fetched = fetch_model(uri, where, Path(directory) / MODELS)
    folder = RunFolder(Path(directory) / MODELS / fetched.name)
    try:
        predictor = Predictor.load(folder.model)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{uri}: its files are of another version of qfleet ({type(error).__name__}: {error})"
        ) from error
    folder.write_json("model.json", fetched.to_json())
    tracking = TrackingConfig(uri=where, experiment=fetched.experiment or TrackingConfig().experiment)
    config = TrainingConfig(loss=LossConfig(name=predictor.loss_name), tracking=tracking)
    return Subject(
        name=fetched.name,
        uri=fetched.uri,
        folder=folder,
        predictor=predictor,
        config=request.of(config),
        prepared=None,
        epoch=None,
        mlflow_run_id=fetched.run_id,
    )
