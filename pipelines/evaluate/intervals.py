"""Confidence intervals of scores over samples: Wilson's for shares, the percentile bootstrap for everything else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipelines.evaluate.measures import Predictions, measures

LEVEL = 0.95
_Z = 1.959963984540054
"""The normal distribution's quantile at (1 + LEVEL) / 2."""

MAX_RESAMPLES, MIN_RESAMPLES = 2000, 200
_WORK = 2e8
"""Entries (resamples times samples) that a bootstrap may take; larger sets are resampled less often, and need it less."""
_BLOCK = 4_000_000


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float


def wilson(n_right: int, n: int) -> Interval:
    """Of a share of `n_right` in `n` (E. B. Wilson, J. Am. Stat. Assoc. 22, 209 (1927)).

    Raises:
        ValueError: `n_right` is no number of 0 to `n`, or `n` is 0.
    """
    if not 0 <= n_right <= n or n < 1:
        raise ValueError(f"{n_right} of {n}: no share")
    share, z2 = n_right / n, _Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(max(centre - half, 0.0), min(centre + half, 1.0))


def bootstrap(predictions: Predictions, seed: int) -> dict[str, Interval]:
    """Percentile intervals of all `measures` over resamples of the samples (Efron and Tibshirani, 1993, ch. 13).

    Samples are drawn with replacement, not class by class; resamples that do not define a figure (no sample of a class) are left out of it.
    """
    found: dict[str, list[np.ndarray]] = {}
    for counts in _resamples(len(predictions.predicted), seed):
        for name, values in measures(predictions, counts).items():
            found.setdefault(name, []).append(values)
    intervals: dict[str, Interval] = {}
    for name, parts in found.items():
        values = np.concatenate(parts)
        values = values[np.isfinite(values)]
        if len(values):
            low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            intervals[name] = Interval(float(low), float(high))
    return intervals


def mean_interval(per_sample: np.ndarray, seed: int) -> Interval:
    """Percentile interval of the mean of values [S] over resamples of the samples."""
    n = len(per_sample)
    means = np.concatenate([np.einsum("rs,s->r", counts, per_sample) / n for counts in _resamples(n, seed)])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def n_resamples(n_samples: int) -> int:
    """How often a set of so many samples is resampled."""
    return int(min(max(_WORK / max(n_samples, 1), MIN_RESAMPLES), MAX_RESAMPLES))


def _resamples(n_samples: int, seed: int) -> Iterator[np.ndarray]:
    """Counts float64 [r, S] of how often each sample is drawn, in blocks of bounded size."""
    rng = np.random.default_rng([seed, n_samples])
    left = n_resamples(n_samples)
    while left:
        rows = min(left, max(1, _BLOCK // n_samples))
        drawn = rng.integers(0, n_samples, (rows, n_samples)) + n_samples * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n_samples).reshape(rows, n_samples)
        yield counts.astype(np.float64)
        left -= rows
