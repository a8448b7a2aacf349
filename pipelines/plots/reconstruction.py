"""What an autoencoder gives back: the spread of its fidelities, and images beside their reconstructions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.plots.style import (
    BLUE,
    INK,
    ORANGE,
    PURPLE,
    dress,
    headline,
    legend,
    new_figure,
    save,
    side_by_side,
    titled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = {"reconstruction": BLUE, "trash": ORANGE, "subspace": PURPLE}
_LABELS = {"reconstruction": "reconstruction", "trash": "trash qubits", "subspace": "best linear subspace"}
_N_IMAGES = 8


def fidelities(
    found: Mapping[str, np.ndarray], path: str | Path, *, title: str = "", split: str = "test"
) -> Figure:
    """How many samples have which fidelity.

    Args:
        found: float64 [S] each, of ``reconstruction``, ``trash`` and ``subspace``, or some of them; the first gives the headline.
        split: which samples they are.
    """
    figure = new_figure(8, 4.8)
    axes = figure.add_subplot(figure.add_gridspec(1, 1, left=0.09, right=0.97, bottom=0.13, top=0.83)[0])
    # from a whole percent on, and one percent at least, so that little differences are not blown up
    low = np.floor(100 * min(float(values.min()) for values in found.values())) / 100
    edges = np.linspace(min(low, 0.99), 1.0, 31).tolist()
    for name, values in found.items():
        within, color = np.minimum(values, 1.0), _COLORS[name]  # 1 is exceeded by rounding
        label = f"{_LABELS[name]}, mean {values.mean():.4f}"
        axes.hist(within, edges, histtype="stepfilled", color=color, alpha=0.3, edgecolor="none")
        axes.hist(within, edges, histtype="step", color=color, linewidth=1.8, label=label)
    dress(axes, "samples")
    axes.set_xlabel("fidelity", color=INK)
    legend(axes, "upper left")
    first, values = next(iter(found.items()))
    words = f"{len(values):,} samples"
    least = f"least {values.min():.4f}"
    headline(
        figure,
        titled(title, f"{split} {_LABELS[first]} fidelity {values.mean():.4f}"),
        side_by_side(words, least),
    )
    return save(figure, path)


def reconstructed_images(
    originals: np.ndarray,
    reconstructed: np.ndarray,
    fidelity: np.ndarray,
    path: str | Path,
    *,
    title: str = "",
    split: str = "test",
) -> Figure:
    """Some images above what came back of them, from the best to the worst of the split in equal steps of rank.

    Args:
        originals, reconstructed: float64 [S, height, width], drawn on the same scale of grey.
        fidelity: float64 [S].
    """
    order = np.argsort(-fidelity, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, _N_IMAGES).round().astype(int))]
    figure = new_figure(1.25 * _N_IMAGES + 0.6, 3.9)
    grid = figure.add_gridspec(2, _N_IMAGES, left=0.03, right=0.99, bottom=0.03, top=0.72, wspace=0.08)
    for column, sample in enumerate(shown):
        largest = max(float(originals[sample].max()), float(reconstructed[sample].max()))
        for row, images in enumerate((originals, reconstructed)):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(images[sample], cmap="gray_r", vmin=0.0, vmax=largest)
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(f"{fidelity[sample]:.3f}", fontsize=9, color=INK)
            if column == 0:
                axes.set_ylabel(("original", "decoded")[row], color=INK, fontsize=9)
    headline(
        figure,
        titled(title, f"{split} reconstruction fidelity {fidelity.mean():.4f}"),
        "above each its fidelity, from the best to the worst sample; sizes of amplitudes, without signs",
    )
    return save(figure, path)
