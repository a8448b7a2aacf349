"""Training curves: loss, figure of merit, gradient norm and learning rate over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.display.formatting import format_metric, format_value, metric_label
from pipelines.plots.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    RED,
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

    from orchestrator.training.reports import EpochReport

_MAX_POINTS = 2000


def training_curves(
    history: Sequence[EpochReport],
    path: str | Path,
    *,
    step_losses: Sequence[float] | np.ndarray = (),
    gradient_norms: Sequence[float] | np.ndarray = (),
    test_metrics: Mapping[str, float] | None = None,
    title: str = "",
    subtitle: str = "",
) -> Figure:
    """Loss, figure of merit, gradient norm and learning rate over the epochs.

    Args:
        history: report of every finished epoch.
        step_losses: batch loss per step. Like `gradient_norms` it ends at the run's last step and may begin later than the
            first, as in a resumed run.
        test_metrics: final figures by tracking name (``test/accuracy``); the headline and a line in the second panel.
        title: name of the run.
    """
    test = dict(test_metrics or {})
    n_steps = max([len(step_losses), len(gradient_norms), *(report.step for report in history)], default=0)
    per_epoch = history[0].step / history[0].epoch if history and history[0].step else 1.0
    merit = _figure_of_merit(history)
    candidates = {"merit": merit is not None, "norm": len(gradient_norms) > 0, "rate": bool(history)}
    figure = new_figure(10, 6)
    panels = _curve_panels(figure, [name for name, is_there in candidates.items() if is_there])
    _draw_losses(panels["loss"], history, step_losses, n_steps, per_epoch)
    if merit is not None:
        _draw_merit(panels["merit"], history, merit, test.get(f"test/{merit}"), per_epoch)
    if "norm" in panels:
        _draw_norms(panels["norm"], gradient_norms, n_steps, per_epoch)
    if "rate" in panels:
        _draw_rates(panels["rate"], history, per_epoch)
    unit = f"epoch ({per_epoch:.0f} step{'s' if per_epoch > 1 else ''} each)" if history else "step"
    _share_epochs(panels, n_steps / per_epoch, unit)
    headline(figure, _with_result(title, history, test, merit), _second_line(subtitle, test))
    return save(figure, path)


def _curve_panels(figure: Figure, small: Sequence[str]) -> dict[str, Axes]:
    """``loss`` at the left, the small panels below one another at the right."""
    n_columns = 2 if small else 1
    grid = figure.add_gridspec(
        max(len(small), 1),
        n_columns,
        width_ratios=(1.45, 1)[:n_columns],
        left=0.075,
        right=0.975,
        bottom=0.09,
        top=0.86,
        wspace=0.23,
        hspace=0.2,
    )
    loss = figure.add_subplot(grid[:, 0])
    return {"loss": loss} | {n: figure.add_subplot(grid[row, 1], sharex=loss) for row, n in enumerate(small)}


def _share_epochs(panels: Mapping[str, Axes], last: float, unit: str) -> None:
    """One axis of epochs, written below the lowest panels only."""
    from matplotlib.ticker import MaxNLocator

    loss, *small = panels.values()
    loss.set_xlim(0, last * 1.03 or 1)
    if last >= 2:
        loss.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    for axes in [loss, *small[-1:]]:
        axes.set_xlabel(unit, color=INK)
    for axes in small[:-1]:
        axes.tick_params(labelbottom=False)
    loss.figure.align_ylabels(small)


def _figure_of_merit(history: Sequence[EpochReport]) -> str | None:
    """``accuracy``, ``r2`` or ``trash_fidelity``, whichever the reports have."""
    found = {name.rpartition("/")[2] for report in history for name in report.metrics}
    return next((name for name in ("accuracy", "r2", "trash_fidelity") if name in found), None)


def _with_result(
    title: str, history: Sequence[EpochReport], test: Mapping[str, float], merit: str | None
) -> str:
    """The run's name and its headline result."""
    if merit is not None and f"test/{merit}" in test:
        result = f"test {metric_label(merit)} {format_metric(merit, test[f'test/{merit}'])}"
    elif "test/loss" in test:
        result = f"test loss {format_value(test['test/loss'])}"
    elif history:
        best = next((r for r in history if r.epoch == history[-1].best_epoch), history[-1])
        name = f"val/{merit}" if merit is not None and f"val/{merit}" in best.metrics else best.monitored
        value = best.metrics.get(name, history[-1].best_value)
        side = "validation" if name.startswith("val/") else "training"
        result = f"best {side} {metric_label(name)} {format_metric(name, value)}"
    else:
        result = "no epoch finished"
    return titled(title, result)


def _second_line(subtitle: str, test: Mapping[str, float]) -> str:
    figures = ", ".join(
        f"{metric_label(name)} {format_metric(name, value)}" for name, value in sorted(test.items())
    )
    return side_by_side(subtitle, f"test: {figures}" if figures else "")


def _draw_losses(
    axes: Axes,
    history: Sequence[EpochReport],
    step_losses: Sequence[float] | np.ndarray,
    n_steps: int,
    per_epoch: float,
) -> None:
    if len(step_losses):
        x, y = _thinned(_step_positions(len(step_losses), n_steps, per_epoch), np.asarray(step_losses, float))
        axes.plot(
            x, y, color=BLUE, alpha=0.35 if len(history) > 1 else 0.8, linewidth=0.9, label="train, per step"
        )
    for name, label, color, marker in (
        (_train_loss_name(history), "train, mean of the epoch", BLUE, "o"),
        ("val/loss", "validation", RED, "s"),
    ):
        _draw_metric(axes, history, name, label, color, marker, per_epoch)
    if history and history[-1].best_epoch and math.isfinite(history[-1].best_value):
        _mark_best(axes, history, per_epoch)
    values = np.concatenate([np.zeros(0), *(np.asarray(line.get_ydata(), float) for line in axes.lines)])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 50 * values.min():
        _log_scale(axes)
    dress(axes, "loss")
    if axes.get_legend_handles_labels()[0]:
        legend(axes)


