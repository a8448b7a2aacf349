"""A whole search in this process, without folders or tracking: what a comparison of methods repeats with many seeds.

The trainings are those of `qfleet tune`, epoch by epoch, so a search here tries and decides what the same search would there.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial

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
    tests: dict[int, dict[str, float]] = {}
    best_of: dict[int, tuple[PreparedRun, TrainState]] = {}
    while (trial := search.ask()) is not None:
        run = prices.prepared(trial.values)
        following = Following(trial.rule, metric, unit, partial(search.report, trial.number))
        try:
            outcome, state, test = _train(run, following)
            best_of[trial.number] = run, state
            tests[trial.number] = test
        except FAILURES as error:
            outcome = following.failed(error)
        search.ended(trial.number, outcome)
    best = search.best
    if best is None or best.outcome is None or best.outcome.value is None:
        return None
    test = tests[best.number]
    if not test:  # it was cut
        run, state = best_of[best.number]
        coordinator = _coordinator(run)
        with closing(coordinator.dispatcher):
            test = score(run, run.config, state.best_params, coordinator, "test").metrics
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
