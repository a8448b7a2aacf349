"""The display on a terminal: a panel drawn in place, a few times a second. The only module that draws with rich as a run goes on."""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from pipelines.display.board import (
    Board,
    early_end,
    staleness_text,
    trouble,
    use_figures,
    validation_figures,
)
from pipelines.display.formatting import format_elapsed, format_value, sparkline
from pipelines.display.protocol import Progress
from pipelines.display.tables import MAX_WIDTH

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

    from orchestrator.protocols import DispatcherStats
    from orchestrator.training.reports import EpochReport, StepReport
    from pipelines.spending import Spending

DRAWS_PER_SECOND = 5.0
"""How often the live display is drawn; one drawing takes a few milliseconds of the driver."""


class LiveProgress(Progress):
    """A panel that is drawn in place, a few times a second, by a thread of its own.

    The training loop only leaves its newest report here, so its cost does not depend on the terminal, and the clock goes on while a
    step takes minutes. Whatever is printed or logged meanwhile appears above the panel.
    """

    def __init__(
        self,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        draws_per_second: float | None = DRAWS_PER_SECOND,
    ) -> None:
        """`draws_per_second` None: only `draw` draws."""
        self._console = console or stderr_console()
        self._draws_per_second = draws_per_second
        self._board = Board(clock)
        self._live: Live | None = None
        self._handlers: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []

    def start(self, title: str, details: Sequence[str] = (), *, is_paid: bool = False) -> None:
        """Put the panel up."""
        from rich.live import Live

        self.stop()
        self._board = Board(self._board.clock)
        self._board.title, self._board.details, self._board.is_paid = title, tuple(details), is_paid
        streams = sys.stdout, sys.stderr
        self._live = Live(
            console=self._console,
            get_renderable=self._panel,
            auto_refresh=self._draws_per_second is not None,
            refresh_per_second=self._draws_per_second or 1.0,
            # what is piped away on stdout stays on stdout; on the same screen it must not run through the panel
            redirect_stdout=sys.stdout.isatty(),
        )
        with contextlib.suppress(OSError, ValueError):
            self._live.start(refresh=True)
        self._handlers = list(_follow(streams))
        atexit.register(self.stop)  # a forgotten display must not leave the terminal without a cursor

    def phase(self, text: str) -> None:
        """A line at the foot of the panel."""
        self._board.phase, self._board.phase_at = text, self._board.clock()

    def on_step(self, report: StepReport) -> None:
        """For the next drawing."""
        self._board.note_step(report)

    def on_epoch(self, report: EpochReport) -> None:
        """For the next drawing."""
        self._board.note_epoch(report)
        if sentence := early_end(report):
            self.message(sentence)

    def on_fleet(self, stats: DispatcherStats) -> None:
        """For the next drawing."""
        self._board.fleet = stats

    def on_spending(self, spending: Spending) -> None:
        """For the next drawing."""
        self._board.spending = spending

    def message(self, text: str) -> None:
        """A line above the panel."""
        with contextlib.suppress(OSError, ValueError):
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def draw(self) -> None:
        """Draw now."""
        if self._live is not None:
            with contextlib.suppress(OSError, ValueError):
                self._live.refresh()

    def stop(self) -> None:
        """Draw the last state and leave it standing."""
        live, self._live = self._live, None
        if live is None:
            return
        atexit.unregister(self.stop)
        self._board.stopped_at, self._board.phase = self._board.clock(), ""
        for handler, stream in self._handlers:
            handler.setStream(stream)
        self._handlers = []
        with contextlib.suppress(OSError, ValueError):
            live.stop()

    def _panel(self) -> RenderableType:
        from rich import box
        from rich.console import Group
        from rich.panel import Panel
        from rich.text import Text

        board = self._board
        width = min(self._console.width, MAX_WIDTH)
        parts: list[RenderableType] = [Text(line, style="dim") for line in board.details]
        if board.step is not None:
            parts += [Text()] * bool(parts) + [self._bar(board.step), self._figures(width - 4)]
        if board.phase:
            parts += [Text()] * bool(parts) + [self._phase_line()]
        title = Text(board.title, style="bold") if board.title else None
        return Panel(
            Group(*parts),
            title=title,
            title_align="left",
            box=box.ROUNDED,
            border_style="cyan",
            width=width,
            padding=(0, 1),
        )

    def _bar(self, step: StepReport) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        row = Table.grid(padding=(0, 2), expand=True)
        row.add_column(ratio=1)
        row.add_column(justify="right", no_wrap=True)
        share = math.floor(100 * step.step / max(step.n_steps, 1))
        bar = ProgressBar(
            total=max(step.n_steps, 1), completed=step.step, complete_style="cyan", finished_style="green"
        )
        row.add_row(bar, f"{step.step:,}/{step.n_steps:,} steps  {share:3d} %")
        return row

    def _figures(self, width: int) -> RenderableType:
        from rich.table import Table

        board = self._board
        pace = board.pace()
        assert board.step is not None
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="cyan", no_wrap=True)
        rows.add_column()
        rows.add_row("epoch", _joined([f"{board.step.epoch}/{board.step.n_epochs}", *self._times(pace)]))
        rows.add_row("loss", self._loss(board.step, width - 12))
        if board.epoch is not None and (validation := validation_figures(board.epoch)):
            best = f"best: epoch {board.epoch.best_epoch}"
            rows.add_row("validation", _joined([*(f"{label} {value}" for label, value in validation), best]))
        rate = f"learning rate {board.step.learning_rate:.3g}"
        age = staleness_text(board.step)
        rows.add_row("gradient", _joined([f"norm {format_value(board.step.gradient_norm)}", rate, *age]))
        use = use_figures(board, pace)
        rows.add_row("circuits", _joined([use[0].removesuffix(" circuits"), *use[1:]]))
        if board.fleet is not None:
            rows.add_row("actors", _joined([f"{board.fleet.n_workers} alive"], trouble(board.fleet)))
        return rows

    def _times(self, pace: tuple[float, float] | None) -> list[str]:
        board = self._board
        parts = [f"{format_elapsed(board.elapsed())} elapsed"]
        if board.stopped_at is None and board.step is not None and board.step.step < board.step.n_steps:
            left = None if pace is None else board.seconds_left(pace[0])
            parts.append("estimating the time left" if left is None else f"about {format_elapsed(left)} left")
        return parts

    def _loss(self, step: StepReport, width: int) -> Text:
        from rich.text import Text

        text = Text(f"{format_value(step.loss)}  ", style="bold")
        if not self._console.options.ascii_only:
            text.append(sparkline(self._board.losses.points(), width - len(text)), style="not bold cyan")
        return text

    def _phase_line(self) -> RenderableType:
        from rich.spinner import Spinner
        from rich.text import Text

        board = self._board
        seconds = board.clock() - board.phase_at
        text = Text(f"{board.phase} ..." + (f"  {format_elapsed(seconds)}" if seconds >= 1 else ""))
        spinner = Spinner("line" if self._console.options.ascii_only else "dots", text, style="cyan")
        spinner.start_time = 0.0  # a new object each time: let it turn by the console's clock
        return spinner


def _joined(parts: Sequence[str], troubles: Sequence[str] = ()) -> Text:
    """Parts in a row, the first one bold; troubles stand out."""
    from rich.text import Text

    styled = [Text(part, style="bold" if i == 0 else "") for i, part in enumerate(parts)]
    return Text(" · ").join([*styled, *(Text(part, style="yellow") for part in troubles)])


def stderr_console() -> Console:
    """What draws on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _follow(streams: tuple[TextIO, TextIO]) -> Iterator[tuple[logging.StreamHandler[TextIO], TextIO]]:
    """Point log handlers that hold the terminal's own streams to what has been put in their place; yields (handler, old stream).

    A handler keeps the stream it was made with, so its lines would run through the panel.
    """
    present = sys.stdout, sys.stderr
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            if not isinstance(handler, logging.StreamHandler):
                continue
            for old, new in zip(streams, present, strict=True):
                if handler.stream is old and new is not old:
                    handler.setStream(new)
                    yield handler, old
