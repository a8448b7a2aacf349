"""Merit: how well a model does on each row, so that models which answer for the same rows can be compared row by row."""

from __future__ import annotations

import numpy as np

from pipelines.baselines import interval


def merits_of(predicted: np.ndarray, actual: np.ndarray, *, is_classes: bool) -> np.ndarray:
    """float64 [S], higher is better: 1 or 0 for right or wrong; minus the squared error for values."""
    if is_classes:
        return np.asarray(predicted == actual, np.float64)
    return np.asarray(-((predicted - actual) ** 2))


def score_name(is_classes: bool) -> str:
    """What a mean merit is reported as."""
    return "accuracy" if is_classes else "rmse"


def score_of(merit: float, is_classes: bool) -> float:
    """Accuracy, or root mean squared error, of a mean merit."""
    return merit if is_classes else float(np.sqrt(-merit))


def gain(merits: np.ndarray, others: np.ndarray, seed: int) -> dict[str, float]:
    """Mean gain in merit over the same rows, and its 95 % bootstrap interval over these: ``difference``, ``low``, ``high``."""
    difference = merits - others
    low, high = interval(difference, seed)
    return {"difference": float(difference.mean()), "low": low, "high": high}
