"""scikit-learn's own checks of estimators, none of which is expected to fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from pipelines.frontends import (
    QuantumAutoencoder,
    QuantumClassifier,
    QuantumKernelClassifier,
    QuantumRegressor,
)

ESTIMATORS = [
    QuantumClassifier(epochs=10),
    QuantumRegressor(epochs=15),
    QuantumKernelClassifier(),
    QuantumAutoencoder(epochs=10),
]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_finds_nothing_wrong(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
