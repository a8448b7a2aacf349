"""A whole search in this process, without folders or tracking: what a comparison of methods repeats with many seeds.

The trainings are those of `qfleet tune`, epoch by epoch, so a search here tries and decides what the same search would there.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.training.loop import initial_state, train
from orchestrator.training.reports import EpochReport
from orchestrator.training.state import TrainState
from pipelines.callbacks import TrainingStopped
from pipelines.compose import build_backend, build_dispatcher
from pipelines.evaluate import score
from pipelines.run_setup import PreparedRun
from pipelines.transfer import starting_params
from pipelines.tune.following import FAILURES, Following, Unit
from pipelines.tune.prices import Prices
from pipelines.tune.search import Outcome, Search, Terms, Trial
from pipelines.tune.space import Space, Values


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        values: of the trial chosen by validation. value: its metric there. test: its metrics on the test split, by tracking name.
        spent: by all trials. n_trials, n_stopped: of them, and of those that were stopped at a rung.
        trials: how each ended.
    """

    values: Values
    value: float
    test: dict[str, float]
    spent: int
    n_trials: int
    n_stopped: int
    trials: tuple[Trial, ...]


def search_directly(
    base: TrainingConfig, space: Space, terms: Terms, metric: str, unit: Unit = "circuits"
) -> Found | None:
    """Search, one trial after the other, and score what was chosen on the test split. None: no trial came to a value.

    Args:
        base: what is not searched; its fleet and tracking are not used.
    """
    base = base.with_overrides(["fleet.dispatcher=serial", "fleet.name=none", "tracking.enabled=false"])
    prices = Prices(space, base, unit)
    search = Search(space, terms, prices)
    kept: tuple[PreparedRun, TrainState, dict[str, float]] | None = None  # of the best so far
    while (trial := search.ask()) is not None:
        run = prices.prepared(trial.values)
        following = Following(trial.rule, metric, unit, partial(search.report, trial.number))
        try:
            outcome, state, test = _train(run, following)
        except FAILURES as error:
            search.ended(trial.number, following.failed(error))
            continue
        search.ended(trial.number, outcome)
        if search.best is not None and search.best.number == trial.number:
            kept = run, state, test
    best = search.best
    if kept is None or best is None or best.outcome is None or best.outcome.value is None:
        return None
    run, state, test = kept
    if not test:  # it was cut
        test = tested(run, state).metrics
    n_stopped = sum(one.outcome is not None and one.outcome.kind == "stopped" for one in search.trials)
    return Found(
        best.values,
        best.outcome.value,
        test,
        search.spent,
        len(search.trials),
        n_stopped,
        tuple(search.trials),
    )


class Tested(NamedTuple):
    """Metrics on the test split by tracking name, empty where there is none, and the circuits that they took."""

    metrics: dict[str, float]
    n_circuits: int


def tested(run: PreparedRun, state: TrainState) -> Tested:
    """Score the best parameters of a trial on the test split, in this process: one that was cut has not been."""
    if not len(run.data.test.targets):
        return Tested({}, 0)
    coordinator = _coordinator(run)
    with closing(coordinator.dispatcher):
        scores = score(run, run.config, state.best_params, coordinator, "test")
    return Tested(scores.metrics, scores.used.n_circuits)


def _coordinator(run: PreparedRun) -> Coordinator:
    backend = build_backend(run.config)
    return Coordinator(build_dispatcher(run.config.fleet, backend), backend.capabilities)


def _train(run: PreparedRun, following: Following) -> tuple[Outcome, TrainState, dict[str, float]]:
    """One trial: how it ended, its state, and its test metrics, where it came to its end."""
    coordinator = _coordinator(run)
    state = initial_state(run.task, starting_params(run))
    metrics: dict[str, float] = {}
    totals = state.totals
    with closing(coordinator.dispatcher):
        try:
            for report in train(run.task, state, coordinator):
                if isinstance(report, EpochReport):
                    following.on_epoch(report, state)
            totals = state.totals
            if len(run.data.test.targets):
                scores = score(run, run.config, state.best_params, coordinator, "test")
                metrics = scores.metrics
                totals = totals.plus(scores.used.n_circuits, scores.used.n_shots, scores.used.cost_usd)
        except TrainingStopped:
            totals = state.totals
    return following.outcome(totals), state, metrics
