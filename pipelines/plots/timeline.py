"""Fleet timeline: when each actor was there and computing, what happened to it, and how many of the fleet were at work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.protocols import FleetEvent
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
    clipped,
    dress,
    headline,
    new_figure,
    save,
    side_by_side,
    titled,
)
from pipelines.plots.timeline_rows import (
    COMPILED,
    SERVED,
    SIMULATED,
    TimelineRow,
    covered_shares,
    timeline_rows,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_N_SLICES = 1600
_COLOURS = {COMPILED: ORANGE, SERVED: GREEN, SIMULATED: PURPLE}
"""Of jobs that are not simply computed."""
_MARKS = {"joined": (">", GREEN), "lost": ("X", RED), "left": ("<", GREY), "duplicated": ("D", PURPLE)}
"""Marker and colour of what happened to an actor."""


def fleet_timeline(
    records: Iterable[tuple[Any, ...]],
    path: str | Path,
    *,
    events: Sequence[FleetEvent] = (),
    title: str = "",
    subtitle: str = "",
) -> Figure:
    """Draw `timeline_figure` into a file: PNG, SVG or PDF, by its suffix."""
    return save(timeline_figure(records, events, title=title, subtitle=subtitle), path)


def timeline_figure(
    records: Iterable[tuple[Any, ...]],
    events: Sequence[FleetEvent] = (),
    *,
    title: str = "",
    subtitle: str = "",
) -> Figure:
    """When each actor was there and computing, what happened to it, and how many were at work.

    The time axis is cut into slices about a pixel wide; the darker a slice, the larger the part of it the actor was busy. So tens
    of thousands of jobs cost no more to draw than ten, and gaps shorter than a pixel still show as lighter shade. Jobs that were not simply
    computed (first of their circuit, served from the record, simulated in place of the backend) have colours of their own.

    ::

        fleet_timeline(fleet.timeline(), "timeline.png", events=fleet.events(), title="1 -> 2 actors")

    Args:
        records: (worker, job_id, started_at, finished_at, ...), Unix seconds, in any order: spans of a dispatcher.
        events: of the same dispatcher: who joined, was lost, left or rested. Without them every actor counts as there all the time.
        title, subtitle: of the picture, e.g. the run's name.
    """
    rows, span = timeline_rows(records, events)
    if not rows:
        figure = new_figure(10, 2.4)
        figure.text(0.5, 0.4, "no job was recorded", ha="center", color=GREY, fontsize=12)
        headline(figure, f"{title} – fleet timeline" if title else "fleet timeline", subtitle)
        return figure
    edges = np.linspace(0.0, span, _N_SLICES + 1)
    shares = np.array([covered_shares(row.busy, edges) for row in rows])
    here = np.array([covered_shares(np.array([row.here]), edges) for row in rows])
    labels = _labels(rows)
    figure, strips, total = _timeline_panels(labels)
    _draw_strips(strips, np.where((here > 0) | (shares > 0), shares, np.nan), edges, labels)
    handles = _draw_kinds(strips, rows, edges)
    if max(row.n_jobs for row in rows) <= 150:
        _draw_job_bounds(strips, rows, span)
    handles += _draw_events(strips, rows)
    if handles:
        strips.legend(
            handles=handles, loc="upper right", bbox_to_anchor=(1.0, 0.0), ncols=len(handles), fontsize=8,
            frameon=False, labelcolor=INK, borderaxespad=0.15, handletextpad=0.3, columnspacing=1.2,
        )  # fmt: skip
    _draw_fleet(total, shares.sum(axis=0), here.sum(axis=0), edges)
    used = sum(row.used * row.seconds_here for row in rows) / sum(row.seconds_here for row in rows)
    actors = f"{len(rows)} actor{'s' if len(rows) > 1 else ''}"
    fleet = f"{actors} busy {format_percent(used)} of {format_duration(span)}"
    n_jobs = sum(row.n_jobs for row in rows)
    shade = f"{_jobs(n_jobs)}; the darker a slice of {_short_time(span / _N_SLICES)}, the longer the actor was busy in it"
    headline(figure, titled(title, fleet), side_by_side(subtitle, shade))
    return figure


def _labels(rows: Sequence[TimelineRow]) -> list[str]:
    """Name, share of its time, and jobs of each actor."""
    counts = [_jobs(row.n_jobs) for row in rows]
    return [
        f"{clipped(row.worker, 24)}   {format_percent(row.used):>7}   {count:>{max(map(len, counts))}}"
        for row, count in zip(rows, counts, strict=True)
    ]


def _timeline_panels(labels: Sequence[str]) -> tuple[Figure, Axes, Axes]:
    """A panel with a strip per label, and a low one below it; as high as the strips need, as far right as the labels need."""
    strips_height = min(max(0.38 * len(labels), 0.76), 10.0)
    height = strips_height + 3.0
    figure = new_figure(10, height)
    grid = figure.add_gridspec(
        2,
        1,
        height_ratios=(strips_height, 1.0),
        left=min(0.35 + 0.075 * max(map(len, labels)), 4.5) / 10,
        right=0.975,
        bottom=0.62 / height,
        top=1 - 0.85 / height,
        hspace=0.45 / ((strips_height + 1.0) / 2),
    )
    strips = figure.add_subplot(grid[0])
    return figure, strips, figure.add_subplot(grid[1], sharex=strips)


def _draw_strips(axes: Axes, shares: np.ndarray, edges: np.ndarray, labels: Sequence[str]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("busy", ["#EFEFEF", SKY, BLUE, "#004C7A"])
    _draw_image(axes, shares, edges, shades)
    axes.set_ylim(len(shares) - 0.45, -0.55)
    every = -(-len(labels) // 40)
    shown = range(0, len(labels), every)
    axes.set_yticks(list(shown), [labels[i] for i in shown], fontsize=8.5, family="monospace")
    dress(axes, "", has_grid=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(labelbottom=False)


def _draw_image(axes: Axes, shares: np.ndarray, edges: np.ndarray, shades: Any) -> None:
    """Rows with an empty row between them: one image, whatever the number of jobs."""
    image = np.full((2 * len(shares) - 1, shares.shape[1]), np.nan)
    image[::2] = shares
    bounds = np.concatenate([[i - 0.38, i + 0.38] for i in range(len(shares))])
    axes.pcolormesh(edges, bounds, image, cmap=shades, vmin=0, vmax=1, rasterized=True)


def _draw_kinds(axes: Axes, rows: Sequence[TimelineRow], edges: np.ndarray) -> list[Any]:
    """Jobs of the kinds that have a colour, over all others; returns the entries of the legend."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for kind, colour in _COLOURS.items():
        shares = np.array([covered_shares(row.of_kind.get(kind, np.empty((0, 2))), edges) for row in rows])
        if not shares.any():
            continue
        shades = LinearSegmentedColormap.from_list(kind, [f"{colour}40", f"{colour}FF"])
        _draw_image(axes, np.where(shares > 0, shares, np.nan), edges, shades)
        handles.append(Patch(color=colour, label=kind))
    return handles


