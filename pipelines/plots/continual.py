"""Task by time: the score on each task after each chunk, with replay and without, and the average of both beside central training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    clipped,
    dress,
    headline,
    legend,
    new_figure,
    save,
    side_by_side,
    titled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = {"replay": "with replay", "no_replay": "without replay"}
_MOST_NUMBERS = 12
"""Chunks beyond which the cells are too narrow for figures."""


def stream_scores(found: Mapping[str, Any], path: str | Path, *, title: str = "") -> Figure:
    """Draw what ``qfleet continual`` found.

    Args:
        found: ``arms`` with ``matrix`` [C][T], ``central``, ``tasks``, ``ends``, ``settings``, ``score``, as of its JSON.
    """
    figure = new_figure(13.2, 4.4)
    grid = figure.add_gridspec(
        1, 3, width_ratios=(1.15, 1.15, 1), left=0.11, right=0.985, bottom=0.13, top=0.77, wspace=0.16
    )
    matrices = {name: np.array(arm["matrix"], np.float64) for name, arm in found["arms"].items()}
    values = np.concatenate([matrix.ravel() for matrix in matrices.values()])
    limits = float(np.nanmin(values)), float(np.nanmax(values))
    for place, (name, matrix) in enumerate(matrices.items()):
        axes = figure.add_subplot(grid[place])
        _draw_matrix(axes, matrix, limits, found, has_names=place == 0)
        axes.set_title(_LABELS[name], fontsize=9.5, color=GREY, loc="left")
    _draw_averages(figure.add_subplot(grid[2]), matrices, found)
    settings = found["settings"]
    headline(
        figure,
        titled(title, f"{found['score']} on each task of the stream"),
        side_by_side(
            f"stream {settings['stream']}",
            f"chunks of at most {settings['chunk']} rows, {settings['passes']} passes",
            f"buffer of {settings['capacity']} rows",
        ),
    )
    return save(figure, path)


def _draw_matrix(
    axes: Axes, matrix: np.ndarray, limits: tuple[float, float], found: Mapping[str, Any], *, has_names: bool
) -> None:
    """Tasks downwards, chunks to the right; what had not begun is left white."""
    shade = "Blues" if found["score"] == "accuracy" else "Blues_r"
    axes.imshow(matrix.T, aspect="auto", cmap=shade, vmin=limits[0], vmax=limits[1])
    middle = (limits[0] + limits[1]) / 2
    for chunk, task in np.argwhere(~np.isnan(matrix)) if len(matrix) <= _MOST_NUMBERS else []:
        value = float(matrix[chunk, task])
        is_dark = (value > middle) == (shade == "Blues")
        axes.text(
            chunk, task, f"{value:.2f}", ha="center", va="center", fontsize=8,
            color="white" if is_dark else INK,
        )  # fmt: skip
    for end in found["ends"][:-1]:
        axes.axvline(end - 0.5, color=ORANGE, linewidth=1.0)
    dress(axes, "", has_grid=False)
    names = [clipped(f"{number + 1}: {task['name']}", 18) for number, task in enumerate(found["tasks"])]
    axes.set_yticks(range(len(names)), names if has_names else [""] * len(names))
    step = -(-len(matrix) // _MOST_NUMBERS)
    axes.set_xticks(range(0, len(matrix), step), [str(chunk + 1) for chunk in range(0, len(matrix), step)])
    axes.set_xlabel("after chunk", color=INK)


def _draw_averages(axes: Axes, matrices: Mapping[str, np.ndarray], found: Mapping[str, Any]) -> None:
    for (name, matrix), colour, marker in zip(matrices.items(), (BLUE, GREEN), "os", strict=True):
        x = np.arange(1, len(matrix) + 1)
        mean = np.nanmean(matrix, axis=1)
        axes.plot(x, mean, color=colour, linewidth=1.6, marker=marker, markersize=3.5, label=_LABELS[name])
    if "central" in found:
        axes.axhline(
            found["central"]["average"], color=ORANGE, linestyle=(0, (4, 3)), label="central, all tasks"
        )
    for end in found["ends"][:-1]:
        axes.axvline(end + 0.5, color=GREY, linewidth=0.7, linestyle=(0, (2, 3)))
    dress(axes, "")
    axes.set_title(f"mean {found['score']} of the tasks so far", fontsize=9.5, color=GREY, loc="left")
    axes.set_xlabel("after chunk", color=INK)
    axes.locator_params(axis="x", integer=True)
    legend(axes)
