"""What choosing training data gains over random examples, and what one table for many tasks takes on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
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

_COLOURS = {"weighted": BLUE, "typical": GREEN, "border": ORANGE}


def choosing_study(outcome: Mapping[str, Any], path: str | Path) -> Figure:
    """Draw what ``qfleet examples benchmark`` found.

    Args:
        outcome: ``gains`` with ``k``, ``way``, ``mean``, ``low`` and ``high`` (fractions); ``bytes`` with ``tasks``, ``one`` and
            ``copies``; ``tasks`` and ``seeds``.
    """
    figure = new_figure(11.0, 4.4)
    grid = figure.add_gridspec(
        1, 2, left=0.07, right=0.985, bottom=0.13, top=0.77, wspace=0.55, width_ratios=(1.25, 1)
    )
    gains, sizes = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    _gains(gains, outcome)
    _sizes(sizes, outcome)
    headline(
        figure,
        "Training data chosen for a task, beside random examples",
        side_by_side(
            f"{len(outcome['tasks'])} pairs of digits",
            f"{outcome['seeds']} seeds, mean and 95 % interval over them",
        ),
    )
    return save(figure, path)


def _gains(axes: Axes, outcome: Mapping[str, Any]) -> None:
    ks = sorted({row["k"] for row in outcome["gains"]})
    axes.axhline(0.0, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
    for i, (way, colour) in enumerate(_COLOURS.items()):
        rows = [row for row in outcome["gains"] if row["way"] == way]
        at = [ks.index(row["k"]) + 0.18 * (i - 1) for row in rows]
        mean = [100 * row["mean"] for row in rows]
        below = [max(100 * (row["mean"] - row["low"]), 0.0) for row in rows]
        above = [max(100 * (row["high"] - row["mean"]), 0.0) for row in rows]
        axes.errorbar(
            at,
            mean,
            yerr=[below, above],
            fmt="o",
            markersize=5,
            capsize=3,
            linewidth=1.6,
            color=colour,
            label=way,
        )
    axes.set_xticks(range(len(ks)), [f"{k} examples" for k in ks])
    axes.set_xlim(-0.5, len(ks) - 0.5)
    dress(axes, "test accuracy less random's, %")
    axes.set_title("gain over random", fontsize=9.5, color=GREY, loc="left")
    legend(axes)


def _sizes(axes: Axes, outcome: Mapping[str, Any]) -> None:
    rows = list(reversed(outcome["bytes"]))
    unit = 1e6
    for name, offset, colour in (("copies", -0.18, PALE), ("one", 0.18, BLUE)):
        values = [row[name] / unit for row in rows]
        label = "one table" if name == "one" else "a table for each task"
        axes.barh([i + offset for i in range(len(rows))], values, height=0.34, color=colour, label=label)
        for i, value in enumerate(values):
            axes.text(value, i + offset, f" {value:.3g}", va="center", fontsize=8.5, color=INK)
    axes.set_yticks(range(len(rows)), [row["tasks"].replace(", ", ",\n") for row in rows])
    dress(axes, "", has_grid=False)
    axes.margins(x=0.14)
    axes.set_xlabel("MB on disk", color=INK)
    axes.set_title("bytes", fontsize=9.5, color=GREY, loc="left")
    legend(axes)
