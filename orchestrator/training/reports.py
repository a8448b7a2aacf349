"""What the training loop yields: one StepReport per optimiser step, one EpochReport per pass. Plain data, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Running totals of a run, resumed parts included.

    Attributes:
        n_circuits, n_shots, cost_usd: what was run and paid.
        samples_skipped: samples left out because their circuits failed for good, counted anew in every batch.
        jobs_simulated: jobs that failed and were answered by a simulator in place of the backend.
        jobs_by_target: jobs that each target of a service answered; empty where jobs are cut by measured speed, and counts say nothing.
    """

    n_circuits: int = 0
    n_shots: int = 0
    cost_usd: float = 0.0
    samples_skipped: int = 0
    jobs_simulated: int = 0
    jobs_by_target: dict[str, int] = field(default_factory=dict)

    def plus(
        self,
        n_circuits: int,
        n_shots: int,
        cost_usd: float,
        samples_skipped: int = 0,
        jobs_simulated: int = 0,
        jobs_by_target: Mapping[str, int] | None = None,
    ) -> Totals:
        """These totals and what one evaluation used."""
        by_target = dict(self.jobs_by_target)
        for target, n_jobs in (jobs_by_target or {}).items():
            by_target[target] = by_target.get(target, 0) + n_jobs
        return replace(
            self,
            n_circuits=self.n_circuits + n_circuits,
            n_shots=self.n_shots + n_shots,
            cost_usd=round(self.cost_usd + cost_usd, 9),  # whole micro-dollars stay whole in long sums
            samples_skipped=self.samples_skipped + samples_skipped,
            jobs_simulated=self.jobs_simulated + jobs_simulated,
            jobs_by_target=by_target,
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
        samples_skipped: samples of the batch that were left out because their circuits failed for good.
        jobs_simulated: jobs that failed and were answered by a simulator.
        staleness: updates that were made since the parameters where this gradient was taken; None where training is synchronous.
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
    samples_skipped: int = 0
    jobs_simulated: int = 0
    staleness: int | None = None


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
