"""What one driver holds by the number of actors: job completions a second, and how much of its time actors take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.plots.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    RED,
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

_LOOKS = ((PURPLE, "v"), (GREEN, "^"), (ORANGE, "D"))
_LONGER_JOBS = (0.2, 1.0)
"""Seconds; drawn beside jobs as in the trace."""


def driver_scale(outcome: Mapping[str, Any], path: str | Path, required: float) -> Figure:
    """Draw what ``qfleet benchmark scale`` found.

    Args:
        outcome: ``sizes`` with ``n_actors``, ``jobs_per_second`` and ``microseconds_per_job``; ``job_seconds`` with ``mean``; ``ray``, if
            it was measured, with ``n_actors`` and ``microseconds_per_job``; ``machine`` with ``cpu``.
        required: completions a second that the driver should hold.
    """
    figure = new_figure(11, 4.6)
    grid = figure.add_gridspec(1, 2, left=0.085, right=0.98, bottom=0.125, top=0.8, wspace=0.22)
    rate, share = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    sizes = outcome["sizes"]
    actors = [size["n_actors"] for size in sizes]
    rate.plot(actors, [size["jobs_per_second"] for size in sizes], color=BLUE, marker="o", label="measured")
    rate.axhline(required, color=RED, linewidth=1.2, linestyle="--", label=f"required: {required:,.0f}")
    rate.set_ylim(bottom=0)
    dress(rate, "job completions a second of processor time")
    lengths = (outcome["job_seconds"]["mean"], *_LONGER_JOBS)
    for seconds, (colour, marker) in zip(lengths, _LOOKS, strict=True):
        each = [size["microseconds_per_job"] for size in sizes]
        taken = [100e-6 * n * cost / seconds for n, cost in zip(actors, each, strict=True)]
        share.plot(actors, taken, color=colour, marker=marker, label=f"jobs of {_length(seconds)}")
        if outcome.get("ray"):
            cost = min(found["microseconds_per_job"] for found in outcome["ray"])
            taken = [100e-6 * n * cost / seconds for n in actors]
            share.plot(actors, taken, color=colour, linestyle="--", label="  with Ray's calls")
    share.axhline(100, color=RED, linewidth=1.2)
    share.set_yscale("log")
    dress(share, "percent of the driver's time")
    for axes in (rate, share):
        _dress_actors(axes, actors)
    headline(
        figure,
        "One driver, by the number of actors",
        side_by_side(
            "coordinator and scheduler with virtual actors, the simulation's own time included",
            outcome["machine"]["cpu"],
        ),
    )
    return save(figure, path)


def _length(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{1e3 * seconds:.0f} ms"


def _dress_actors(axes: Axes, actors: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(actors, [f"{n:,}" for n in actors])
    axes.tick_params(axis="x", which="minor", bottom=False)
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.set_xlabel("actors", color=INK)
    legend(axes)
