"""What is tried next: Optuna's samplers asked on a study in memory that is made anew for each trial from what is known by then.

Nothing of Optuna's is kept: what a trial draws follows from the search's seed, the trial's number and the trials that it may know, so a
resumed search draws the same. With the same seed all methods begin with the same random trials.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipelines.tune.local_search import Annealing, BasinHopping
from pipelines.tune.space import Dimension, Space, Values

N_STARTUP = 6
"""Trials with a value before a method begins to learn from them; until then they are random."""

optuna.logging.set_verbosity(optuna.logging.WARNING)
State = Literal["running", "done", "stopped", "failed"]
_STATES = {
    "running": TrialState.RUNNING, "done": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL,
}  # fmt: skip


class Known(NamedTuple):
    """A trial, as far as it is known when another one is asked for.

    Attributes:
        values: what it tries. state: how it ended; running: that is not known yet.
        value: the metric at its best epoch; None: it has none. rung: where it was stopped.
    """

    values: Values
    state: State
    value: float | None = None
    rung: int | None = None


def _tpe(seed: int) -> BaseSampler:
    return TPESampler(seed=seed, n_startup_trials=N_STARTUP, multivariate=True, group=True)


METHODS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": _tpe,
    "random": lambda seed: RandomSampler(seed=seed),
    "annealing": lambda seed: Annealing(seed, N_STARTUP),
    "basin_hopping": lambda seed: BasinHopping(seed, N_STARTUP),
}
"""By name, each made with a seed. tpe: J. Bergstra et al., Algorithms for Hyper-Parameter Optimization, NIPS 2011."""


def draw(
    space: Space, method: str, known: Sequence[Known], *, seed: int, attempt: int, maximise: bool
) -> Values:
    """The values of trial number ``len(known)``.

    Args:
        attempt: another draw of the same trial, where the one before it was refused.
    """
    key = int(np.random.SeedSequence([seed, len(known), attempt]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls some of TPE's settings experimental
        study = _study(space, known, METHODS[method](key), maximise=maximise)
        return space.suggest(study.ask())


def importances(space: Space, known: Sequence[Known], *, maximise: bool) -> dict[str, float]:
    """Share of each key in what tells good trials from the others, by PED-ANOVA (S. Watanabe et al., arXiv 2304.10255), of the trials
    that came to their end; empty where these are too few or all alike."""
    done = [one for one in known if one.state == "done" and one.value is not None]
    if len(done) < N_STARTUP or len({one.value for one in done}) < 2:
        return {}
    common = [d.key for d in space.dimensions if all(d.key in one.values for one in done)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = _study(space, done, RandomSampler(seed=0), maximise=maximise)
        try:
            found = optuna.importance.get_param_importances(study, params=common)
        except (RuntimeError, ValueError):  # nothing varies
            return {}
    return {name: float(share) for name, share in found.items() if np.isfinite(share)}


def _study(space: Space, known: Sequence[Known], sampler: BaseSampler, *, maximise: bool) -> optuna.Study:
    study = optuna.create_study(direction="maximize" if maximise else "minimize", sampler=sampler)
    by_key = {one.key: one for one in space.dimensions}
    study.add_trials([_frozen(by_key, space, one) for one in known])
    return study


def _frozen(by_key: Mapping[str, Dimension], space: Space, one: Known) -> FrozenTrial:
    state = _STATES[one.state]
    if state in (TrialState.COMPLETE, TrialState.PRUNED) and (one.value is None or np.isnan(one.value)):
        state = TrialState.FAIL
    # By rung, and not by what was spent: of two that were stopped at one rung, the dearer is not the better.
    between = {one.rung or 0: one.value} if state == TrialState.PRUNED and one.value is not None else {}
    return create_trial(
        state=state,
        params=space.recorded(one.values),
        distributions={key: _distribution(by_key[key]) for key in one.values},
        value=one.value if state == TrialState.COMPLETE else None,
        intermediate_values=between,
    )


def _distribution(one: Dimension) -> Any:
    if one.choices:
        return CategoricalDistribution(tuple(range(len(one.choices))))
    if one.is_whole:
        step = 1 if one.step is None else int(one.step)
        return IntDistribution(int(one.low), int(one.high), log=one.is_log, step=step)
    return FloatDistribution(one.low, one.high, log=one.is_log, step=one.step)
