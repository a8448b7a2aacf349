"""Generated data sets whose test accuracies are published, with their published splits.

Four families of Bowles, Ahmed and Schuld, "Better than classical? The subtle art of benchmarking quantum machine learning models",
arXiv 2403.07059. The figures belong to the very samples and splits that their random generator gave, so every draw is made here in
their order, from a generator of our own in NumPy's legacy stream (never the process-wide one).

How the recipes are read; rows of the published files come out to the last digit:

- The families of 300 samples are one stream from 2 features on: a set of d features follows all draws of the smaller ones, those of
  their splits included.
- The split permutes the samples; the first fifth is the test split, the rest, in that order, the training split.
- ``hidden_manifold`` multiplies the latent vectors by W from the left (``W c``), and +1 lies above the median.
- ``two_curves`` draws a sample's place on the curve and then its noise, feature by feature; the first 150 samples are class -1.
- ``bars_and_stripes`` starts anew for every size; an image draws its kind, which lines are set, and then its noise.

One published file, 16 x 16 ``bars_and_stripes``, calls columns +1; the generator released with the paper calls rows so, as here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from orchestrator.errors import ConfigError

N_SAMPLES = 300
"""Of every family but the images."""

N_TRAIN_IMAGES, N_TEST_IMAGES = 1000, 200

_TEST_SHARE = 0.2
_DIMENSIONS = range(2, 21)
_SIDES = range(2, 33)
_N_LATENT = 6
_DEGREE, _OFFSET, _CURVE_NOISE = 5, 0.1, 0.01
_PIXEL_NOISE = 0.5

Samples = tuple[np.ndarray, np.ndarray]
"""Features float64 [S, F] and labels int64 [S], -1 or +1."""


class Benchmark(NamedTuple):
    """A data set in the order of the published files: the training split, then the test split.

    Attributes:
        features: float64 [S, F].
        labels: int64 [S], -1 or +1.
        n_test: how many of the last rows are the test split.
    """

    features: np.ndarray
    labels: np.ndarray
    n_test: int


def generate(name: str, dimension: int | None) -> Benchmark:
    """The data set `name` with `dimension` features, the same bits on every call.

    Args:
        name: ``linearly_separable``, ``hidden_manifold``, ``two_curves`` or ``bars_and_stripes``.
        dimension: 2 to 20 features; for bars_and_stripes the number of pixels of a square image, 2 to 32 wide.

    Raises:
        ConfigError: no such data set, or not with so many features.
    """
    if name == "bars_and_stripes":
        return _images(_side(dimension))
    if name not in _FAMILIES:
        raise ConfigError("data.name", name, f"is no benchmark; there are {', '.join(NAMES)}")
    if dimension is None or dimension not in _DIMENSIONS:
        low, high = _DIMENSIONS[0], _DIMENSIONS[-1]
        close = low if dimension is None else min(max(dimension, low), high)
        problem = f"{name} has {low} to {high} features: say how many"
        raise ConfigError("data.dimension", dimension, problem, str(close))
    make, seed = _FAMILIES[name]
    random = np.random.RandomState(seed)
    for smaller in range(_DIMENSIONS[0], dimension):
        make(random, smaller)
        random.permutation(N_SAMPLES)
    features, labels = make(random, dimension)
    order = random.permutation(N_SAMPLES)
    n_test = math.ceil(_TEST_SHARE * N_SAMPLES)
    rows = np.concatenate([order[n_test:], order[:n_test]])
    return Benchmark(features[rows], labels[rows], n_test)


def _linearly_separable(random: np.random.RandomState, dimension: int) -> Samples:
    """Points of a cube, on either side of the plane of zero sum, none within a margin of it."""
    points = 2 * random.uniform(size=(2 * N_SAMPLES, dimension)) - 1
    points = points[np.abs(points.sum(axis=1)) > 0.02 * dimension][:N_SAMPLES]
    return points, np.where(points.sum(axis=1) > 0, -1, 1)


def _hidden_manifold(random: np.random.RandomState, dimension: int) -> Samples:
    """Latent normal vectors c, seen through one random layer and labelled by another (Goldt et al., arXiv 1909.11500)."""
    norm = math.sqrt(_N_LATENT)
    embedding = random.normal(size=(_N_LATENT, dimension))
    latent = random.normal(size=(N_SAMPLES, _N_LATENT))
    bias = 2 * random.uniform(size=dimension) - 1
    hidden = random.normal(size=(_N_LATENT, _N_LATENT))
    weights = random.normal(size=_N_LATENT)
    # einsum: no BLAS, so the same bits whatever the number of threads
    features = np.tanh(np.einsum("sm,md->sd", latent, embedding) / norm - bias)
    scores = np.einsum("h,sh->s", weights, np.tanh(np.einsum("hm,sm->sh", hidden, latent))) / norm
    return features, np.where(scores > np.median(scores), 1, -1)


def _two_curves(random: np.random.RandomState, dimension: int) -> Samples:
    """Two noisy copies of one closed-form curve (a Fourier series in each feature), the second shifted; standardised."""
    coefficients = random.uniform(size=(dimension, _DEGREE + 1, 2))
    coefficients /= math.sqrt((coefficients**2).sum())
    frequencies = math.pi * np.arange(1, _DEGREE + 1)
    features = np.empty((N_SAMPLES, dimension))
    for sample in features:
        phases = frequencies * random.uniform()
        waves = coefficients[:, 1:, 0] * np.cos(phases) + coefficients[:, 1:, 1] * np.sin(phases)
        sample[:] = coefficients[:, 0].sum(axis=1) + waves.sum(axis=1)
        sample += random.normal(0, _CURVE_NOISE, dimension)
    half = N_SAMPLES // 2
    features[half:] += _OFFSET
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    return features, np.repeat([-1, 1], half)


def _images(side: int) -> Benchmark:
    """Noisy square images of set rows (+1) or set columns (-1), pixels row by row."""
    random = np.random.RandomState(42)
    n_images = N_TRAIN_IMAGES + N_TEST_IMAGES
    images = np.full((n_images, side, side), -1.0)
    labels = np.empty(n_images, np.int64)
    for index, image in enumerate(images):
        has_rows = random.uniform() > 0.5
        is_set = random.uniform(size=side) > 0.5
        (image if has_rows else image.T)[is_set] = 1
        image += random.normal(0, _PIXEL_NOISE, (side, side))
        labels[index] = 1 if has_rows else -1
    return Benchmark(images.reshape(n_images, side * side), labels, N_TEST_IMAGES)


def _side(n_pixels: int | None) -> int:
    """The width of a square image of `n_pixels`."""
    wanted = 16 if n_pixels is None else n_pixels
    close = min(_SIDES, key=lambda side: abs(side**2 - wanted))
    if n_pixels != close**2:
        problem = f"bars_and_stripes has square images of {_SIDES[0]} to {_SIDES[-1]} pixels a side: give the number of pixels"
        raise ConfigError("data.dimension", n_pixels, problem, str(close**2))
    return close


_FAMILIES: dict[str, tuple[Callable[[np.random.RandomState, int], Samples], int]] = {
    "linearly_separable": (_linearly_separable, 42),
    "hidden_manifold": (_hidden_manifold, 3),
    "two_curves": (_two_curves, 3),
}
NAMES = (*_FAMILIES, "bars_and_stripes")
