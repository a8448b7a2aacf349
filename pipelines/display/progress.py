"""What a person sees of a run while it goes on.

`make_progress` gives a live display on a terminal and plain lines elsewhere (a log, ``ray job``, CI). Both write to stderr only, so
that stdout stays clean for ``--json``. A display never stops a run: when nobody can read it any more, it falls silent.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from pipelines.display.board import (
    Board,
    early_end,
    staleness_text,
    trouble,
    use_figures,
    validation_figures,
)
from pipelines.display.formatting import format_duration, format_elapsed, format_value
from pipelines.display.protocol import Progress

if TYPE_CHECKING:
    from orchestrator.protocols import DispatcherStats
    from orchestrator.training.reports import EpochReport, StepReport
    from pipelines.spending import Spending

SECONDS_BETWEEN_LINES = 5.0
"""Plain lines within an epoch come no faster than this."""


def make_progress(is_terminal: bool | None = None, quiet: bool = False) -> Progress:
    """The display that suits where stderr goes.

    Args:
        is_terminal: draw in place; None: find out.
        quiet: messages only.
    """
    if quiet:
        return QuietProgress()
    from pipelines.display.live import LiveProgress, stderr_console

    if is_terminal is None:
        is_terminal = sys.stderr.isatty() and not stderr_console().is_dumb_terminal
    return LiveProgress() if is_terminal else PlainProgress()


class QuietProgress(Progress):
    """Messages only."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file

    def start(self, title: str, details: Sequence[str] = (), *, is_paid: bool = False) -> None:
        """Nothing."""

    def phase(self, text: str) -> None:
        """Nothing."""

    def on_step(self, report: StepReport) -> None:
        """Nothing."""

    def on_epoch(self, report: EpochReport) -> None:
        """Nothing."""

    def on_fleet(self, stats: DispatcherStats) -> None:
        """Nothing."""

    def on_spending(self, spending: Spending) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """One line."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: the file is closed
            print(text, file=self._file or sys.stderr, flush=True)

    def stop(self) -> None:
        """Nothing."""


class PlainProgress(QuietProgress):
    """Lines for a log: one per epoch, and within an epoch one every few seconds."""

    def __init__(self, file: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(file)
        self._board = Board(clock)
        self._next_line_at = -math.inf

    def start(self, title: str, details: Sequence[str] = (), *, is_paid: bool = False) -> None:
        """Title and details, a line each."""
        self._board = Board(self._board.clock)
        self._board.is_paid = is_paid
        self.message(title)
        for line in details:
            self.message(f"  {line}")

    def phase(self, text: str) -> None:
        """One line."""
        if text != self._board.phase:
            self._board.phase = text
            self.message(f"{text} ...")

    def on_step(self, report: StepReport) -> None:
        """A line if the last one is some seconds old."""
        board = self._board
        if board.step is None:
            self._next_line_at = board.clock() + SECONDS_BETWEEN_LINES
        board.note_step(report)
        if board.step_at >= self._next_line_at:
            figures = [
                f"loss {format_value(report.loss)}",
                f"gradient norm {format_value(report.gradient_norm)}",
                *staleness_text(report),
            ]
            self._line(report.epoch, report.n_epochs, figures)

    def on_epoch(self, report: EpochReport) -> None:
        """One line."""
        self._board.note_epoch(report)
        train = report.metrics.get("train/epoch_loss", report.metrics.get("train/loss"))
        figures = [] if train is None else [f"loss {format_value(train)}"]
        figures += [f"val {label} {value}" for label, value in validation_figures(report)]
        self._line(report.epoch, report.n_epochs, figures + ["best so far"] * report.is_best)
        if sentence := early_end(report):
            self.message(sentence)

    def on_fleet(self, stats: DispatcherStats) -> None:
        """Kept for the next line."""
        self._board.fleet = stats

    def on_spending(self, spending: Spending) -> None:
        """Kept for the next line."""
        self._board.spending = spending

    def _line(self, epoch: int, n_epochs: int, figures: list[str]) -> None:
        board = self._board
        pace = board.pace()
        parts = [f"epoch {epoch:{len(str(n_epochs))}}/{n_epochs}"]
        if board.step is not None:
            parts.append(f"step {board.step.step:{len(str(board.step.n_steps))}}/{board.step.n_steps}")
        parts += [
            *figures,
            *use_figures(board, pace),
            *trouble(board.fleet),
            format_duration(board.elapsed()),
        ]
        if pace is not None and board.step is not None and board.step.step < board.step.n_steps:
            parts.append(f"about {format_elapsed(board.seconds_left(pace[0]))} left")
        self.message(" | ".join(parts))
        self._next_line_at = board.clock() + SECONDS_BETWEEN_LINES
