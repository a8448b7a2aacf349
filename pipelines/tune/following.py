"""One trial as its training sees it: a callback that reports every epoch and ends the training when its rule says so.

The rule is sent along with the trial, so that it is applied where the trial runs, and a trial that ends early ends in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from orchestrator.config import TrainingConfig
from orchestrator.costs.money import micro_down
from orchestrator.errors import CapabilityError, CircuitError, ConfigError, DataError, ExecutionError
from orchestrator.training.reports import EpochReport, Totals
from orchestrator.training.state import TrainState
from pipelines.callbacks import Callback, TrainingStopped
from pipelines.tune.rungs import Report, StopRule, Verdict
from pipelines.tune.search import Outcome

Unit = Literal["circuits", "usd"]
Tell = Callable[[Report], object]
FAILURES = (CapabilityError, CircuitError, ConfigError, DataError, ExecutionError)
"""What makes a trial fail; any other error ends the search, which can be resumed."""
_LOWER_IS_BETTER = ("loss", "epoch_loss", "rmse", "mse", "mae")


class Order(NamedTuple):
    """What a process needs to run a trial.

    Attributes:
        number, name: of the trial, and of its folder below ``members/``. config: to train with. tags: at MLflow.
        rule: when it ends early. metric: by tracking name. unit: what is counted as spent.
    """

    number: int
    name: str
    config: TrainingConfig
    tags: dict[str, str]
    rule: StopRule
    metric: str
    unit: Unit


@dataclass
class Following(Callback):
    """Follows one training.

    Args:
        rule, metric, unit: as of `Order`. tell: gets every report, those of epochs before a resume once more.
    """

    rule: StopRule
    metric: str
    unit: Unit
    tell: Tell

    def __post_init__(self) -> None:
        self.reports: list[Report] = []
        self.verdict: Verdict | None = None

    def on_begin(self, state: TrainState) -> None:
        """The epochs of before a resume."""
        for report in list(state.history):
            self.on_epoch(report, state)

    def on_epoch(self, report: EpochReport, state: TrainState) -> None:
        """Report; raises TrainingStopped where the rule says so.

        Raises:
            ConfigError: training has no such metric.
        """
        best = state.history[report.best_epoch - 1].metrics
        if self.metric not in best:
            known = sorted(best)
            raise ConfigError(
                "--metric",
                self.metric,
                f"is not measured after an epoch; there are {', '.join(known)}",
                known[0],
            )
        is_last = report.stop_reason is not None
        self.reports.append(
            Report(report.epoch, spent_of(report.totals, self.unit), best[self.metric], is_last)
        )
        self.tell(self.reports[-1])
        self.verdict = self.rule.verdict(self.reports)
        if self.verdict is not None:
            raise TrainingStopped(self.verdict.text)

    def outcome(self, totals: Totals, ended_by: str | None = None) -> Outcome:
        """How the trial ended whose training ended with these totals; `ended_by`: what its training says of it."""
        value = self.reports[-1].value if self.reports else None
        spent = spent_of(totals, self.unit)
        if self.verdict is not None:
            return Outcome(self.verdict.kind, spent, value, self.verdict.rung, self.verdict.text)
        if self.reports and self.reports[-1].is_last:
            return Outcome("done", spent, value)
        return Outcome("cut", spent, value, why=ended_by or "")  # by the cap on money, within an epoch

    def failed(self, error: Exception, paid: int = 0) -> Outcome:
        """The outcome of a trial that could not be trained; `paid`: for it, with what its last epoch took."""
        spent = self.reports[-1].spent if self.reports else 0
        return Outcome("failed", max(spent, paid), why=f"{type(error).__name__}: {error}")


def spent_of(totals: Totals, unit: Unit) -> int:
    """Circuits, or micro-dollars."""
    return totals.n_circuits if unit == "circuits" else round(totals.cost_usd * 1e6)


def in_units(amount: float, unit: Unit) -> int:
    """Circuits as they are, dollars as micro-dollars."""
    return int(amount) if unit == "circuits" else micro_down(amount)


def is_maximised(metric: str) -> bool:
    """Whether larger values of a metric are better."""
    return metric.rpartition("/")[2] not in _LOWER_IS_BETTER


def totals_of(result: dict[str, Any]) -> Totals:
    """Of a finished run's recorded result."""
    return Totals(int(result["circuits"]), int(result["shots"]), float(result["cost_usd"]))
