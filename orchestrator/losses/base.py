"""What a loss offers."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

Task = Literal["binary", "multiclass", "regression"]


class Loss(Protocol):
    """A mean over samples of a function of outputs and targets.

    Attributes:
        task: what kind of targets it takes: int64 class indices, or float64 values.
    """

    task: Task

    def n_outputs(self, n_classes: int) -> int:
        """Outputs the model must have."""
        ...

    def value_and_gradient(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean loss, and its derivative by the outputs [S, C]."""
        ...

    def predict(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """``prediction`` [S] (class index or value) and, for classes, ``probability`` [S, n_classes]."""
        ...

    def metrics(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Figures of merit by name: ``loss`` and ``accuracy``, or ``loss``, ``rmse`` and ``r2``."""
        ...


def classification_metrics(loss: Loss, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Mean loss and accuracy."""
    value, _ = loss.value_and_gradient(outputs, targets)
    return {"loss": value, "accuracy": float(np.mean(loss.predict(outputs)["prediction"] == targets))}
