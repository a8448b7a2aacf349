"""Zero-noise extrapolation as weights: the value without noise is a fixed linear combination of values under scaled noise.

So its variance is known, ``sum_i w_i**2 Var_i``, which is more than that of one value.
Sources: K. Temme, S. Bravyi, J. M. Gambetta, arXiv 1612.02058 (Richardson); T. Giurgica-Tiron et al., arXiv 2005.10921 (least squares).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

Extrapolation = Literal["linear", "richardson"]
EXTRAPOLATIONS: tuple[Extrapolation, ...] = get_args(Extrapolation)


def weights(scales: Sequence[float], extrapolation: Extrapolation) -> np.ndarray:
    """float64 [n], summing to 1: with values at the noise `scales`, their weighted sum estimates the value at 0.

    Linear: the intercept of the straight line of least squares, exact where values are linear in the scale. Richardson: the polynomial of
    degree n - 1 through all of them, exact where they are such a polynomial; for two scales both are the same.

    Args:
        scales: distinct, at least two.
    """
    x = np.asarray(scales, np.float64)
    if extrapolation == "linear":
        centred = x - x.mean()
        return np.asarray(1 / len(x) - x.mean() * centred / (centred**2).sum())
    others = [np.delete(x, i) for i in range(len(x))]
    return np.array([np.prod(other / (other - own)) for own, other in zip(x, others, strict=True)])
