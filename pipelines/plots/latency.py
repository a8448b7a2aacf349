"""Latency of a run's jobs: the share of each phase, what a typical job takes, and what would have been otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.display.formatting import format_duration, format_percent
from pipelines.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    dress,
    headline,
    new_figure,
    save,
    titled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (GREEN, SKY, ORANGE, BLUE, PURPLE, RED)
_LEAST_LABELLED = 0.06
"""Share of the bar below which a label would not fit into its part."""


def latency(
    phases: Mapping[str, Sequence[float]],
    scenarios: Mapping[str, float],
    path: str | Path,
    *,
    title: str = "",
    subtitle: str = "",
) -> Figure:
    """Three panels: shares of the phases as one bar, median and 90th percentile of each, and the time of all jobs by scenario.

    Args:
        phases: share, sum, median and 90th percentile of each phase, in seconds but the share; at most six phases.
        scenarios: seconds by name; the first is what was measured.
    """
    names = list(phases)
    height = 4.4 + 0.3 * len(scenarios)
    figure = new_figure(10, height)
    grid = figure.add_gridspec(
        3,
        1,
        height_ratios=(0.5, 0.32 * len(names), 0.3 * len(scenarios)),
        left=0.16,
        right=0.97,
        bottom=0.55 / height,
        top=1 - 1.1 / height,
        hspace=0.75,
    )
    _draw_shares(figure.add_subplot(grid[0]), {name: phases[name][0] for name in names})
    _draw_phases(figure.add_subplot(grid[1]), {name: (phases[name][2], phases[name][3]) for name in names})
    _draw_scenarios(figure.add_subplot(grid[2]), scenarios)
    largest = max(names, key=lambda name: phases[name][0])
    result = f"{largest} is {format_percent(phases[largest][0])} of a job's latency"
    headline(figure, titled(title, result), subtitle)
    return save(figure, path)


def _draw_shares(axes: Axes, shares: Mapping[str, float]) -> None:
    left = 0.0
    for share, colour in zip(shares.values(), _COLOURS, strict=False):
        axes.barh(0, share, left=left, color=colour, height=1.0)
        if share >= _LEAST_LABELLED:
            label = f"{100 * share:.0f} %"
            axes.text(left + share / 2, 0, label, ha="center", va="center", color="white", fontsize=9)
        left += share
    axes.set_xlim(0, max(left, 1e-12))
    axes.set_yticks([])
    axes.set_xticks([])
    dress(axes, "", has_grid=False)
    axes.spines[:].set_visible(False)
    axes.set_title("share of the time of all jobs", loc="left", fontsize=9.5, color=GREY)


def _draw_phases(axes: Axes, figures: Mapping[str, tuple[float, float]]) -> None:
    rows = range(len(figures))
    medians = [median for median, _ in figures.values()]
    above = [max(p90 - median, 0.0) for median, p90 in figures.values()]
    axes.barh(
        rows,
        medians,
        color=_COLOURS[: len(figures)],
        height=0.62,
        xerr=[[0.0] * len(figures), above],
        error_kw={"ecolor": INK, "elinewidth": 1.0, "capsize": 2.5},
    )
    _name_rows(axes, list(figures))
    for row, (median, p90) in zip(rows, figures.values(), strict=True):
        _label_row(axes, max(median, p90), row, f"{_short(median)}, {_short(p90)}")
    axes.set_xlim(0, 1.25 * max(*medians, *(p90 for _, p90 in figures.values()), 1e-9))
    axes.set_title("seconds of a job: median, and 90th percentile", loc="left", fontsize=9.5, color=GREY)


def _draw_scenarios(axes: Axes, scenarios: Mapping[str, float]) -> None:
    rows = range(len(scenarios))
    axes.barh(rows, list(scenarios.values()), color=[INK, *[GREY] * (len(scenarios) - 1)], height=0.62)
    _name_rows(axes, list(scenarios))
    for row, seconds in zip(rows, scenarios.values(), strict=True):
        _label_row(axes, seconds, row, _short(seconds))
    axes.set_xlim(0, 1.15 * max(*scenarios.values(), 1e-9))
    axes.set_title("seconds of all jobs together", loc="left", fontsize=9.5, color=GREY)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.invert_yaxis()
    dress(axes, "", has_grid=False)
    axes.tick_params(axis="y", length=0)


def _label_row(axes: Axes, right: float, row: int, label: str) -> None:
    axes.annotate(
        label, (right, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK
    )


def _short(seconds: float) -> str:
    return f"{1000 * seconds:.2g} ms" if seconds < 0.01 else format_duration(seconds)