def _train_loss_name(history: Sequence[EpochReport]) -> str:
    """Name of the mean training loss of an epoch."""
    return next((n for n in ("train/epoch_loss", "train/loss") if any(n in r.metrics for r in history)), "")


def _mark_best(axes: Axes, history: Sequence[EpochReport], per_epoch: float) -> None:
    last = history[-1]
    step = next((r.step for r in history if r.epoch == last.best_epoch), last.best_epoch * per_epoch)
    axes.plot(
        [step / per_epoch],
        [last.best_value],
        color=GREEN,
        marker="*",
        markersize=20,
        markeredgecolor="white",
        linestyle="none",
        label=f"best: epoch {last.best_epoch}, {metric_label(last.monitored)} {format_value(last.best_value)}",
        zorder=1.8,  # behind the point it marks
    )


def _draw_metric(
    axes: Axes,
    history: Sequence[EpochReport],
    name: str,
    label: str,
    color: str,
    marker: str,
    per_epoch: float,
) -> None:
    """One line of an epoch metric, with markers as long as they can be told apart."""
    points = [(report.step / per_epoch, report.metrics[name]) for report in history if name in report.metrics]
    if points:
        size = 5.0 if len(points) <= 40 else 0.0
        x, y = np.array(points).T
        axes.plot(
            x,
            y,
            color=color,
            linewidth=1.8,
            marker=marker,
            markersize=size,
            markeredgecolor="white",
            label=label,
        )


def _draw_merit(
    axes: Axes, history: Sequence[EpochReport], merit: str, test: float | None, per_epoch: float
) -> None:
    _draw_metric(axes, history, f"train/{merit}", "train", BLUE, "o", per_epoch)
    _draw_metric(axes, history, f"val/{merit}", "validation", RED, "s", per_epoch)
    if test is not None:
        axes.axhline(
            test, color=INK, linewidth=1.2, linestyle="--", label=f"test {format_metric(merit, test)}"
        )
    values = [
        v for r in history for n, v in r.metrics.items() if n.rpartition("/")[2] == merit and math.isfinite(v)
    ]
    low = min([*values, 1.0 if test is None else test], default=0.0)
    bottom = max(low, -1.0 if merit == "r2" else 0.0)  # a hopeless R² at the start would flatten the rest
    margin = 0.08 * (1.0 - bottom) + 0.005
    axes.set_ylim(bottom - margin, 1.0 + margin / 2)
    if merit == "accuracy":
        from matplotlib.ticker import PercentFormatter

        axes.yaxis.set_major_formatter(
            PercentFormatter(1.0, decimals=0 if bottom < 0.9 else None, symbol=" %")
        )
    dress(axes, metric_label(merit))
    legend(axes)


def _draw_norms(axes: Axes, norms: Sequence[float] | np.ndarray, n_steps: int, per_epoch: float) -> None:
    x, y = _step_positions(len(norms), n_steps, per_epoch), np.asarray(norms, float)
    axes.plot(
        *_thinned(x, y),
        color=PURPLE,
        alpha=0.45 if n_steps > per_epoch else 0.9,
        linewidth=0.9,
        label="per step",
    )
    epochs = np.ceil(x - 1e-9).astype(int)
    numbers = np.unique(epochs)
    if len(numbers) > 1:
        medians = [float(np.median(y[epochs == k])) for k in numbers]
        ends = [float(x[epochs == k].max()) for k in numbers]
        axes.plot(ends, medians, color="#8E3B6E", linewidth=1.8, label="median of the epoch")
        legend(axes)
    if (y[np.isfinite(y)] > 0).all() and len(y) > 1:
        _log_scale(axes)
    dress(axes, "gradient norm")


def _log_scale(axes: Axes) -> None:
    """Logarithmic, with plain numbers and no more of them than there is room for."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim() if axes.get_ylim()[0] > 0 else axes.dataLim.intervaly
    decades = math.log10(high / low)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,), numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_rates(axes: Axes, history: Sequence[EpochReport], per_epoch: float) -> None:
    edges = [0.0, *(report.step / per_epoch for report in history)]
    rates = [report.learning_rate for report in history]
    axes.stairs(rates, edges, baseline=None, color=ORANGE, linewidth=1.8)
    axes.set_ylim(0, max(rates) * 1.25 or 1)
    dress(axes, "learning rate")


def _step_positions(n: int, n_steps: int, per_epoch: float) -> np.ndarray:
    """Places in epochs of the last n of `n_steps` steps."""
    return np.arange(n_steps - n + 1, n_steps + 1) / per_epoch


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most about `_MAX_POINTS` points that look the same: lowest and highest of each stretch."""
    if len(x) <= _MAX_POINTS:
        return x, y
    size = -(-len(x) // (_MAX_POINTS // 2))
    starts = range(0, len(x), size)
    kept = [
        s + i
        for s in starts
        for i in sorted({int(np.argmin(y[s : s + size])), int(np.argmax(y[s : s + size]))})
    ]
    return x[kept], y[kept]
