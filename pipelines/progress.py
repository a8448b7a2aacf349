"""What a person sees of a run while it goes on, and the table at its end.

`make_progress` gives a live display on a terminal and plain lines elsewhere (a log, ``ray job``, CI). Both write to stderr only, so
that stdout stays clean for ``--json``. A display never stops a run: when nobody can read it any more, it falls silent.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import math
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

    from orchestrator.protocols import DispatcherStats
    from orchestrator.training.reports import EpochReport, StepReport, Totals

DRAWS_PER_SECOND = 5.0
"""How often the live display is drawn; one drawing takes a few milliseconds of the driver."""
SECONDS_BETWEEN_LINES = 5.0
"""Plain lines within an epoch come no faster than this."""

_PREFIXES = ("", "k", "M", "G", "T")
_BARS = "▁▂▃▄▅▆▇█"
_MAX_WIDTH = 100
_PACE_SECONDS = 30.0


# Numbers as people read them


def format_count(count: float, unit: str = "") -> str:
    """Three digits and an SI prefix: ``format_count(3_100_000, "circuits")`` is ``"3.10 M circuits"``."""
    value, power = float(count), 0
    while abs(value) >= 999.5 and power < len(_PREFIXES) - 1:
        value, power = value / 1000.0, power + 1
    if power == 0:
        text = f"{value:.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.1f}"
    else:
        text = f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f}"
    return " ".join(part for part in (text, _PREFIXES[power], unit) if part)


def format_rate(count: float, seconds: float, unit: str = "") -> str:
    """``"12.3 k circuits/s"``; a dash where no time has passed."""
    if not seconds > 0:
        return "–"
    text = format_count(count / seconds, unit)
    return f"{text}/s" if unit or text[-1].isalpha() else f"{text} /s"


def format_duration(seconds: float) -> str:
    """Two units at most: ``"38 ms"``, ``"4.2 s"``, ``"1 min 12 s"``, ``"3 h 5 min"``, ``"2 d 4 h"``."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 0.9995:
        return f"{max(seconds, 0.0) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, part_size, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part_size
            return f"{whole // size} {unit} {rest} {part}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def format_usd(dollars: float) -> str:
    """``"$0.00"``, ``"$12.50"``, ``"$1,204.00"``; below a cent two digits that count, so that little is not shown as nothing."""
    if 0 < abs(dollars) < 0.01:
        return f"${dollars:.{1 - math.floor(math.log10(abs(dollars)))}f}"
    return f"${dollars:,.2f}"


def format_percent(fraction: float) -> str:
    """``"94.1 %"``."""
    return f"{100 * fraction:.1f} %"


def format_value(value: float) -> str:
    """A loss or norm with four digits that count: ``"0.2500"``, ``"12.35"``, ``"1.234e-05"``."""
    return f"{value:#.4g}".rstrip(".")


def format_metric(name: str, value: float) -> str:
    """A figure of merit by the last part of its tracking name: ``accuracy`` as a share, all others as values."""
    return format_percent(value) if name.rpartition("/")[2] == "accuracy" else format_value(value)


def metric_label(name: str) -> str:
    """The last part of a tracking name, as it is written in prose."""
    short = name.rpartition("/")[2]
    return {"r2": "R²", "rmse": "RMSE", "epoch_loss": "loss"}.get(short, short.replace("_", " "))


# The displays


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

    def message(self, text: str) -> None:
        """A line that stays: a warning, a saved file."""
        ...

    def stop(self) -> None:
        """Take the display down, leaving its last state to be read."""
        ...

    def __enter__(self) -> Self:
        """The display itself."""
        ...

    def __exit__(self, *error: object) -> None:
        """Stop, whatever has happened."""
        ...


def make_progress(is_terminal: bool | None = None, quiet: bool = False) -> Progress:
    """The display that suits where stderr goes.

    Args:
        is_terminal: draw in place; None: find out.
        quiet: messages only.
    """
    if quiet:
        return QuietProgress()
    if is_terminal is None:
        is_terminal = sys.stderr.isatty() and not _stderr_console().is_dumb_terminal
    return LiveProgress() if is_terminal else PlainProgress()


class _Trace:
    """Values of a long run in bounded memory: when it is full, neighbours are merged into their mean."""

    def __init__(self, capacity: int = 512) -> None:
        self._capacity = capacity
        self._points: list[float] = []
        self._per_point = 1
        self._sum, self._n = 0.0, 0

    def append(self, value: float) -> None:
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
        n = self._n
        return self._points + ([self._sum / n] if n else [])


def sparkline(values: Sequence[float], width: int) -> str:
    """The values as one line of bars at most `width` wide, each the mean of its share; what is not finite is left blank."""
    n_bars = min(width, len(values))
    if n_bars < 1:
        return ""
    cuts = [i * len(values) // n_bars for i in range(n_bars + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(cuts)]
    finite = [m for m in means if math.isfinite(m)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((m - low) * scale)] if math.isfinite(m) else " " for m in means)


