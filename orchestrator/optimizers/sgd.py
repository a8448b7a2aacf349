"""Stochastic gradient descent with (Nesterov) momentum."""

from __future__ import annotations

import numpy as np

from orchestrator.config import OptimizerConfig
from orchestrator.optimizers.transform import GradientTransform, State


def sgd(config: OptimizerConfig) -> GradientTransform:
    """Direction v = momentum * v + gradient; with Nesterov, momentum * v + gradient once more (Sutskever et al., ICML 2013)."""
    momentum, nesterov = config.momentum, config.nesterov

    def init(params: np.ndarray) -> State:
        return {"velocity": np.zeros_like(params)}

    def update(
        gradient: np.ndarray, state: State, params: np.ndarray, rate: float
    ) -> tuple[np.ndarray, State]:
        velocity = momentum * state["velocity"] + gradient
        direction = momentum * velocity + gradient if nesterov else velocity
        return direction, {"velocity": velocity}

    return GradientTransform(init, update)
