"""`kernel_matrix`: the one call that turns samples into a kernel matrix, whatever the kernel, backend and fleet."""

from __future__ import annotations

import numpy as np

from orchestrator.errors import ConfigError, DataError
from orchestrator.kernels.base import Evaluator, Kernel, KernelMatrix


def kernel_matrix(
    kernel: Kernel,
    features_a: np.ndarray,
    features_b: np.ndarray | None = None,
    *,
    coordinator: Evaluator,
    shots: int | None = None,
    seed: int = 0,
) -> KernelMatrix:
    """Kernel values between two sets of samples, or of one set with itself.

    The matrix of a training set with itself is symmetric, and its diagonal is 1 by definition, not by measurement. What a
    classifier is then tested with is the rectangular matrix of test with training samples.

    Args:
        kernel: e.g. ``resolve("kernel", "fidelity")(config.model)``.
        features_a: float64 [Sa, F], as the feature map takes them.
        features_b: float64 [Sb, F]; `features_a` with itself if absent.
        coordinator: of the fleet that the circuits run on.
        shots: of each circuit, 2 or more; none: exact values.
        seed: of the shot noise; the same seed gives the same bits on any fleet.

    Raises:
        DataError: features of a wrong shape, or not finite (row and column counted from 1).
        ConfigError: one shot, which tells nothing of its own spread.
        CapabilityError, ExecutionError, FleetError: see `Coordinator.evaluate`.
    """
    if shots is not None and shots < 2:
        raise ConfigError("shots", shots, "a variance takes two shots or more; none: exact values", "2")
    first = _checked("features_a", features_a, kernel.n_features)
    second = None if features_b is None else _checked("features_b", features_b, kernel.n_features)
    return kernel.matrix(first, second, coordinator, shots, seed)


def _checked(name: str, features: np.ndarray, n_features: int) -> np.ndarray:
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or not len(values):
        raise DataError(
            f"{name} has shape {values.shape}: wanted [samples, {n_features}], one sample or more"
        )
    if values.shape[1] != n_features:
        raise DataError(f"{name} has {values.shape[1]} features a sample, the feature map takes {n_features}")
    for row, column in np.argwhere(~np.isfinite(values)):
        raise DataError(f"{name}: row {row + 1}, column {column + 1} is {values[row, column]}")
    return values
