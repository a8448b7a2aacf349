"""Statistics of repeated trainings: means with their errors, a paired test over seeds and test samples, and Holm's correction.

The test answers "would another training, on another draw of the data, show this difference as well?":

- several seeds, each with a test split of its own: the corrected resampled t-test of C. Nadeau and Y. Bengio, "Inference for the
  generalization error", Machine Learning 52 (2003) 239. The splits overlap, so the variance of the mean is the variance over the seeds
  times (1/R + n_test/n_train), in place of 1/R;
- several seeds on one and the same test split: seeds and samples as two crossed random factors, the variances of the mean by each
  added up, with Satterthwaite's degrees of freedom (Biometrics Bulletin 2 (1946) 110);
- one seed: McNemar's exact test for classes (Psychometrika 12 (1947) 153), the paired t-test otherwise. That says nothing of another
  training.

Over several seeds the variance is never taken for less than what the test samples alone give it, so that a few seeds that happen to
agree prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.evaluate.comparison import mcnemar

LEVEL = 0.95


@dataclass(frozen=True)
class PairedTest:
    """How much better one is than another.

    Attributes:
        difference: mean gain. low, high: its 95 % confidence interval, not corrected for the number of comparisons.
        p: two-sided, not corrected either.
        method: in words. n_seeds, n_samples: what it rests on; samples of one seed.
    """

    difference: float
    low: float
    high: float
    p: float
    method: str
    n_seeds: int
    n_samples: int


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and its standard error; None of a single value."""
    found = np.asarray(values, np.float64)
    if len(found) < 2:
        return float(found.mean()), None
    return float(found.mean()), float(found.std(ddof=1) / math.sqrt(len(found)))


def paired_test(
    gains: Sequence[np.ndarray], *, n_train: int, same_samples: bool, is_classes: bool, seed: int = 0
) -> PairedTest:
    """Test whether the mean gain is zero.

    Args:
        gains: of each seed, float64 [S]: merit of one less merit of the other, sample by sample.
        n_train: training samples of each seed.
        same_samples: the seeds have one test split.
        is_classes: gains are -1, 0 and 1. seed: of the bootstrap, where there is one.
    """
    if len(gains) == 1:
        return _one_seed(gains[0], is_classes, seed)
    by_seed = np.array([gain.mean() for gain in gains])
    n_seeds, n_samples = len(gains), min(len(gain) for gain in gains)
    between = float(by_seed.var(ddof=1))
    if same_samples:
        by_sample = np.mean(gains, axis=0)
        parts = (between / n_seeds, _variance_of_mean(by_sample))
        variance = sum(parts)
        freedom = _satterthwaite(parts, (n_seeds - 1, n_samples - 1))
        method = "seeds and test samples as crossed random factors"
    else:
        within = float(np.mean([_variance_of_mean(gain) for gain in gains]))
        variance = max(between, within) * (1 / n_seeds + n_samples / n_train)
        freedom = n_seeds - 1
        method = "corrected resampled t-test"
    found = _t_test(float(by_seed.mean()), variance, freedom, method, n_seeds, n_samples)
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0)) if is_classes else found


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected p-values: each below 0.05 is significant at a family-wise error rate of 5 %.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6 (1979) 65.
    """
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(order)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def pareto_front(costs: Sequence[float], merits: Sequence[float]) -> list[bool]:
    """Which points no other one beats: none is at least as cheap and as good, and better in one of the two."""
    points = list(zip(costs, merits, strict=True))
    return [
        not any(c <= cost and m >= merit and (c, m) != (cost, merit) for c, m in points)
        for cost, merit in points
    ]


def _one_seed(gain: np.ndarray, is_classes: bool, seed: int) -> PairedTest:
    if not is_classes:
        variance = _variance_of_mean(gain)
        return _t_test(float(gain.mean()), variance, len(gain) - 1, "paired t-test", 1, len(gain))
    from pipelines.merits import interval

    low, high = interval(gain, seed)
    p = mcnemar(int((gain > 0).sum()), int((gain < 0).sum()))
    return PairedTest(float(gain.mean()), low, high, p, "McNemar's exact test", 1, len(gain))


def _t_test(
    mean: float, variance: float, freedom: float, method: str, n_seeds: int, n_samples: int
) -> PairedTest:
    if freedom <= 0:
        return PairedTest(mean, -math.inf, math.inf, 1.0, method, n_seeds, n_samples)
    if (
        variance == 0
    ):  # every sample of every seed says the same: a sign test over the samples, which n of them cannot go below
        p = 1.0 if mean == 0 else mcnemar(n_samples, 0)
        return PairedTest(mean, mean, mean, p, method, n_seeds, n_samples)
    from scipy.special import stdtr, stdtrit

    error = math.sqrt(variance)
    p = float(2 * stdtr(freedom, -abs(mean) / error))
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return PairedTest(mean, mean - half, mean + half, p, method, n_seeds, n_samples)


def _variance_of_mean(values: np.ndarray) -> float:
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.0


def _satterthwaite(parts: Sequence[float], freedom: Sequence[int]) -> float:
    """Degrees of freedom of a sum of independent variances."""
    below = sum(part**2 / n for part, n in zip(parts, freedom, strict=True) if part and n)
    return sum(parts) ** 2 / below if below else float(min(freedom))
