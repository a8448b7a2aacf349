"""The optimizer that a configuration describes: clipping, then the named direction, weight decay, learning rate."""

from __future__ import annotations

import numpy as np

from orchestrator.config import OptimizerConfig
from orchestrator.optimizers.transform import (
    GradientTransform,
    add_weight_decay,
    chain,
    clip_by_norm,
    clip_by_value,
    scale_by_learning_rate,
)
from orchestrator.registry import resolve


def build_optimizer(config: OptimizerConfig, factors: np.ndarray | None = None) -> GradientTransform:
    """Gradient in, update to add to the parameters out. `factors`: float64 [P], of the learning rate, 1 for all if absent."""
    parts: list[GradientTransform] = []
    if config.clip_value is not None:
        parts.append(clip_by_value(config.clip_value))
    if config.clip_norm is not None:
        parts.append(clip_by_norm(config.clip_norm))
    parts.append(resolve("optimizer", config.name)(config))
    if config.weight_decay:
        parts.append(add_weight_decay(config.weight_decay))
    parts.append(scale_by_learning_rate(factors))
    return chain(*parts)
