"""What the source documents' configurations take, beside the times that the documents claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.plots.style import (
    BLUE,
    GREY,
    INK,
    PALE,
    RED,
    dress,
    headline,
    new_figure,
    save,
    side_by_side,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def source_configurations(rows: Sequence[Mapping[str, Any]], path: str | Path) -> Figure:
    """Draw every configuration: claimed times, the whole command, training in it, training in a warm process.

    Args:
        rows: of `pipelines.benchmark.source_configs_report.row`.
    """
    height = 1.75 + 0.42 * len(rows)
    figure = new_figure(10.4, height)
    axes = figure.add_axes((0.335, 0.62 / height, 0.645, 1 - 1.5 / height))
    dress(axes, "", has_grid=False)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    for place, row in enumerate(rows):
        _draw(axes, place, row, is_first=place == 0)
    names = [
        f"{row['words']}\n{row['qubits']} qubits, {row['layers']} layers, {row['samples']} samples, {row['epochs']} epochs"
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("seconds", color=INK)
    where: dict[str, Any] = {"loc": "upper right", "bbox_to_anchor": (0.985, 1 - 0.42 / height)}
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, **where, ncols=3, fontsize=8.5, frameon=False, labelcolor=INK)
    headline(
        figure,
        "The source documents' configurations",
        side_by_side("trained here: exact simulation", "claimed: through a service or mocks"),
    )
    return save(figure, path)


def _draw(axes: Axes, place: int, row: Mapping[str, Any], *, is_first: bool) -> None:
    """One configuration; a claimed range is a line."""
    found = row["runs"]["generated"]
    look: dict[str, Any] = {"color": RED, "linewidth": 1.4, "markerfacecolor": "white", "zorder": 3}
    for i, claim in enumerate(row["claimed_times"]):
        label = "claimed" if is_first and i == 0 else None
        axes.plot([claim["low"], claim["high"]], [place, place], "D-", markersize=6, label=label, **look)
    measured = [
        (found["command_seconds"], "s", GREY, "whole command"),
        (found["training_seconds"], "o", BLUE, "training, warm process"),
    ]
    for seconds, marker, colour, label in measured:
        if seconds is not None:
            axes.plot(
                [seconds], [place], marker, color=colour, markersize=6, label=label if is_first else None
            )
