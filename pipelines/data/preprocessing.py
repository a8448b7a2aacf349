"""From the raw columns of a data set to the features of a circuit: standardise, project, scale to radians.

Everything is fitted on the training split and kept as plain arrays, so that it is stored with a run and gives the same bits
when it is loaded again.

What the units are, in the order of the steps:

1. **Standardise** (``data.standardize``): each column less its mean, over its standard deviation. A column that is constant on
   the training split carries nothing to learn from, so it becomes 0 whatever it holds later; it keeps its place. (With
   neither standardisation nor PCA the columns are taken as they are, a constant one too.)
2. **PCA** (``data.n_components``): the leading principal components, *in units of the standard deviation of the first one*. The
   first component therefore has unit variance, and the others keep their size relative to it: directions of little variance
   turn the qubits little. (Giving each component unit variance would blow the small, noisy ones up: on breast cancer and
   digits it trained no better, on breast cancer a little worse.)
3. **Angle scale** (``data.angle_scale``): radians per such unit.
4. **Angle limit** (``data.angle_limit``): ``limit * tanh(x / limit)``, smooth, the identity near 0, so that an outlier can
   not wrap round the circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import CheckpointError, ConfigError, DataError

_EPSILON = float(np.finfo(np.float64).eps)
_LARGEST = 1e150  # the square of anything larger may overflow


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """The fitted map from raw columns to features; arrays are read-only.

    Attributes:
        mean: float64 [F_raw], subtracted from the raw columns (0 without standardisation).
        scale: float64 [F_raw], their divisor (1 without standardisation); 0 marks a column that is constant on the training
            split and is mapped to 0.
        angle_scale: float64 [], radians per unit of a prepared feature.
        angle_limit: float64 [], features lie in (-limit, limit) radians; infinite for no limit.
        pca_mean: float64 [F_raw], mean of the standardised columns; None without PCA, like all that follow.
        components: float64 [F, F_raw], orthonormal rows by falling variance; the entry of largest size in each is positive.
        explained_variance_ratio: float64 [F], share of the total variance that each component holds.
        unit: float64 [], standard deviation of the first component, the unit of all of them.
    """

    mean: np.ndarray
    scale: np.ndarray
    angle_scale: np.ndarray
    angle_limit: np.ndarray
    pca_mean: np.ndarray | None = None
    components: np.ndarray | None = None
    explained_variance_ratio: np.ndarray | None = None
    unit: np.ndarray | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                value = np.array(value, dtype=np.float64)
                value.setflags(write=False)
                object.__setattr__(self, field.name, value)

    @classmethod
    def fit(
        cls, features: np.ndarray, config: DataConfig, names: Sequence[str] | None = None
    ) -> Preprocessing:
        """Fit to the training split.

        Args:
            features: raw training columns, [S, F_raw], finite.
            config: standardize, n_components, angle_scale, angle_limit.
            names: of the columns, for error messages.

        Raises:
            DataError: no rows, no column that varies, or values too large to square.
            ConfigError: ``data.n_components`` is more than the training split has.
        """
        features = np.asarray(features, dtype=np.float64)
        _check_matrix(features, None, names)
        mean, scale = _standardisation(features, config, names)
        limit = np.inf if config.angle_limit is None else config.angle_limit
        scaled = cls(mean, scale, np.array(config.angle_scale), np.array(limit))
        if config.n_components is None:
            return scaled
        return cls(
            mean, scale, scaled.angle_scale, scaled.angle_limit, *_pca(scaled._standardised(features), config)
        )

    @property
    def n_raw_features(self) -> int:
        """Columns that `transform` takes."""
        return len(self.mean)

    @property
    def n_features(self) -> int:
        """Columns that `transform` gives."""
        return self.n_raw_features if self.components is None else len(self.components)

    @property
    def constant(self) -> tuple[int, ...]:
        """Indices (0-based) of the raw columns that are constant on the training split and so mapped to 0."""
        return tuple(int(index) for index in np.flatnonzero(self.scale == 0))

    def transform(self, raw: np.ndarray) -> np.ndarray:
        """Features in radians, float64 [S, F], of raw columns [S, F_raw].

        A row's features do not depend, to the last bit, on the other rows of the call.

        Raises:
            DataError: wrong number of columns, or a value that is no finite number.
        """
        raw = np.asarray(raw, dtype=np.float64)
        _check_matrix(raw, self.n_raw_features, None)
        values = self._standardised(raw)
        if self.components is not None and self.pca_mean is not None and self.unit is not None:
            values = _project(values - self.pca_mean, self.components) / self.unit
        values = values * self.angle_scale
        if np.isfinite(self.angle_limit):
            values = self.angle_limit * np.tanh(values / self.angle_limit)
        return values

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as float64 arrays by name, for ``np.savez``; what is None is left out."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in arrays.items() if array is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Preprocessing:
        """What `to_arrays` gave.

        Raises:
            CheckpointError: an array is missing, unknown, of a wrong shape or not finite.
        """
        present = {
            field.name: np.asarray(arrays[field.name]) for field in fields(cls) if field.name in arrays
        }
        _check_stored(present, arrays)
        return cls(**present)

    def _standardised(self, raw: np.ndarray) -> np.ndarray:
        divisor = np.where(self.scale == 0, np.inf, self.scale)
        return (raw - self.mean) / divisor


def _standardisation(
    features: np.ndarray, config: DataConfig, names: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale per column, [F_raw] each; scale 0 for a constant column."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        ptp, largest = np.ptp(features, axis=0), np.abs(features).max(axis=0)
    return standardisation_of(mean, deviation, ptp, largest, config, names)


def standardisation_of(
    mean: np.ndarray,
    deviation: np.ndarray,
    ptp: np.ndarray,
    largest: np.ndarray,
    config: DataConfig,
    names: Sequence[str] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale per column, [F_raw] each, from what is known of the columns, [F_raw] each; scale 0 for a constant column.

    Args:
        deviation: standard deviation. ptp: largest less smallest value. largest: size of the value of largest size.

    Raises:
        DataError: values too large to square, or no column that varies.
    """
    too_large = np.flatnonzero(~(deviation < _LARGEST))
    if len(too_large):
        raise DataError(
            f"{_column(too_large[0], names)} has values too large to compute with (beyond {_LARGEST:g})"
        )
    # Of a constant column the mean is off by a rounding error, so its deviation need not be exactly 0.
    constant = ptp <= 8 * _EPSILON * largest
    constant |= deviation == 0
    if constant.all():
        raise DataError(
            "every feature column is constant on the training split: there is nothing to learn from"
        )
    if config.standardize:
        return mean, np.where(constant, 0.0, deviation)
    if config.n_components is None:  # the columns are features as they are, a constant one among them too
        return np.zeros_like(mean), np.ones_like(mean)
    return np.zeros_like(mean), np.where(constant, 0.0, 1.0)


