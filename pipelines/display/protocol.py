"""Progress: what every display of a run offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from orchestrator.protocols import DispatcherStats
    from orchestrator.training.reports import EpochReport, StepReport
    from pipelines.spending import Spending


class Progress(Protocol):
    """A display of one run. Methods may be called in any order, and `stop` more than once; a ``with`` block stops it."""

    def start(self, title: str, details: Sequence[str] = (), *, is_paid: bool = False) -> None:
        """Show what runs. `is_paid`: circuits cost money, so the sum is shown from the beginning."""
        ...

    def phase(self, text: str) -> None:
        """What happens now, outside the steps: ``"starting 2 actors"``. The next step ends it."""
        ...

    def on_step(self, report: StepReport) -> None:
        """Note a step; costs about a microsecond."""
        ...

    def on_epoch(self, report: EpochReport) -> None:
        """Note the end of an epoch."""
        ...

    def on_fleet(self, stats: DispatcherStats) -> None:
        """Note how the actors are."""
        ...

    def on_spending(self, spending: Spending) -> None:
        """Note what has been paid, and what is set aside."""
        ...

    def message(self, text: str) -> None:
        """A line that stays: a warning, a saved file."""
        ...

    def stop(self) -> None:
        """Take the display down, leaving its last state to be read."""
        ...

    def __enter__(self) -> Self:
        """The display itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Stop, whatever has happened."""
        self.stop()
