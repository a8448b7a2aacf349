"""The run's log, ``run.log`` of its folder: JSON lines of what the displays are told and of what our own loggers say."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from actors.json_log import JsonLog
from pipelines.display.progress import QuietProgress

if TYPE_CHECKING:
    from orchestrator.training.reports import EpochReport, StepReport

RUN_LOG = "run.log"
_log = logging.getLogger(__name__)


class LogDisplay(QuietProgress):
    """Logs a run's phases, messages and epochs, and tells the files at which step it is.

    Args:
        logs: open ones, whose lines carry the step.
    """

    def __init__(self, logs: Sequence[JsonLog]) -> None:
        super().__init__()
        self._logs = tuple(logs)

    def start(self, title: str, details: Sequence[str] = (), *, is_paid: bool = False) -> None:
        """One line."""
        _log.info("%s: %s", title, "; ".join(details))

    def phase(self, text: str) -> None:
        """One line."""
        _log.info("%s", text)

    def message(self, text: str) -> None:
        """One line."""
        _log.info("%s", text)

    def on_step(self, report: StepReport) -> None:
        """No line: a journal of every step is in ``metrics.jsonl``."""
        for log in self._logs:
            log.fields["step"] = report.step

    def on_epoch(self, report: EpochReport) -> None:
        """One line."""
        figures = ", ".join(f"{name} {value:.6g}" for name, value in report.metrics.items())
        _log.info("epoch %d of %d: %s", report.epoch, report.n_epochs, figures)