def _draw_events(axes: Axes, rows: Sequence[TimelineRow]) -> list[Any]:
    """What happened to actors: a mark each, and a line below the strip as long as one rested; returns the entries of the legend."""
    handles: list[Any] = []
    for kind, (marker, colour) in _MARKS.items():
        places = [(at, i) for i, row in enumerate(rows) for at, what in row.marks if what == kind]
        if places:
            at, i = np.array(places).T
            style: dict[str, Any] = {"marker": marker, "s": 42, "color": colour, "edgecolors": "white"}
            handles.append(axes.scatter(at, i, linewidths=0.6, zorder=3, clip_on=False, label=kind, **style))
    rests = [(begin, end, i + 0.42) for i, row in enumerate(rows) for begin, end in row.rests]
    if rests:
        begin, end, place = np.array(rests).T
        handles.append(axes.hlines(place, begin, end, color=RED, linewidth=2.5, label="resting"))
    return handles


def _draw_job_bounds(axes: Axes, rows: Sequence[TimelineRow], span: float) -> None:
    """White lines where a job begins, so that jobs that follow at once can be counted."""
    for i, row in enumerate(rows):
        begins = row.begins[row.begins > span * 1e-3]
        axes.vlines(begins, i - 0.38, i + 0.38, color="white", linewidth=0.8)


def _draw_fleet(axes: Axes, busy: np.ndarray, here: np.ndarray, edges: np.ndarray) -> None:
    """How many actors were at work, under the line of how many there were."""
    from matplotlib.ticker import MaxNLocator

    per_bar = 16
    coarse = busy.reshape(-1, per_bar).mean(axis=1)
    axes.stairs(coarse, edges[::per_bar], fill=True, color=SKY, alpha=0.6)
    axes.stairs(coarse, edges[::per_bar], baseline=None, color=BLUE, linewidth=1)
    axes.stairs(here, edges, baseline=None, color=GREY, linewidth=1)
    axes.set_ylim(0, 1.06 * max(float(here.max()), float(coarse.max()), 1.0))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.set_xlim(0, edges[-1])
    dress(axes, "actors busy")
    axes.set_xlabel("seconds since the first job (grey line: actors there)", color=INK)


def _jobs(n: int) -> str:
    return f"{n:,} job{'' if n == 1 else 's'}"


def _short_time(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 5e-4 else format_duration(seconds)
