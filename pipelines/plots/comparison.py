"""Comparisons: scores by setting and seed, cost against score with the Pareto front, and training curves laid over one another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.display.formatting import metric_label
from pipelines.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    clipped,
    dress,
    headline,
    legend,
    new_figure,
    save,
    side_by_side,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, INK)
_STYLES = ("-", "--", ":")
_MOST_CURVES = 12
_LABEL = 38
_COSTS = {"circuits": "circuits", "cost_usd": "dollars"}


def score_and_cost(figures: Mapping[str, Any], path: str | Path, *, title: str = "") -> Figure:
    """Each setting's test score with its seeds, and what the score took, with the front of those that no other beats.

    Args:
        figures: ``settings`` with ``label``, ``number``, ``merit``, ``circuits``, ``cost_usd`` (each with ``mean``, ``error`` and
            ``values``) and ``on_front`` by cost; ``merit``, its tracking name; ``answer``.
    """
    rows = [row for row in figures["settings"] if row["merit"] is not None]
    costs = [cost for cost in _COSTS if cost == "circuits" or any(row[cost]["mean"] for row in rows)]
    height = max(4.2, 1.6 + 0.34 * len(rows))
    figure = new_figure(5.6 + 4.6 * len(costs), height)
    grid = figure.add_gridspec(
        1, 1 + len(costs), left=0.02 + 2.6 / figure.get_figwidth(), right=0.985, bottom=0.62 / height, top=1 - 0.8 / height, wspace=0.24
    )  # fmt: skip
    name = f"test {metric_label(figures['merit'])}"
    _draw_scores(figure.add_subplot(grid[0]), rows, name)
    for i, cost in enumerate(costs, start=1):
        _draw_front(figure.add_subplot(grid[i]), rows, cost, name)
    n = max(row["trained"] for row in rows)
    seeds = f"{n} seeds: dots; mean and standard error: bars" if n > 1 else "one seed"
    headline(
        figure,
        figures["answer"].partition(". ")[0] or title,
        side_by_side(title, seeds, "line: no other setting is as cheap and as good"),
    )
    return save(figure, path)


def comparison_curves(figures: Mapping[str, Any], path: str | Path, *, title: str = "") -> Figure:
    """Training loss over steps and over circuits, a colour for each setting, with a band of one standard error over its seeds.

    Args:
        figures: ``settings`` with ``label``, ``number``, ``merit`` and ``curve`` (``steps``, ``circuits``, ``mean``, ``error``), or None.
    """
    rows = [row for row in figures["settings"] if row["curve"] is not None]
    shown = rows[:_MOST_CURVES]
    figure = new_figure(13.2, 4.9)
    grid = figure.add_gridspec(1, 2, left=0.06, right=0.765, bottom=0.125, top=0.82, wspace=0.16)
    by_step, by_circuit = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    for row in shown:
        curve, look = row["curve"], _look(row)
        low = [mean - error for mean, error in zip(curve["mean"], curve["error"], strict=True)]
        high = [mean + error for mean, error in zip(curve["mean"], curve["error"], strict=True)]
        for axes, x in ((by_step, curve["steps"]), (by_circuit, curve["circuits"])):
            marker = "o" if len(x) == 1 else None
            axes.plot(
                x, curve["mean"], label=clipped(row["label"], _LABEL), linewidth=1.6, marker=marker, **look
            )
            axes.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    for axes, label in ((by_step, "steps"), (by_circuit, "circuits")):
        axes.set_xlabel(label, color=INK)
        dress(axes, "training loss")
    counts = [count for row in shown for count in row["curve"]["circuits"]]
    if min(counts) > 0 and max(counts) > 20 * min(max(row["curve"]["circuits"]) for row in shown):
        by_circuit.set_xscale("log")
    legend(by_circuit, "beside")
    n = max(row["trained"] for row in shown)
    band = f"mean over {n} seeds, band: standard error" if n > 1 else "one seed"
    left_out = f"the first {_MOST_CURVES} of {len(rows)} settings" if len(rows) > _MOST_CURVES else ""
    headline(figure, f"{title} – training loss" if title else "Training loss", side_by_side(band, left_out))
    return save(figure, path)


def score_and_cost_page(figures: Mapping[str, Any], path: str | Path, *, title: str = "") -> Path:
    """Cost against score as a page to hover: by dollars where some were paid, else by circuits."""
    from pipelines.plots.interactive import Point, scatter

    rows = [row for row in figures["settings"] if row["merit"] is not None]
    cost = "cost_usd" if any(row["cost_usd"]["mean"] for row in rows) else "circuits"
    points = [
        Point(
            row["label"], row[cost]["mean"], row["merit"]["mean"], row["merit"]["error"], row["label"],
            {key: f"{row[key]['mean']:.6g}" for key in ("circuits", "shots", "cost_usd")}, bool(row["on_front"][cost]),
        )
        for row in rows
    ]  # fmt: skip
    name = f"test {metric_label(figures['merit'])}"
    return scatter(points, path, title=title, subtitle=figures["answer"], x_label=_COSTS[cost], y_label=name)


def curves_page(figures: Mapping[str, Any], path: str | Path, *, title: str = "") -> Path:
    """Training loss over circuits as a page to hover."""
    from pipelines.plots.interactive import Curve, overlaid_curves

    series = {}
    for row in figures["settings"]:
        if (curve := row["curve"]) is not None:
            pairs = list(zip(curve["mean"], curve["error"], strict=True))
            low, high = [mean - error for mean, error in pairs], [mean + error for mean, error in pairs]
            series[row["label"]] = Curve(curve["circuits"], curve["mean"], low, high)
    subtitle = "mean over seeds, band: standard error"
    return overlaid_curves(
        series, path, title=title, subtitle=subtitle, x_label="circuits", y_label="training loss"
    )


def _look(row: Mapping[str, Any]) -> dict[str, Any]:
    """A setting's colour and line, the same in every picture of the comparison."""
    number = row["number"]
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _STYLES[number // len(_COLOURS) % len(_STYLES)],
    }


