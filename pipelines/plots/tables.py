"""Test accuracies of ``qfleet benchmark tables`` beside the published ones, a panel for each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.plots.style import BLUE, INK, PALE, RED, SKY, dress, headline, legend, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def published_accuracies(
    rows: Sequence[Mapping[str, Any]], path: str | Path, *, titles: Mapping[str, str]
) -> Figure:
    """Draw every row: the mean over seeds, the seeds, and the published mean.

    Args:
        rows: ``model``, ``data``, ``features``, ``ours``, ``published``, ``accuracies``.
        titles: model -> what its panel is called.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    width, height = 1.3 + 2.4 * len(models), 5.0
    figure = new_figure(max(width, 6.5), height)
    grid = figure.add_gridspec(
        1, len(models), left=0.8 / max(width, 6.5), right=0.985, bottom=0.33, top=0.8, wspace=0.08
    )
    lowest = min(min(*row["accuracies"], row["published"]) for row in rows)
    for index, model in enumerate(models):
        axes = figure.add_subplot(grid[index])
        _draw(axes, [row for row in rows if row["model"] == model])
        dress(axes, "test accuracy" if index == 0 else "")
        axes.set_title(titles[model], fontsize=10, color=INK)
        axes.set_ylim(min(lowest, 0.5) - 0.03, 1.03)
        axes.tick_params(axis="y", labelleft=index == 0)
        if index == 0:
            legend(axes)
    headline(
        figure,
        "Published accuracies, trained again",
        f"{len(rows[0]['accuracies'])} seeds; published: arXiv 2403.07059",
    )
    return save(figure, path)


def _draw(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """One model."""
    places = range(len(rows))
    for place, row in zip(places, rows, strict=True):
        axes.plot([place, place], [row["ours"], row["published"]], color=PALE, linewidth=3, zorder=1)
        axes.plot(
            [place] * len(row["accuracies"]),
            row["accuracies"],
            "o",
            color=SKY,
            markersize=3.5,
            alpha=0.8,
            zorder=2,
        )
    axes.plot(
        places,
        [row["published"] for row in rows],
        "D",
        color=RED,
        markerfacecolor="none",
        label="published",
        zorder=4,
    )
    axes.plot(places, [row["ours"] for row in rows], "o", color=BLUE, label="ours, mean", zorder=3)
    names = [f"{row['data'].replace('_', ' ')}, {row['features']}" for row in rows]
    axes.set_xticks(list(places), names, rotation=90, fontsize=8)
    axes.set_xlim(-0.5, len(rows) - 0.5)
