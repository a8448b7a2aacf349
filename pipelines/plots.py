"""Pictures of a run: training curves, fleet timeline, circuit, confusion matrix, predictions.

Every function takes plain figures, writes one file (PNG, SVG or PDF, by its suffix) and returns the matplotlib Figure. Figures are
made without pyplot, so nothing global changes and any thread may draw. Colours are those of Okabe and Ito, told apart by everybody.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from pipelines.progress import (
    format_duration,
    format_metric,
    format_percent,
    format_value,
    metric_label,
)

if TYPE_CHECKING:
    import cirq
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from orchestrator.models.model import Model
    from orchestrator.training.reports import EpochReport

_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
_INK, _GREY, _PALE = "#222222", "#6B6B6B", "#E4E4E4"
_DPI = 150
_MAX_POINTS = 2000


# Training curves


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
    from matplotlib.figure import Figure

    test = dict(test_metrics or {})
    n_steps = max([len(step_losses), len(gradient_norms), *(report.step for report in history)], default=0)
    per_epoch = history[0].step / history[0].epoch if history and history[0].step else 1.0
    merit = _figure_of_merit(history)
    candidates = {"merit": merit is not None, "norm": len(gradient_norms) > 0, "rate": bool(history)}
    figure = Figure(figsize=(10, 6), dpi=_DPI)
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
    _headline(figure, _with_result(title, history, test, merit), _second_line(subtitle, test))
    return _save(figure, path)


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
        axes.set_xlabel(unit, color=_INK)
    for axes in small[:-1]:
        axes.tick_params(labelbottom=False)
    loss.figure.align_ylabels(small)


def _figure_of_merit(history: Sequence[EpochReport]) -> str | None:
    """``accuracy`` or ``r2``, whichever the reports have."""
    found = {name.rpartition("/")[2] for report in history for name in report.metrics}
    return next((name for name in ("accuracy", "r2") if name in found), None)


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
    return f"{title} – {result}" if title else result[0].upper() + result[1:]


def _second_line(subtitle: str, test: Mapping[str, float]) -> str:
    figures = ", ".join(
        f"{metric_label(name)} {format_metric(name, value)}" for name, value in sorted(test.items())
    )
    return "   |   ".join(part for part in (subtitle, f"test: {figures}" if figures else "") if part)


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
            x, y, color=_BLUE, alpha=0.35 if len(history) > 1 else 0.8, linewidth=0.9, label="train, per step"
        )
    for name, label, color, marker in (
        (_train_loss_name(history), "train, mean of the epoch", _BLUE, "o"),
        ("val/loss", "validation", _RED, "s"),
    ):
        _draw_metric(axes, history, name, label, color, marker, per_epoch)
    if history and history[-1].best_epoch and math.isfinite(history[-1].best_value):
        _mark_best(axes, history, per_epoch)
    values = np.concatenate([np.zeros(0), *(np.asarray(line.get_ydata(), float) for line in axes.lines)])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 50 * values.min():
        _log_scale(axes)
    _dress(axes, "loss")
    if axes.get_legend_handles_labels()[0]:
        _legend(axes)


def _train_loss_name(history: Sequence[EpochReport]) -> str:
    """Name of the mean training loss of an epoch."""
    return next((n for n in ("train/epoch_loss", "train/loss") if any(n in r.metrics for r in history)), "")


def _mark_best(axes: Axes, history: Sequence[EpochReport], per_epoch: float) -> None:
    last = history[-1]
    step = next((r.step for r in history if r.epoch == last.best_epoch), last.best_epoch * per_epoch)
    axes.plot(
        [step / per_epoch],
        [last.best_value],
        color=_GREEN,
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
    _draw_metric(axes, history, f"train/{merit}", "train", _BLUE, "o", per_epoch)
    _draw_metric(axes, history, f"val/{merit}", "validation", _RED, "s", per_epoch)
    if test is not None:
        axes.axhline(
            test, color=_INK, linewidth=1.2, linestyle="--", label=f"test {format_metric(merit, test)}"
        )
    values = [
        v for r in history for n, v in r.metrics.items() if n.rpartition("/")[2] == merit and math.isfinite(v)
    ]
    low = min([*values, 1.0 if test is None else test], default=0.0)
    bottom = max(
        low, 0.0 if merit == "accuracy" else -1.0
    )  # a hopeless R² at the start would flatten the rest
    margin = 0.08 * (1.0 - bottom) + 0.005
    axes.set_ylim(bottom - margin, 1.0 + margin / 2)
    if merit == "accuracy":
        from matplotlib.ticker import PercentFormatter

        axes.yaxis.set_major_formatter(
            PercentFormatter(1.0, decimals=0 if bottom < 0.9 else None, symbol=" %")
        )
    _dress(axes, "accuracy" if merit == "accuracy" else "R²")
    _legend(axes)


def _draw_norms(axes: Axes, norms: Sequence[float] | np.ndarray, n_steps: int, per_epoch: float) -> None:
    x, y = _step_positions(len(norms), n_steps, per_epoch), np.asarray(norms, float)
    axes.plot(
        *_thinned(x, y),
        color=_PURPLE,
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
        _legend(axes)
    if (y[np.isfinite(y)] > 0).all() and len(y) > 1:
        _log_scale(axes)
    _dress(axes, "gradient norm")


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
    axes.stairs(rates, edges, baseline=None, color=_ORANGE, linewidth=1.8)
    axes.set_ylim(0, max(rates) * 1.25 or 1)
    _dress(axes, "learning rate")


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


# Fleet timeline


_N_SLICES = 1600


def fleet_timeline(
    records: Iterable[tuple[str, str, float, float]], path: str | Path, *, title: str = "", subtitle: str = ""
) -> Figure:
    """When each actor was computing, and the share of the fleet that was.

    The time axis is cut into slices about a pixel wide; the darker a slice, the larger the part of it the actor was busy. So tens
    of thousands of jobs cost no more to draw than ten, and gaps shorter than a pixel still show as lighter shade.

    Args:
        records: (worker, job_id, started_at, finished_at), Unix seconds, in any order.
    """
    from matplotlib.figure import Figure

    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for worker, _job_id, started_at, finished_at in records:
        spans[worker].append((started_at, max(finished_at, started_at)))
    name = f"{title} – " if title else ""
    if not spans:
        figure = Figure(figsize=(10, 2.4), dpi=_DPI)
        figure.text(0.5, 0.4, "no job was recorded", ha="center", color=_GREY, fontsize=12)
        _headline(figure, f"{name}fleet timeline", subtitle)
        return _save(figure, path)

    workers = sorted(spans, key=_natural)
    busy = {worker: _union(np.array(spans[worker])) for worker in workers}
    start = min(intervals[0, 0] for intervals in busy.values())
    span = max(max(intervals[-1, 1] for intervals in busy.values()) - start, 1e-9)
    edges = np.linspace(0.0, span, _N_SLICES + 1)
    shares = np.array([_busy_shares(busy[worker] - start, edges) for worker in workers])
    used = shares.mean(axis=1)
    n_jobs = [len(spans[worker]) for worker in workers]
    counts = [_jobs(n) for n in n_jobs]
    labels = [
        f"{_clipped(w, 24)}   {format_percent(u):>7}   {c:>{max(map(len, counts))}}"
        for w, u, c in zip(workers, used, counts, strict=True)
    ]
    figure, strips, total = _timeline_panels(labels)
    _draw_strips(strips, shares, edges, labels)
    if max(n_jobs) <= 150:
        _draw_job_bounds(strips, [np.array(spans[worker]) - start for worker in workers], span)
    _draw_utilisation(total, shares.mean(axis=0), edges)
    strips.tick_params(labelbottom=False)
    actors = f"{len(workers)} actor{'s' if len(workers) > 1 else ''}"
    fleet = f"{actors} busy {format_percent(float(used.mean()))} of {format_duration(span)}"
    slice_ = _short_time(span / _N_SLICES)
    shade = f"{_jobs(sum(n_jobs))}; the darker a slice of {slice_}, the longer the actor was busy in it"
    _headline(figure, name + fleet, "   |   ".join(part for part in (subtitle, shade) if part))
    return _save(figure, path)


def _timeline_panels(labels: Sequence[str]) -> tuple[Figure, Axes, Axes]:
    """A panel with a strip per label, and a low one below it; as high as the strips need, as far right as the labels need."""
    from matplotlib.figure import Figure

    strips_height = min(max(0.38 * len(labels), 0.76), 10.0)
    height = strips_height + 3.0
    figure = Figure(figsize=(10, height), dpi=_DPI)
    grid = figure.add_gridspec(
        2,
        1,
        height_ratios=(strips_height, 1.0),
        left=min(0.35 + 0.075 * max(map(len, labels)), 4.5) / 10,
        right=0.975,
        bottom=0.62 / height,
        top=1 - 0.85 / height,
        hspace=0.45 / ((strips_height + 1.0) / 2),
    )
    strips = figure.add_subplot(grid[0])
    return figure, strips, figure.add_subplot(grid[1], sharex=strips)


def _union(intervals: np.ndarray) -> np.ndarray:
    """[n, 2] sorted intervals that do not overlap, from any [m, 2]."""
    ordered = intervals[np.argsort(intervals[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ordered[:, 1])
    is_new = np.concatenate([[True], ordered[1:, 0] > reach[:-1]])
    firsts = np.flatnonzero(is_new)
    lasts = np.append(firsts[1:], len(ordered)) - 1
    return np.stack([ordered[firsts, 0], reach[lasts]], axis=1)


def _busy_shares(intervals: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of each slice between `edges` that the disjoint, sorted intervals cover: exact, from the cumulated busy time."""
    lengths = intervals[:, 1] - intervals[:, 0]
    done = np.cumsum(lengths)
    times = intervals.ravel()
    cumulated = np.stack([done - lengths, done], axis=1).ravel()
    covered = np.diff(np.interp(edges, times, cumulated))
    return np.clip(covered / np.diff(edges), 0.0, 1.0)


