"""Scaling of the engine: microseconds a circuit over the number of qubits, and over the number of samples in a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.plots.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    RED,
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

_LOOKS = ((BLUE, "o"), (RED, "s"), (GREEN, "^"), (ORANGE, "D"), (PURPLE, "v"))
_ONLY_WAY = "state vector"
"""What points are called that name no execution, because their engine had one only."""


def engine_scaling(figures: Mapping[str, Any], path: str | Path) -> Figure:
    """Draw both sweeps.

    Args:
        figures: ``qubits`` and ``batch``, lists of points with ``n_qubits``, ``n_samples``, ``circuits``, ``us_per_circuit`` and
            ``execution`` (points without a time are left out) and ``estimates``, the cost model's microseconds by execution;
            ``precision``; ``machine`` with ``cpu``.
    """
    figure = new_figure(11, 4.9)
    grid = figure.add_gridspec(1, 2, left=0.08, right=0.975, bottom=0.125, top=0.82, wspace=0.2)
    by_qubits, by_batch = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    points = {name: [p for p in figures[name] if "us_per_circuit" in p] for name in ("qubits", "batch")}
    everything = [*points["qubits"], *points["batch"]]
    executions = list(dict.fromkeys(name for p in everything for name in (_name(p), *p.get("estimates", ()))))
    looks = dict(zip(executions, _LOOKS, strict=False))
    _draw(by_qubits, points["qubits"], "n_qubits", looks)
    _draw(by_batch, points["batch"], "n_samples", looks)
    _draw_estimates(by_qubits, points["qubits"], looks)
    by_qubits.set_xlabel("qubits", color=INK)
    by_qubits.set_xticks(range(2, max((p["n_qubits"] for p in points["qubits"]), default=2) + 1, 2))
    _dress_batch(by_batch, points["batch"])
    legend(by_qubits, "upper left")
    _plain_ticks(by_qubits)
    _plain_ticks(by_batch)
    what = "RY encoding, 2 layers of RX RY RZ and a CNOT chain, every <Z>; all parameter-shifted circuits"
    on = f"{figures['machine']['cpu']}, one core, {figures['precision']} precision"
    headline(figure, "Time a circuit of the batched engine", side_by_side(what, on))
    return save(figure, path)


def _draw(
    axes: Axes, points: Sequence[Mapping[str, Any]], x: str, looks: Mapping[str, tuple[str, str]]
) -> None:
    """One line per execution, on a logarithmic scale."""
    for name, (colour, marker) in looks.items():
        own = [p for p in points if _name(p) == name]
        if own:
            axes.plot(
                [p[x] for p in own],
                [p["us_per_circuit"] for p in own],
                color=colour,
                marker=marker,
                markersize=5,
                label=name,
            )
    axes.set_yscale("log")
    dress(axes, "microseconds a circuit")
    axes.grid(axis="x", color=PALE, linewidth=0.8)


def _draw_estimates(
    axes: Axes, points: Sequence[Mapping[str, Any]], looks: Mapping[str, tuple[str, str]]
) -> None:
    """What the cost model makes of each execution, where there is more than one: also where it was not chosen."""
    for name, (colour, _) in looks.items():
        own = [(p["n_qubits"], p["estimates"][name]) for p in points if name in p.get("estimates", ())]
        if own and len(looks) > 1:
            axes.plot(
                *zip(*own, strict=True),
                color=colour,
                linewidth=1,
                linestyle="--",
                label=f"{name}, cost model",
            )


def _plain_ticks(axes: Axes) -> None:
    """Numbers rather than powers of ten, and 2 and 5 between them where the axis spans little."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(
        LogLocator(10, subs=(1.0, 2.0, 5.0) if high < 300 * low else (1.0,), numticks=20)
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.yaxis.set_minor_locator(LogLocator(10, subs=tuple(range(2, 10)), numticks=20))
    axes.tick_params(axis="y", which="minor", labelleft=False)


def _dress_batch(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    axes.set_xscale("log", base=2)
    sizes = [p["n_samples"] for p in points]
    axes.set_xticks(sizes[::2], [f"{s:,}" for s in sizes[::2]])
    axes.tick_params(axis="x", which="minor", bottom=False)
    if points:
        each = points[0]["circuits"] // points[0]["n_samples"]
        axes.set_xlabel(
            f"samples in the batch ({points[0]['n_qubits']} qubits, {each} circuits each)", color=INK
        )


def _name(point: Mapping[str, Any]) -> str:
    return str(point.get("execution") or _ONLY_WAY)
