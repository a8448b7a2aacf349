"""How long and how dear a run may become: the distribution functions of a rehearsal's time and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.plots.style import (
    BLUE,
    GREEN,
    INK,
    PALE,
    RED,
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

_UNITS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))


def rehearsal_distributions(outcome: Mapping[str, Any], path: str | Path, *, title: str = "") -> Figure:
    """Draw the share of rehearsals that took at most so long, and cost at most so much.

    Args:
        outcome: ``runs`` with ``seconds``, ``billed_micro`` and ``ended_by``; ``quote``, ``budget_usd``, ``target``.
    """
    figure = new_figure(10, 4.6)
    grid = figure.add_gridspec(1, 2, left=0.08, right=0.975, bottom=0.13, top=0.8, wspace=0.14)
    runs = outcome["runs"]
    seconds = [run["seconds"] for run in runs]
    unit, size = next(((name, size) for name, size in _UNITS if max(seconds) >= 2 * size), _UNITS[-1])
    times, costs = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    _draw(times, [second / size for second in seconds])
    _draw(costs, [run["billed_micro"] / 1e6 for run in runs])
    _mark_money(costs, outcome)
    dress(times, "share of rehearsals")
    dress(costs, "")
    times.set_xlabel(f"{unit} until the run has ended", color=INK)
    costs.set_xlabel("dollars billed", color=INK)
    legend(costs)
    n_ended = sum(run["ended_by"] is not None for run in runs)
    result = f"{len(runs)} rehearsals on {outcome['target']}"
    headline(figure, titled(title, result), f"{n_ended} ended early" if n_ended else "all came to their end")
    return save(figure, path)


def _draw(axes: Axes, values: Sequence[float]) -> None:
    """Their empirical distribution function, with the 10, 50 and 90 % lines."""
    for share in (0.1, 0.5, 0.9):
        axes.axhline(share, color=PALE, linewidth=0.8, zorder=0)
    axes.ecdf(values, color=BLUE, linewidth=1.8, label="rehearsed")
    axes.set_ylim(0.0, 1.03)
    axes.set_yticks([0.0, 0.1, 0.5, 0.9, 1.0], ["0", "10 %", "50 %", "90 %", "100 %"])
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.05 * max(high, 1e-9)
    axes.set_xlim(low - margin, high + margin)


def _mark_money(axes: Axes, outcome: Mapping[str, Any]) -> None:
    """Where the quote and the budget lie, the axis wide enough for both."""
    quoted = outcome["quote"]
    marks = [(quoted["most"], GREEN, "quote")] if "most" in quoted else []
    if outcome["budget_usd"] is not None:
        marks.append((outcome["budget_usd"], RED, "budget"))
    low, high = axes.get_xlim()
    margin = 0.08 * (max(high, *(at for at, _, _ in marks), high) - low)
    for at, colour, label in marks:
        axes.axvline(at, color=colour, linewidth=1.4, linestyle="--", label=label)
        low, high = min(low, at - margin), max(high, at + margin)
    axes.set_xlim(low, high)
