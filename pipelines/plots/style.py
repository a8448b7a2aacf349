"""The look that all pictures of a run share: colours, figure, headline, axes, and how a figure becomes a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, GREY, PALE = "#222222", "#6B6B6B", "#E4E4E4"

_DPI = 150
_BOLD_ADVANCE, _ADVANCE = 0.0088, 0.0078  # about the width of a letter, in inches per point


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, of its own: pyplot and its global state are not involved."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI)


def headline(figure: Figure, title: str, subtitle: str) -> None:
    """Title and a smaller line below it, at the top left, no wider than the figure."""
    width, height = figure.get_size_inches()
    left = 0.2 / width
    style: dict[str, Any] = {"ha": "left", "va": "top", "parse_math": False}
    title, size = _fitted(title, width - 0.4, 13.0, 8.0, _BOLD_ADVANCE)
    figure.text(left, 1 - 0.16 / height, title, fontsize=size, fontweight="bold", color=INK, **style)
    if subtitle:
        subtitle, size = _fitted(subtitle, width - 0.4, 9.5, 6.5, _ADVANCE)
        figure.text(left, 1 - 0.46 / height, subtitle, fontsize=size, color=GREY, **style)


def _fitted(text: str, width: float, size: float, smallest: float, advance: float) -> tuple[str, float]:
    """The text, clipped only where its smallest size is too wide still, and its font size in points; `width` in inches."""
    while size > smallest and len(text) * size * advance > width:
        size -= 0.5
    return clipped(text, int(width / (size * advance))), size


def titled(title: str, result: str) -> str:
    """The run's name before what the picture says; without a name that alone, as a sentence begins."""
    return f"{title} – {result}" if title else result[0].upper() + result[1:]


def side_by_side(*parts: str) -> str:
    """Those of the parts that say something, in one line."""
    return "   |   ".join(part for part in parts if part)


def clipped(text: str, n: int) -> str:
    """At most `n` characters, with an ellipsis where something was cut off."""
    return text if len(text) <= n else f"{text[: max(n - 1, 1)]}…"


def dress(axes: Axes, ylabel: str, *, has_grid: bool = True) -> None:
    """The same plain look everywhere, set per axes so that no global setting is touched."""
    axes.set_ylabel(ylabel, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_axisbelow(True)
    if has_grid:
        axes.grid(axis="y", color=PALE, linewidth=0.8)


def legend(axes: Axes, place: Literal["best", "upper left", "beside"] = "best") -> None:
    """A legend without a frame, on a ground that lets the lines below it be seen, or to the right of the axes."""
    where: dict[str, Any] = {"loc": place}
    if place == "beside":
        where = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02)}
    axes.legend(
        **where, fontsize=9, frameon=True, framealpha=0.85, edgecolor="none", labelcolor=INK, borderpad=0.3
    )


def save(figure: Figure, path: str | Path) -> Figure:
    """Write the figure, making the folder if absent, and return it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None  # equal runs, equal files
    figure.savefig(path, dpi=_DPI, facecolor="white", metadata=metadata)
    return figure
