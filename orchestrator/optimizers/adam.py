"""Adam (Kingma & Ba, arXiv 1412.6980)."""

from __future__ import annotations

import numpy as np

from orchestrator.config import OptimizerConfig
from orchestrator.optimizers.transform import GradientTransform, State


def adam(config: OptimizerConfig) -> GradientTransform:
    """Direction m̂ / (sqrt(v̂) + epsilon) with bias-corrected moments."""
    b1, b2, epsilon = config.beta1, config.beta2, config.epsilon

    def init(params: np.ndarray) -> State:
        return {"m": np.zeros_like(params), "v": np.zeros_like(params), "count": np.zeros(1)}

    def update(
        gradient: np.ndarray, state: State, params: np.ndarray, rate: float
    ) -> tuple[np.ndarray, State]:
        count = state["count"] + 1
        m = b1 * state["m"] + (1 - b1) * gradient
        v = b2 * state["v"] + (1 - b2) * gradient**2
        direction = (m / (1 - b1**count)) / (np.sqrt(v / (1 - b2**count)) + epsilon)
        return direction, {"m": m, "v": v, "count": count}

    return GradientTransform(init, update)
