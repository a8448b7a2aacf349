"""What a loss offers."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

Task = Literal["binary", "multiclass", "regression", "autoencoder"]


class Loss(Protocol):
    """A mean over samples of a function of outputs and targets.

    Attributes:
        task: what kind of targets it takes: int64 class indices, float64 values, or none (``autoencoder``; they are then zeros).
    """

    task: Task

    def n_outputs(self, n_classes: int, n_scores: int = 1) -> int:
        """Outputs the model must have.

        Args:
            n_classes: classes in the data; 0 for regression.
            n_scores: what the model's head gives of every class, see `orchestrator.models.heads.scores_per_class`.
        """
        ...

    def value_and_gradient(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean loss, and its derivative by the outputs [S, C]."""
        ...

    def predict(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """``prediction`` [S] (class index or value) and, for classes, ``probability`` [S, n_classes]."""
        ...

    def metrics(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Figures of merit by name: ``loss`` and ``accuracy``, ``loss``, ``rmse`` and ``r2``, or ``loss`` and ``trash_fidelity``."""
        ...


def classification_metrics(loss: Loss, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Mean loss and accuracy."""
    value, _ = loss.value_and_gradient(outputs, targets)
    return {"loss": value, "accuracy": float(np.mean(loss.predict(outputs)["prediction"] == targets))}
