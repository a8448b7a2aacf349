"""Simulated annealing and basin hopping as samplers: each goes from a trial to one near it.

S. Kirkpatrick et al., Optimization by Simulated Annealing, Science 220 (1983); D. Wales and J. Doye, Global Optimization by Basin-Hopping,
J. Phys. Chem. A 101 (1997). Where such a walk stands is found anew from the trials that have a value, so it has no state of its own. A
trial that was stopped early counts with the value it had then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

_COOLING = 0.9
"""Factor of the temperature from one trial to the next; it begins at the deviation of the first values."""
_NEAR, _FAR = 0.1, 0.35
"""Standard deviation of a small and of a large move, as a share of a range; a choice is drawn anew with three times that probability."""
_LOCAL_MOVES = 3
"""Small moves after each large one, in basin hopping."""


class _Walk(BaseSampler):
    """Random trials first, then moves from where the walk stands.

    Args:
        seed: of this draw. n_startup: trials with a value before the walk begins.
    """

    def __init__(self, seed: int, n_startup: int) -> None:
        self._rng = np.random.default_rng([seed, 1])
        self._random = RandomSampler(seed=seed)
        self._n_startup = n_startup

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """None: keys are drawn one by one."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value of the key near that of the trial where the walk stands."""
        past, losses = _past(study)
        if len(past) >= self._n_startup:
            origin, width = self._move(past, losses)
            if param_name in origin.params:
                return _near(origin.params[param_name], param_distribution, width, self._rng)
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _move(self, past: Sequence[FrozenTrial], losses: np.ndarray) -> tuple[FrozenTrial, float]:
        """Where to move from, and how far."""
        raise NotImplementedError


class Annealing(_Walk):
    """Small moves; a worse trial is accepted with a probability that falls as the walk cools."""

    def _move(self, past: Sequence[FrozenTrial], losses: np.ndarray) -> tuple[FrozenTrial, float]:
        start = int(np.argmin(losses[: self._n_startup]))
        at = _accepted(past, losses, start, range(self._n_startup, len(past)), self._n_startup)
        return past[at], _NEAR + (_FAR - _NEAR) * _COOLING ** (len(past) - self._n_startup)


class BasinHopping(_Walk):
    """A large move, then small ones that go downhill only; whether the basin found is gone on from is decided as in annealing."""

    def _move(self, past: Sequence[FrozenTrial], losses: np.ndarray) -> tuple[FrozenTrial, float]:
        first, size = self._n_startup, _LOCAL_MOVES + 1
        bottoms = [int(np.argmin(losses[:first]))]
        begins = range(first, len(past), size)
        bottoms += [begin + int(np.argmin(losses[begin : begin + size])) for begin in begins]
        if (len(past) - first) % size:
            return past[bottoms[-1]], _NEAR
        return past[_accepted(past, losses, bottoms[0], bottoms[1:], first)], _FAR


def _past(study: Study) -> tuple[list[FrozenTrial], np.ndarray]:
    """Trials with a value, by number, and their losses: lower is better whatever the direction."""
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    past = sorted(study.get_trials(deepcopy=False, states=states), key=lambda one: one.number)
    values = [
        one.value if one.value is not None else one.intermediate_values[one.last_step or 0] for one in past
    ]
    losses = np.asarray(values, np.float64)
    return past, -losses if study.direction == StudyDirection.MAXIMIZE else losses


def _accepted(
    past: Sequence[FrozenTrial], losses: np.ndarray, start: int, candidates: Sequence[int], n_startup: int
) -> int:
    """Where a Metropolis walk from `start` along `candidates` ends."""
    temperature, at = float(np.std(losses[:n_startup])), start
    for i in candidates:
        temperature *= _COOLING
        loss = losses[i] - losses[at]
        chance = np.random.default_rng([past[i].number, 2]).random()
        if loss <= 0 or (temperature > 0 and chance < np.exp(-loss / temperature)):
            at = i
    return at


def _near(value: Any, distribution: BaseDistribution, width: float, rng: np.random.Generator) -> Any:
    """A value near another one; at the ends of a range the move is reflected."""
    if isinstance(distribution, CategoricalDistribution):
        return (
            distribution.choices[rng.integers(len(distribution.choices))]
            if rng.random() < 3 * width
            else value
        )
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    is_log = distribution.log
    low, high, at = (np.log(x) if is_log else float(x) for x in (distribution.low, distribution.high, value))
    share = (at - low) / (high - low) + rng.normal(0.0, width)
    share = 1.0 - abs((share % 2.0) - 1.0)
    moved = low + share * (high - low)
    moved = float(np.exp(moved)) if is_log else moved
    if distribution.step is not None and not is_log:
        moved = distribution.low + round((moved - distribution.low) / distribution.step) * distribution.step
    moved = min(max(moved, distribution.low), distribution.high)
    return round(moved) if isinstance(distribution, IntDistribution) else moved