def _draw_scores(axes: Axes, rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """The settings below one another, each with its seeds and the mean."""
    for place, row in enumerate(rows):
        color, values = _look(row)["color"], row["merit"]["values"]
        axes.plot(
            values, [place] * len(values), "o", color=color, alpha=0.35, markersize=4.5, markeredgewidth=0
        )
        _point(axes, row["merit"]["mean"], place, row["merit"]["error"], color, is_x=True)
    axes.set_yticks(range(len(rows)), [clipped(row["label"], _LABEL) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(name, color=INK)
    _in_percent(axes.xaxis, name)
    dress(axes, "", has_grid=False)
    axes.tick_params(axis="y", length=0)


def _draw_front(axes: Axes, rows: Sequence[Mapping[str, Any]], cost: str, name: str) -> None:
    """Cost against score; the front as steps through those on it."""
    front = sorted((row[cost]["mean"], row["merit"]["mean"]) for row in rows if row["on_front"][cost])
    axes.step([x for x, _ in front], [y for _, y in front], where="post", color=GREY, linewidth=1.2, zorder=1)
    for row in rows:
        x, y, color = row[cost]["mean"], row["merit"]["mean"], _look(row)["color"]
        _point(axes, x, y, row["merit"]["error"], color, is_x=False)
    axes.set_xlabel(f"{_COSTS[cost]} of a training", color=INK)
    xs = [row[cost]["mean"] for row in rows]
    if min(xs) > 0 and max(xs) > 5 * min(xs):
        axes.set_xscale("log")
    axes.margins(x=0.14, y=0.14)
    _in_percent(axes.yaxis, name)
    dress(axes, name)


def _in_percent(axis: Axis, name: str) -> None:
    """Accuracies as percentages."""
    from matplotlib.ticker import PercentFormatter

    if name.endswith("accuracy"):
        axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def _point(axes: Axes, x: float, y: float, error: float | None, color: str, *, is_x: bool) -> None:
    """A mean with its standard error along one axis."""
    bar = error if error is not None and math.isfinite(error) else None
    look: dict[str, Any] = {
        "fmt": "D",
        "color": color,
        "markersize": 6,
        "capsize": 3,
        "linewidth": 1.6,
        "zorder": 3,
    }
    axes.errorbar(x, y, xerr=bar if is_x else None, yerr=None if is_x else bar, **look)
