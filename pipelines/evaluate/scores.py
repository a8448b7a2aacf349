"""How a model did on a split of its run: what training ends with, and what everything else is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import InputError
from orchestrator.training.loop import evaluate_samples
from orchestrator.training.reports import Samples, Totals
from pipelines.run_setup import PreparedRun


@dataclass(frozen=True, eq=False)
class Scores:
    """How a model did on a split.

    Attributes:
        metrics: by tracking name: ``test/accuracy`` ...
        actual, predicted: [S], class indices or values; of the samples that were answered.
        class_names: None for regression.
        used: circuits, shots and dollars it took.
    """

    metrics: dict[str, float]
    actual: np.ndarray
    predicted: np.ndarray
    class_names: tuple[str, ...] | None
    used: Totals

    @property
    def confusion(self) -> np.ndarray | None:
        """int64 [K, K], row = actual class, column = predicted class; None for regression."""
        if self.class_names is None:
            return None
        return confusion_of(self.actual, self.predicted, len(self.class_names))


def score(
    prepared: PreparedRun, config: TrainingConfig, params: np.ndarray, coordinator: Coordinator, split: str
) -> Scores:
    """Run a split through the model.

    Raises:
        InputError: the split is empty.
    """
    samples = samples_of_split(prepared, split)
    lost = np.zeros(len(samples.targets), bool)
    outputs, used = evaluate_samples(
        prepared.task.model, params, samples.features, coordinator,
        shots=config.backend.shots, seed=config.run.seed, purpose=split, lost=lost,
    )  # fmt: skip
    outputs, targets = outputs[~lost], samples.targets[~lost]
    loss = prepared.task.loss
    return Scores(
        metrics={
            f"{metric_prefix(split)}/{name}": value for name, value in loss.metrics(outputs, targets).items()
        },
        actual=targets,
        predicted=loss.predict(outputs)["prediction"],
        class_names=prepared.data.class_names,
        used=used,
    )


def samples_of_split(prepared: PreparedRun, split: str) -> Samples:
    """The samples of ``train``, ``validation`` or ``test``.

    Raises:
        InputError: the split is empty.
    """
    samples: Samples = getattr(prepared.data, split)
    if not len(samples.targets):
        raise InputError(f"the {split} split is empty: this run was trained with data.{split}_fraction = 0")
    return samples


def metric_prefix(split: str) -> str:
    """What stands before the names of a split's metrics."""
    return "val" if split == "validation" else split


def confusion_of(actual: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """int64 [K, K], row = actual class, column = predicted class."""
    return np.bincount(actual * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)
