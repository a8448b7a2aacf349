"""A federated training over its rounds: validation score beside central training, bytes exchanged, circuits; test scores of all."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
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


def federated_rounds(found: Mapping[str, Any], path: str | Path, *, title: str = "") -> Figure:
    """Draw what ``qfleet federated`` found.

    Args:
        found: ``rounds``, ``central_validation``, ``test``, ``bytes``, ``circuits``, ``settings``, ``score``, as of its JSON.
    """
    figure = new_figure(13.2, 4.6)
    grid = figure.add_gridspec(
        1, 4, width_ratios=(1.5, 0.6, 1, 1), left=0.05, right=0.985, bottom=0.13, top=0.79, wspace=0.3
    )
    scores, test, exchanged, circuits = (figure.add_subplot(grid[i]) for i in range(4))
    _draw_scores(scores, found)
    _draw_test(test, found)
    _draw_sums(exchanged, found, "bytes", 1e3, "kB exchanged")
    _draw_sums(circuits, found, "circuits", 1e3, "thousand circuits")
    settings = found["settings"]
    headline(
        figure,
        titled(title, "federated averaging"),
        side_by_side(
            f"{settings['clients']} clients, split {settings['split']}",
            f"{settings['rounds']} rounds of {settings['local_epochs']} local epochs",
            f"{found['lost']} answers lost" if found["lost"] else "",
        ),
    )
    return save(figure, path)


def _draw_scores(axes: Axes, found: Mapping[str, Any]) -> None:
    rounds = [one for one in found["rounds"] if one["val_score"] is not None]
    look: dict[str, Any] = {"linewidth": 1.6, "marker": "o", "markersize": 3.5}
    if rounds:
        x = [one["round"] * found["settings"]["local_epochs"] for one in rounds]
        axes.plot(x, [one["val_score"] for one in rounds], color=BLUE, label="federated", **look)
    if found["central_validation"]:
        values = found["central_validation"]
        axes.plot(
            range(1, len(values) + 1), values, color=ORANGE, label="central", **(look | {"marker": "s"})
        )
    dress(axes, found["score"])
    axes.set_xlabel("passes over the training rows", color=INK)
    axes.set_title("validation rows", fontsize=9.5, color=GREY, loc="left")
    axes.locator_params(axis="x", integer=True)
    if rounds or found["central_validation"]:
        legend(axes)


def _draw_test(axes: Axes, found: Mapping[str, Any]) -> None:
    """The final scores, one place for each way of training; a dot for each client that trained alone."""
    dress(axes, "")
    axes.set_title("test rows", fontsize=9.5, color=GREY, loc="left")
    names, scores = ["federated", "central", "alone"], (found["test"] or {}).get(found["score"], {})
    for place, (name, colour) in enumerate(zip(names, (BLUE, ORANGE, GREEN), strict=True)):
        values = [scores[name]] if name in scores else []
        if name == "alone":
            values = [one["alone"] for one in found["clients"] if "alone" in one]
        axes.plot([place] * len(values), values, "o", color=colour, markersize=6, alpha=0.75)
    axes.set_xticks(range(len(names)), names, rotation=25)
    axes.set_xlim(-0.5, len(names) - 0.5)


def _draw_sums(axes: Axes, found: Mapping[str, Any], what: str, unit: float, label: str) -> None:
    """A running total over the rounds."""
    rounds = found["rounds"]
    start = found["bytes"]["setup"] if what == "bytes" else 0
    totals = [total / unit for total in accumulate((one[what] for one in rounds), initial=start)]
    axes.plot(range(len(totals)), totals, color=BLUE, linewidth=1.6, label="federated")
    if what == "bytes":
        axes.axhline(
            found["bytes"]["raw_rows"] / unit, color=GREY, linestyle=(0, (4, 3)), label="all raw rows, once"
        )
    elif found["circuits"].get("central"):
        axes.axhline(
            found["circuits"]["central"] / unit, color=ORANGE, linestyle=(0, (4, 3)), label="central"
        )
    dress(axes, label)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rounds", color=INK)
    axes.locator_params(axis="x", integer=True)
    legend(axes)
