"""Settings: what a study searches for, and on which terms; checked before anything is begun."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.costs.money import in_usd
from orchestrator.errors import ConfigError, InputError, nearest
from pipelines.compose import build_backend
from pipelines.run_setup import PreparedRun
from pipelines.tune.following import Unit, in_units, is_maximised
from pipelines.tune.prices import Prices
from pipelines.tune.rungs import Rungs
from pipelines.tune.sampling import METHODS, draw
from pipelines.tune.search import MAX_DRAWS, Terms
from pipelines.tune.space import Space, Values

N_TRIALS = 20
"""Where neither trials nor a budget are given."""
RANDOM = "random"
RIVALS = (RANDOM, "random-rungs", "tpe", "annealing", "basin_hopping")
"""What a method is compared with: ``random`` trains every trial to its end, all others stop at the same rungs as the search."""


@dataclass(frozen=True)
class Settings:
    """What is asked of a study; plain values.

    Attributes:
        space: tables, see `space`. method: of `sampling.METHODS`. seed: of what is drawn. metric: compared, by tracking name.
        n_trials, max_circuits, max_usd: limits of the whole search; at most one of the last two. Without any: `N_TRIALS` trials.
        first_rung: circuits or dollars of a trial at the first rung; 0: no early stopping; None: a ninth of what a whole trial takes.
        reduction: one in so many goes on from a rung.
        at_once: trials side by side, as processes of a Ray cluster; 1: in this process.
        n_actors: of the fleet that the trials share; None: each runs its circuits in its own process.
        address: of the Ray cluster.
        against: methods to compare with; repeats: of the comparison.
        log_model: whether the chosen configuration logs its model; trials do not.
    """

    space: Mapping[str, Any]
    method: str = "tpe"
    seed: int = 0
    metric: str = "val/loss"
    n_trials: int | None = None
    max_circuits: int | None = None
    max_usd: float | None = None
    first_rung: float | None = None
    reduction: int = 3
    at_once: int = 1
    n_actors: int | None = None
    address: str | None = None
    against: tuple[str, ...] = ()
    repeats: int = 10
    log_model: bool = True

    @property
    def unit(self) -> Unit:
        """What is counted as spent."""
        return "circuits" if self.max_usd is None else "usd"

    def to_json(self) -> dict[str, Any]:
        """Plain values that `from_json` takes."""
        return asdict(self) | {"against": list(self.against)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settings:
        """What `to_json` gave."""
        return cls(**{**values, "against": tuple(values["against"])})

    def terms(self) -> Terms:
        """Of the search."""
        budget = self.max_circuits if self.max_usd is None else self.max_usd
        rungs = None
        if self.first_rung:
            rungs = Rungs(max(in_units(self.first_rung, self.unit), 1), self.reduction)
        return Terms(
            method=self.method,
            seed=self.seed,
            maximise=is_maximised(self.metric),
            n_trials=self.n_trials,
            budget=None if budget is None else in_units(budget, self.unit),
            rungs=rungs,
            at_once=self.at_once,
        )


def checked(
    settings: Settings, base: TrainingConfig, yes_spend_usd: float | None = None
) -> tuple[Settings, Space]:
    """The settings with what was left open decided, and the space.

    Raises:
        InputError: something cannot work; the text names the option, its value and the nearest valid one.
    """
    from pipelines.spending import check_allowed

    _check_numbers(settings)
    space = Space.from_dict(settings.space, base)
    _check_fleet(settings, space)
    backend = build_backend(base)
    check_allowed(base, backend, yes_spend_usd)
    settings = _with_limits(settings, base, yes_spend_usd, is_paid=backend.capabilities.is_paid)
    run, full = _example(settings, space, base)
    _check_metric(settings.metric, run, space)
    budget = settings.terms().budget
    if budget is not None and budget < full:
        problem = "does not pay for one whole trial"
        if settings.unit == "circuits":
            raise ConfigError("--max-circuits", settings.max_circuits, problem, str(full))
        raise ConfigError(
            "--max-usd", settings.max_usd, problem, f"{math.ceil(in_usd(full) * 100) / 100:.2f}"
        )
    if settings.first_rung is None:
        first = 0.0 if run.config.run.epochs < settings.reduction else full / settings.reduction**2
        settings = replace(settings, first_rung=first if settings.unit == "circuits" else first / 1e6)
    return settings, space


def _check_numbers(settings: Settings) -> None:
    if settings.method not in METHODS:
        raise ConfigError(
            "--method", settings.method, f"known: {', '.join(METHODS)}", nearest(settings.method, METHODS)
        )
    for name in settings.against:
        if name not in RIVALS:
            raise ConfigError("--against", name, f"known: {', '.join(RIVALS)}", nearest(name, RIVALS))
    whole = {
        "--trials": settings.n_trials, "--max-circuits": settings.max_circuits, "--at-once": settings.at_once,
        "--actors": settings.n_actors, "--repeats": settings.repeats,
    }  # fmt: skip
    for option, value in whole.items():
        if value is not None and value < 1:
            raise ConfigError(option, value, "should be greater than or equal to 1", "1")
    if settings.seed < 0:
        raise ConfigError("--seed", settings.seed, "should be greater than or equal to 0", "0")
    if settings.reduction < 2:
        raise ConfigError(
            "--reduction", settings.reduction, "one in so many goes on: should be at least 2", "3"
        )
    if settings.first_rung is not None and not 0 <= settings.first_rung < math.inf:
        raise ConfigError("--rungs", settings.first_rung, "should be greater than 0", "auto")
    if settings.max_usd is not None and not 0 < settings.max_usd < math.inf:
        raise ConfigError("--max-usd", settings.max_usd, "a number of dollars above 0")
    if settings.max_usd is not None and settings.max_circuits is not None:
        raise ConfigError(
            "--max-usd", settings.max_usd, "a search has one budget: leave it out, or --max-circuits"
        )
    if settings.against and settings.repeats < 2:
        raise ConfigError("--repeats", settings.repeats, "an interval needs several", "10")


def _check_fleet(settings: Settings, space: Space) -> None:
    """Refuse trials that differ in what the fleet they share is made with."""
    for one in space.dimensions:
        if settings.n_actors is not None and one.key.startswith("backend."):
            problem = f"trials that share a fleet share its backend, and {one.key} is searched: leave it out, or take --at-once alone"
            raise ConfigError("--actors", settings.n_actors, problem)


def _with_limits(
    settings: Settings, base: TrainingConfig, yes_spend: float | None, *, is_paid: bool
) -> Settings:
    """With a budget in dollars where circuits cost some, and with some limit in any case."""
    if settings.max_usd is not None and not is_paid:
        problem = f"backend {base.backend.name!r} costs nothing; leave it out, or give --max-circuits"
        raise ConfigError("--max-usd", settings.max_usd, problem)
    if is_paid:
        if settings.max_circuits is not None:
            problem = f"{base.backend.target} costs money: give the budget as --max-usd"
            raise ConfigError("--max-circuits", settings.max_circuits, problem)
        if settings.against:
            problem = "would repeat the search for money; compare on a simulator: --set backend.name=ideal"
            raise ConfigError("--against", settings.against[0], problem)
        if settings.at_once > 1 or settings.n_actors is not None:
            option, value = (
                ("--at-once", settings.at_once) if settings.at_once > 1 else ("--actors", settings.n_actors)
            )
            problem = "trials that share a fleet pay for equal circuits once, so what each of them costs would hang on the others"
            raise ConfigError(option, value, f"{problem}; leave it out")
        most = min(usd for usd in (settings.max_usd, yes_spend, base.budget.max_usd) if usd is not None)
        settings = replace(settings, max_usd=most)
    if settings.n_trials is None and settings.max_circuits is None and settings.max_usd is None:
        settings = replace(settings, n_trials=N_TRIALS)
    return settings


def _example(settings: Settings, space: Space, base: TrainingConfig) -> tuple[PreparedRun, int]:
    """A trial that can be trained, and what it takes: that of the configuration as it is, else the first that the search draws.

    Raises:
        InputError: nothing that was drawn can be trained.
    """
    prices = Prices(space, base, settings.unit)
    candidates: list[Values] = [{}]
    error: InputError | None = None
    for attempt in range(MAX_DRAWS):
        for values in candidates:
            try:
                return prices.prepared(values), prices(values).full
            except InputError as refused:
                error = error or refused
        candidates = [draw(space, RANDOM, [], seed=settings.seed, attempt=attempt, maximise=False)]
    assert error is not None
    error.add_note(f"Nor can any of {MAX_DRAWS} random draws from the space be trained.")
    raise error


def _check_metric(metric: str, run: PreparedRun, space: Space) -> None:
    """Refuse a metric that is not measured after an epoch, or that means something else from trial to trial."""
    if run.task.validation is None:
        problem = "trials are compared on the validation split, and there is none"
        raise ConfigError("data.validation_fraction", run.config.data.validation_fraction, problem, "0.15")
    targets = run.task.validation.targets
    measured = run.task.loss.metrics(np.zeros((len(targets), run.task.model.n_outputs)), targets)
    known = ["train/epoch_loss", *(f"val/{name}" for name in measured)]
    if metric not in known:
        raise ConfigError(
            "--metric",
            metric,
            f"is not measured after an epoch; there are {', '.join(known)}",
            nearest(metric, known),
        )
    searched = {dimension.key for dimension in space.dimensions}
    if "loss.name" in searched and metric.endswith("loss"):
        others = [name for name in known if not name.endswith("loss")]
        problem = "the space has several losses, whose values do not compare"
        raise ConfigError("--metric", metric, problem, others[0] if others else None)
