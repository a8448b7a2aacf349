"""Early stopping by rungs: asynchronous successive halving with circuits, or micro-dollars, as the resource.

L. Li et al., A System for Massively Parallel Hyperparameter Tuning, arXiv 1810.05934 (ASHA): a trial that has come to a rung goes on if its
value is among the best 1/eta of those that came there before. Here "before" means the trials that had ended when this one was asked for,
by their numbers and not by the clock. Whether a trial is stopped therefore follows from the numbers alone, however many run at once, and
it can be decided wherever the trial runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple


class Report(NamedTuple):
    """A trial after one of its epochs.

    Attributes:
        epoch: finished, 1-based. spent: circuits or micro-dollars so far.
        value: the metric at the best epoch so far.
        is_last: training has ended with it.
    """

    epoch: int
    spent: int
    value: float
    is_last: bool = False


class Verdict(NamedTuple):
    """Why a trial is not gone on with.

    Attributes:
        kind: ``stopped``: others did better at rung `rung` (from 0). ``cut``: what is left of the budget does not pay for another epoch.
    """

    kind: Literal["stopped", "cut"]
    rung: int | None = None

    @property
    def text(self) -> str:
        """For the trial's tag at MLflow."""
        return "stopped by the budget" if self.rung is None else f"stopped at rung {self.rung}"


@dataclass(frozen=True)
class Rungs:
    """Where trials are compared.

    Attributes:
        first: spent at rung 0; rung k is at ``first * reduction**k``. reduction: eta, one in so many goes on.
    """

    first: int
    reduction: int = 3

    def at(self, rung: int) -> int:
        """What a trial has spent there at least."""
        return self.first * self.reduction**rung

    def reached(self, reports: Sequence[Report]) -> tuple[float, ...]:
        """The value at each rung that the reports of a trial have come to, by the first report there."""
        values: list[float] = []
        for report in reports:
            while report.spent >= self.at(len(values)):
                values.append(report.value)
        return tuple(values)


@dataclass(frozen=True)
class StopRule:
    """When one trial ends before its training does; all that this depends on is known when the trial is asked for.

    Attributes:
        rungs: None: there are none. rivals: for each rung the values of the trials it is compared with.
        allotment: most that the trial may spend; None: no limit.
        maximise: larger values are better.
    """

    rungs: Rungs | None
    rivals: tuple[tuple[float, ...], ...]
    allotment: int | None
    maximise: bool

    def verdict(self, reports: Sequence[Report]) -> Verdict | None:
        """What follows from all reports of the trial so far; None: go on, or it has ended by itself."""
        if not reports or reports[-1].is_last:
            return None
        lost = self._lost_at(reports)
        if lost is not None:
            return Verdict("stopped", lost)
        spent = [report.spent for report in reports]
        epoch = spent[-1] - (spent[-2] if len(spent) > 1 else 0)
        if self.allotment is not None and spent[-1] + epoch > self.allotment:
            return Verdict("cut")
        return None

    def _lost_at(self, reports: Sequence[Report]) -> int | None:
        if self.rungs is None:
            return None
        for rung, value in enumerate(self.rungs.reached(reports)):
            rivals = self.rivals[rung] if rung < len(self.rivals) else ()
            if not goes_on(value, rivals, self.rungs.reduction, maximise=self.maximise):
                return rung
        return None


def goes_on(value: float, rivals: Sequence[float], reduction: int, *, maximise: bool) -> bool:
    """Whether `value` is among the best 1/`reduction` of itself and its `rivals`; the best always is, what is no number never."""
    if math.isnan(value):
        return False
    sign = -1.0 if maximise else 1.0
    ranked = sorted(sign * each for each in (value, *rivals) if not math.isnan(each))
    return sign * value <= ranked[max(len(ranked) // reduction - 1, 0)]
