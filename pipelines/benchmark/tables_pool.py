"""Training runs of ``qfleet benchmark tables`` side by side, one process for each core."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import NamedTuple

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


def fits(runs: Sequence[Run], n_workers: int) -> Iterator[tuple[Run, Fit]]:
    """Each run with what came of it, as they are done; one worker is this process."""
    if n_workers == 1:
        yield from ((run, _fit(run)) for run in runs)
        return
    # spawned, not forked: MLflow's thread may run in this process
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        # the longest first, so that no core is left with one of them at the end
        ordered = sorted(runs, key=lambda run: -run.data.n_features * run.setting.n_layers)
        futures = {pool.submit(_fit, run): run for run in ordered}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


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


def _fit(run: Run) -> Fit:
    train, scored = samples_of(run.data, run.fold)
    made = problem(run.model, run.setting, train, scored)
    return fit(made, run.setting.learning_rate, run.seed)
