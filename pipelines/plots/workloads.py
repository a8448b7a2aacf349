"""The engine's workloads: time of a circuit, beside other simulators where they were timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    RED,
    SKY,
    dress,
    headline,
    new_figure,
    save,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKS = [(colour, marker) for marker in "sD^v" for colour in (ORANGE, GREEN, RED, PURPLE, SKY, GREY)]


def engine_workloads(
    workloads: Sequence[Mapping[str, Any]], peers: Sequence[Mapping[str, Any]], path: str | Path
) -> Figure:
    """Draw processor time a circuit (or a sample of a gradient) of every workload, ours and the peers'.

    Args:
        workloads: ``workload``, ``us_per_circuit_cpu``; those with an ``error`` are left out.
        peers: ``workload``, ``peer``, ``us_per_circuit_cpu``; those without a time are left out.
    """
    rows = [row for row in workloads if "error" not in row]
    place = {row["workload"]: i for i, row in enumerate(rows)}
    timed = [row for row in peers if "us_per_circuit_cpu" in row and row["workload"] in place]
    names = list(dict.fromkeys(row["peer"] for row in timed))
    height = 1.7 + 0.3 * max(len(rows), 1)
    figure = new_figure(9.6, height)
    axes = figure.add_axes((0.12, 0.6 / height, 0.68, 1 - 1.4 / height))
    dress(axes, "", has_grid=False)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    for name, (colour, marker) in zip(names, _MARKS, strict=False):
        own = [row for row in timed if row["peer"] == name]
        times, places = [row["us_per_circuit_cpu"] for row in own], [place[row["workload"]] for row in own]
        axes.plot(times, places, marker, color=colour, markersize=5, markerfacecolor="none", label=name)
    ours = [row["us_per_circuit_cpu"] for row in rows]
    axes.plot(ours, list(place.values()), "o", color=BLUE, markersize=6, label="qfleet", zorder=4)
    axes.set_yticks(list(place.values()), list(place), fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("µs of one core a circuit (W6: a sample of a gradient)", color=INK)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(0.81, 1 - 0.7 / height), fontsize=8.5, frameon=False,
        labelcolor=INK,
    )  # fmt: skip
    subtitle = "beside the simulators that are installed" if names else "no other simulator was timed"
    headline(figure, "The engine's workloads", subtitle)
    return save(figure, path)
