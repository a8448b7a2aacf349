"""TrainingResult: what a finished (or interrupted) run hands back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.training.reports import EpochReport, Totals
from pipelines.latency import LatencyReport
from pipelines.predictor import Predictor
from pipelines.reconcile import Reconciliation
from pipelines.run_folder import RunFolder
from pipelines.run_setup import PreparedRun
from pipelines.spending import Spending


def params_sha256(params: np.ndarray) -> str:
    """SHA-256 of the parameters as little-endian float64: equal exactly when every bit is."""
    return hashlib.sha256(np.ascontiguousarray(params, "<f8").tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What came out of a run.

    Attributes:
        config: the configuration trained with; folder: the run's folder.
        run_id: the MLflow run id, or the run's name if it was not tracked.
        tracking_uri, experiment_id: where MLflow has it, None if it was not tracked.
        run: model, data and task, as prepared.
        params: float64 [P], after the last step; best_params: at the best epoch.
        history: one report per epoch.
        metrics: final figures by tracking name, ``test/accuracy`` among them.
        n_steps: optimizer steps done.
        totals: circuits, shots, dollars, the final test included.
        seconds: wall time of this process by phase; ``total`` among them, ``train.*`` (see ``orchestrator.phases``) the finished epochs
            within ``train``.
        circuits_per_second: in the training phase of this process; None if it did not train.
        stop_reason: why training ended; None if it was interrupted.
        latency: of this process's jobs, where a service answered them.
        reconciliation: the provider's bill beside the run's book, where there is one.
        spending: what that book says.
    """

    config: TrainingConfig
    folder: RunFolder
    run_id: str
    tracking_uri: str | None
    experiment_id: str | None
    run: PreparedRun
    params: np.ndarray
    best_params: np.ndarray
    history: tuple[EpochReport, ...]
    metrics: dict[str, float]
    n_steps: int
    totals: Totals
    seconds: dict[str, float]
    circuits_per_second: float | None
    stop_reason: str | None
    latency: LatencyReport | None = None
    reconciliation: Reconciliation | None = None
    spending: Spending | None = None

    @property
    def best(self) -> dict[str, Any]:
        """``epoch``, ``metric`` and ``value`` of the best epoch; empty before the first has ended."""
        if not self.history:
            return {}
        last = self.history[-1]
        return {"epoch": last.best_epoch, "metric": last.monitored, "value": last.best_value}

    @cached_property
    def predictor(self) -> Predictor:
        """The model with its best parameters and its preprocessing."""
        return self.run.predictor(self.best_params)

    def predict(self, features: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """Class names or values for raw features [S, F_raw], by the best parameters, computed exactly in this process."""
        return self.predictor.predict(features)

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "run_id": self.run_id,
            "run_name": self.folder.name,
            "run_folder": str(self.folder.path),
            "tracking_uri": self.tracking_uri,
            "stop_reason": self.stop_reason,
            "steps": self.n_steps,
            "epochs": len(self.history),
            "final_loss": self.history[-1].metrics["train/epoch_loss"] if self.history else None,
            "best_loss": self.best.get("value"),
            "best": self.best,
            "metrics": self.metrics,
            "circuits": self.totals.n_circuits,
            "shots": self.totals.n_shots,
            "cost_usd": self.totals.cost_usd,
            "samples_skipped": self.totals.samples_skipped,
            "jobs_simulated": self.totals.jobs_simulated,
            "jobs_by_target": self.totals.jobs_by_target,
            "seconds": self.seconds,
            "circuits_per_second": self.circuits_per_second,
            "params_sha256": params_sha256(self.params),
            "best_params_sha256": params_sha256(self.best_params),
            "latency": None if self.latency is None else self.latency.to_json(),
            "jobs_under_way": 0 if self.spending is None else self.spending.n_under_way,
            "reserved_usd": 0.0 if self.spending is None else self.spending.reserved,
            "reconciliation": None if self.reconciliation is None else self.reconciliation.to_json(),
        }
