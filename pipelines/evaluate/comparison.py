"""Two models on the same samples: which is better, by how much, and whether that is more than chance."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipelines.evaluate.intervals import mean_interval
from pipelines.evaluate.measures import Predictions, sample_log_loss


@dataclass(frozen=True)
class Difference:
    """A paired difference: positive where the evaluated model is better.

    Attributes:
        name: of what differs. value: its mean over samples; low, high: 95 % bootstrap interval over samples.
    """

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The evaluated model against another one on the same samples.

    Attributes:
        other: its name. scores: its figures of merit.
        differences: accuracy and log loss of classes, squared error of values; the first decides the verdict.
        only_own_right, only_other_right: samples that one of both has right; None without classes.
        p_value: McNemar's exact test of equal accuracy, two-sided; None without classes.
        n_seen: of the samples, those the other was trained on.
    """

    other: str
    scores: dict[str, float]
    differences: tuple[Difference, ...]
    only_own_right: int | None
    only_other_right: int | None
    p_value: float | None
    n_seen: int

    @property
    def verdict(self) -> str:
        """In words, at the 5 % level: McNemar's test of classes, the interval of values."""
        first = self.differences[0]
        seen = self.p_value < 0.05 if self.p_value is not None else first.low > 0 or first.high < 0
        if not seen:
            return "no difference seen"
        return f"better than {self.other}" if first.value > 0 else f"worse than {self.other}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"verdict": self.verdict}


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value of ``only_first`` against ``only_second`` discordant samples (Q. McNemar, Psychometrika 12, 153 (1947)).

    Each of them is as likely one as the other where both are equally good: twice the smaller tail of a binomial with p = 1/2, 1 at most.
    """
    n, least = only_first + only_second, min(only_first, only_second)
    if not n:
        return 1.0
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(least + 1)]
    most = max(logs)
    tail = math.exp(most - n * math.log(2.0)) * sum(math.exp(one - most) for one in logs)
    return min(1.0, 2.0 * tail)


def compared(
    other_name: str,
    own: Predictions,
    other: Predictions,
    other_scores: dict[str, float],
    seed: int,
    n_seen: int = 0,
) -> Comparison:
    """Compare predictions for the same samples; `own` and `other` have the same targets.

    Raises:
        ValueError: nobody knows what is right.
    """
    if own.actual is None or other.actual is None:
        raise ValueError("predictions can be compared only where the targets are known")

    def difference(name: str, gain: np.ndarray) -> Difference:
        low, high = mean_interval(gain, seed)
        return Difference(name, float(gain.mean()), low, high)

    if own.probability is None or other.probability is None:
        gain = (other.predicted - other.actual) ** 2 - (own.predicted - own.actual) ** 2
        return Comparison(
            other_name, other_scores, (difference("squared error", gain),), None, None, None, n_seen
        )
    right, other_right = own.is_right, other.is_right
    only_own, only_other = int((right & ~other_right).sum()), int((~right & other_right).sum())
    of_accuracy = difference("accuracy", right.astype(np.float64) - other_right)
    of_loss = difference(
        "log loss",
        sample_log_loss(other.probability, other.actual) - sample_log_loss(own.probability, own.actual),
    )
    p_value = mcnemar(only_own, only_other)
    return Comparison(other_name, other_scores, (of_accuracy, of_loss), only_own, only_other, p_value, n_seen)
