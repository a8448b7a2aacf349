"""Merit: how well a model does on each row, so that models which answer for the same rows can be compared row by row.

The interval is a percentile bootstrap (B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13).
"""

from __future__ import annotations

import numpy as np

N_RESAMPLES = 10_000
_LEVEL = 0.95


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


def interval(gain: np.ndarray, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of `gain` [S] over resamples of its entries."""
    rng = np.random.default_rng([seed, len(gain)])
    means = gain[rng.integers(0, len(gain), (N_RESAMPLES, len(gain)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
