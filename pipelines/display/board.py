"""The newest figures of a run, which the training loop leaves and a display reads, and how they are put into words."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipelines.display.formatting import format_count, format_metric, format_rate, format_usd, metric_label

if TYPE_CHECKING:
    from orchestrator.protocols import DispatcherStats
    from orchestrator.training.reports import EpochReport, StepReport, Totals
    from pipelines.spending import Spending

_PACE_SECONDS = 30.0


class Board:
    """The newest figures of a run, written by the training loop and read by whoever draws. Writing is a few assignments."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.started_at = clock()
        self.stopped_at: float | None = None
        self.title = ""
        self.details: tuple[str, ...] = ()
        self.phase = ""
        self.phase_at = self.started_at
        self.is_paid = False
        self.spending: Spending | None = None
        self.losses = Trace()
        self.step: StepReport | None = None
        self.step_at = self.started_at
        self.epoch: EpochReport | None = None
        self.totals: Totals | None = None
        self.fleet: DispatcherStats | None = None
        self._pace = Pace()

    def note_step(self, report: StepReport) -> None:
        """Keep the report of a finished step; it ends the phase."""
        is_first = self.step is None
        self.step = report
        self.totals = report.totals
        self.step_at = self.clock()
        self.losses.append(report.loss)
        self.phase = ""
        if is_first:  # compiling and starting belong to no step: the pace counts from here
            self._pace.mark(self.step_at, report.step, report.totals.n_circuits)

    def note_epoch(self, report: EpochReport) -> None:
        """Keep the report of a finished epoch."""
        self.epoch = report
        self.totals = report.totals

    def elapsed(self) -> float:
        """Seconds since the start, until now or until it was stopped."""
        return (self.stopped_at if self.stopped_at is not None else self.clock()) - self.started_at

    def pace(self) -> tuple[float, float] | None:
        """(steps, circuits) per second lately; None as long as that cannot be said."""
        if self.step is None:
            return None
        self._pace.mark(self.step_at, self.step.step, self.step.totals.n_circuits)
        return self._pace.per_second()

    def seconds_left(self, steps_per_second: float) -> float:
        """At the present pace, counting from the last step, so that it runs down between long steps too."""
        assert self.step is not None
        remaining = (
            (self.step.n_steps - self.step.step) / steps_per_second if steps_per_second > 0 else math.inf
        )
        return max(remaining - (self.clock() - self.step_at), 0.0)


class Trace:
    """Values of a long run in bounded memory: when it is full, neighbours are merged into their mean."""

    def __init__(self, capacity: int = 512) -> None:
        self._capacity = capacity
        self._points: list[float] = []
        self._per_point = 1
        self._sum, self._n = 0.0, 0

    def append(self, value: float) -> None:
        """Add the next value."""
        self._sum += value
        self._n += 1
        if self._n < self._per_point:
            return
        self._points.append(self._sum / self._n)
        self._sum, self._n = 0.0, 0
        if len(self._points) >= self._capacity:  # replaced, not changed: the drawing thread may be reading it
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [(a + b) / 2 for a, b in pairs]
            self._per_point *= 2

    def points(self) -> list[float]:
        """Means of equally many values each, but perhaps the last."""
        n = self._n
        return self._points + ([self._sum / n] if n else [])


class Pace:
    """Steps and circuits per second over the last half minute, or the last two marks where steps take longer."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()

    def mark(self, at: float, step: int, n_circuits: int) -> None:
        """Note how far the run was at that time."""
        if self._marks and self._marks[-1][1:] == (step, n_circuits):
            return
        self._marks.append((at, step, n_circuits))
        while len(self._marks) > 2 and self._marks[0][0] < at - _PACE_SECONDS:
            self._marks.popleft()

    def per_second(self) -> tuple[float, float] | None:
        """(steps, circuits) per second; None before there are two marks."""
        (start, *first), (end, *last) = self._marks[0], self._marks[-1]
        if not end > start:
            return None
        return (last[0] - first[0]) / (end - start), (last[1] - first[1]) / (end - start)


def validation_figures(report: EpochReport) -> list[tuple[str, str]]:
    """(label, value) of the validation metrics, loss first."""
    names = sorted((n for n in report.metrics if n.startswith("val/")), key=lambda n: (n != "val/loss", n))
    return [(metric_label(n), format_metric(n, report.metrics[n])) for n in names]


def staleness_text(report: StepReport) -> list[str]:
    """How old the step's gradient is, where gradients may be stale."""
    age = report.staleness
    return [] if age is None else [f"{age} update{'s' * (age != 1)} old"]


def trouble(fleet: DispatcherStats | None) -> list[str]:
    """What went wrong in the fleet and was mended."""
    if fleet is None:
        return []
    counts = ((fleet.workers_lost, "actor", "lost"), (fleet.jobs_retried, "job", "retried"))
    return [f"{n} {noun}{'s' if n > 1 else ''} {what}" for n, noun, what in counts if n > 0]


def use_figures(board: Board, pace: tuple[float, float] | None) -> list[str]:
    """What the run has used: circuits, their rate, shots and money where there are any."""
    totals = board.totals
    if totals is None:
        return []
    parts = [format_count(totals.n_circuits, "circuits")]
    if pace is not None:
        parts.append(format_rate(pace[1], 1.0))
    if totals.n_shots:
        parts.append(format_count(totals.n_shots, "shots"))
    if board.spending is not None:
        parts += money_figures(board.spending)
    elif board.is_paid or totals.cost_usd:
        parts.append(format_usd(totals.cost_usd))
    return parts


def money_figures(spending: Spending) -> list[str]:
    """What the run has paid, has set aside for jobs under way, and did not pay again."""
    of_cap = "" if spending.cap is None else f" of {format_usd(spending.cap)}"
    parts = [f"{format_usd(spending.spent)}{of_cap} spent"]
    if spending.reserved:
        parts.append(f"{format_usd(spending.reserved)} reserved")
    if spending.saved:
        parts.append(f"{format_usd(spending.saved)} saved")
    return parts


def early_end(report: EpochReport) -> str | None:
    """A sentence with the reason, where training ends before its last epoch."""
    if not report.stop_reason or report.epoch >= report.n_epochs:
        return None
    return f"training ends after epoch {report.epoch}: {report.stop_reason}"
