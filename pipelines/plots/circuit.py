"""The circuit as a drawing: gates in columns, coloured by what their angle depends on."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.plots.gates import DrawnGate, GateKind
from pipelines.plots.style import BLUE, GREEN, GREY, INK, ORANGE, clipped, headline, new_figure, save, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KINDS: dict[GateKind, tuple[str, str, str]] = {  # what it is, face, edge
    "data": ("data-dependent", "#F7D79A", ORANGE),
    "trainable": ("trainable", "#A9D3EC", BLUE),
    "frozen": ("frozen", "#DDE9E4", GREEN),
    "fixed": ("fixed", "#FFFFFF", INK),
}
_PITCH = 0.56
"""Inches from one gate to the next."""
_COLUMNS_PER_BLOCK = 24
_MAX_ROWS = 60
"""Rows of qubits, all blocks together: a picture must stay one that a viewer opens."""
_ONE_QUBIT = {"X", "Y", "Z", "H", "S", "T", "RX", "RY", "RZ", "P"}


def circuit_diagram(
    gates: Sequence[DrawnGate], path: str | Path, *, n_qubits: int | None = None, title: str = ""
) -> Figure:
    """The circuit as a drawing, gates coloured by what their angle depends on, wrapped where it is long.

    Args:
        gates: in order of time; see `drawn_gates`.
        n_qubits: qubits drawn; as many as the gates need if absent.
    """
    n_qubits = max([n_qubits or 1, *(q + 1 for gate in gates for q in gate.qubits)])
    columns = columns_of(gates, n_qubits)
    n_columns = max(columns, default=0) + 1
    pitch = n_qubits + 1.0  # rows of a block and the gap below it
    most_blocks = max(int(_MAX_ROWS / pitch), 1)
    n_drawn = min(n_columns, most_blocks * _COLUMNS_PER_BLOCK)
    n_blocks = -(-n_drawn // _COLUMNS_PER_BLOCK)
    per_block = -(-n_drawn // n_blocks)
    width = max(_PITCH * (per_block + 1.5) + 0.3, 6.2)
    height = _PITCH * (n_blocks * pitch - 0.9) + 1.27
    figure = new_figure(width, height)
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
            axes.plot([-0.55, length - 0.4], [y, y], color=GREY, linewidth=0.9, zorder=1)
            axes.text(-0.7, y, f"q{qubit}", ha="right", va="center", fontsize=9, color=GREY)
    for gate, column in zip(gates, columns, strict=True):
        if column < n_drawn:
            _draw_gate(axes, gate, column % per_block, column // per_block * pitch)
    cut = f"; the first {n_drawn} of {n_columns} columns" if n_drawn < n_columns else ""
    size = f"{n_qubits} qubit{'s' if n_qubits > 1 else ''}, {len(gates):,} gates, depth {n_columns if gates else 0}{cut}"
    headline(figure, titled(title, size), "")
    _gate_legend(figure, gates, 0.28 / height, 0.2 / width)
    return save(figure, path)


def columns_of(gates: Sequence[DrawnGate], n_qubits: int) -> list[int]:
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
        ring: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": edge, "markeredgewidth": 1.3}
        axes.plot([x], targets, "o", markersize=12, zorder=3, **ring)
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
    style: dict[str, Any] = {"ha": "center", "va": "center", "color": INK, "zorder": 5, "parse_math": False}
    name = textwrap.shorten(name, 6, placeholder="…") if " " in name else clipped(name, 6)
    axes.text(x, middle - (0.13 if label else 0), name, fontsize=9.0 if len(name) <= 3 else 6.5, **style)
    if label:
        label = clipped(label, 9)
        axes.text(x, middle + 0.19, label, fontsize=7.0 if len(label) <= 5 else 5.0, **style)


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
