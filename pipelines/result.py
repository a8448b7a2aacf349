"""TrainingResult: what a finished (or interrupted) run hands back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.training.reports import EpochReport, Totals
from pipelines.predictor import Predictor
from pipelines.run_folder import RunFolder


def params_sha256(params: np.ndarray) -> str:
    """SHA-256 of the parameters as little-endian float64: equal exactly when every bit is."""
    return hashlib.sha256(np.ascontiguousarray(params, "<f8").tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """Attributes:

    config: the configuration trained with.
    folder: the run's folder.
    run_id: the MLflow run id, or the run's name if it was not tracked.
    tracking_uri: where MLflow has it, None if it was not tracked.
    params: float64 [P], after the last step; best_params: at the best epoch.
    history: one report per epoch.
    best: ``epoch``, ``metric`` and ``value`` of the best epoch.
    metrics: final figures by tracking name, ``test/accuracy`` among them.
    n_steps: optimizer steps done.
    totals: circuits, shots, dollars.
    seconds: wall time of this process by phase; ``total`` among them.
    stop_reason: why training ended; None if it was interrupted.
    """

    config: TrainingConfig
    folder: RunFolder
    run_id: str
    tracking_uri: str | None
    predictor: Predictor
    params: np.ndarray
    best_params: np.ndarray
    history: tuple[EpochReport, ...]
    best: dict[str, Any]
    metrics: dict[str, float]
    n_steps: int
    totals: Totals
    seconds: dict[str, float]
    stop_reason: str | None

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
            "finished": self.stop_reason is not None,
            "stop_reason": self.stop_reason,
            "steps": self.n_steps,
            "epochs": len(self.history),
            "final_loss": self.metrics.get("train/epoch_loss"),
            "best_loss": self.best.get("value"),
            "best": self.best,
            "metrics": self.metrics,
            "circuits": self.totals.n_circuits,
            "shots": self.totals.n_shots,
            "cost_usd": self.totals.cost_usd,
            "seconds": self.seconds,
            "params_sha256": params_sha256(self.params),
            "best_params_sha256": params_sha256(self.best_params),
        }
