"""``qfleet benchmark tables`` in MLflow: a parent run with the table, and below it a run for each model on each data set."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.config import TrackingConfig
from pipelines.benchmark.tables_runs import Run
from pipelines.benchmark.tables_settings import BATCH_SIZE, MAX_STEPS
from pipelines.benchmark.tables_training import WINDOW, Fit
from pipelines.tracking.provenance import provenance_tags
from pipelines.tracking.tracker import Tracker

EXPERIMENT = "qfleet-tables"
_WAIT_SECONDS = 30.0
"""For the parent to be known to MLflow."""
_FIGURES = ("ours", "deviation", "published", "difference", "train", "seconds", "circuits", "steps")


class TablesTracking:
    """The parent run and its children.

    Args:
        folder: where the journals lie; one folder for each run below it.
        name: of the parent.
        is_enabled: whether anything is logged.
    """

    def __init__(self, folder: Path, name: str, *, is_enabled: bool) -> None:
        self._folder = folder
        self._config = TrackingConfig(enabled=is_enabled, experiment=EXPERIMENT)
        self._name = name
        self._tags = provenance_tags("ideal")
        self._parent = self._tracker(
            name, {"batch_size": BATCH_SIZE, "max_steps": MAX_STEPS, "window": WINDOW}, {}
        )
        self._parent.start()

    def log_row(self, row: Mapping[str, Any], run: Run, fits: Sequence[Fit]) -> None:
        """One child: its setting, its figures, and accuracy and losses of every seed; none where MLflow does not know the parent."""
        if self._parent_id is None:
            return
        params = {key: row[key] for key in ("model", "data", "features", "qubits", "parameters", "seeds")}
        params |= dict(run.setting._asdict())
        name = f"{self._name}-{run.model}-{run.data.family}-{run.data.n_features}"
        with self._tracker(name, params, {"mlflow.parentRunId": self._parent_id}) as child:
            child.log_metrics({f"test/{key}": float(row[key]) for key in _FIGURES}, 0)
            for fit in fits:
                child.log_metrics(
                    {"seed/test_accuracy": fit.test_accuracy, "seed/steps": fit.n_steps}, fit.seed
                )
                for window, loss in enumerate(fit.losses, start=1):
                    child.log_metrics({f"seed_{fit.seed}/loss": loss}, window * WINDOW)

    def finish(self, files: Sequence[Path], figures: Mapping[str, float]) -> str:
        """End the parent with the written files. Returns a line for people, empty where nothing was logged."""
        self._parent.log_metrics(figures, 0)
        for file in files:
            self._parent.log_artifact(file)
        report = self._parent.finish()
        if not self._config.enabled:
            return ""
        if self._parent_id is None:
            return f"{report.message}; the rows were not logged"
        return (
            f"MLflow: run {report.run_id} in {report.tracking_uri}" if report.is_complete else report.message
        )

    def close(self) -> None:
        """A parent that has not been finished by now failed."""
        self._parent.close()

    def _tracker(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> Tracker:
        return Tracker(self._folder / name, self._config, name, params, {**self._tags, **tags})

    @cached_property
    def _parent_id(self) -> str | None:
        """The parent's id at MLflow, once it has one; None if it gets none in time, or nothing is logged."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while self._config.enabled and self._parent.run_id is None and time.monotonic() < deadline:
            if self._parent.status().state in ("unreachable", "refused"):
                return None
            time.sleep(0.05)
        return self._parent.run_id
