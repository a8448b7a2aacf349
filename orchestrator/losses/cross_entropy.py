"""Cross-entropy on logits, binary and multi-class, in the forms that neither overflow nor lose digits."""

from __future__ import annotations

import numpy as np

from orchestrator.losses.base import Task, classification_metrics


class BinaryCrossEntropy:
    """One logit z per sample; p(class 1) = 1 / (1 + exp(-z))."""

    task: Task = "binary"

    def n_outputs(self, n_classes: int, n_scores: int = 1) -> int:
        """One logit."""
        return 1

    def value_and_gradient(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """mean log(1 + exp(-sz)), s = ±1 for class 1 and 0, and its derivative by the logits [S, 1]."""
        sign = 2.0 * targets - 1.0
        margin = sign * outputs[:, 0]
        value = float(np.mean(np.logaddexp(0.0, -margin)))
        return value, (-sign * _sigmoid(-margin) / len(margin))[:, None]

    def predict(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Class 1 where the logit is positive."""
        positive = _sigmoid(outputs[:, 0])
        return {
            "prediction": (outputs[:, 0] > 0).astype(np.int64),
            "probability": np.stack([1.0 - positive, positive], axis=1),
        }

    def metrics(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Loss and accuracy."""
        return classification_metrics(self, outputs, targets)


class CrossEntropy:
    """C logits per sample; p = softmax(logits)."""

    task: Task = "multiclass"

    def n_outputs(self, n_classes: int, n_scores: int = 1) -> int:
        """One logit per class."""
        return n_classes

    def value_and_gradient(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """mean -log p(target), and its derivative by the logits [S, C]."""
        log_probability = _log_softmax(outputs)
        rows = np.arange(len(outputs))
        gradient = np.exp(log_probability)
        gradient[rows, targets] -= 1.0
        return float(-np.mean(log_probability[rows, targets])), gradient / len(outputs)

    def predict(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """The class with the largest logit."""
        return {"prediction": outputs.argmax(axis=1), "probability": np.exp(_log_softmax(outputs))}

    def metrics(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Loss and accuracy."""
        return classification_metrics(self, outputs, targets)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -z))


def _log_softmax(z: np.ndarray) -> np.ndarray:
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
