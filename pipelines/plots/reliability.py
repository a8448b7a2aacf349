"""Reliability diagram: how often predictions are right, by how confident they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipelines.display.formatting import format_percent
from pipelines.plots.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    SKY,
    dress,
    headline,
    legend,
    new_figure,
    save,
    titled,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Reliability(Protocol):
    """What is drawn of a calibration; see `pipelines.evaluate.calibration.Calibration`."""

    @property
    def bins(self) -> Sequence[Any]:
        """By rising confidence."""
        ...

    @property
    def ece(self) -> float:
        """Expected calibration error."""
        ...

    @property
    def most_by_chance(self) -> float:
        """Its 95 % quantile for a calibrated predictor."""
        ...

    @property
    def verdict(self) -> str:
        """In words."""
        ...


def reliability(found: Reliability, path: str | Path, *, title: str = "", split: str = "test") -> Figure:
    """Share right by mean confidence of each bin, with Wilson's 95 % intervals, and how the confidences are spread.

    Args:
        found: bins of equal mass and the calibration error.
        split: which samples they are.
    """
    figure = new_figure(6.6, 6.6)
    upper = figure.add_axes((0.12, 0.27, 0.84, 0.6))
    lower = figure.add_axes((0.12, 0.085, 0.84, 0.13), sharex=upper)
    confidence = np.array([one.confidence for one in found.bins])
    right = np.array([one.right for one in found.bins])
    around = np.array([[one.right - one.interval.low, one.interval.high - one.right] for one in found.bins]).T
    low = max(min(confidence.min(), (right - around[0]).min(), right.min()) - 0.03, 0.0)
    upper.plot((low, 1), (low, 1), color=INK, linewidth=1.2, linestyle="--", label="perfectly calibrated")
    upper.vlines(
        confidence,
        np.minimum(confidence, right),
        np.maximum(confidence, right),
        color=ORANGE,
        linewidth=4,
        alpha=0.5,
        label="gap",
    )
    upper.errorbar(
        confidence, right, yerr=np.maximum(around, 0.0), fmt="o", color=BLUE, markersize=6, capsize=3, elinewidth=1.2,
        label="share right, 95 % interval",
    )  # fmt: skip
    upper.set_xlim(low, 1.005)
    upper.set_ylim(low, 1.02)
    dress(upper, "share of predictions that are right")
    upper.tick_params(labelbottom=False)
    legend(upper, "upper left")
    _draw_spread(lower, found.bins)
    n = sum(one.n for one in found.bins)
    result = f"{split} calibration error {format_percent(found.ece)}: {found.verdict}"
    detail = (
        f"{n:,} samples in {len(found.bins)} bins of equal mass; a calibrated model would show at most "
        f"{format_percent(found.most_by_chance)} (95 %)"
    )
    headline(figure, titled(title, result), detail)
    return save(figure, path)


def _draw_spread(axes: Axes, bins: Sequence[Any]) -> None:
    """How densely samples lie, bin by bin: equal areas by equal mass."""
    total = sum(one.n for one in bins)
    for one in bins:
        width = max(one.high - one.low, 0.004)
        axes.bar(one.low, one.n / total / width, width=width, align="edge", color=SKY, edgecolor="white")
    dress(axes, "density", has_grid=False)
    axes.set_yticks([])
    axes.set_xlabel("confidence (probability of the predicted class)", color=INK)
    axes.spines["bottom"].set_color(GREY)
