"""Gradient rules side by side: training loss over steps, and over circuits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    dress,
    headline,
    legend,
    new_figure,
    save,
    side_by_side,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, INK)
_STYLES = ("-", "--", ":")
_LOSSES = {"energy": "energy above the ground state", "classification": "training loss"}


def gradient_rules(outcome: Mapping[str, Any], path: str | Path) -> Figure:
    """Draw what ``qfleet benchmark gradients`` found.

    Args:
        outcome: ``problem``; ``rules`` with ``rule``, ``learning_rate``, ``losses``, ``circuits`` (those without losses are left out);
            ``shots``; ``target``, a loss, or None.
    """
    figure = new_figure(13.2, 4.9)
    grid = figure.add_gridspec(1, 2, left=0.06, right=0.765, bottom=0.125, top=0.82, wspace=0.16)
    by_step, by_circuit = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    drawn = [rule for rule in outcome["rules"] if "losses" in rule]
    for i, rule in enumerate(drawn):
        look: dict[str, Any] = {
            "color": _COLOURS[i % len(_COLOURS)], "linestyle": _STYLES[i // len(_COLOURS) % len(_STYLES)], "linewidth": 1.6
        }  # fmt: skip
        label = rule["rule"].replace("_", " ")
        if rule["rule"] != "rotosolve":  # which takes no rate
            label += f", rate {rule['learning_rate']:g}"
        by_step.plot(range(len(rule["losses"])), rule["losses"], **look)
        by_circuit.plot([max(c, 1) for c in rule["circuits"]][1:], rule["losses"][1:], label=label, **look)
    for axes, label in ((by_step, "steps"), (by_circuit, "circuits")):
        if outcome["target"] is not None:
            axes.axhline(outcome["target"], color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.set_xlabel(label, color=INK)
        axes.set_yscale("log")
        dress(axes, _LOSSES[outcome["problem"]])
    by_circuit.set_xscale("log")
    legend(by_circuit, "beside")
    what = {"energy": "transverse-field Ising chain, 4 spins", "classification": "two kinds of iris"}[
        outcome["problem"]
    ]
    what += ", each rule at its best learning rate"
    values = f"gradients from {outcome['shots']} shots a circuit" if outcome["shots"] else "exact values"
    headline(
        figure,
        "What a gradient rule takes",
        side_by_side(what, values, "dotted: where plain descent ends"),
    )
    return save(figure, path)
