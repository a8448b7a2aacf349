"""Hybrid networks and their twins: some of the images, accuracy over the epochs, and in the end with its interval and the time it took."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.plots.style import (
    BLUE,
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

_LOOKS = {
    "hybrid": ("hybrid", BLUE, "o"),
    "twin": ("classical twin", ORANGE, "s"),
    "none": ("no layer", GREY, "^"),
}
_COLUMNS = 5


def hybrid_study(
    found: Mapping[str, Any], examples: np.ndarray, classes: np.ndarray, path: str | Path, *, title: str = ""
) -> Figure:
    """Draw what ``qfleet hybrid`` found.

    Args:
        found: ``arms``, ``seeds``, ``classes``, ``settings``, ``run``, as of its JSON.
        examples: up to ten samples [N, ...]: uint8 [size, size, 3], or 64 grey pixels. classes: int64 [N].
    """
    figure = new_figure(13.2, 4.1)
    whole = figure.add_gridspec(
        1, 3, width_ratios=(1.75, 1.2, 1), left=0.015, right=0.985, bottom=0.16, top=0.77, wspace=0.2
    )
    _draw_examples(figure, whole[0], found, examples, classes)
    _draw_curves(figure.add_subplot(whole[1]), found)
    _draw_scores(figure.add_subplot(whole[2]), found)
    settings, run, samples = found["settings"], found["run"], found["samples"]
    headline(
        figure,
        titled(title, f"{settings['workload']} by a hybrid network and by classical ones"),
        side_by_side(
            f"{samples['train']:,}/{samples['validation']:,}/{samples['test']:,} samples",
            f"{run['epochs']} epochs, batches of {run['batch_size']}",
            f"{settings['qubits']} qubits, depth {settings['depth']}",
            f"{len(found['seeds'])} seeds" if len(found["seeds"]) > 1 else "",
        ),
    )
    return save(figure, path)


def _draw_examples(
    figure: Figure, place: Any, found: Mapping[str, Any], examples: np.ndarray, classes: np.ndarray
) -> None:
    rows = -(-len(examples) // _COLUMNS)
    grid = place.subgridspec(rows, _COLUMNS, wspace=0.06, hspace=0.24)
    side = int(np.sqrt(examples.shape[-1])) if examples.ndim == 2 else 0
    for number, (example, which) in enumerate(zip(examples, classes, strict=True)):
        axes = figure.add_subplot(grid[number // _COLUMNS, number % _COLUMNS])
        if examples.ndim == 2:
            axes.imshow(example.reshape(side, side), cmap="Greys")
        else:
            axes.imshow(example)
        axes.set_axis_off()
        axes.set_title(clipped(found["classes"][which], 16), fontsize=8, color=GREY, pad=3)


def _draw_curves(axes: Axes, found: Mapping[str, Any]) -> None:
    """Validation accuracy after each epoch: the mean over the seeds, and faintly each of them."""
    for arm, (label, colour, marker) in _LOOKS.items():
        runs = np.array(
            [[epoch["val_accuracy"] for epoch in one["arms"][arm]["history"]] for one in found["seeds"]]
        )
        x = np.arange(1, runs.shape[1] + 1)
        for run in runs if len(runs) > 1 else ():
            axes.plot(x, run, color=colour, linewidth=0.7, alpha=0.35)
        size = 3.5 if len(x) <= 15 else 0
        axes.plot(
            x, runs.mean(axis=0), color=colour, linewidth=1.6, marker=marker, markersize=size, label=label
        )
    dress(axes, "")
    axes.set_title("validation accuracy", fontsize=9.5, color=GREY, loc="left")
    axes.set_xlabel("epoch", color=INK)
    axes.locator_params(axis="x", integer=True)
    legend(axes)


def _draw_scores(axes: Axes, found: Mapping[str, Any]) -> None:
    """Test accuracies with intervals (of several seeds: a dot each); below the names the parameters of the middle, and seconds."""
    names = []
    for place, (arm, (label, colour, _)) in enumerate(_LOOKS.items()):
        of_arm = found["arms"][arm]
        mean = of_arm["test_accuracy"]
        axes.bar(place, mean, color=colour, width=0.62, alpha=0.85)
        top = mean
        if of_arm["interval"] is not None:
            low, high = of_arm["interval"]
            axes.errorbar(place, mean, [[mean - low], [high - mean]], color=INK, capsize=3, linewidth=1.2)
            top = high
        else:
            values = [one["arms"][arm]["test_accuracy"] for one in found["seeds"]]
            axes.plot([place] * len(values), values, "o", color=INK, markersize=3.5, alpha=0.7)
            top = max(values)
        top = max(top, *(value for value in (top, *found["baselines"].values()) if value < top + 0.06))
        axes.text(place, top + 0.015, f"{100 * mean:.1f} %", ha="center", fontsize=8.5, color=INK)
        names.append(f"{label}\n{of_arm['params']['middle']} in the middle\n{of_arm['seconds']:.1f} s")
    for number, value in enumerate(found["baselines"].values()):
        axes.axhline(value, color=INK, linewidth=0.9, linestyle=(0, (4, 2 + 2 * number)))
    dress(axes, "")
    axes.set_ylim(0, 1.1)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_title("test accuracy; dashed: logistic regression", fontsize=9.5, color=GREY, loc="left")
