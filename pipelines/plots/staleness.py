"""What stale gradients gain in time and cost in dollars, by queue and by staleness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    dress,
    headline,
    legend,
    new_figure,
    save,
    side_by_side,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE)


def staleness_study(outcome: Mapping[str, Any], path: str | Path) -> Figure:
    """Draw what ``qfleet benchmark staleness`` found.

    Args:
        outcome: ``conditions`` with ``rates``, ``queue``, ``jobs_in_flight``, ``staleness``, ``speed_up`` and ``usd_ratio`` (each with
            ``mean``, ``low``, ``high``); ``target_loss``; ``seeds``.
    """
    figure = new_figure(13.2, 4.6)
    grid = figure.add_gridspec(1, 3, left=0.055, right=0.985, bottom=0.13, top=0.79, wspace=0.2)
    best, cautious, dollars = (figure.add_subplot(grid[i]) for i in range(3))
    rows = outcome["conditions"]
    most, last = max(row["jobs_in_flight"] for row in rows), rows[-1]["queue"]
    rows = [row for row in rows if row["jobs_in_flight"] == most]
    _draw(best, [row for row in rows if row["rates"] == "best"], "queue", "speed_up")
    _draw(cautious, [row for row in rows if row["rates"] == "cautious"], "queue", "speed_up")
    _draw(dollars, [row for row in rows if row["queue"] == last], "rates", "usd_ratio")
    for axes, title, label in (
        (best, "each at its best learning rate, by queue", "times as fast as synchronous"),
        (cautious, "all at the same cautious rate, by queue", ""),
        (dollars, "by learning rate", "dollars, synchronous = 1"),
    ):
        dress(axes, label)
        axes.set_title(title, fontsize=9.5, color=GREY, loc="left")
    headline(
        figure,
        "What stale gradients gain, and cost",
        side_by_side(
            f"until the training loss is {outcome['target_loss']:g}",
            f"{most} jobs in flight",
            f"{outcome['seeds']} seeds, mean and 95 % interval",
            "queues by median and 90th percentile",
        ),
    )
    return save(figure, path)


def _draw(axes: Axes, rows: Sequence[Mapping[str, Any]], by: str, what: str) -> None:
    """A line for each value of `by`, with intervals, set apart a little so that they do not hide each other."""
    values = list(dict.fromkeys(row[by] for row in rows))
    axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
    for i, value in enumerate(values):
        mine = [row for row in rows if row[by] == value]
        at = [row["staleness"] + 0.06 * (i - (len(values) - 1) / 2) for row in mine]
        mean = [row[what]["mean"] for row in mine]
        below = [max(row[what]["mean"] - row[what]["low"], 0.0) for row in mine]
        above = [max(row[what]["high"] - row[what]["mean"], 0.0) for row in mine]
        look: dict[str, Any] = {"color": _COLOURS[i % len(_COLOURS)], "label": str(value)}
        axes.errorbar(
            at, mean, yerr=[below, above], linewidth=1.6, capsize=2.5, marker="o", markersize=3.5, **look
        )
    axes.set_xticks(sorted({row["staleness"] for row in rows}))
    axes.set_xlabel("staleness in updates", color=INK)
    legend(axes)
