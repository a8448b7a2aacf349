"""Predictor: a trained model and its preprocessing, loaded from a folder of JSON and arrays, answering for raw feature rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.coordinator import Coordinator
from orchestrator.errors import DataError
from orchestrator.losses.base import Loss
from orchestrator.models.model import Model
from orchestrator.models.plain import model_from_plain, model_to_plain
from orchestrator.registry import resolve
from orchestrator.training.loop import evaluate_samples
from pipelines.data.images import ImageTransform
from pipelines.data.preprocessing import Preprocessing
from pipelines.run_folder import RunFolder, read_arrays, write_arrays


@dataclass(frozen=True, eq=False)
class Predictor:
    """What is needed to predict.

    Attributes:
        model: the circuit and its head; params: float64 [P].
        preprocessing: raw features -> features of the circuit.
        loss_name: the loss it was trained with, which says what an output means.
        feature_names: the raw columns, in order; class_names: of the classes, None for regression.
        images: how image files become raw features; None for a model of other data.
    """

    model: Model
    params: np.ndarray
    preprocessing: Preprocessing
    loss_name: str
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...] | None
    images: ImageTransform | None = None

    @property
    def loss(self) -> Loss:
        """The loss it was trained with."""
        loss: Loss = resolve("loss", self.loss_name)()
        return loss

    @classmethod
    def load(cls, folder: str | Path) -> Predictor:
        """From the ``model/`` folder of a run (or a copy of it).

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        folder = Path(folder)
        model = read_structure(folder)
        about = RunFolder(folder).read_json("about.json")
        return cls(
            model=model,
            params=read_arrays(folder / "params.npz")["params"],
            preprocessing=Preprocessing.from_arrays(read_arrays(folder / "preprocessing.npz")),
            loss_name=about["loss"],
            feature_names=tuple(about["feature_names"]),
            class_names=None if about["class_names"] is None else tuple(about["class_names"]),
            images=ImageTransform(**about["images"]) if "images" in about else None,
        )

    def save(self, folder: Path) -> None:
        """Write what `load` reads."""
        write_structure(folder, self.model)
        write_arrays(folder / "params.npz", {"params": self.params})
        write_arrays(folder / "preprocessing.npz", self.preprocessing.to_arrays())
        about: dict[str, Any] = {
            "loss": self.loss_name,
            "feature_names": list(self.feature_names),
            "class_names": None if self.class_names is None else list(self.class_names),
        }
        if self.images is not None:
            about["images"] = asdict(self.images)
        RunFolder(folder).write_json("about.json", about)

    def predict(self, features: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """Class names (or class indices where there are none), or values, for raw features [S, F_raw]."""
        predicted = self.loss.predict(self.outputs(features))["prediction"]
        return predicted if self.class_names is None else np.array(self.class_names, object)[predicted]

    def image_features(self, files: Sequence[str | Path]) -> np.ndarray:
        """Raw features of image files, float64 [S, F_raw], as all that predicts takes them: as they were made for training.

        Raises:
            DataError: the model was trained on other data than images; or a file is damaged or too small.
        """
        if self.images is None:
            raise DataError("the model was trained on columns, not on images: give their values")
        return self.images(files)

    def predict_table(self, features: np.ndarray) -> dict[str, np.ndarray]:
        """Columns by name: ``prediction`` and, for classes, ``probability_<class>``."""
        answer = self.loss.predict(self.outputs(features))
        if self.class_names is None:
            return {"prediction": answer["prediction"]}
        columns = {"prediction": np.array(self.class_names, object)[answer["prediction"]]}
        return columns | {
            f"probability_{name}": answer["probability"][:, i] for i, name in enumerate(self.class_names)
        }

    def outputs(self, features: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """The model's outputs [S, C] (logits or values), computed exactly in this process.

        Raises:
            DataError: wrong number of columns, or a value that is not finite.
        """
        raw = np.atleast_2d(np.asarray(features, np.float64))
        if raw.ndim != 2 or raw.shape[1] != len(self.feature_names):
            raise DataError(
                f"features of shape {raw.shape} given; the model takes {len(self.feature_names)} columns"
            )
        bad = np.argwhere(~np.isfinite(raw))
        if len(bad):
            row, column = bad[0]
            raise DataError(
                f"row {row + 1}, column {self.feature_names[column]!r}: {raw[row, column]} is not a finite number"
            )
        from actors.backends.ideal import IdealBackend
        from actors.serial import SerialDispatcher

        backend = IdealBackend()
        coordinator = Coordinator(SerialDispatcher(backend), backend.capabilities)
        outputs, _ = evaluate_samples(
            self.model,
            self.params,
            self.preprocessing.transform(raw),
            coordinator,
            shots=None,
            seed=0,
            purpose="predict",
        )
        return outputs


def write_structure(folder: Path, model: Model) -> None:
    """The model without its parameters: structure.json and structure.npz."""
    description, arrays = model_to_plain(model)
    folder.mkdir(parents=True, exist_ok=True)
    RunFolder(folder).write_json("structure.json", description)
    write_arrays(folder / "structure.npz", arrays)


def read_structure(folder: Path) -> Model:
    """The model that `write_structure` wrote."""
    return model_from_plain(
        RunFolder(folder).read_json("structure.json"), read_arrays(folder / "structure.npz")
    )
