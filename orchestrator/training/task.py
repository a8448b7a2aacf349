"""TrainingTask: what is trained, on what, and how."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from orchestrator.config import OptimizerConfig, RunConfig
from orchestrator.errors import ConfigError
from orchestrator.gradients.base import GradientRule
from orchestrator.losses.base import Loss
from orchestrator.models.model import Model
from orchestrator.optimizers.build import build_optimizer
from orchestrator.optimizers.transform import GradientTransform
from orchestrator.training.reports import Samples


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """What is trained, on what, and how: all that does not change during a run.

    `has_jacobian` and `variance_factor` are those of the backend, see `protocols.Capabilities`; `max_staleness` is in updates, see
    `training.staleness`.
    """

    model: Model
    loss: Loss
    rule: GradientRule
    train: Samples
    validation: Samples | None
    run: RunConfig
    optimizer: OptimizerConfig
    shots: int | None
    has_jacobian: bool = False
    variance_factor: float = 1.0
    max_staleness: int = 0

    @property
    def n_batches(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.train.targets) // self.run.batch_size)

    @property
    def n_steps(self) -> int:
        """Steps planned for the whole run."""
        return min(self.run.epochs * self.n_batches, self.run.max_steps or 2**62)

    @cached_property
    def update(self) -> GradientTransform:
        """Gradient in, update of the parameters out."""
        return build_optimizer(self.optimizer, self.rate_factors)

    @cached_property
    def rate_factors(self) -> np.ndarray | None:
        """float64 [P], of the learning rate; None where all are 1.

        Raises:
            ConfigError: ``optimizer.rates`` names a group that is not there, or a parameter twice.
        """
        if not self.optimizer.rates:
            return None
        factors, owner = np.ones(self.model.n_params), [""] * self.model.n_params
        for group, factor in self.optimizer.rates.items():
            for i in self.model.param_names.select("optimizer.rates", [group]):
                if owner[i]:
                    name = self.model.param_names.all[i]
                    raise ConfigError(
                        "optimizer.rates", group, f"holds {name}, which {owner[i]!r} holds already"
                    )
                factors[i], owner[i] = factor, group
        return factors

    @property
    def monitored(self) -> str:
        """Name of the metric that decides what is best: lower is better."""
        return "val/loss" if self.validation is not None else "train/epoch_loss"