class _Pace:
    """Steps and circuits per second over the last half minute, or the last two marks where steps take longer."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()

    def mark(self, at: float, step: int, n_circuits: int) -> None:
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


class _Board:
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
        self.losses = _Trace()
        self.step: StepReport | None = None
        self.step_at = self.started_at
        self.epoch: EpochReport | None = None
        self.totals: Totals | None = None
        self.fleet: DispatcherStats | None = None
        self._pace = _Pace()

    def note_step(self, report: StepReport) -> None:
        is_first = self.step is None
        self.step = report
        self.totals = report.totals
        self.step_at = self.clock()
        self.losses.append(report.loss)
        if self.phase:
            self.phase = ""
        if is_first:  # compiling and starting belong to no step: the pace counts from here
            self._pace.mark(self.step_at, report.step, report.totals.n_circuits)

    def note_epoch(self, report: EpochReport) -> None:
        self.epoch = report
        self.totals = report.totals

    def elapsed(self) -> float:
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


def _validation(report: EpochReport) -> list[tuple[str, str]]:
    """(label, value) of the validation metrics, loss first."""
    names = sorted((n for n in report.metrics if n.startswith("val/")), key=lambda n: (n != "val/loss", n))
    return [(metric_label(n), format_metric(n, report.metrics[n])) for n in names]


def _trouble(fleet: DispatcherStats | None) -> list[str]:
    """What went wrong in the fleet and was mended."""
    if fleet is None:
        return []
    counts = ((fleet.workers_lost, "actor", "lost"), (fleet.jobs_retried, "job", "retried"))
    return [f"{n} {noun}{'s' if n > 1 else ''} {what}" for n, noun, what in counts if n > 0]


def _use(board: _Board, pace: tuple[float, float] | None) -> list[str]:
    """What the run has used: circuits, their rate, shots and money where there are any."""
    totals = board.totals
    if totals is None:
        return []
    parts = [format_count(totals.n_circuits, "circuits")]
    if pace is not None:
        parts.append(format_rate(pace[1], 1.0))
    if totals.n_shots:
        parts.append(format_count(totals.n_shots, "shots"))
    if board.is_paid or totals.cost_usd:
        parts.append(format_usd(totals.cost_usd))
    return parts


def _whole_seconds(seconds: float) -> str:
    """A running time without the digits that would flicker."""
    if not math.isfinite(seconds):
        return format_duration(seconds)
    return f"{round(seconds)} s" if seconds < 59.5 else format_duration(seconds)


def _ends_early(report: EpochReport) -> str | None:
    """The reason, where training ends before its last epoch."""
    return report.stop_reason if report.stop_reason and report.epoch < report.n_epochs else None


class QuietProgress:
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

    def message(self, text: str) -> None:
        """One line."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: the file is closed
            print(text, file=self._file or sys.stderr, flush=True)

    def stop(self) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        """The display itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Stop, whatever has happened."""
        self.stop()


class PlainProgress(QuietProgress):
    """Lines for a log: one per epoch, and within an epoch one every few seconds."""

    def __init__(self, file: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(file)
        self._board = _Board(clock)
        self._next_line_at = -math.inf

    def start(self, title: str, details: Sequence[str] = (), *, is_paid: bool = False) -> None:
        """Title and details, a line each."""
        self._board = _Board(self._board.clock)
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
            ]
            self._line(report.epoch, report.n_epochs, figures)

    def on_epoch(self, report: EpochReport) -> None:
        """One line."""
        self._board.note_epoch(report)
        train = report.metrics.get("train/epoch_loss", report.metrics.get("train/loss"))
        figures = [] if train is None else [f"loss {format_value(train)}"]
        figures += [f"val {label} {value}" for label, value in _validation(report)]
        self._line(report.epoch, report.n_epochs, figures + ["best so far"] * report.is_best)
        if reason := _ends_early(report):
            self.message(f"training ends after epoch {report.epoch}: {reason}")

    def on_fleet(self, stats: DispatcherStats) -> None:
        """Kept for the next line."""
        self._board.fleet = stats

    def _line(self, epoch: int, n_epochs: int, figures: list[str]) -> None:
        board = self._board
        pace = board.pace()
        parts = [f"epoch {epoch:{len(str(n_epochs))}}/{n_epochs}"]
        if board.step is not None:
            parts.append(f"step {board.step.step:{len(str(board.step.n_steps))}}/{board.step.n_steps}")
        parts += [*figures, *_use(board, pace), *_trouble(board.fleet), format_duration(board.elapsed())]
        if pace is not None and board.step is not None and board.step.step < board.step.n_steps:
            parts.append(f"about {_whole_seconds(board.seconds_left(pace[0]))} left")
        self.message(" | ".join(parts))
        self._next_line_at = board.clock() + SECONDS_BETWEEN_LINES


