"""Figures of merit of predictions as functions of sample weights, so that resamples are rows of counts.

They are what scikit-learn computes: ``accuracy_score``, ``balanced_accuracy_score``, ``f1_score`` (macro), ``log_loss``,
``brier_score_loss``, ``roc_auc_score`` (two classes), ``root_mean_squared_error``, ``mean_absolute_error``, ``r2_score``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from orchestrator.losses.base import Loss, Task

_SMALLEST = float(np.finfo(np.float64).eps)
"""Probabilities below it count as it in the log loss, as in scikit-learn."""

HIGHER_IS_BETTER = {"accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "r2", "trash_fidelity"}


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model predicts for S samples, and what is right.

    Attributes:
        task: what the targets are.
        predicted: [S], class indices or values; probability: float64 [S, K], None where there are no classes.
        actual: [S], class indices or values (of an autoencoder: unused); None where nobody knows.
    """

    task: Task
    predicted: np.ndarray
    probability: np.ndarray | None
    actual: np.ndarray | None

    @classmethod
    def of(cls, loss: Loss, outputs: np.ndarray, actual: np.ndarray | None) -> Predictions:
        """What `loss` reads from outputs [S, C]."""
        found = loss.predict(outputs)
        return cls(loss.task, found["prediction"], found.get("probability"), actual)

    @property
    def is_classes(self) -> bool:
        """Whether classes are predicted."""
        return self.probability is not None

    @property
    def is_right(self) -> np.ndarray:
        """bool [S], of classes."""
        return np.asarray(self.predicted == self.actual)


def measures(predictions: Predictions, counts: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
    """Every figure that applies, float64 [R] by name; NaN where a resample does not define it.

    Args:
        counts: float64 [R, S], how often each sample is drawn in each of R resamples; None: each once.
    """
    n_samples = len(predictions.predicted)
    weights = np.ones((1, n_samples)) if counts is None else counts
    if predictions.task == "autoencoder":
        return {"trash_fidelity": _mean(weights, predictions.predicted)}
    if predictions.actual is None:
        return {}
    if predictions.probability is None:
        return _of_values(weights, predictions.predicted, predictions.actual)
    return _of_classes(weights, predictions.predicted, predictions.probability, predictions.actual)


def _of_values(weights: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> dict[str, np.ndarray]:
    squared = _mean(weights, (predicted - actual) ** 2)
    centred = actual - actual.mean()  # the variance below would lose digits to a large mean
    about_mean = _mean(weights, centred**2)
    spread = about_mean - _mean(weights, centred) ** 2
    rounding = 1e-12 * about_mean + (8 * _SMALLEST * np.abs(actual).max()) ** 2  # of equal targets
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(spread > rounding, 1.0 - squared / spread, np.nan)
    return {"rmse": np.sqrt(squared), "mae": _mean(weights, np.abs(predicted - actual)), "r2": r2}


def _of_classes(
    weights: np.ndarray, predicted: np.ndarray, probability: np.ndarray, actual: np.ndarray
) -> dict[str, np.ndarray]:
    n_classes = probability.shape[1]
    rows = np.arange(len(actual))
    is_actual, is_predicted = (
        actual[:, None] == np.arange(n_classes),
        predicted[:, None] == np.arange(n_classes),
    )
    n_actual, n_predicted, n_right = (
        _sums(weights, table) for table in (is_actual, is_predicted, is_actual & is_predicted)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.where(n_actual > 0, n_right / n_actual, np.nan)
        f1 = np.where(n_actual + n_predicted > 0, 2.0 * n_right / (n_actual + n_predicted), np.nan)
    found = {
        "accuracy": _mean(weights, predicted == actual),
        "balanced_accuracy": np.nanmean(recall, axis=1),
        "macro_f1": np.nanmean(f1, axis=1),
        "log_loss": _mean(weights, sample_log_loss(probability, actual)),
    }
    if n_classes > 2:
        return found | {"brier": _mean(weights, ((probability - is_actual) ** 2).sum(axis=1))}
    positive = probability[rows, 1]
    return found | {
        "brier": _mean(weights, (positive - actual) ** 2),
        "roc_auc": _roc_auc(weights, positive, actual == 1),
    }


def sample_log_loss(probability: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """float64 [S]: minus the logarithm of the probability [S, K] given to the right class."""
    given = probability[np.arange(len(actual)), actual]
    return np.asarray(-np.log(np.clip(given, _SMALLEST, 1.0)))


def _roc_auc(weights: np.ndarray, score: np.ndarray, is_positive: np.ndarray) -> np.ndarray:
    """Probability that a positive sample scores higher than a negative one, ties counting half (Mann and Whitney, 1947)."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf) > 0)
    ordered, positive = weights[:, order], is_positive[order]
    of_positive = np.add.reduceat(ordered * positive, starts, axis=1)
    of_negative = np.add.reduceat(ordered * ~positive, starts, axis=1)
    below = np.cumsum(of_negative, axis=1) - of_negative
    won = np.sum(of_positive * (below + 0.5 * of_negative), axis=1)
    pairs = of_positive.sum(axis=1) * of_negative.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(pairs > 0, won / pairs, np.nan))


def _sums(weights: np.ndarray, table: np.ndarray) -> np.ndarray:
    """float64 [R, K] of table [S, K]; einsum, so that no number of threads changes a bit."""
    return np.einsum("rs,sk->rk", weights, table.astype(np.float64))


def _mean(weights: np.ndarray, per_sample: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("rs,s->r", weights, per_sample.astype(np.float64)) / weights.sum(axis=1))
