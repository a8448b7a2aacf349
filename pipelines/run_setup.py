"""Setting up a run: a new one from its configuration, or an old one from its folder. Nothing is started here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config import FleetConfig, TrainingConfig
from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.losses.base import Loss
from orchestrator.models.autoencoder import check_autoencoder
from orchestrator.models.model import Model
from orchestrator.models.patches import Patches
from orchestrator.registry import resolve
from orchestrator.training.gradient import first_problem
from orchestrator.training.reports import Samples
from orchestrator.training.staleness import check_staleness
from orchestrator.training.task import TrainingTask
from pipelines.checkpoints import Checkpoints
from pipelines.compose import build_backend, build_loss, choose_rule
from pipelines.data.datasets import PreparedData, SplitRows, prepare
from pipelines.data.images import ImageTransform
from pipelines.data.preprocessing import Preprocessing
from pipelines.data.stored import StoredSplits
from pipelines.data.table import Table
from pipelines.predictor import Predictor, read_structure, write_structure
from pipelines.run_folder import RunFolder, read_arrays, write_arrays

_SPLITS = ("train", "validation", "test")
_ROWS_AT_ONCE = 65_536
"""Samples that are looked at together where all of them need not fit into memory."""


@dataclass(frozen=True, eq=False)
class PreparedRun:
    """All that is needed to start training: configuration, data and what is trained on them.

    `notes` is what a person should know of how it was set up.
    """

    config: TrainingConfig
    data: PreparedData
    task: TrainingTask
    notes: tuple[str, ...] = ()

    def predictor(self, params: np.ndarray) -> Predictor:
        """The trained model, for raw features."""
        return Predictor(
            model=self.task.model,
            params=params,
            preprocessing=self.data.preprocessing,
            loss_name=self.config.loss.name,
            feature_names=self.data.feature_names,
            class_names=self.data.class_names,
            images=self.data.images,
        )


def prepare_run(
    config: TrainingConfig, model: Model | None = None, table: Table | None = None
) -> PreparedRun:
    """Load the data, build the model, check that backend and rule can do what is asked.

    Writes nothing but the files of a data set larger than memory, beside the runs; they go with the answer unless it is saved.

    Args:
        model: in place of the one that ``config.model`` describes.
        table: data in place of what ``config.data`` names.

    Raises:
        InputError: anything that cannot work.
    """
    loss = build_loss(config)
    if config.model.latent_qubits is not None:
        _check_autoencoder(config, model)
    n_features = model.n_features if model is not None else _n_features(config)
    data = prepare(
        config.data,
        task=loss.task,
        seed=config.run.seed,
        n_features=n_features,
        table=table,
        suggest=suggestion(config),
        parent=Path(config.run.directory),
        address=config.fleet.address,
    )
    if model is None:
        model = Model.from_config(config.model, partial(_n_outputs, loss, data))
    if not config.model.simplify:
        return assemble(config, model, data)
    from pipelines.simplified_model import simplified_model

    made = simplified_model(model)
    notes = tuple(f"model.simplify: {why}" for why in made.how.left_out)
    return replace(assemble(config, made.model, data), notes=notes)


def _check_autoencoder(config: TrainingConfig, model: Model | None) -> None:
    """Refuse an autoencoder that could not be told apart into encoding and encoder, or whose trash could not be measured."""
    if model is not None:
        problem = "an autoencoder is made from the configuration; leave out the model of your own"
        raise ConfigError("model.latent_qubits", config.model.latent_qubits, problem, "none")
    check_autoencoder(config.model)


def _n_features(config: TrainingConfig) -> int | None:
    """Features the configured model takes; None where only the built model can say."""
    if config.model.circuit is not None:
        return None
    patches = Patches.from_config(config.model)
    if patches is not None:
        return patches.n_features
    return int(resolve("feature map", config.model.feature_map)(config.model).n_features)


def _n_outputs(loss: Loss, data: PreparedData, n_scores: int) -> int:
    """Outputs that `loss` wants of a model whose head gives so many scores of each class."""
    n_classes = len(data.class_names or ())
    # a loss of one's own that takes one score a class need not know of more
    return loss.n_outputs(n_classes) if n_scores == 1 else loss.n_outputs(n_classes, n_scores)


def suggestion(config: TrainingConfig) -> Callable[[int], str | None]:
    """How the configured feature map is made to take n features."""

    def suggest(n: int) -> str | None:
        if config.model.image_shape is not None:
            return None
        if config.model.feature_map == "amplitude":
            return f"model.n_qubits = {n.bit_length() - 1}" if n & (n - 1) == 0 else None
        return f"model.n_{'features' if config.model.feature_map == 'reuploading' else 'qubits'} = {n}"

    return suggest


def assemble(config: TrainingConfig, model: Model, data: PreparedData) -> PreparedRun:
    """A run of a model on prepared data.

    Raises:
        InputError: model, data, loss, gradient rule and backend do not go together.
    """
    loss = build_loss(config)
    wanted = _n_outputs(loss, data, model.scores_per_class)
    if model.n_outputs != wanted:
        raise ConfigError(
            "loss.name", config.loss.name, f"needs {wanted} outputs, the model has {model.n_outputs}"
        )
    if model.n_features != data.n_features:
        raise ConfigError(
            "data.n_components",
            config.data.n_components,
            f"the data set gives {data.n_features} features, the model takes {model.n_features}",
            str(model.n_features),
        )
    for split in _SPLITS:
        features = getattr(data, split).features
        for start in range(0, len(features), _ROWS_AT_ONCE):
            model.inputs(
                features[start : start + _ROWS_AT_ONCE]
            )  # a row that cannot be encoded is refused now
    validation = data.validation if len(data.validation.targets) else None
    task = training_task(config, model, data.train, validation)
    return PreparedRun(config, data, task)


def training_task(
    config: TrainingConfig, model: Model, train: Samples, validation: Samples | None
) -> TrainingTask:
    """What the training loop is given.

    Args:
        train, validation: features as the model takes them, targets as the loss does; without validation the training loss decides
            what is best.

    Raises:
        InputError: model, loss, gradient rule and backend do not go together.
    """
    backend = build_backend(config)
    task = TrainingTask(
        model=model,
        loss=build_loss(config),
        rule=choose_rule(config, backend.capabilities),
        train=train,
        validation=validation,
        run=config.run,
        optimizer=config.optimizer,
        shots=config.backend.shots,
        has_jacobian=config.backend.shots is None and backend.capabilities.has_jacobian,
        variance_factor=backend.capabilities.variance_factor,
        max_staleness=config.training.max_staleness,
    )
    _ = task.rate_factors  # groups that are not there are refused now
    task.rule.check(first_problem(task, min(config.run.batch_size, len(train.targets))))
    check_staleness(task)
    return task


def save_run(folder: RunFolder, run: PreparedRun) -> str:
    """Write configuration, model and data to the run's folder; returns their fingerprint."""
    write_structure(folder.model, run.task.model)
    _write_data(folder.data, run.data)
    folder.write_config(run.config)  # last: a folder with a config.toml is a run
    return folder.fingerprint()


