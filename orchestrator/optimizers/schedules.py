"""Learning-rate schedules: the rate of an epoch, as a function of the epoch and, for plateau, of the monitored losses so far.

A schedule is a pure function ``(config, epoch, n_epochs, history) -> learning rate`` with `epoch` counted from 0 and `history` the
monitored loss of each finished epoch. It has no state of its own, so a resumed run follows the same rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.config import OptimizerConfig


def constant(config: OptimizerConfig, epoch: int, n_epochs: int, history: Sequence[float]) -> float:
    """The initial rate."""
    return config.learning_rate


def step(config: OptimizerConfig, epoch: int, n_epochs: int, history: Sequence[float]) -> float:
    """Times `schedule_factor` every `schedule_epochs` epochs."""
    return config.learning_rate * config.schedule_factor ** (epoch // config.schedule_epochs)


def exponential(config: OptimizerConfig, epoch: int, n_epochs: int, history: Sequence[float]) -> float:
    """Times `schedule_factor` every epoch."""
    return config.learning_rate * config.schedule_factor**epoch


def cosine(config: OptimizerConfig, epoch: int, n_epochs: int, history: Sequence[float]) -> float:
    """Half a cosine from the initial rate to the minimum (Loshchilov & Hutter, arXiv 1608.03983, without restarts)."""
    progress = min(epoch / max(n_epochs - 1, 1), 1.0)
    span = config.learning_rate - config.minimum_learning_rate
    return config.minimum_learning_rate + 0.5 * span * (1.0 + math.cos(math.pi * progress))


def plateau(config: OptimizerConfig, epoch: int, n_epochs: int, history: Sequence[float]) -> float:
    """Times `schedule_factor` whenever `schedule_epochs` epochs in a row brought no new lowest loss."""
    drops, waited, best = 0, 0, math.inf
    for loss in history:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited >= config.schedule_epochs:
            drops, waited = drops + 1, 0
    return config.learning_rate * config.schedule_factor**drops
