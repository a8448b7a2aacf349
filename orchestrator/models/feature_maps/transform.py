"""FeatureTransform: the classical step of a feature map, in front of a model's angle map, known by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from orchestrator.config import ModelConfig
from orchestrator.errors import CapabilityError, DataError
from orchestrator.models.feature_maps.base import DifferentiableTransform, TransformedFeatureMap
from orchestrator.registry import resolve


@dataclass(frozen=True)
class FeatureTransform:
    """Features [S, F] -> what the angle map takes, [S, F'].

    It is found again by the feature map's name, so that storing a model takes no code. Loading resolves nothing either: that waits
    for the first features.

    Attributes:
        feature_map: registered name or ``module:attribute``.
        n_qubits, n_features: all of the configuration that the step depends on.
    """

    feature_map: str
    n_qubits: int
    n_features: int

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """float64 [S, F'].

        Raises:
            DataError: a row that cannot be encoded.
        """
        return self._map.transform(features)

    def check_differentiable(self) -> None:
        """Refuse derivatives by the features where the feature map has none.

        Raises:
            CapabilityError: it has no `pullback`.
        """
        self._differentiable()

    def pullback(self, features: np.ndarray, of_inputs: np.ndarray) -> np.ndarray:
        """Chain rule: from the derivative of a scalar by what this step gives, [S, F'], to that by the features, [S, F].

        Raises:
            CapabilityError: the feature map has no `pullback`. DataError: a row that cannot be encoded.
        """
        return self._differentiable().pullback(features, of_inputs)

    def _differentiable(self) -> DifferentiableTransform:
        if not isinstance(self._map, DifferentiableTransform):
            raise CapabilityError(
                f"the feature map {self.feature_map!r} has no derivative by its features: detach them, choose another one such as "
                "'angle', or, if it is your own, give it pullback(features, of_inputs)"
            )
        return self._map

    @cached_property
    def _map(self) -> TransformedFeatureMap:
        config = ModelConfig(n_qubits=self.n_qubits, n_features=self.n_features, feature_map=self.feature_map)
        made: TransformedFeatureMap = resolve("feature map", self.feature_map)(config)
        return made


def check_n_features(encoding: str, features: np.ndarray, n_features: int) -> None:
    """Refuse features [S, F] of another F.

    Raises:
        DataError: naming both numbers.
    """
    if features.shape[1] != n_features:
        raise DataError(f"{encoding} encoding takes {n_features} features, {features.shape[1]} given")
