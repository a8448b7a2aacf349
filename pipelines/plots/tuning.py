"""A search in pictures: the best value over what was spent, what each key was tried with, and how methods compare seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.display.formatting import format_count, format_metric, format_usd, metric_label
from pipelines.plots.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    SKY,
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

_KINDS = {
    "done": (BLUE, "o", "to its end"),
    "cut": (SKY, "s", "cut by the budget"),
    "stopped": (ORANGE, "x", "stopped at a rung"),
}
_MAX_PANELS = 8


def search_history(found: Mapping[str, Any], path: str | Path) -> Figure:
    """Every trial, and the best so far, over what was spent.

    Args:
        found: figures of a search: ``trials`` with ``state``, ``value``, ``spent``; ``history``; ``metric``, ``unit``, ``method``.
    """
    figure = new_figure(8.6, 4.8)
    axes = figure.add_axes((0.09, 0.12, 0.885, 0.7))
    spent = 0
    points: dict[str, tuple[list[float], list[float]]] = {kind: ([], []) for kind in _KINDS}
    for row in found["trials"]:
        spent += row["spent"] or 0
        if row["state"] in points and _is_number(row["value"]):
            points[row["state"]][0].append(_scaled(spent, found))
            points[row["state"]][1].append(row["value"])
    for kind, (colour, marker, label) in _KINDS.items():
        if points[kind][0]:
            axes.scatter(
                *points[kind], s=30, color=colour, marker=marker, linewidth=1.4, label=label, zorder=3
            )
    history = [(_scaled(at, found), value) for at, value in found["history"]]
    if history:
        end = _scaled(found["spent"], found)
        at, best = zip(*history, strict=True)
        axes.step([*at, end], [*best, best[-1]], where="post", color=INK, linewidth=1.6, label="best so far")
    dress(axes, _label(found["metric"]))
    axes.set_xlabel("circuits" if found["unit"] == "circuits" else "dollars", color=INK)
    axes.set_xlim(left=0)
    if found["unit"] == "circuits":
        axes.xaxis.set_major_formatter(lambda value, _: format_count(value))
    legend(axes)
    best_text = (
        f"best {format_metric(found['metric'], found['best']['value'])}"
        if found["best"]
        else "no trial came to a value"
    )
    amount = (
        format_count(found["spent"], "circuits")
        if found["unit"] == "circuits"
        else format_usd(found["spent"] / 1e6)
    )
    headline(
        figure,
        f"{metric_label(found['metric']).capitalize()} found, by what was spent",
        side_by_side(found["method"], f"{len(found['trials'])} trials", best_text, amount),
    )
    return save(figure, path)


def tried_values(found: Mapping[str, Any], path: str | Path) -> Figure:
    """A panel for each key: its values against the metric; later trials darker.

    Args:
        found: as of `search_history`, with ``space`` and the ``values`` of the trials.
    """
    keys = sorted(found["space"], key=lambda key: -found["importance"].get(key, 0.0))[:_MAX_PANELS]
    n_columns = min(len(keys), 4)
    n_rows = math.ceil(len(keys) / n_columns)
    figure = new_figure(max(3.0 * n_columns + 0.9, 6.0), 2.7 * n_rows + 1.2)
    height = figure.get_size_inches()[1]
    grid = figure.add_gridspec(
        n_rows,
        n_columns,
        left=0.09,
        right=0.975,
        bottom=0.62 / height,
        top=1 - 0.85 / height,
        wspace=0.12,
        hspace=0.5,
    )
    for i, key in enumerate(keys):
        axes = figure.add_subplot(grid[i // n_columns, i % n_columns])
        _panel(axes, key, found)
        dress(axes, _label(found["metric"]) if i % n_columns == 0 else "")
        if i % n_columns:
            axes.tick_params(labelleft=False)
    headline(
        figure,
        "What was tried, and what came of it",
        side_by_side(
            "by importance" if found["importance"] else "",
            "later trials darker",
            "cross: stopped at a rung",
            "ring: the best",
        ),
    )
    return save(figure, path)


def _panel(axes: Axes, key: str, found: Mapping[str, Any]) -> None:
    rows = [row for row in found["trials"] if key in row["values"] and _is_number(row["value"])]
    values = [row["values"][key] for row in rows]
    is_number = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    names = sorted({str(value) for value in values})
    at = values if is_number else [names.index(str(value)) for value in values]
    for x, row in zip(at, rows, strict=True):
        alpha = 0.3 + 0.7 * (row["trial"] + 1) / len(found["trials"])
        colour, marker, _ = _KINDS.get(row["state"], (GREY, ".", ""))
        axes.scatter([x], [row["value"]], s=26, color=colour, marker=marker, alpha=alpha, linewidth=1.3)
        if row["trial"] == found["best"].get("trial"):
            axes.scatter([x], [row["value"]], s=110, facecolors="none", edgecolors=INK, linewidth=1.3)
    if not is_number:
        axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
        axes.margins(x=0.2)
    elif "logarithmic" in found["space"][key]:
        axes.set_xscale("log")
    elif all(isinstance(value, int) for value in values):
        axes.set_xticks(sorted(set(values)))
    axes.set_xlabel(key, color=INK, fontsize=9)


def comparison_plot(comparisons: Sequence[Mapping[str, Any]], path: str | Path, *, metric: str) -> Figure:
    """For each rival the paired gains, seed by seed, with mean and 95 % interval.

    Args:
        comparisons: ``method``, ``rival``, ``gains`` (``metric``, ``gain``, ``low``, ``high``), ``pairs``, and ``title`` where there are
            several data sets. metric: that trials were compared by.
    """
    from pipelines.tune.following import is_maximised

    shown = [
        (one, gain)
        for one in comparisons
        for gain in one["gains"]
        if gain["metric"] in (one["gains"][0]["metric"], metric)
    ]
    names = list(dict.fromkeys(gain["metric"] for _, gain in shown))
    figure = new_figure(5.4 * len(names) + 0.6, 0.62 * len(comparisons) + 1.9)
    height = figure.get_size_inches()[1]
    grid = figure.add_gridspec(
        1,
        len(names),
        left=2.5 / (5.4 * len(names) + 0.6),
        right=0.98,
        bottom=0.55 / height,
        top=1 - 0.8 / height,
        wspace=0.08,
    )
    labels = [f"{one.get('title', '')}\n{one['method']} − {one['rival']}".strip() for one in comparisons]
    for column, name in enumerate(names):
        axes = figure.add_subplot(grid[0, column])
        axes.axvline(0, color=GREY, linewidth=0.9, linestyle=(0, (2, 3)))
        for y, one in enumerate(comparisons):
            gain = next((gain for gain in one["gains"] if gain["metric"] == name), None)
            if gain is None:
                continue
            sign = 1.0 if is_maximised(name) else -1.0
            at = [sign * (_score(a, name) - _score(b, name)) for a, b in one["pairs"]]
            axes.scatter(at, [y] * len(at), s=34, color=SKY, alpha=0.65, linewidth=0)
            axes.plot([gain["low"], gain["high"]], [y, y], color=BLUE, linewidth=2.6)
            axes.scatter([gain["gain"]], [y], s=46, color=BLUE, zorder=3)
        dress(axes, "", has_grid=False)
        axes.grid(axis="x", color=PALE, linewidth=0.8)
        axes.set_yticks(range(len(labels)), labels if column == 0 else [""] * len(labels))
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xlabel(f"gain in {name.replace('/', ' ')}, right is better", color=INK)
    n = len(comparisons[0]["pairs"])
    headline(
        figure,
        "Search methods at equal budget",
        side_by_side(f"{n} seeds each, paired", "bar: 95 % interval of the mean gain"),
    )
    return save(figure, path)


def _score(pair: Mapping[str, Any], metric: str) -> float:
    return float(pair["test"][metric] if metric in pair["test"] else pair["value"])


def _scaled(spent: float, found: Mapping[str, Any]) -> float:
    return spent if found["unit"] == "circuits" else spent / 1e6


def _label(metric: str) -> str:
    split = {"val": "validation ", "train": "training ", "test": "test "}.get(metric.partition("/")[0], "")
    return split + metric_label(metric)


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)
