"""Moments of a table that is never held whole: count, means and centred products, from blocks, put together in any tree.

Two sets of rows are merged by the update of Chan, Golub and LeVeque ("Algorithms for computing the sample variance", The American
Statistician 37, 1983), which adds centred sums and never the difference of two large ones. Sums run in a fixed order and without BLAS, so
the bits follow from the blocks and the order in which they are merged, not from who measured them or on how many threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, DataError
from pipelines.data.preprocessing import Preprocessing, signed, standardisation_of

_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of some rows.

    Attributes:
        n: rows. mean: float64 [F].
        products: centred sums: float64 [F, F] of the products of two columns, or float64 [F] of the squares alone.
        low, high: float64 [F], smallest and largest value.
    """

    n: int
    mean: np.ndarray
    products: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def none(cls, n_columns: int, *, with_products: bool) -> Moments:
        """Of no rows."""
        shape = (n_columns, n_columns) if with_products else (n_columns,)
        low = np.full(n_columns, np.inf)
        return cls(0, np.zeros(n_columns), np.zeros(shape), low, -low)

    @classmethod
    def of(cls, values: np.ndarray, *, with_products: bool) -> Moments:
        """Of rows [S, F], all finite; `with_products` of all pairs of columns, as PCA needs them."""
        n, n_columns = values.shape
        if n == 0:
            return cls.none(n_columns, with_products=with_products)
        with np.errstate(over="ignore", invalid="ignore"):
            columns = np.ascontiguousarray(values.T)
            mean = columns.mean(axis=1)
            centred = columns - mean[:, None]
            if not with_products:
                products = np.einsum("fs,fs->f", centred, centred, optimize=False)
            else:
                products = np.empty((n_columns, n_columns))
                for index, column in enumerate(centred):
                    row = np.einsum("fs,s->f", centred[index:], column, optimize=False)
                    products[index, index:] = products[index:, index] = row
        return cls(n, mean, products, columns.min(axis=1), columns.max(axis=1))

    def merged(self, other: Moments) -> Moments:
        """Of the rows of both, these first."""
        if self.n == 0 or other.n == 0:
            return other if self.n == 0 else self
        n = self.n + other.n
        with np.errstate(over="ignore", invalid="ignore"):
            step = other.mean - self.mean
            spread = step * step if self.products.ndim == 1 else step[:, None] * step
            return Moments(
                n,
                self.mean + step * (other.n / n),
                self.products + other.products + spread * (self.n * (other.n / n)),
                np.minimum(self.low, other.low),
                np.maximum(self.high, other.high),
            )

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of each column, float64 [F], the divisor being n."""
        squares = self.products if self.products.ndim == 1 else np.diagonal(self.products)
        with np.errstate(invalid="ignore"):
            return np.sqrt(squares / self.n)


def fit_moments(moments: Moments, config: DataConfig, names: Sequence[str]) -> Preprocessing:
    """What `Preprocessing.fit` finds, but for rounding, from moments of the training split.

    The components are eigenvectors of the centred products where `Preprocessing.fit` takes a singular value decomposition: squares
    cost half the digits of the smallest directions, so those below sqrt(max(S, F) eps) of the largest count as none.

    Args:
        moments: with all products if ``data.n_components`` is set.

    Raises:
        DataError, ConfigError: as of `Preprocessing.fit`.
    """
    if moments.n == 0:
        raise DataError(f"nothing to fit to: 0 training samples of {len(names)} features")
    ptp, largest = moments.high - moments.low, np.maximum(np.abs(moments.low), np.abs(moments.high))
    mean, scale = standardisation_of(moments.mean, moments.deviation, ptp, largest, config, names)
    limit = np.array(np.inf if config.angle_limit is None else config.angle_limit)
    if config.n_components is None:
        return Preprocessing(mean, scale, np.array(config.angle_scale), limit)
    return Preprocessing(
        mean, scale, np.array(config.angle_scale), limit, *_pca(moments, mean, scale, config)
    )


def _pca(
    moments: Moments, mean: np.ndarray, scale: np.ndarray, config: DataConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(mean, components, explained variance ratio, unit) of the standardised columns."""
    wanted, n_columns = config.n_components or 0, len(scale)
    if wanted > min(moments.n, n_columns):
        raise ConfigError(
            "data.n_components",
            wanted,
            f"more than the training split gives: {moments.n} samples of {n_columns} features",
            str(min(moments.n, n_columns)),
        )
    divisor = np.where(scale == 0, np.inf, scale)
    values, vectors = np.linalg.eigh(moments.products / divisor[:, None] / divisor)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1].T
    rank = int((values > values[0] * max(moments.n, n_columns) * _EPSILON).sum())
    if wanted > rank:
        raise ConfigError(
            "data.n_components",
            wanted,
            f"the {moments.n} training samples vary in {rank} independent directions only",
            str(rank),
        )
    ratio = (values / values.sum())[:wanted]
    unit = np.array(np.sqrt(values[0] / moments.n))
    return (moments.mean - mean) / divisor, signed(vectors[:wanted]), ratio, unit
