"""Calibration: whether predictions made with confidence p are right in a share p of the cases.

Confidence is the probability of the predicted class (Guo et al., arXiv 1706.04599), with two classes as with many. Bins hold equally
many samples (but for ties, which stay together). Three figures, since the usual one misleads alone:

- **ECE**, the mean over samples of ``|share right - mean confidence|`` of their bin. It is never 0: of a perfectly calibrated predictor
  it is what chance makes it.
- What chance makes it: the mean and the 95 % quantile of the ECE if every confidence were true, by drawing who is right from the
  confidences themselves (consistency resampling: Bröcker and Smith, Weather and Forecasting 22, 651 (2007)).
- The **debiased** root mean square error of calibration: in each bin the squared mean of ``right - confidence`` less its estimated
  variance, which is unbiased for the squared error of the binned confidences (Kumar, Liang and Ma, arXiv 1909.10155); 0 where the mean
  over bins comes out negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.evaluate.intervals import Interval, wilson

MAX_BINS, LEAST_IN_BIN = 15, 20
_DRAWS = 1000
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Bin:
    """Samples of about one confidence.

    Attributes:
        low, high: least and most confidence in it. confidence: their mean.
        right: share of them that is right; interval: of it, Wilson's, 95 %. n: how many.
    """

    low: float
    high: float
    confidence: float
    right: float
    interval: Interval
    n: int


@dataclass(frozen=True)
class Calibration:
    """How far confidences can be believed; see the module for the figures.

    Attributes:
        bins: by rising confidence.
        ece: the expected calibration error.
        by_chance, most_by_chance: its mean and 95 % quantile for a perfectly calibrated predictor with these confidences.
        debiased: squared error of calibration, without bias; may be negative.
        squared_se: its standard error.
    """

    bins: tuple[Bin, ...]
    ece: float
    by_chance: float
    most_by_chance: float
    debiased: float
    squared_se: float

    @property
    def rms(self) -> float:
        """Debiased root mean square error of calibration."""
        return math.sqrt(max(self.debiased, 0.0))

    @property
    def verdict(self) -> str:
        """In words."""
        if self.ece > self.most_by_chance:
            gap = sum(one.n * (one.confidence - one.right) for one in self.bins)
            return "overconfident" if gap > 0 else "underconfident"
        return "no miscalibration seen"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "ece": self.ece,
            "ece_by_chance": self.by_chance,
            "ece_by_chance_95": self.most_by_chance,
            "rms_debiased": self.rms,
            "squared_debiased": self.debiased,
            "squared_standard_error": self.squared_se,
            "verdict": self.verdict,
            "bins": [
                {
                    "low": one.low, "high": one.high, "confidence": one.confidence, "right": one.right,
                    "right_low": one.interval.low, "right_high": one.interval.high, "n": one.n,
                }
                for one in self.bins
            ],
        }  # fmt: skip


def calibration(
    confidence: np.ndarray, is_right: np.ndarray, seed: int, n_bins: int | None = None
) -> Calibration:
    """Of S predictions.

    Args:
        confidence: float64 [S], of the predicted class. is_right: bool [S].
        seed: of the draws. n_bins: None: 15, fewer where a bin would hold less than 20 samples.
    """
    place = bins_of(confidence, n_bins or default_bins(len(confidence)))
    n_bins = int(place.max()) + 1
    sizes = np.bincount(place, minlength=n_bins)
    means = np.bincount(place, confidence, n_bins) / sizes
    rights = np.bincount(place, is_right, n_bins)
    debiased, squared_se = _debiased(is_right - confidence, place, sizes)
    by_chance = _by_chance(confidence, place, sizes, means, seed)
    bins = []
    for b in range(n_bins):
        inside = confidence[place == b]
        n, n_right = int(sizes[b]), int(rights[b])
        bins.append(
            Bin(float(inside.min()), float(inside.max()), float(means[b]), n_right / n, wilson(n_right, n), n)
        )
    return Calibration(
        tuple(bins),
        ece=_ece(rights / sizes, means, sizes),
        by_chance=float(by_chance.mean()),
        most_by_chance=float(np.quantile(by_chance, 0.95)),
        debiased=debiased,
        squared_se=squared_se,
    )


def default_bins(n_samples: int) -> int:
    """As many as leave 20 samples in each, 15 at most."""
    return max(1, min(MAX_BINS, n_samples // LEAST_IN_BIN))


def bins_of(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """int64 [S]: the bin of each sample, numbered by rising confidence without gaps; equally full, but equal confidences stay together."""
    edges = np.quantile(confidence, np.arange(1, n_bins) / n_bins, method="higher")
    place = np.searchsorted(np.unique(edges), confidence, side="right")
    return np.asarray(np.unique(place, return_inverse=True)[1])


def _ece(right: np.ndarray, confidence: np.ndarray, sizes: np.ndarray) -> float:
    return float(np.sum(sizes * np.abs(right - confidence)) / sizes.sum())


def _debiased(gap: np.ndarray, place: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """The squared error of calibration without bias, and its standard error, from gap [S] = right - confidence.

    A bin with mean gap m, variance s² and n samples estimates the square of its true gap by ``m² - s²/n``, which has variance
    ``4 m² s²/n + 2 (s²/n)²`` for a nearly normal mean; bins of one sample tell nothing.
    """
    usable = sizes > 1
    n = np.where(usable, sizes, 2)
    means = np.bincount(place, gap, len(sizes)) / sizes
    spread = np.bincount(place, (gap - means[place]) ** 2, len(sizes)) / (n - 1)
    of_mean = spread / n
    weights = np.where(usable, sizes, 0) / max(sizes[usable].sum(), 1)
    squared = float(np.sum(weights * (means**2 - of_mean)))
    true_squares = np.maximum(means**2 - of_mean, 0.0)
    variance = np.sum(weights**2 * (4.0 * true_squares * of_mean + 2.0 * of_mean**2))
    return squared, float(np.sqrt(variance))


def _by_chance(
    confidence: np.ndarray, place: np.ndarray, sizes: np.ndarray, means: np.ndarray, seed: int
) -> np.ndarray:
    """float64 [draws]: the ECE where every confidence is true."""
    rng = np.random.default_rng([seed, len(confidence)])
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(sizes)))
    ordered = confidence[order]
    found: list[np.ndarray] = []
    while sum(map(len, found)) < _DRAWS:
        rows = min(_DRAWS - sum(map(len, found)), max(1, _BLOCK // len(ordered)))
        is_right = (rng.random((rows, len(ordered))) < ordered).astype(np.float64)
        rights = np.add.reduceat(is_right, starts, axis=1)
        found.append(np.sum(np.abs(rights - sizes * means), axis=1) / sizes.sum())
    return np.concatenate(found)