def _draw_strips(axes: Axes, shares: np.ndarray, edges: np.ndarray, labels: Sequence[str]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("busy", ["#F3F3F3", _SKY, _BLUE, "#004C7A"])
    # rows with a white row between them: one image, whatever the number of jobs
    image = np.full((2 * len(shares) - 1, shares.shape[1]), np.nan)
    image[::2] = shares
    bounds = np.concatenate([[i - 0.38, i + 0.38] for i in range(len(shares))])
    axes.pcolormesh(edges, bounds, image, cmap=shades, vmin=0, vmax=1, rasterized=True)
    axes.set_ylim(len(shares) - 0.45, -0.55)
    every = -(-len(labels) // 40)
    shown = range(0, len(labels), every)
    axes.set_yticks(list(shown), [labels[i] for i in shown], fontsize=8.5, family="monospace")
    _dress(axes, "", has_grid=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _draw_job_bounds(axes: Axes, spans: Sequence[np.ndarray], span: float) -> None:
    """White lines where a job begins, so that jobs that follow at once can be counted."""
    for row, intervals in enumerate(spans):
        begins = intervals[:, 0][intervals[:, 0] > span * 1e-3]
        axes.vlines(begins, row - 0.38, row + 0.38, color="white", linewidth=0.8)


def _draw_utilisation(axes: Axes, shares: np.ndarray, edges: np.ndarray) -> None:
    per_bar = 16
    coarse = shares.reshape(-1, per_bar).mean(axis=1)
    axes.stairs(coarse, edges[::per_bar], fill=True, color=_SKY, alpha=0.6)
    axes.stairs(coarse, edges[::per_bar], baseline=None, color=_BLUE, linewidth=1)
    from matplotlib.ticker import PercentFormatter

    axes.set_ylim(0, 1.04)
    axes.set_yticks([0, 0.5, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.set_xlim(0, edges[-1])
    _dress(axes, "fleet busy")
    axes.set_xlabel("seconds since the first job", color=_INK)


def _jobs(n: int) -> str:
    return f"{n:,} job{'' if n == 1 else 's'}"


def _short_time(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 5e-4 else format_duration(seconds)


# Circuits


class DrawnGate(NamedTuple):
    """A gate as it is drawn.

    Attributes:
        name: ``RX``, ``CX``, ``CZ``, ``SWAP`` ...; leading C's of a known gate stand for control qubits, which come first.
        qubits: indices from 0.
        kind: what its angle depends on; a ``fixed`` gate has none.
        label: the angle, such as ``x3``.
    """

    name: str
    qubits: tuple[int, ...]
    kind: Literal["data", "trainable", "frozen", "fixed"]
    label: str = ""


_KINDS = {
    "data": ("data-dependent", "#F7D79A", _ORANGE),
    "trainable": ("trainable", "#A9D3EC", _BLUE),
    "frozen": ("frozen", "#DDE9E4", _GREEN),
    "fixed": ("fixed", "#FFFFFF", _INK),
}
_PITCH = 0.56
"""Inches from one gate to the next."""
_COLUMNS_PER_BLOCK = 24
_MAX_ROWS = 60
"""Rows of qubits, all blocks together: a picture must stay one that a viewer opens."""
_ONE_QUBIT = {"X", "Y", "Z", "H", "S", "T", "RX", "RY", "RZ", "P"}


def drawn_gates(model: Model) -> list[DrawnGate]:
    """The gates of a model's circuit, each labelled with what its angle is."""
    terms = _terms_by_angle(model)
    gates = []
    for gate in model.template.gates:
        if gate.angle is None:
            gates.append(DrawnGate(gate.name, gate.qubits, "fixed"))
        else:
            kind, label = _describe_angle(model, terms[gate.angle])
            gates.append(DrawnGate(gate.name, gate.qubits, kind, label))
    return gates


def _terms_by_angle(model: Model) -> dict[int, list[int]]:
    terms: dict[int, list[int]] = defaultdict(list)
    for term, angle in enumerate(model.angle_map.angle.tolist()):
        terms[angle].append(term)
    return terms


def _describe_angle(
    model: Model, terms: Sequence[int]
) -> tuple[Literal["data", "trainable", "frozen", "fixed"], str]:
    """Kind and label of an angle that is the sum of these terms."""
    mapping = model.angle_map
    params = [int(mapping.param[t]) for t in terms if mapping.param[t] >= 0]
    has_data = any(mapping.monomial[t] >= 0 for t in terms)
    label = " + ".join(_describe_term(model, t) for t in terms)
    if any(not model.frozen[p] for p in params):
        return "trainable", label
    return ("data" if has_data else "frozen" if params else "fixed"), label


def _describe_term(model: Model, term: int) -> str:
    mapping = model.angle_map
    factors = []
    if mapping.param[term] >= 0:
        factors.append(model.circuit_param_names[mapping.param[term]])
    if mapping.monomial[term] >= 0:
        powers = mapping.exponents[mapping.monomial[term]]
        factors += [f"x{f}" + (f"^{powers[f]}" if powers[f] > 1 else "") for f in np.flatnonzero(powers)]
    coefficient = float(mapping.coefficient[term])
    if coefficient != 1.0 or not factors:
        factors.insert(0, f"{coefficient:.3g}")
    return "·".join(factors)


def labelled_circuit(model: Model) -> cirq.Circuit:
    """The model's circuit with parameters and features written in for its angles, for `circuit_text`."""
    import cirq

    labels = {
        f"a{angle}": _describe_angle(model, terms)[1] for angle, terms in _terms_by_angle(model).items()
    }

    def renamed(node: dict[str, Any]) -> dict[str, Any]:
        is_symbol = node.get("cirq_type") == "sympy.Symbol"
        return node | {"name": labels.get(node["name"], node["name"])} if is_symbol else node

    # in the JSON, because cirq's own substitution leaves factors of pi in the diagram
    text = json.dumps(json.loads(model.template.circuit_json, object_hook=renamed))
    circuit = cirq.read_json(json_text=text)
    assert isinstance(circuit, cirq.Circuit)
    return circuit


def circuit_text(circuit: cirq.Circuit, path: str | Path | None = None, *, width: int = 100) -> str:
    """cirq's text diagram, cut between moments where it would be wider than `width`; written to `path` (UTF-8) if given."""
    import cirq

    qubits = sorted(circuit.all_qubits())
    order = cirq.QubitOrder.explicit(qubits)

    def diagram(first: int, last: int) -> str:
        return circuit[first:last].to_text_diagram(qubit_order=order)

    blocks, first = [], 0
    while first < len(circuit):
        last = first + 1
        text = diagram(first, last)
        while last < len(circuit):
            wider = diagram(first, last + 1)
            if _text_width(wider) > width:
                break
            text, last = wider, last + 1
        blocks.append(text if first == 0 else f"... continued, moment {first}\n\n{text}")
        first = last
    text = "\n\n".join(blocks) + "\n" if blocks else "(empty circuit)\n"
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    return text


def _text_width(text: str) -> int:
    return max(map(len, text.splitlines()), default=0)


def circuit_diagram(
    gates: Sequence[DrawnGate], path: str | Path, *, n_qubits: int | None = None, title: str = ""
) -> Figure:
    """The circuit as a drawing, gates coloured by what their angle depends on, wrapped where it is long.

    Args:
        gates: in order of time; see `drawn_gates`.
        n_qubits: qubits drawn; as many as the gates need if absent.
    """
    from matplotlib.figure import Figure

    n_qubits = max([n_qubits or 1, *(q + 1 for gate in gates for q in gate.qubits)])
    columns = _columns_of(gates, n_qubits)
    n_columns = max(columns, default=0) + 1
    pitch = n_qubits + 1.0  # rows of a block and the gap below it
    most_blocks = max(int(_MAX_ROWS / pitch), 1)
    n_drawn = min(n_columns, most_blocks * _COLUMNS_PER_BLOCK)
    n_blocks = -(-n_drawn // _COLUMNS_PER_BLOCK)
    per_block = -(-n_drawn // n_blocks)
    width = max(_PITCH * (per_block + 1.5) + 0.3, 6.2)
    height = _PITCH * (n_blocks * pitch - 0.9) + 1.27
    figure = Figure(figsize=(width, height), dpi=_DPI)
    span = _PITCH * (per_block + 1.5)
    axes = figure.add_axes((0.15 / width, 0.6 / height, span / width, 1 - 1.27 / height))
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-1.2, per_block + 0.3)
    axes.set_ylim(n_blocks * pitch - 1.45, -0.55)
    for block in range(n_blocks):
        for qubit in range(n_qubits):
            y = block * pitch + qubit
            length = min(per_block, n_drawn - block * per_block)
            axes.plot([-0.55, length - 0.4], [y, y], color=_GREY, linewidth=0.9, zorder=1)
            axes.text(-0.7, y, f"q{qubit}", ha="right", va="center", fontsize=9, color=_GREY)
    for gate, column in zip(gates, columns, strict=True):
        if column < n_drawn:
            _draw_gate(axes, gate, column % per_block, column // per_block * pitch)
    cut = f"; the first {n_drawn} of {n_columns} columns" if n_drawn < n_columns else ""
    size = f"{n_qubits} qubit{'s' if n_qubits > 1 else ''}, {len(gates):,} gates, depth {n_columns if gates else 0}{cut}"
    _headline(figure, f"{title} – {size}" if title else size, "")
    _gate_legend(figure, gates, 0.28 / height, 0.2 / width)
    return _save(figure, path)


def _columns_of(gates: Sequence[DrawnGate], n_qubits: int) -> list[int]:
    """Column of each gate, as early as it can be; a gate fills all rows between its qubits."""
    free = [0] * n_qubits
    columns = []
    for gate in gates:
        rows = slice(min(gate.qubits), max(gate.qubits) + 1)
        column = max(free[rows])
        free[rows] = [column + 1] * (rows.stop - rows.start)
        columns.append(column)
    return columns


def _controls(gate: DrawnGate) -> tuple[int, str]:
    """(number of control qubits, name of what they control)."""
    name = gate.name.upper()
    name = {"CNOT": "CX", "CCNOT": "CCX", "TOFFOLI": "CCX"}.get(name, name)
    match = re.fullmatch(r"(C+)(.+)", name)
    if match and match[2] in _ONE_QUBIT and len(gate.qubits) == len(match[1]) + 1:
        return len(match[1]), match[2]
    if match and match[2] == "SWAP" and len(gate.qubits) == len(match[1]) + 2:
        return len(match[1]), match[2]
    return 0, name


def _draw_gate(axes: Axes, gate: DrawnGate, x: float, top: float) -> None:
    n_controls, name = _controls(gate)
    rows = [top + q for q in gate.qubits]
    _, face, edge = _KINDS[gate.kind]
    if len(rows) > 1:
        axes.plot([x, x], [min(rows), max(rows)], color=edge, linewidth=1.3, zorder=2)
    for y in rows[:n_controls]:
        axes.plot([x], [y], "o", color=edge, markersize=5, zorder=3)
    targets = rows[n_controls:]
    if name == "X" and n_controls:
        axes.plot(
            [x],
            targets,
            "o",
            markersize=12,
            markerfacecolor="white",
            markeredgecolor=edge,
            markeredgewidth=1.3,
            zorder=3,
        )
        axes.plot([x], targets, "+", markersize=12, color=edge, markeredgewidth=1.3, zorder=4)
    elif name == "Z" and n_controls:
        axes.plot([x], targets, "o", color=edge, markersize=5, zorder=3)
    elif name == "SWAP":
        axes.plot([x] * len(targets), targets, "x", color=edge, markersize=8, markeredgewidth=1.6, zorder=3)
    else:
        _draw_box(axes, x, targets, name, gate.label, face, edge)


def _draw_box(
    axes: Axes, x: float, rows: Sequence[float], name: str, label: str, face: str, edge: str
) -> None:
    from matplotlib.patches import FancyBboxPatch

    low, high = min(rows), max(rows)
    axes.add_patch(
        FancyBboxPatch(
            (x - 0.4, low - 0.36),
            0.8,
            high - low + 0.72,
            boxstyle="round,pad=0,rounding_size=0.09",
            facecolor=face,
            edgecolor=edge,
            linewidth=1.0,
            zorder=3,
        )
    )
    middle = (low + high) / 2
    name = (
        textwrap.shorten(name, 6, placeholder="…")
        if " " in name
        else name
        if len(name) <= 6
        else f"{name[:5]}…"
    )
    axes.text(
        x,
        middle - (0.13 if label else 0),
        name,
        ha="center",
        va="center",
        fontsize=9.0 if len(name) <= 3 else 6.5,
        color=_INK,
        zorder=5,
        parse_math=False,
    )
    if label:
        label = label if len(label) <= 9 else f"{label[:8]}…"
        axes.text(
            x,
            middle + 0.19,
            label,
            ha="center",
            va="center",
            fontsize=7.0 if len(label) <= 5 else 5.0,
            color=_INK,
            zorder=5,
            parse_math=False,
        )


def _gate_legend(figure: Figure, gates: Sequence[DrawnGate], y: float, left: float) -> None:
    from matplotlib.patches import Patch

    counts: Counter[str] = Counter(gate.kind for gate in gates)
    handles = [
        Patch(facecolor=face, edgecolor=edge, label=f"{text} ({counts[kind]:,})")
        for kind, (text, face, edge) in _KINDS.items()
        if counts[kind]
    ]
    if handles:
        figure.legend(
            handles=handles,
            loc="center left",
            bbox_to_anchor=(left, y),
            ncols=4,
            frameon=False,
            fontsize=9,
            handlelength=1.2,
            borderaxespad=0,
            borderpad=0,
            columnspacing=1.6,
        )


# What the model answers


def confusion_matrix(
    matrix: np.ndarray, class_names: Sequence[str], path: str | Path, *, title: str = "", split: str = "test"
) -> Figure:
    """How often class i (row) was taken for class j (column).

    Args:
        matrix: int [C, C] counts, actual by predicted.
        split: which samples they are.
    """
    from matplotlib.figure import Figure

    counts = np.asarray(matrix)
    n = len(counts)
    per_actual = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, per_actual, out=np.zeros(counts.shape), where=per_actual > 0)
    total = int(counts.sum())
    names = [_clipped(str(name), 18) for name in class_names]
    longest = max(map(len, names), default=1)
    is_crowded = longest * n > 44  # names side by side would run into each other
    left = 0.75 + 0.09 * longest
    bottom = 0.75 + (0.05 * longest if is_crowded else 0)
    side = max(6.0 - left, 4.5)
    cell = side / max(n, 1)
    width, height = left + side + 0.4, bottom + side + 0.95
    figure = Figure(figsize=(width, height), dpi=_DPI)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    size = min(max(cell * 18, 5.0), 13.0)
    for i in range(n):
        for j in range(n):
            if counts[i, j] or n <= 10:
                text = f"{counts[i, j]:,}"
                if cell >= 0.7 and counts[i, j]:
                    text += f"\n{100 * shares[i, j]:.0f} %"
                color = "white" if shares[i, j] > 0.55 else _INK
                axes.text(j, i, text, ha="center", va="center", color=color, fontsize=size)
    ticks = range(n)
    axes.set_xticks(
        ticks, names, rotation=40 if is_crowded else 0, ha="right" if is_crowded else "center", fontsize=9.5
    )
    axes.set_yticks(ticks, names, fontsize=9.5)
    axes.set_xlabel("predicted", color=_INK)
    axes.set_ylabel("actual", color=_INK)
    axes.tick_params(length=0, colors=_INK)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    accuracy = f"{split} accuracy {format_percent(np.trace(counts) / total)}" if total else "no samples"
    detail = (
        f"{int(np.trace(counts)):,} of {total:,} samples; percentages are shares of the actual class"
        if total
        else ""
    )
    _headline(figure, f"{title} – {accuracy}" if title else accuracy[0].upper() + accuracy[1:], detail)
    return _save(figure, path)


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
    from matplotlib.figure import Figure

    y, t = np.asarray(predicted, float), np.asarray(actual, float)
    figure = Figure(figsize=(10, 5.2), dpi=_DPI)
    grid = figure.add_gridspec(
        1, 2, width_ratios=(1.25, 1), left=0.085, right=0.975, bottom=0.12, top=0.81, wspace=0.25
    )
    scatter, errors = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    headline = "no samples"
    detail = ""
    if len(t):
        error = y - t
        rmse = float(np.sqrt(np.mean(error**2)))
        spread = float(np.sum((t - t.mean()) ** 2))
        r2 = 1.0 - float(np.sum(error**2)) / spread if spread > 0 else 0.0
        headline = f"{split} R² {r2:.3f}, RMSE {format_value(rmse)}"
        bias = f"mean error {format_value(float(error.mean()))}"
        detail = (
            f"{len(t):,} samples, {bias}, mean absolute error {format_value(float(np.abs(error).mean()))}"
        )
        _draw_scatter(scatter, y, t)
        low, high = float(error.min()), float(error.max())
        errors.hist(
            error,
            bins=min(max(int(math.sqrt(len(t))), 5), 40),
            range=(low, high if high > low else low + 1e-9),
            color=_SKY,
            edgecolor="white",
        )
        errors.axvline(0.0, color=_INK, linewidth=1.2, linestyle="--")
    _dress(scatter, f"predicted {target}")
    scatter.set_xlabel(f"actual {target}", color=_INK)
    _dress(errors, "samples")
    errors.set_xlabel("error (predicted − actual)", color=_INK)
    _headline(figure, f"{title} – {headline}" if title else headline[0].upper() + headline[1:], detail)
    return _save(figure, path)


def _draw_scatter(axes: Axes, predicted: np.ndarray, actual: np.ndarray) -> None:
    low, high = float(min(predicted.min(), actual.min())), float(max(predicted.max(), actual.max()))
    margin = 0.04 * (high - low) or 1.0
    ends = (low - margin, high + margin)
    alpha = min(max(30.0 / math.sqrt(len(actual)), 0.15), 0.8)
    axes.plot(ends, ends, color=_INK, linewidth=1.2, linestyle="--", label="perfect prediction")
    axes.plot(
        actual,
        predicted,
        "o",
        color=_BLUE,
        alpha=alpha,
        markersize=5,
        markeredgewidth=0,
        rasterized=len(actual) > 5000,
    )
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    _legend(axes, "upper left")


# Dress


def _headline(figure: Figure, title: str, subtitle: str) -> None:
    """Title and a smaller line below it, at the top left, no wider than the figure."""
    width, height = figure.get_size_inches()
    left = 0.2 / width
    size = 13.0
    while (
        size > 8.0 and len(title) * size * 0.0088 > width - 0.4
    ):  # about the advance of a bold letter, in inches per point
        size -= 0.5
    title = _clipped(title, int((width - 0.4) / (size * 0.0088)))
    style: dict[str, Any] = {"ha": "left", "va": "top", "parse_math": False}
    figure.text(left, 1 - 0.16 / height, title, fontsize=size, fontweight="bold", color=_INK, **style)
    if subtitle:
        small = 9.5
        while small > 6.5 and len(subtitle) * small * 0.0078 > width - 0.4:
            small -= 0.5
        subtitle = _clipped(subtitle, int((width - 0.4) / (small * 0.0078)))
        figure.text(left, 1 - 0.46 / height, subtitle, fontsize=small, color=_GREY, **style)


def _clipped(text: str, n: int) -> str:
    return text if len(text) <= n else f"{text[: max(n - 1, 1)]}…"


def _dress(axes: Axes, ylabel: str, *, has_grid: bool = True) -> None:
    """The same plain look everywhere, set per axes so that no global setting is touched."""
    axes.set_ylabel(ylabel, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GREY)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.set_axisbelow(True)
    if has_grid:
        axes.grid(axis="y", color=_PALE, linewidth=0.8)


def _legend(axes: Axes, place: Literal["best", "upper left"] = "best") -> None:
    axes.legend(
        loc=place, fontsize=9, frameon=True, framealpha=0.85, edgecolor="none", labelcolor=_INK, borderpad=0.3
    )


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key that puts actor-2 before actor-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def _save(figure: Figure, path: str | Path) -> Figure:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None  # equal runs, equal files
    figure.savefig(path, dpi=_DPI, facecolor="white", metadata=metadata)
    return figure
