"""Pages to hover and zoom in: a run's curves, confusion matrix and timeline; curves of several settings; cost against accuracy.

Each is one HTML file that holds all it needs and asks no network, as MLflow's artifact viewer shows it; some 1.3 MB, nearly all of
it bokeh itself. Data are thinned so that a page stays below 1.5 MB. bokeh is imported with the first page.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipelines.display.formatting import format_metric, format_percent, metric_label
from pipelines.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE, RED, SKY

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure

    from orchestrator.protocols import JobSpan
    from orchestrator.training.reports import EpochReport

COLORS = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, INK)
_DASHES = ("solid", "dashed", "dotted", "dotdash")
_MAX_POINTS = 1500
_MAX_BARS = 1500


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a picture.

    Attributes:
        x, y: [n]. low, high: [n], a band around the line; None: no band.
        color: None: the next of `COLORS`. is_noisy: drawn thin and pale, behind what matters.
    """

    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    low: Sequence[float] | np.ndarray | None = None
    high: Sequence[float] | np.ndarray | None = None
    color: str | None = None
    is_noisy: bool = False


@dataclass(frozen=True)
class Point:
    """One point of a scatter.

    Attributes:
        name: of the setting or run. x, y: where it is. y_error: half of the bar through it; None: no bar.
        group: points of one group have one colour and one entry of the legend. details: further lines when it is hovered.
        is_marked: it is on the line drawn through the marked points, by x: a Pareto front.
    """

    name: str
    x: float
    y: float
    y_error: float | None = None
    group: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    is_marked: bool = False


def run_page(
    path: str | Path,
    *,
    title: str,
    history: Sequence[EpochReport],
    step_losses: Sequence[float] | np.ndarray = (),
    test_metrics: Mapping[str, float] | None = None,
    confusion: np.ndarray | None = None,
    class_names: Sequence[str] = (),
    spans: Sequence[JobSpan] = (),
) -> Path:
    """Curves over the steps, confusion matrix, and who computed when, of one run, below one another.

    Args:
        history: report of every finished epoch. step_losses: batch loss of each step.
        test_metrics: final figures by tracking name, written above. confusion: int [C, C], actual by predicted.
        spans: jobs of this process, in any order.
    """
    result = ", ".join(f"{metric_label(k)} {format_metric(k, v)}" for k, v in (test_metrics or {}).items())
    parts: list[Figure] = []
    losses = _loss_curves(history, step_losses)
    if losses:
        parts.append(_curves(losses, "step", "loss"))
    for merit in ("accuracy", "r2", "trash_fidelity"):
        curves = _metric_curves(history, {f"train/{merit}": "training", f"val/{merit}": "validation"})
        if curves:
            parts.append(_curves(curves, "step", metric_label(merit)))
    if confusion is not None and confusion.sum():
        parts.append(_matrix(confusion, class_names))
    if spans:
        parts.append(_timeline(spans))
    return _write(_heading(title, f"test: {result}" if result else ""), parts, path, title)


def overlaid_curves(
    series: Mapping[str, Curve],
    path: str | Path,
    *,
    title: str = "",
    subtitle: str = "",
    x_label: str = "step",
    y_label: str = "loss",
    log_y: bool = False,
) -> Path:
    """Curves of several settings in one picture; a click on the legend hides one.

    Args:
        series: by name of the setting, in the order of the legend.
    """
    scale = "log" if log_y else "linear"
    picture = _curves(series, x_label, y_label, legend="right", height=520, y_axis_type=scale)
    return _write(_heading(title, subtitle), [picture], path, title)


def scatter(
    points: Sequence[Point],
    path: str | Path,
    *,
    title: str = "",
    subtitle: str = "",
    x_label: str = "circuits",
    y_label: str = "test accuracy",
    log_x: bool = False,
) -> Path:
    """Points with their names and details when they are hovered: cost against accuracy, one point a setting or run."""
    from bokeh.models import HoverTool

    picture = _axes(x_label, y_label, height=520, x_axis_type="log" if log_x else "linear")
    marked = sorted((point for point in points if point.is_marked), key=lambda point: point.x)
    if marked:
        picture.line(
            [p.x for p in marked],
            [p.y for p in marked],
            color=GREY,
            line_dash="dashed",
            legend_label="Pareto front",
        )
    for i, (group, members) in enumerate(_grouped(points).items()):
        color = COLORS[i % len(COLORS)]
        data = _columns(members)
        barred = [point for point in members if point.y_error is not None]
        picture.segment(
            x0=[p.x for p in barred], x1=[p.x for p in barred], y0=[p.y - (p.y_error or 0.0) for p in barred],
            y1=[p.y + (p.y_error or 0.0) for p in barred], color=color, line_width=1.5,
        )  # fmt: skip
        named: dict[str, Any] = {"legend_label": group} if group else {}
        dots = picture.scatter("x", "y", source=data, size=11, color=color, line_color="white", **named)
        lines = [("", "@name"), (x_label, "@x{0,0.[000]}"), (y_label, "@y{0.0000}"), ("", "@details")]
        picture.add_tools(HoverTool(renderers=[dots], tooltips=lines))
    _place_legend(picture, "right")
    return _write(_heading(title, subtitle), [picture], path, title)


