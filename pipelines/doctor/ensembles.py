"""How derivatives scatter over random initial parameters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipelines.doctor.derivatives import Differentiator

_ZERO = 1e-12
"""Derivatives that stay below at all points belong to a parameter that the observable does not feel."""


class Spread(NamedTuple):
    """Of d observable / d parameter, in the mean over all pairs of which one feels the other.

    Attributes:
        variance: over the points. size: root of the mean square over the points, what a derivative there typically is.
    """

    variance: float
    size: float


class Spreads(NamedTuple):
    """Over parameters uniform in [0, 2π), the ensemble of J. R. McClean et al. (arXiv 1803.11173), and over those of the configuration."""

    uniform: Spread
    initial: Spread


def spreads(differentiator: Differentiator, features: np.ndarray, n_draws: int, seed: int) -> Spreads:
    """Of `n_draws` points each, every point with a random row of features [S, F]; the same for the same seed."""
    model = differentiator.model
    # the second word keeps these numbers apart from a run's own
    rng = np.random.Generator(np.random.Philox(key=[seed, 64]))
    shape = (n_draws, model.n_circuit_params)
    uniform = rng.uniform(0.0, 2 * np.pi, shape)
    initial = rng.normal(0.0, 1.0, shape) * model.initial_scale
    rows = features[rng.integers(len(features), size=n_draws)]
    found = differentiator.at(uniform, rows)
    felt = np.abs(found).max(axis=0, initial=0.0) > _ZERO
    return Spreads(_spread(found, felt), _spread(differentiator.at(initial, rows), felt))


def _spread(found: np.ndarray, felt: np.ndarray) -> Spread:
    """Of derivatives [R, M, P] for the pairs of the bool mask [M, P]."""
    if not felt.any():
        return Spread(0.0, 0.0)
    chosen = found[:, felt]
    return Spread(float(chosen.var(axis=0, ddof=1).mean()), float(np.sqrt((chosen**2).mean())))