def load_run(folder: RunFolder, fleet: FleetConfig | None = None) -> tuple[PreparedRun, str]:
    """What `save_run` wrote, and its fingerprint.

    Args:
        fleet: in place of the one trained with; it changes no number.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    config = folder.read_config()
    if fleet is not None:
        config = config.model_copy(update={"fleet": fleet})
    try:
        model, data = read_structure(folder.model), _read_data(folder.data)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder.path}: the files in model and data are not what qfleet wrote there ({type(error).__name__}: {error})"
        ) from error
    return assemble(config, model, data), folder.fingerprint()


def _write_data(folder: Path, data: PreparedData) -> None:
    arrays: dict[str, np.ndarray] = {"raw_example": data.raw_example}
    for split in _SPLITS:
        samples: Samples = getattr(data, split)
        arrays |= {f"{split}/targets": samples.targets, f"{split}/rows": getattr(data.rows, split)}
        if data.stored is None:
            arrays[f"{split}/features"] = samples.features
    if data.stored is not None:
        data.stored.move_to(folder)
    write_arrays(folder / "splits.npz", arrays)
    write_arrays(folder / "preprocessing.npz", data.preprocessing.to_arrays())
    about: dict[str, Any] = {
        "feature_names": list(data.feature_names),
        "class_names": None if data.class_names is None else list(data.class_names),
        "target_name": data.target_name,
        "source": data.source,
        "digest": data.digest,
        "ignored": list(data.ignored),
        "task": data.task,
    }
    if data.images is not None:
        about["images"] = asdict(data.images)
    if data.stored is not None:
        about["stored"] = data.stored.to_plain()
    RunFolder(folder).write_json("about.json", about)


def _read_data(folder: Path) -> PreparedData:
    arrays = read_arrays(folder / "splits.npz")
    about = RunFolder(folder).read_json("about.json")
    names = about["class_names"]
    stored = StoredSplits.open(folder, about["stored"]) if "stored" in about else None
    train, validation, test = (
        Samples(
            arrays[f"{split}/features"] if stored is None else stored.features(split),
            arrays[f"{split}/targets"],
        )
        for split in _SPLITS
    )
    return PreparedData(
        train=train,
        validation=validation,
        test=test,
        rows=SplitRows(*(arrays[f"{split}/rows"] for split in _SPLITS)),
        preprocessing=Preprocessing.from_arrays(read_arrays(folder / "preprocessing.npz")),
        feature_names=tuple(about["feature_names"]),
        class_names=None if names is None else tuple(names),
        target_name=about["target_name"],
        source=about["source"],
        digest=about["digest"],
        ignored=tuple(about["ignored"]),
        task=about["task"],
        raw_example=arrays["raw_example"],
        images=ImageTransform(**about["images"]) if "images" in about else None,
        stored=stored,
    )


def best_params(folder: RunFolder, run: PreparedRun, fingerprint: str) -> tuple[np.ndarray, int]:
    """The best parameters so far [P] and the epoch they are of, from the newest whole checkpoint.

    Args:
        run, fingerprint: what `load_run` gave for `folder`.

    Raises:
        CheckpointError: there is none.
    """
    state, _ = Checkpoints(folder.checkpoints, run.config.checkpoint.keep, fingerprint).load_newest()
    if state is None:
        raise CheckpointError(
            f"run {folder.name} has no checkpoint yet; continue it with: qfleet resume {folder.name}"
        )
    return state.best_params, state.best_epoch