def _grouped(points: Sequence[Point]) -> dict[str, list[Point]]:
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(point.group, []).append(point)
    return groups


def _columns(points: Sequence[Point]) -> dict[str, list[Any]]:
    details = [", ".join(f"{key} {value}" for key, value in point.details.items()) for point in points]
    return {
        "name": [point.name for point in points], "x": [point.x for point in points], "y": [point.y for point in points],
        "details": details,
    }  # fmt: skip


def _loss_curves(
    history: Sequence[EpochReport], step_losses: Sequence[float] | np.ndarray
) -> dict[str, Curve]:
    curves = {}
    if len(step_losses):
        last = max([len(step_losses), *(report.step for report in history)])
        steps = range(last - len(step_losses) + 1, last + 1)
        curves["training, each step"] = Curve(steps, step_losses, color=BLUE, is_noisy=True)
    return curves | _metric_curves(
        history, {"train/epoch_loss": "training, mean of the epoch", "val/loss": "validation"}
    )


def _metric_curves(history: Sequence[EpochReport], names: Mapping[str, str]) -> dict[str, Curve]:
    curves = {}
    for name, label in names.items():
        there = [report for report in history if name in report.metrics]
        if there:
            color = RED if name.startswith("val/") else BLUE
            curves[label] = Curve([r.step for r in there], [r.metrics[name] for r in there], color=color)
    return curves


def _axes(x_label: str, y_label: str, height: int = 340, **options: Any) -> Figure:
    from bokeh.plotting import figure

    picture = figure(
        height=height, sizing_mode="stretch_width", x_axis_label=x_label, y_axis_label=y_label, toolbar_location="right",
        tools="pan,box_zoom,wheel_zoom,save,reset", **options,
    )  # fmt: skip
    picture.toolbar.logo = None
    picture.outline_line_color = None
    picture.grid.grid_line_color = PALE
    picture.axis.axis_label_text_font_style = "normal"
    picture.axis.axis_label_text_color = picture.axis.major_label_text_color = INK
    picture.axis.axis_line_color = GREY
    return picture


