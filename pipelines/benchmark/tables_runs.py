"""A training run of ``qfleet benchmark tables`` as a task: what it is, the samples it takes, and doing it, in whatever process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from orchestrator.training.reports import Samples
from pipelines.benchmark.tables_models import problem
from pipelines.benchmark.tables_settings import DataSet, Setting
from pipelines.benchmark.tables_training import Fit, fit
from pipelines.data.benchmarks import generate


class Run(NamedTuple):
    """One training run: a model with its setting on a data set.

    Attributes:
        seed: of initial parameters and batches.
        fold: (which, of how many) folds of the training split is scored in place of the test split; None: the test split is.
    """

    model: str
    data: DataSet
    setting: Setting
    seed: int
    fold: tuple[int, int] | None = None


Fits: TypeAlias = Callable[[Sequence[Run]], Iterator[tuple[Run, Fit]]]
"""Does all runs somewhere; gives each with what came of it, as they are done."""


def train(run: Run) -> Fit:
    """Do the run: the same numbers in whatever process.

    Raises:
        ExecutionError: the loss is no finite number.
    """
    learnt, scored = samples_of(run.data, run.fold)
    made = problem(run.model, run.setting, learnt, scored)
    return fit(made, run.setting.learning_rate, run.seed)


def longest_first(runs: Iterable[Run]) -> list[Run]:
    """The order in which runs are handed out, so that no core is left with a long one at the end."""
    return sorted(runs, key=lambda run: -run.data.n_features * run.setting.n_layers)


def samples_of(data: DataSet, fold: tuple[int, int] | None = None) -> tuple[Samples, Samples]:
    """Raw (training samples, samples to score); targets 0 for label -1 and 1 for label +1."""
    made = generate(data.family, data.n_features)
    targets = (made.labels + 1) // 2
    n_train = len(targets) - made.n_test
    everything = np.arange(len(targets))
    if fold is None:
        learnt, scored = everything[:n_train], everything[n_train:]
    else:  # the published order is a permutation already, so every so many samples are a random fold
        which, n_folds = fold
        scored = everything[which:n_train:n_folds]
        learnt = np.setdiff1d(everything[:n_train], scored)
    return tuple(Samples(made.features[rows], targets[rows]) for rows in (learnt, scored))  # type: ignore[return-value]
