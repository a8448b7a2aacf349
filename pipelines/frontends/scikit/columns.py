"""CircuitColumns: rows of any width become features of a circuit of any size.

Rows are prepared as everywhere else (`Preprocessing`: standardised, projected, scaled to radians), fitted to the training rows. What a
circuit with more features than there are columns is given for the rest is decided here: columns again, or ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from orchestrator.config import DataConfig, ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.models.model import Model
from orchestrator.models.patches import Patches
from orchestrator.registry import resolve
from pipelines.data.preprocessing import Preprocessing

_ONE = -1
_PADDED = ("amplitude",)
"""Maps whose further features are 1: with a constant amplitude the length and the common sign of a row are not lost."""
_MOST_AMPLITUDE_QUBITS = 10
_BELOW_LIMIT = 1 - 1e-12


def default_qubits(feature_map: str, n_columns: int) -> int:
    """Qubits where nobody says how many: a compromise between columns seen at a time and the time that simulation takes."""
    if feature_map == "reuploading":
        return min(max(-(-n_columns // 3), 2), 4)
    if feature_map == "amplitude":
        return min(max(n_columns.bit_length(), 2), _MOST_AMPLITUDE_QUBITS)
    if feature_map == "basis":
        return max(n_columns, 2)
    return min(max(n_columns, 2), 8)


def features_taken(config: ModelConfig, n_columns: int) -> int:
    """Features that the configured circuit takes; `n_columns` if it takes any number.

    Raises:
        InputError: the circuit is refused.
    """
    if config.circuit is not None:
        return Model.from_config(config).n_features
    patches = Patches.from_config(config)
    if patches is not None:
        return patches.n_features
    wanted = config.model_copy(update={"n_features": n_columns})
    return int(resolve("feature map", config.feature_map)(wanted).n_features)


@dataclass(frozen=True, eq=False)
class CircuitColumns:
    """The fitted map from raw rows to features of the circuit.

    Attributes:
        preprocessing: raw columns -> prepared ones.
        taken: int64 [F], which prepared column each feature of the circuit is; -1: the number one.
    """

    preprocessing: Preprocessing
    taken: np.ndarray

    @classmethod
    def fit(cls, raw: np.ndarray, data: DataConfig, feature_map: str, n_features: int) -> CircuitColumns:
        """Fit to training rows.

        Args:
            raw: [S, F_raw], finite. data: standardize, n_components, angle_scale, angle_limit. n_features: F, those of the circuit.

        Raises:
            ConfigError: ``data.n_components`` is more than the rows have, or than the circuit takes. DataError: no column varies.
        """
        n_columns = data.n_components or raw.shape[1]
        if n_columns > n_features and (data.n_components is not None or feature_map == "basis"):
            key = "model.n_qubits" if feature_map == "basis" else "data.n_components"
            problem = f"the feature map {feature_map} takes {n_features} features on these qubits, {n_columns} are given"
            near, value = (n_columns, n_features) if feature_map == "basis" else (n_features, n_columns)
            raise ConfigError(key, value, problem, str(near))
        if n_columns > n_features:
            data = data.model_copy(update={"n_components": n_features})
        preprocessing = _fitted(raw, data, is_asked=n_columns <= n_features)
        n_prepared = preprocessing.n_features
        taken = np.arange(n_features, dtype=np.int64)
        if feature_map in _PADDED:
            taken[n_prepared:] = _ONE
        else:
            taken %= n_prepared
        return cls(preprocessing, taken)

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Features float64 [S, F] of raw rows [S, F_raw]."""
        prepared = self.preprocessing.transform(raw)
        return np.concatenate([prepared, np.ones((len(prepared), 1))], axis=1)[:, self.taken]

    def inverse(self, features: np.ndarray, certainty: np.ndarray, *, is_angles: bool = True) -> np.ndarray:
        """Raw rows [S, F_raw] of features [S, F]; of those that stand for one column the mean, circular for angles.

        Args:
            certainty: [S, F], weights of that mean. is_angles: radians known up to whole turns, within (-pi, pi].
        """
        shape = len(features), self.preprocessing.n_features
        first, second = np.zeros(shape), np.zeros(shape)
        for column, values, weights in zip(self.taken, features.T, certainty.T, strict=True):
            first[:, column] += weights * (np.sin(values) if is_angles else values)
            second[:, column] += weights * (np.cos(values) if is_angles else 1.0)
        if is_angles:
            return _unprepared(self.preprocessing, np.arctan2(first, second))
        return _unprepared(self.preprocessing, first / np.where(second == 0, 1.0, second))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays by name."""
        return {"taken": self.taken, **self.preprocessing.to_arrays()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> CircuitColumns:
        """What `to_arrays` gave.

        Raises:
            CheckpointError, KeyError: it is not whole.
        """
        rest = {name: array for name, array in arrays.items() if name != "taken"}
        return cls(Preprocessing.from_arrays(rest), arrays["taken"])


def _fitted(raw: np.ndarray, data: DataConfig, *, is_asked: bool) -> Preprocessing:
    """With as many components as the rows have, where nobody has asked for more."""
    try:
        return Preprocessing.fit(raw, data)
    except ConfigError as error:
        if is_asked or error.suggestion is None:
            raise
        fewer = data.model_copy(update={"n_components": int(error.suggestion)})
        return _fitted(raw, fewer, is_asked=is_asked)


def _unprepared(preprocessing: Preprocessing, features: np.ndarray) -> np.ndarray:
    """What `Preprocessing.transform` undone gives; what PCA leaves out stays at its mean."""
    values = np.array(features, np.float64)
    if np.isfinite(preprocessing.angle_limit):
        limit = preprocessing.angle_limit
        values = limit * np.arctanh(np.clip(values / limit, -_BELOW_LIMIT, _BELOW_LIMIT))
    values = values / preprocessing.angle_scale
    if preprocessing.components is not None and preprocessing.unit is not None:
        values = np.einsum("sc,cf->sf", values * preprocessing.unit, preprocessing.components)
        values = values + preprocessing.pca_mean
    return values * preprocessing.scale + preprocessing.mean
