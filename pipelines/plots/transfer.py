"""A two-stage recipe: how each part scored on the test split, and what it took."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.display.formatting import format_count, metric_label
from pipelines.plots.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    dress,
    headline,
    new_figure,
    save,
    side_by_side,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"pretrained": BLUE, "pretrained-moved": ORANGE, "finetuned": GREEN, "from-scratch": PURPLE}
_NAMES = {
    "pretrained": "pre-trained", "pretrained-moved": "pre-trained, moved", "finetuned": "fine-tuned", "from-scratch": "from scratch"
}  # fmt: skip


def transfer(figures: Mapping[str, Any], path: str | Path, *, title: str = "") -> Figure:
    """Draw what ``qfleet finetune`` found.

    Args:
        figures: ``scores`` by part with ``metrics``, ``circuits`` and ``interval``; ``merit``; ``places``; ``answer``.
    """
    figure = new_figure(11.6, 4.2)
    grid = figure.add_gridspec(1, 2, left=0.235, right=0.975, bottom=0.15, top=0.8, wspace=0.1)
    scores, work = (figure.add_subplot(grid[i]) for i in range(2))
    parts, merit, places = figures["scores"], figures["merit"], figures["places"]
    is_accuracy = merit.endswith("accuracy")
    for row, (name, part) in enumerate(parts.items()):
        value, color = part["metrics"][merit], _COLOURS[name]
        bars = None
        if part["interval"] is not None and not merit.endswith("rmse"):
            low, high = part["interval"]
            bars = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
        scores.errorbar(value, row, xerr=bars, fmt="D", color=color, capsize=3, linewidth=1.6, markersize=7)
        work.barh(row, part["circuits"], color=color, height=0.5)
        text = f" {format_count(part['circuits'])}"
        work.text(part["circuits"], row, text, va="center", ha="left", fontsize=9, color=INK)
    names = [f"{_NAMES[name]}\n{places['first' if name == 'pretrained' else 'second']}" for name in parts]
    scores.set_yticks(range(len(parts)), names)
    work.set_yticks([])
    for axes in (scores, work):
        axes.set_ylim(len(parts) - 0.5, -0.5)
        dress(axes, "", has_grid=False)
    scores.set_xlabel(f"test {metric_label(merit)}", color=INK)
    if is_accuracy:
        from matplotlib.ticker import PercentFormatter

        scores.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    work.set_xlabel("circuits", color=INK)
    work.margins(x=0.2)
    interval = "" if merit.endswith("rmse") else "bars: 95 % interval over the test samples"
    headline(figure, figures["answer"].partition(". ")[0] or title, side_by_side(title, interval))
    return save(figure, path)
