"""What the model answers: the confusion matrix of classes, predicted against actual values of a regression."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.display.formatting import format_percent, format_value
from pipelines.plots.style import (
    BLUE,
    INK,
    ORANGE,
    SKY,
    clipped,
    dress,
    headline,
    legend,
    new_figure,
    save,
    titled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def confusion_matrix(
    matrix: np.ndarray, class_names: Sequence[str], path: str | Path, *, title: str = "", split: str = "test"
) -> Figure:
    """How often class i (row) was taken for class j (column).

    Args:
        matrix: int [C, C] counts, actual by predicted.
        split: which samples they are.
    """
    counts = np.asarray(matrix)
    per_actual = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, per_actual, out=np.zeros(counts.shape), where=per_actual > 0)
    total = int(counts.sum())
    figure, axes, cell = _matrix_axes(len(counts), [clipped(str(name), 18) for name in class_names])
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    _write_counts(axes, counts, shares, cell)
    n_right = int(np.trace(counts))
    result, detail = "no samples", ""
    if total:
        result = f"{split} accuracy {format_percent(n_right / total)}"
        detail = f"{n_right:,} of {total:,} samples; percentages are shares of the actual class"
    headline(figure, titled(title, result), detail)
    return save(figure, path)


def _matrix_axes(n: int, names: Sequence[str]) -> tuple[Figure, Axes, float]:
    """A figure with one square axes that has a row and a column for each of n classes, and the inches of a cell."""
    longest = max(map(len, names), default=1)
    is_crowded = longest * n > 44  # names side by side would run into each other
    left = 0.75 + 0.09 * longest
    bottom = 0.75 + (0.05 * longest if is_crowded else 0)
    side = max(6.0 - left, 4.5)
    width, height = left + side + 0.4, bottom + side + 0.95
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    ticks = range(n)
    axes.set_xticks(
        ticks, names, rotation=40 if is_crowded else 0, ha="right" if is_crowded else "center", fontsize=9.5
    )
    axes.set_yticks(ticks, names, fontsize=9.5)
    axes.set_xlabel("predicted", color=INK)
    axes.set_ylabel("actual", color=INK)
    axes.tick_params(length=0, colors=INK)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    return figure, axes, side / max(n, 1)


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray, cell: float) -> None:
    """A number in every cell, with its share where there is room; in a large matrix the empty cells stay empty."""
    n = len(counts)
    size = min(max(cell * 18, 5.0), 13.0)
    for i in range(n):
        for j in range(n):
            if counts[i, j] or n <= 10:
                text = f"{counts[i, j]:,}"
                if cell >= 0.7 and counts[i, j]:
                    text += f"\n{100 * shares[i, j]:.0f} %"
                color = "white" if shares[i, j] > 0.55 else INK
                axes.text(j, i, text, ha="center", va="center", color=color, fontsize=size)


def predictions(
    predicted: np.ndarray,
    actual: np.ndarray,
    path: str | Path,
    *,
    title: str = "",
    split: str = "test",
    target: str = "target",
) -> Figure:
    """Predicted against actual values of a regression, and the errors.

    Args:
        predicted, actual: [S], in units of the target.
        target: what is predicted, with its unit: ``"house price (USD)"``.
    """
    y, t = np.asarray(predicted, float), np.asarray(actual, float)
    figure = new_figure(10, 5.2)
    grid = figure.add_gridspec(
        1, 2, width_ratios=(1.25, 1), left=0.085, right=0.975, bottom=0.12, top=0.81, wspace=0.25
    )
    scatter, errors = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    result, detail = "no samples", ""
    if len(t):
        result, detail = _regression_words(y, t, split)
        _draw_scatter(scatter, y, t)
        _draw_errors(errors, y - t)
    dress(scatter, f"predicted {target}")
    scatter.set_xlabel(f"actual {target}", color=INK)
    dress(errors, "samples")
    errors.set_xlabel("error (predicted − actual)", color=INK)
    headline(figure, titled(title, result), detail)
    return save(figure, path)


def residuals(
    predicted: np.ndarray,
    actual: np.ndarray,
    path: str | Path,
    *,
    title: str = "",
    split: str = "test",
    standard_errors: np.ndarray | None = None,
) -> Figure:
    """Errors of a regression by what was predicted, with the mean error of equally many samples each.

    Args:
        predicted, actual: [S], in units of the target.
        standard_errors: [S], of the predictions by shots; None: they are exact.
    """
    y, error = np.asarray(predicted, float), np.asarray(predicted, float) - np.asarray(actual, float)
    figure = new_figure(8, 4.8)
    axes = figure.add_axes((0.1, 0.13, 0.86, 0.68))
    alpha = min(max(30.0 / math.sqrt(len(y)), 0.15), 0.8)
    if standard_errors is not None:
        axes.errorbar(
            y, error, yerr=standard_errors, fmt="none", ecolor=SKY, elinewidth=0.8, alpha=alpha, label="± standard error by shots",
            rasterized=len(y) > 5000,
        )  # fmt: skip
    axes.plot(
        y, error, "o", color=BLUE, alpha=alpha, markersize=4, markeredgewidth=0, rasterized=len(y) > 5000
    )
    axes.axhline(0.0, color=INK, linewidth=1.2, linestyle="--")
    n_bins = min(10, len(y) // 10)
    if n_bins > 1:
        parts = np.array_split(np.argsort(y, kind="stable"), n_bins)
        means = [
            (y[part].mean(), error[part].mean(), error[part].std(ddof=1) / math.sqrt(len(part)))
            for part in parts
        ]
        place, mean, spread = np.array(means).T
        axes.errorbar(
            place, mean, yerr=1.96 * spread, fmt="s-", color=ORANGE, markersize=5, capsize=3, label="mean of a tenth, 95 % interval"
            if n_bins == 10 else f"mean of a part in {n_bins}, 95 % interval",
        )  # fmt: skip
        legend(axes, "best")
    dress(axes, "error (predicted − actual)")
    axes.set_xlabel("predicted", color=INK)
    result, detail = _regression_words(y, np.asarray(actual, float), split)
    headline(figure, titled(title, result), detail)
    return save(figure, path)


def _regression_words(predicted: np.ndarray, actual: np.ndarray, split: str) -> tuple[str, str]:
    """(headline, detail) on how far the predictions are off."""
    error = predicted - actual
    rmse = float(np.sqrt(np.mean(error**2)))
    spread = float(np.sum((actual - actual.mean()) ** 2))
    r2 = 1.0 - float(np.sum(error**2)) / spread if spread > 0 else 0.0
    bias = f"mean error {format_value(float(error.mean()))}"
    size = f"mean absolute error {format_value(float(np.abs(error).mean()))}"
    return f"{split} R² {r2:.3f}, RMSE {format_value(rmse)}", f"{len(actual):,} samples, {bias}, {size}"


def _draw_scatter(axes: Axes, predicted: np.ndarray, actual: np.ndarray) -> None:
    low, high = float(min(predicted.min(), actual.min())), float(max(predicted.max(), actual.max()))
    margin = 0.04 * (high - low) or 1.0
    ends = (low - margin, high + margin)
    alpha = min(max(30.0 / math.sqrt(len(actual)), 0.15), 0.8)
    axes.plot(ends, ends, color=INK, linewidth=1.2, linestyle="--", label="perfect prediction")
    axes.plot(
        actual,
        predicted,
        "o",
        color=BLUE,
        alpha=alpha,
        markersize=5,
        markeredgewidth=0,
        rasterized=len(actual) > 5000,
    )
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    legend(axes, "upper left")


def _draw_errors(axes: Axes, error: np.ndarray) -> None:
    low, high = float(error.min()), float(error.max())
    axes.hist(
        error,
        bins=min(max(int(math.sqrt(len(error))), 5), 40),
        range=(low, high if high > low else low + 1e-9),
        color=SKY,
        edgecolor="white",
    )
    axes.axvline(0.0, color=INK, linewidth=1.2, linestyle="--")
