"""Several displays as one: the terminal, the live status, the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.display.protocol import Progress

if TYPE_CHECKING:
    from orchestrator.protocols import DispatcherStats
    from orchestrator.training.reports import EpochReport, StepReport
    from pipelines.spending import Spending


class SeveralDisplays(Progress):
    """Tells each of them, in order."""

    def __init__(self, displays: Sequence[Progress]) -> None:
        self._displays = tuple(displays)

    def start(self, title: str, details: Sequence[str] = (), *, is_paid: bool = False) -> None:
        """To each."""
        for display in self._displays:
            display.start(title, details, is_paid=is_paid)

    def phase(self, text: str) -> None:
        """To each."""
        for display in self._displays:
            display.phase(text)

    def on_step(self, report: StepReport) -> None:
        """To each."""
        for display in self._displays:
            display.on_step(report)

    def on_epoch(self, report: EpochReport) -> None:
        """To each."""
        for display in self._displays:
            display.on_epoch(report)

    def on_fleet(self, stats: DispatcherStats) -> None:
        """To each."""
        for display in self._displays:
            display.on_fleet(stats)

    def on_spending(self, spending: Spending) -> None:
        """To each."""
        for display in self._displays:
            display.on_spending(spending)

    def message(self, text: str) -> None:
        """To each."""
        for display in self._displays:
            display.message(text)

    def stop(self) -> None:
        """To each."""
        for display in self._displays:
            display.stop()