def _curves(
    series: Mapping[str, Curve],
    x_label: str,
    y_label: str,
    legend: Literal["above", "right"] = "above",
    **options: Any,
) -> Figure:
    from bokeh.models import HoverTool

    picture = _axes(x_label, y_label, **options)
    for i, (name, curve) in enumerate(series.items()):
        color, dash = curve.color or COLORS[i % len(COLORS)], _DASHES[i // len(COLORS) % len(_DASHES)]
        x, y = np.asarray(curve.x, float), np.asarray(curve.y, float)
        kept = _kept(y)
        if curve.low is not None and curve.high is not None:
            low, high = np.asarray(curve.low, float)[kept], np.asarray(curve.high, float)[kept]
            picture.varea(x[kept], low, high, fill_color=color, fill_alpha=0.15, legend_label=name)
        width, alpha = (1.0, 0.5) if curve.is_noisy else (2.5, 1.0)
        line = picture.line(
            x[kept], y[kept], color=color, line_dash=dash, line_width=width, alpha=alpha, legend_label=name
        )
        if len(y) <= 40 and not curve.is_noisy:
            picture.scatter(x, y, color=color, line_color="white", size=8, legend_label=name)
        picture.add_tools(
            HoverTool(renderers=[line], tooltips=[("", name), (x_label, "@x{0,0}"), (y_label, "@y{0.0000}")])
        )
    _place_legend(picture, legend)
    return picture


def _place_legend(picture: Figure, place: Literal["above", "right"]) -> None:
    """The legend outside the axes, ``above`` or ``right`` of them, where it hides nothing; a click on an entry hides that."""
    if picture.legend:
        picture.legend.click_policy = "hide"
        picture.legend.border_line_color = None
        picture.legend.label_text_color = INK
        if place == "above":
            picture.legend.orientation, picture.legend.spacing = "horizontal", 20
        picture.add_layout(picture.legend[0], place)


def _kept(y: np.ndarray) -> np.ndarray:
    """Places of at most about `_MAX_POINTS` points that look the same: lowest and highest of each stretch."""
    if len(y) <= _MAX_POINTS:
        return np.arange(len(y))
    cuts = np.linspace(0, len(y), _MAX_POINTS // 2 + 1).astype(int)
    low, high = np.where(np.isnan(y), np.inf, y), np.where(np.isnan(y), -np.inf, y)
    kept = {0, len(y) - 1}
    for a, b in itertools.pairwise(cuts):
        kept |= {int(a + np.argmin(low[a:b])), int(a + np.argmax(high[a:b]))}
    return np.array(sorted(kept))


def _matrix(confusion: np.ndarray, class_names: Sequence[str]) -> Figure:
    from bokeh.models import HoverTool

    counts = np.asarray(confusion)
    names = [str(name) for name in class_names] or [str(i) for i in range(len(counts))]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = [(i, j) for i in range(len(names)) for j in range(len(names))]
    data = {
        "actual": [names[i] for i, _ in cells], "predicted": [names[j] for _, j in cells],
        "count": [int(counts[i, j]) for i, j in cells], "share": [format_percent(shares[i, j]) for i, j in cells],
        "alpha": [float(shares[i, j]) for i, j in cells],
        "ink": ["white" if shares[i, j] > 0.55 else INK for i, j in cells],
    }  # fmt: skip
    picture = _axes("predicted", "actual", height=120 + 60 * len(names), x_range=names, y_range=names[::-1])
    picture.grid.grid_line_color = None
    picture.sizing_mode, picture.width = "fixed", 240 + 80 * len(names)
    boxes = picture.rect(
        "predicted", "actual", 1, 1, source=data, fill_color=BLUE, fill_alpha="alpha", line_color="white"
    )
    picture.text(
        "predicted",
        "actual",
        "count",
        source=data,
        text_align="center",
        text_baseline="middle",
        text_color="ink",
    )
    tooltips = [("actual", "@actual"), ("predicted", "@predicted"), ("samples", "@count (@share)")]
    picture.add_tools(HoverTool(renderers=[boxes], tooltips=tooltips))
    return picture


def _timeline(spans: Sequence[JobSpan]) -> Figure:
    from bokeh.models import HoverTool

    start = min(span.started_at for span in spans)
    bars = _bars(spans, start)
    workers = sorted({str(worker) for worker in bars["worker"]}, reverse=True)
    picture = _axes("seconds", "", height=110 + 34 * min(len(workers), 30), y_range=workers)
    drawn = picture.hbar(
        "worker",
        left="begin",
        right="end",
        height=0.7,
        source=bars,
        color=SKY,
        line_color=BLUE,
        line_width=0.5,
    )
    lines = [
        ("", "@worker"), ("steps", "@steps"), ("jobs", "@jobs"), ("circuits", "@circuits{0,0}"), ("seconds", "@begin{0.000} – @end{0.000}"),
    ]  # fmt: skip
    picture.add_tools(HoverTool(renderers=[drawn], tooltips=lines))
    return picture


def _bars(spans: Sequence[JobSpan], start: float) -> dict[str, list[Any]]:
    """Jobs as bars, those of a worker and step together, and of several steps where there would be too many; seconds from `start`."""
    n_steps = max(span.step for span in spans) + 1
    n_workers = len({span.worker for span in spans})
    width = max(-(-n_steps * n_workers // _MAX_BARS), 1)
    groups: dict[tuple[str, int], list[JobSpan]] = defaultdict(list)
    for span in spans:
        groups[span.worker, span.step // width].append(span)
    rows = [
        (
            worker,
            min(span.started_at for span in jobs) - start,
            max(span.finished_at for span in jobs) - start,
            _range(min(span.step for span in jobs) + 1, max(span.step for span in jobs) + 1),
            len(jobs),
            sum(span.n_circuits for span in jobs),
        )
        for (worker, _), jobs in groups.items()
    ]
    names = ("worker", "begin", "end", "steps", "jobs", "circuits")
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"


def _heading(title: str, subtitle: str) -> str:
    """HTML above the pictures; bokeh's own widget for it would make the page 0.4 MB larger."""
    return (
        f"<div style='font-family: Helvetica, Arial, sans-serif; color: {INK}; margin: 8px'>"
        f"<b style='font-size: 16px'>{escape(title)}</b><br><span style='color: {GREY}; font-size: 13px'>{escape(subtitle)}</span></div>"
    )


def _write(heading: str, parts: Sequence[Figure], path: str | Path, title: str) -> Path:
    from bokeh.embed import file_html
    from bokeh.layouts import column
    from bokeh.resources import Resources

    layout = column(*parts, sizing_mode="stretch_width")
    page = file_html(
        layout, Resources(mode="inline"), title=title or "qfleet", suppress_callback_warning=True
    )
    head, body, rest = page.rpartition("\n  <body>\n")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}{body}{heading}\n{rest}", encoding="utf-8")
    return path