class LiveProgress:
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
        self._console = console or _stderr_console()
        self._draws_per_second = draws_per_second
        self._board = _Board(clock)
        self._live: Live | None = None
        self._handlers: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []

    def start(self, title: str, details: Sequence[str] = (), *, is_paid: bool = False) -> None:
        """Put the panel up."""
        from rich.live import Live

        self.stop()
        self._board = _Board(self._board.clock)
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
        if reason := _ends_early(report):
            self.message(f"training ends after epoch {report.epoch}: {reason}")

    def on_fleet(self, stats: DispatcherStats) -> None:
        """For the next drawing."""
        self._board.fleet = stats

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

    def __enter__(self) -> Self:
        """The display itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Stop, whatever has happened."""
        self.stop()

    def _panel(self) -> RenderableType:
        from rich import box
        from rich.console import Group
        from rich.panel import Panel
        from rich.text import Text

        board = self._board
        width = min(self._console.width, _MAX_WIDTH)
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
        if board.epoch is not None and (validation := _validation(board.epoch)):
            best = f"best: epoch {board.epoch.best_epoch}"
            rows.add_row("validation", _joined([*(f"{label} {value}" for label, value in validation), best]))
        rate = f"learning rate {board.step.learning_rate:.3g}"
        rows.add_row("gradient", _joined([f"norm {format_value(board.step.gradient_norm)}", rate]))
        use = _use(board, pace)
        rows.add_row("circuits", _joined([use[0].removesuffix(" circuits"), *use[1:]]))
        if board.fleet is not None:
            rows.add_row("actors", _joined([f"{board.fleet.n_workers} alive"], _trouble(board.fleet)))
        return rows

    def _times(self, pace: tuple[float, float] | None) -> list[str]:
        board = self._board
        parts = [f"{_whole_seconds(board.elapsed())} elapsed"]
        if board.stopped_at is None and board.step is not None and board.step.step < board.step.n_steps:
            left = None if pace is None else board.seconds_left(pace[0])
            parts.append("estimating the time left" if left is None else f"about {_whole_seconds(left)} left")
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
        text = Text(f"{board.phase} ..." + (f"  {_whole_seconds(seconds)}" if seconds >= 1 else ""))
        spinner = Spinner("line" if self._console.options.ascii_only else "dots", text, style="cyan")
        spinner.start_time = 0.0  # a new object each time: let it turn by the console's clock
        return spinner


def _joined(parts: Sequence[str], troubles: Sequence[str] = ()) -> Text:
    """Parts in a row, the first one bold; troubles stand out."""
    from rich.text import Text

    styled = [Text(part, style="bold" if i == 0 else "") for i, part in enumerate(parts)]
    return Text(" · ").join([*styled, *(Text(part, style="yellow") for part in troubles)])


def _stderr_console() -> Console:
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


# The table at the end


def result_table(
    title: str,
    sections: Mapping[str, Mapping[str, str | Mapping[str, str]]],
    footer: Sequence[str] = (),
    *,
    file: TextIO | None = None,
    width: int | None = None,
) -> None:
    """Print the figures of a finished run, to stderr if no file is given.

    Long values are broken between words only: a path stays whole, so that it can be copied.

    Args:
        title: the run and its headline result.
        sections: heading -> label -> value with its unit. A value that is itself a mapping makes a row with columns:
            ``{"loss": {"train": "0.12", "test": "0.14"}}``.
        footer: lines below, such as how to open the run in MLflow.
        width: columns; as wide as the terminal, at most 100, if absent; 80 where there is none.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(file=file, stderr=file is None, highlight=False)
    columns = width or (min(console.width, _MAX_WIDTH) if console.is_terminal else 80)
    labels = [f"  {label}" for rows in sections.values() for label in rows]
    label_width = max(map(len, [*labels, *sections]), default=0) + 2
    rule = ("-" if console.options.ascii_only else "─") * columns

    def show(*parts: tuple[str, str]) -> None:
        console.print(Text.assemble(*parts), soft_wrap=True)

    show((rule, "cyan"))
    show((title, "bold"))
    for heading, rows in sections.items():
        table = _columns(rows)
        show()
        head = table.pop("", "")
        show((heading.ljust(label_width) if head else heading, "bold cyan"), (head, "dim"))
        for label, value in table.items():
            lines = textwrap.wrap(
                value, max(columns - label_width, 20), break_long_words=False, break_on_hyphens=False
            )
            first, *others = lines if len(lines) > 1 else [value]
            show((f"  {label}".ljust(label_width), ""), (first, ""))
            for line in others:
                show((" " * label_width + line, ""))
    show((rule, "cyan"))
    for line in footer:
        show((line, ""))


def _columns(rows: Mapping[str, str | Mapping[str, str]]) -> dict[str, str]:
    """The rows as texts, those with columns aligned under a head, which has the label ``""``."""
    heads = list(
        dict.fromkeys(head for value in rows.values() if not isinstance(value, str) for head in value)
    )
    wide = [value for value in rows.values() if not isinstance(value, str)]
    widths = {head: max(len(head), *(len(value.get(head, "–")) for value in wide)) for head in heads}

    def line(cells: Mapping[str, str]) -> str:
        return "   ".join(cells.get(head, "–").rjust(size) for head, size in widths.items())

    texts = {"": line({head: head for head in heads})} if heads else {}
    return texts | {label: value if isinstance(value, str) else line(value) for label, value in rows.items()}
