"""Fleet timeline: when each actor was computing, and the share of the fleet that was."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.display.formatting import format_duration, format_percent
from pipelines.plots.style import (
    BLUE,
    GREY,
    INK,
    SKY,
    clipped,
    dress,
    headline,
    new_figure,
    save,
    side_by_side,
    titled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_N_SLICES = 1600


def fleet_timeline(
    records: Iterable[tuple[Any, ...]], path: str | Path, *, title: str = "", subtitle: str = ""
) -> Figure:
    """When each actor was computing, and the share of the fleet that was.

    The time axis is cut into slices about a pixel wide; the darker a slice, the larger the part of it the actor was busy. So tens
    of thousands of jobs cost no more to draw than ten, and gaps shorter than a pixel still show as lighter shade.

    Args:
        records: (worker, job_id, started_at, finished_at, ...), Unix seconds, in any order: spans of a dispatcher.
    """
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for worker, _job_id, started_at, finished_at, *_ in records:
        spans[worker].append((started_at, max(finished_at, started_at)))
    if not spans:
        figure = new_figure(10, 2.4)
        figure.text(0.5, 0.4, "no job was recorded", ha="center", color=GREY, fontsize=12)
        headline(figure, f"{title} – fleet timeline" if title else "fleet timeline", subtitle)
        return save(figure, path)

    workers = sorted(spans, key=_natural)
    busy = {worker: _union(np.array(spans[worker])) for worker in workers}
    start = min(intervals[0, 0] for intervals in busy.values())
    span = max(max(intervals[-1, 1] for intervals in busy.values()) - start, 1e-9)
    edges = np.linspace(0.0, span, _N_SLICES + 1)
    shares = np.array([_busy_shares(busy[worker] - start, edges) for worker in workers])
    used = shares.mean(axis=1)
    n_jobs = [len(spans[worker]) for worker in workers]
    counts = [_jobs(n) for n in n_jobs]
    labels = [
        f"{clipped(w, 24)}   {format_percent(u):>7}   {c:>{max(map(len, counts))}}"
        for w, u, c in zip(workers, used, counts, strict=True)
    ]
    figure, strips, total = _timeline_panels(labels)
    _draw_strips(strips, shares, edges, labels)
    if max(n_jobs) <= 150:
        _draw_job_bounds(strips, [np.array(spans[worker]) - start for worker in workers], span)
    _draw_utilisation(total, shares.mean(axis=0), edges)
    actors = f"{len(workers)} actor{'s' if len(workers) > 1 else ''}"
    fleet = f"{actors} busy {format_percent(float(used.mean()))} of {format_duration(span)}"
    slice_ = _short_time(span / _N_SLICES)
    shade = f"{_jobs(sum(n_jobs))}; the darker a slice of {slice_}, the longer the actor was busy in it"
    headline(figure, titled(title, fleet), side_by_side(subtitle, shade))
    return save(figure, path)


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


def _union(intervals: np.ndarray) -> np.ndarray:
    """[n, 2] sorted intervals that do not overlap, from any [m, 2]."""
    ordered = intervals[np.argsort(intervals[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ordered[:, 1])
    is_new = np.concatenate([[True], ordered[1:, 0] > reach[:-1]])
    firsts = np.flatnonzero(is_new)
    lasts = np.append(firsts[1:], len(ordered)) - 1
    return np.stack([ordered[firsts, 0], reach[lasts]], axis=1)


def _busy_shares(intervals: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of each slice between `edges` that the disjoint, sorted intervals cover: exact, from the cumulated busy time."""
    lengths = intervals[:, 1] - intervals[:, 0]
    done = np.cumsum(lengths)
    times = intervals.ravel()
    cumulated = np.stack([done - lengths, done], axis=1).ravel()
    covered = np.diff(np.interp(edges, times, cumulated))
    return np.clip(covered / np.diff(edges), 0.0, 1.0)


def _draw_strips(axes: Axes, shares: np.ndarray, edges: np.ndarray, labels: Sequence[str]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("busy", ["#F3F3F3", SKY, BLUE, "#004C7A"])
    # rows with a white row between them: one image, whatever the number of jobs
    image = np.full((2 * len(shares) - 1, shares.shape[1]), np.nan)
    image[::2] = shares
    bounds = np.concatenate([[i - 0.38, i + 0.38] for i in range(len(shares))])
    axes.pcolormesh(edges, bounds, image, cmap=shades, vmin=0, vmax=1, rasterized=True)
    axes.set_ylim(len(shares) - 0.45, -0.55)
    every = -(-len(labels) // 40)
    shown = range(0, len(labels), every)
    axes.set_yticks(list(shown), [labels[i] for i in shown], fontsize=8.5, family="monospace")
    dress(axes, "", has_grid=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(labelbottom=False)


def _draw_job_bounds(axes: Axes, spans: Sequence[np.ndarray], span: float) -> None:
    """White lines where a job begins, so that jobs that follow at once can be counted."""
    for row, intervals in enumerate(spans):
        begins = intervals[:, 0][intervals[:, 0] > span * 1e-3]
        axes.vlines(begins, row - 0.38, row + 0.38, color="white", linewidth=0.8)


def _draw_utilisation(axes: Axes, shares: np.ndarray, edges: np.ndarray) -> None:
    from matplotlib.ticker import PercentFormatter

    per_bar = 16
    coarse = shares.reshape(-1, per_bar).mean(axis=1)
    axes.stairs(coarse, edges[::per_bar], fill=True, color=SKY, alpha=0.6)
    axes.stairs(coarse, edges[::per_bar], baseline=None, color=BLUE, linewidth=1)
    axes.set_ylim(0, 1.04)
    axes.set_yticks([0, 0.5, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.set_xlim(0, edges[-1])
    dress(axes, "fleet busy")
    axes.set_xlabel("seconds since the first job", color=INK)


def _jobs(n: int) -> str:
    return f"{n:,} job{'' if n == 1 else 's'}"


def _short_time(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 5e-4 else format_duration(seconds)


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key that puts actor-2 before actor-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
