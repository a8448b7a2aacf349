"""Weighted fidelity: the squared distance of weighted class fidelities from those of the right class."""

from __future__ import annotations

import numpy as np

from orchestrator.errors import ConfigError
from orchestrator.losses.base import Task, classification_metrics


class WeightedFidelity:
    """Pérez-Salinas et al., arXiv 1907.02085: ``sum_cq (alpha_cq F_cq - Y_c)²``, Y_c being 1 for the sample's class and 0 for the other.

    Two classes. Outputs are ``alpha_cq F_cq`` [S, 2 Q], those of class 0 on all Q qubits first: what the head ``weighted_fidelity``
    gives. The prediction is the class with the larger sum over qubits; the class probabilities are the softmax of these sums.
    """

    task: Task = "binary"

    def n_outputs(self, n_classes: int, n_scores: int = 1) -> int:
        """Every score of every class: the head ``weighted_fidelity`` gives one of each measured qubit."""
        return n_classes * n_scores

    def value_and_gradient(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean over samples of the summed squares, and its derivative by the outputs [S, 2 Q].

        Raises:
            ConfigError: an odd number of outputs.
        """
        error = _by_class(outputs) - _one_hot(targets)[:, :, None]
        value = float(np.mean(np.sum(error**2, axis=(1, 2))))
        return value, (2.0 / len(error)) * error.reshape(outputs.shape)

    def predict(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """The class with the larger summed weighted fidelity."""
        scores = _by_class(outputs).sum(axis=2)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return {
            "prediction": scores.argmax(axis=1),
            "probability": powers / powers.sum(axis=1, keepdims=True),
        }

    def metrics(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Loss and accuracy."""
        return classification_metrics(self, outputs, targets)


def _by_class(outputs: np.ndarray) -> np.ndarray:
    """Outputs as [S, 2, Q]."""
    n_outputs = outputs.shape[1]
    if n_outputs % 2:
        problem = f"weighted_fidelity wants one output for each of two classes and each qubit, the model has {n_outputs}"
        raise ConfigError("loss.name", "weighted_fidelity", problem, "cross_entropy")
    return outputs.reshape(len(outputs), 2, n_outputs // 2)


def _one_hot(targets: np.ndarray) -> np.ndarray:
    return np.stack([1.0 - targets, 1.0 * targets], axis=1)
