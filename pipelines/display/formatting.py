"""Numbers as people read them: counts, rates, durations, money, figures of merit, and a row of bars."""

from __future__ import annotations

import itertools
import math
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

_PREFIXES = ("", "k", "M", "G", "T")
_BARS = "▁▂▃▄▅▆▇█"


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


def format_elapsed(seconds: float) -> str:
    """A running time without the digits that would flicker."""
    if not math.isfinite(seconds):
        return format_duration(seconds)
    return f"{round(seconds)} s" if seconds < 59.5 else format_duration(seconds)


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


def from_here(path: Path) -> str:
    """The path, relative where it lies below the working directory."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def qfleet_command(*arguments: str) -> str:
    """The command line of a ``qfleet`` command, as it can be typed here: with its path where it is not on PATH."""
    program = "qfleet" if shutil.which("qfleet") else from_here(Path(sys.executable).with_name("qfleet"))
    return " ".join([program, *(shlex.quote(argument) for argument in arguments)])