def _pca(values: np.ndarray, config: DataConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(mean, components, explained variance ratio, unit) of the leading components, by an exact SVD."""
    wanted = config.n_components or 0
    n_samples, n_raw = values.shape
    if wanted > min(n_samples, n_raw):
        raise ConfigError(
            "data.n_components",
            wanted,
            f"more than the training split gives: {n_samples} samples of {n_raw} features",
            str(min(n_samples, n_raw)),
        )
    mean = values.mean(axis=0)
    _, singular, directions = np.linalg.svd(values - mean, full_matrices=False)
    rank = int((singular > singular[0] * max(values.shape) * _EPSILON).sum())
    if wanted > rank:
        # Beyond the rank a component is rounding noise in an arbitrary direction.
        raise ConfigError(
            "data.n_components",
            wanted,
            f"the {n_samples} training samples vary in {rank} independent directions only",
            str(rank),
        )
    ratio = (singular**2 / (singular**2).sum())[:wanted]
    return mean, signed(directions[:wanted]), ratio, np.array(singular[0] / np.sqrt(n_samples))


def signed(components: np.ndarray) -> np.ndarray:
    """Components [F, F_raw], rows turned so that the entry of largest size is positive; the first of those that tie but for rounding."""
    size = np.abs(components)
    leading = np.argmax(size >= size.max(axis=1, keepdims=True) * (1 - 1e-6), axis=1)
    return components * np.sign(components[np.arange(len(components)), leading])[:, None]


def _project(values: np.ndarray, components: np.ndarray) -> np.ndarray:
    """values @ components.T in a fixed order of sums: BLAS's depends on the number of rows and of threads."""
    projected = np.zeros((len(values), len(components)))
    for column, weights in zip(values.T, components.T, strict=True):
        projected += column[:, None] * weights
    return projected


def _column(index: int, names: Sequence[str] | None) -> str:
    return f"column {names[index]!r}" if names is not None else f"feature column {index + 1}"


def _check_matrix(values: np.ndarray, n_columns: int | None, names: Sequence[str] | None) -> None:
    if values.ndim != 2:
        raise DataError(f"features have shape {list(values.shape)}; expected [samples, features]")
    if n_columns is None and 0 in values.shape:
        raise DataError(
            f"nothing to fit to: {values.shape[0]} training samples of {values.shape[1]} features"
        )
    if n_columns is not None and values.shape[1] != n_columns:
        raise DataError(
            f"samples have {values.shape[1]} feature columns; the model was prepared for {n_columns}"
        )
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"{_column(column, names)} is {values[row, column]} in row {row + 1} (counted from 1)"
        )


def _check_stored(present: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> None:
    required = {"mean", "scale", "angle_scale", "angle_limit"}
    projection = {"pca_mean", "components", "explained_variance_ratio", "unit"}
    needed = required | projection if projection & set(arrays) else required
    if set(arrays) != needed:
        odd = ", ".join(sorted(needed ^ set(arrays)))
        raise CheckpointError(f"stored preprocessing is not whole: missing or unknown: {odd}")
    n_raw = len(np.atleast_1d(present["mean"]))
    n_components = len(np.atleast_1d(present["components"])) if "components" in present else 0
    shapes: dict[str, tuple[int, ...]] = {
        "mean": (n_raw,),
        "scale": (n_raw,),
        "pca_mean": (n_raw,),
        "components": (n_components, n_raw),
        "explained_variance_ratio": (n_components,),
    }
    for name, array in present.items():
        if array.dtype != np.float64 or array.shape != shapes.get(name, ()):
            raise CheckpointError(
                f"stored preprocessing: {name} is {array.dtype} {list(array.shape)}, "
                f"expected float64 {list(shapes.get(name, ()))}"
            )
        if not (np.isfinite(array) | (np.isposinf(array) if name == "angle_limit" else False)).all():
            raise CheckpointError(f"stored preprocessing: {name} is not finite")
