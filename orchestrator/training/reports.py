"""What the training loop yields: one StepReport per optimiser step, one EpochReport per pass. Plain data, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np


class Samples(NamedTuple):
    """A data split.

    Attributes:
        features: float64 [S, F], as the feature map takes them (radians for the angle map).
        targets: [S]; int64 class indices for classification, float64 values for regression.
    """

    features: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Totals:
    """Running totals of a run, resumed parts included."""

    n_circuits: int = 0
    n_shots: int = 0
    cost_usd: float = 0.0

    def plus(self, n_circuits: int, n_shots: int, cost_usd: float) -> Totals:
        """These totals and what one evaluation used."""
        return replace(
            self,
            n_circuits=self.n_circuits + n_circuits,
            n_shots=self.n_shots + n_shots,
            cost_usd=self.cost_usd + cost_usd,
        )


@dataclass(frozen=True)
class StepReport:
    """One optimiser step.

    Attributes:
        step: steps done, this one included (1-based).
        n_steps: steps planned for the whole run.
        epoch: current epoch, 1-based; n_epochs: planned.
        loss: mean loss of the batch before the update.
        gradient_norm: Euclidean norm of the gradient before clipping.
        gradient_noise: its standard deviation over shots and the rule's random choices (root of the summed variances); 0 if exact.
        notes: what the gradient rule decided, and why, by name.
        learning_rate: as applied in this step.
        totals: running totals after this step.
        seconds: wall time by phase (see ``orchestrator.phases``), in seconds: of this step, and as ``log`` the time from the report
            before it to its beginning.
        compute_seconds: time inside backends for this step, summed over actors.
        n_jobs: jobs that this step was cut into.
    """

    step: int
    n_steps: int
    epoch: int
    n_epochs: int
    loss: float
    gradient_norm: float
    learning_rate: float
    totals: Totals
    seconds: dict[str, float] = field(default_factory=dict)
    compute_seconds: float = 0.0
    n_jobs: int = 0
    gradient_noise: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EpochReport:
    """One pass over the training split and the validation after it.

    Attributes:
        epoch, n_epochs: 1-based, planned.
        step: steps done so far.
        metrics: by tracking name: ``train/epoch_loss`` (mean over the epoch's samples), ``val/loss``, ``val/accuracy`` ...
        monitored: name of the metric that decides what is best.
        is_best: this epoch has the best monitored value so far.
        best_epoch, best_value: so far.
        learning_rate: of the last step.
        totals: running totals.
        seconds: wall time from the end of the epoch before it, validation included.
        stop_reason: why training ends after this epoch, None if it goes on.
        phases: `seconds` by phase (see ``orchestrator.phases``).
    """

    epoch: int
    n_epochs: int
    step: int
    metrics: dict[str, float]
    monitored: str
    is_best: bool
    best_epoch: int
    best_value: float
    learning_rate: float
    totals: Totals
    seconds: float
    stop_reason: str | None = None
    phases: dict[str, float] = field(default_factory=dict)
