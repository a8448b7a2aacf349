"""A method against another at equal budget: the whole search many times with either, seed by seed.

Pairs share the seed: the same split of the data, the same initial parameters, the same first random trials. The figure of merit is the test
score of the configuration that validation has chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.errors import ExecutionError
from pipelines.display.formatting import format_metric
from pipelines.merits import interval
from pipelines.tune.direct import search_directly
from pipelines.tune.following import is_maximised
from pipelines.tune.settings import RANDOM, Settings
from pipelines.tune.space import Space, Values

_HEADLINES = ("test/accuracy", "test/r2", "test/trash_fidelity", "test/loss")


class Repeat(NamedTuple):
    """One of the searches that are compared; `seed` counts from 0 and is added to the seeds of run and search."""

    method: str
    seed: int


class Pair(NamedTuple):
    """What one of them came to.

    Attributes:
        values: chosen. value: the metric on the validation split. test: metrics on the test split.
        spent: by all trials. trials, stopped: how many.
    """

    values: Values
    value: float
    test: dict[str, float]
    spent: int
    trials: int
    stopped: int

    def text(self, metric: str) -> str:
        """In a line."""
        scores = ", ".join(f"{name} {format_metric(name, value)}" for name, value in self.test.items())
        return f"{metric} {format_metric(metric, self.value)}, {scores}; {self.trials} trials, {self.stopped} stopped"


class Gain(NamedTuple):
    """How much better the method did than its rival, positive where it is better, with its 95 % interval over the seeds.

    Attributes:
        method, rival: mean of the metric itself. n_better, n_equal: seeds.
    """

    metric: str
    method: float
    rival: float
    gain: float
    low: float
    high: float
    n_better: int
    n_equal: int

    @property
    def verdict(self) -> str:
        """In words."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no difference seen"

    @property
    def at_least_as_good(self) -> bool:
        """Whether the mean gain is none below 0; how sure that is, the interval says."""
        return self.gain >= 0


@dataclass(frozen=True)
class Comparison:
    """A method against a rival.

    Attributes:
        gains: first of the test score (where there is a test split), then of validation. pairs: of each seed, method and rival.
    """

    method: str
    rival: str
    gains: tuple[Gain, ...]
    pairs: tuple[tuple[Pair, Pair], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "method": self.method,
            "rival": self.rival,
            "gains": [
                gain._asdict() | {"verdict": gain.verdict, "at_least_as_good": gain.at_least_as_good}
                for gain in self.gains
            ],
            "pairs": [[one._asdict(), other._asdict()] for one, other in self.pairs],
        }


def repeat_of(repeat: Repeat, base: TrainingConfig, space: Space, settings: Settings) -> Pair:
    """Search once more, in this process and from the beginning.

    Raises:
        ExecutionError: no trial came to a value.
    """
    terms = replace(settings.terms(), seed=settings.seed + repeat.seed, at_once=1)
    if repeat.method == RANDOM:
        terms = replace(terms, method=RANDOM, rungs=None)
    else:
        terms = replace(terms, method=RANDOM if repeat.method == "random-rungs" else repeat.method)
    seeded = base.with_overrides([f"run.seed={base.run.seed + repeat.seed}"])
    found = search_directly(seeded, space, terms, settings.metric, settings.unit)
    if found is None:
        raise ExecutionError(f"no trial of {repeat.method} with seed {terms.seed} came to a value")
    return Pair(found.values, found.value, found.test, found.spent, found.n_trials, found.n_stopped)


def compare(method: str, rival: str, found: Mapping[Repeat, Pair], metric: str, repeats: int) -> Comparison:
    """The paired differences of all repeats, seeds 0 to `repeats` - 1."""
    pairs = tuple((found[Repeat(method, seed)], found[Repeat(rival, seed)]) for seed in range(repeats))
    tests = [name for name in _HEADLINES if name in pairs[0][0].test]
    gains = [_gain(name, [(a.test[name], b.test[name]) for a, b in pairs]) for name in tests]
    gains.append(_gain(metric, [(a.value, b.value) for a, b in pairs]))
    return Comparison(method, rival, tuple(gains), pairs)


def _gain(metric: str, values: list[tuple[float, float]]) -> Gain:
    own, other = np.array(values).T
    gain = own - other if is_maximised(metric) else other - own
    low, high = interval(gain, 0)
    return Gain(
        metric, float(own.mean()), float(other.mean()), float(gain.mean()), low, high,
        int(np.count_nonzero(gain > 0)), int(np.count_nonzero(gain == 0)),
    )  # fmt: skip


def in_words(comparison: Comparison) -> str:
    """The answer, either way it comes out."""
    first, n = comparison.gains[0], len(comparison.pairs)
    amount = f"{first.gain:+.4g} (95 % interval {first.low:+.4g} to {first.high:+.4g}, {n} seeds)"
    what = f"{first.metric} of what was chosen by validation, at equal budget"
    if first.low > 0:
        return f"{comparison.method} found better configurations than {comparison.rival}: {what}: {amount}."
    if first.high < 0:
        return f"{comparison.method} found worse configurations than {comparison.rival}: {what}: {amount}."
    tied = f"no difference is seen between {comparison.method} and {comparison.rival}: {what}: {amount}"
    if first.gain >= 0:
        return f"{tied[0].upper()}{tied[1:]}. On average {comparison.method} was at least as good."
    return f"{tied[0].upper()}{tied[1:]}. On average {comparison.method} was worse."
