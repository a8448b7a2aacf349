"""How many shots which circuit gets: from estimated variances to whole numbers under a budget. Nothing here knows of a model.

The noise of a gradient made of C circuits is ``sum_i v_i / n_i``, v_i what one shot of circuit i would give and n_i its shots. Of all
allocations with ``sum_i n_i = n`` the one with ``n_i`` in proportion to ``sqrt(v_i)`` has the least, ``(sum_i sqrt(v_i))**2 / n``. Circuits
come as a product of samples and displacements, and so do their weights; an evaluation has one number of shots, therefore weights are
rounded to a few levels, and all circuits of a pair of levels are one block. Where every circuit gets its due within a factor r, the
noise is at most ``((r + 1/r) / 2)**2`` times the least (Kantorovich): 1.03 for the levels of displacements, a factor of sqrt 2 apart, 1.13
for those of samples, a factor of 2 apart. Weights below the lowest level get more than their due.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from orchestrator.errors import ConfigError

LEAST_SHOTS = 2
"""Of one shot no variance can be estimated."""
_ROW_LEVELS, _SAMPLE_LEVELS = 6, 2
_ROW_RATIO, _SAMPLE_RATIO = math.sqrt(2.0), 2.0


class Block(NamedTuple):
    """Circuits with equal shots.

    Attributes:
        samples, rows: int64, indices of samples and of displacements: all their pairs.
        shots: of each.
    """

    samples: np.ndarray
    rows: np.ndarray
    shots: int


@dataclass(frozen=True, eq=False)
class Allocation:
    """Shots of S samples x D displacements.

    Attributes:
        of_sample, of_row: int64 [S] and [D], levels, 0 for the most shots.
        shots: int64 [levels of samples, levels of displacements].
    """

    of_sample: np.ndarray
    of_row: np.ndarray
    shots: np.ndarray

    @property
    def table(self) -> np.ndarray:
        """int64 [S, D], shots of every circuit."""
        return self.shots[self.of_sample[:, None], self.of_row[None]]

    def blocks(self) -> Iterator[Block]:
        """The circuits by levels, those with the most shots first."""
        for i in np.unique(self.of_sample):
            for j in np.unique(self.of_row):
                yield Block(
                    np.flatnonzero(self.of_sample == i),
                    np.flatnonzero(self.of_row == j),
                    int(self.shots[i, j]),
                )


def allocate(of_samples: np.ndarray, of_rows: np.ndarray, budget: int, n_settings: int = 1) -> Allocation:
    """Shots in proportion to the products of two weights, as nearly as few levels allow.

    Args:
        of_samples, of_rows: float64 [S] and [D], not negative; all zero counts as all equal.
        budget: shots in all, never exceeded.
        n_settings: circuits that each pair takes (one a measurement group).

    Raises:
        ConfigError: the budget does not reach for the least number of shots everywhere.
    """
    of_sample = levels(of_samples, _SAMPLE_RATIO, _SAMPLE_LEVELS)
    of_row = levels(of_rows, _ROW_RATIO, _ROW_LEVELS)
    n_samples, n_rows = np.bincount(of_sample), np.bincount(of_row)
    counts = n_settings * np.outer(n_samples, n_rows)
    check_budget(budget, int(counts.sum()))
    share = np.outer(
        _SAMPLE_RATIO ** -np.arange(float(len(n_samples))), _ROW_RATIO ** -np.arange(float(len(n_rows)))
    )

    def shots(top: int) -> np.ndarray:
        return np.maximum(LEAST_SHOTS, np.floor(top * share + 1e-9)).astype(np.int64)

    low, high = LEAST_SHOTS, max(budget, LEAST_SHOTS) + 1  # low is within the budget, high is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if int(np.sum(counts * shots(middle))) <= budget else (low, middle)
    return Allocation(of_sample, of_row, shots(low))


def levels(weights: np.ndarray, ratio: float, n_levels: int) -> np.ndarray:
    """int64, of each weight: how many times the largest is to be divided by `ratio` to come nearest to it, up to `n_levels` - 1."""
    top = float(np.max(weights, initial=0.0))
    if not top > 0.0:
        return np.zeros(len(weights), np.int64)
    lowest = ratio ** -(n_levels - 1.0)
    relative = np.maximum(weights / top, lowest)
    return np.rint(-np.log(relative) / math.log(ratio)).astype(np.int64)


def check_budget(budget: int, n_circuits: int) -> None:
    """Refuse a budget that does not reach for `n_circuits`.

    Raises:
        ConfigError: the text says what would.
    """
    least = LEAST_SHOTS * n_circuits
    if budget < least:
        raise ConfigError(
            "gradient.shots_per_step",
            budget,
            f"a step runs {n_circuits} circuits, and each needs {LEAST_SHOTS} shots at least; nearest valid: {least}, or a smaller "
            "run.batch_size",
            str(least),
        )


def best_total(one_shot: np.ndarray, squared_norm: float, smoothness: float, rate: float | None) -> float:
    """Shots in all from which a step of gradient descent is sure of the greatest descent per shot.

    gCANS (A. Gu et al., arXiv 2108.10434). With L the smoothness of the loss and a the learning rate, a step lowers the loss in the mean
    by at least ``(a - L a**2 / 2) |g|**2 - L a**2 / 2 sum_i v_i / n_i``. Shared out by ``sqrt(v_i)``, n shots make the last sum
    ``V / n`` with ``V = (sum_i sqrt(v_i))**2``, and the bound divided by n is greatest for ``n = 2 L a / (2 - L a) V / |g|**2``: the
    paper's ``n_i = 2 L a / (2 - L a) sqrt(v_i) sum_j sqrt(v_j) / |g|**2``, summed.

    Args:
        one_shot: float64, the v_i.
        squared_norm: of the gradient.
        smoothness: L, a bound of the loss's second derivatives.
        rate: a; one above 1/L, where the bound is best, or none at all counts as 1/L.

    Returns:
        Infinity where the gradient is zero or not known from it.
    """
    if squared_norm <= 0.0:
        return math.inf
    reach = 1.0 if rate is None else min(rate * smoothness, 1.0)
    return float(2.0 * reach / (2.0 - reach) * np.sum(np.sqrt(one_shot)) ** 2 / squared_norm)
