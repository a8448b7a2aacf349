"""Evaluation: what an evaluation hands back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from orchestrator.training.reports import Totals
from pipelines.evaluate.calibration import Calibration
from pipelines.evaluate.comparison import Comparison
from pipelines.evaluate.intervals import Interval, wilson
from pipelines.evaluate.measures import Predictions
from pipelines.evaluate.outputs import Outputs
from pipelines.evaluate.samples import Choice
from pipelines.evaluate.scores import confusion_of
from pipelines.evaluate.shot_noise import ShotNoise
from pipelines.evaluate.subjects import Subject


class Figure(NamedTuple):
    """A figure of merit and what it is worth.

    Attributes:
        value: on these samples.
        low, high: 95 % interval over samples (what other samples of the same kind would give), with the shots of this evaluation in it.
        method: ``wilson`` or ``bootstrap``.
        shot_error: standard error by shots alone; None where outputs are exact.
    """

    value: float
    low: float
    high: float
    method: str
    shot_error: float | None


class ClassScore(NamedTuple):
    """How a class fares.

    Attributes:
        name: of the class. n: of its samples.
        recall: share of them that is found; precision: share of what is taken for it that is it; None where there is nothing to divide.
        recall_interval, precision_interval: Wilson's, 95 %.
    """

    name: str
    n: int
    recall: float | None
    recall_interval: Interval | None
    precision: float | None
    precision_interval: Interval | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model evaluated on samples.

    Attributes:
        subject: what was evaluated. choice: on what.
        backend: where, in words of file names: ``noisy-aria-1``.
        outputs: of the samples, with their standard errors.
        predictions: read from them.
        metrics: those of the loss, named as in training (``test/accuracy``); none without targets.
        figures: figures of merit with their intervals; none without targets.
        calibration: None where no classes are predicted, or nobody knows them.
        shot_noise: None where outputs are exact.
        comparison: with another model; None: with none.
        baselines: `pipelines.baselines.Baseline` as plain values; None: not asked for.
        used: circuits, shots and dollars. seconds: it took.
        folder: of this evaluation. files: written. run_id: at MLflow, None where it was not logged. note: how logging went, where not well.
    """

    subject: Subject
    choice: Choice
    backend: str
    outputs: Outputs
    predictions: Predictions
    metrics: dict[str, float]
    figures: dict[str, Figure]
    calibration: Calibration | None
    shot_noise: ShotNoise | None
    comparison: Comparison | None
    baselines: list[dict[str, Any]] | None
    used: Totals
    seconds: float
    folder: Path | None = None
    files: tuple[Path, ...] = ()
    run_id: str | None = None
    note: str | None = None

    @property
    def shots(self) -> int | None:
        """Repetitions of each circuit; None: exact."""
        return self.subject.config.backend.shots

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """None for regression."""
        return self.subject.predictor.class_names

    @property
    def confusion(self) -> np.ndarray | None:
        """int64 [K, K], row = actual class, column = predicted class; None where there is none."""
        if self.class_names is None or self.predictions.actual is None:
            return None
        return confusion_of(self.predictions.actual, self.predictions.predicted, len(self.class_names))

    @property
    def classes(self) -> list[ClassScore]:
        """Class by class; none where there is no confusion matrix."""
        matrix = self.confusion
        if matrix is None or self.class_names is None:
            return []
        return [_class_score(name, matrix, k) for k, name in enumerate(self.class_names)]

    def columns(self) -> dict[str, np.ndarray]:
        """The table of samples, [S] by name: row, actual, predicted, probabilities, outputs and their standard errors."""
        told, names = self.predictions, self.class_names
        columns: dict[str, np.ndarray] = {"row": self.choice.rows}
        if told.actual is not None and told.task != "autoencoder":
            columns["actual"] = _named(told.actual, names)
        columns["predicted"] = _named(told.predicted, names)
        if told.probability is not None:
            columns |= {
                f"probability_{name}": told.probability[:, k]
                for k, name in enumerate(names or _numbers(told))
            }
        errors = self.outputs.standard_errors
        several = self.outputs.values.shape[1] > 1
        for c in range(self.outputs.values.shape[1]):
            mark = f"_{c}" if several else ""
            columns[f"output{mark}"] = self.outputs.values[:, c]
            columns[f"standard_error{mark}"] = (
                np.zeros(len(columns["row"])) if errors is None else errors[:, c]
            )
        if self.shot_noise is not None and self.shot_noise.flip_probability is not None:
            columns["flip_probability"] = self.shot_noise.flip_probability
        return columns

    def recorded(
        self, folder: Path, files: tuple[Path, ...], run_id: str | None, note: str | None
    ) -> Evaluation:
        """A copy that knows where it was written."""
        return replace(self, folder=folder, files=files, run_id=run_id, note=note)

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        subject, choice = self.subject, self.choice
        found: dict[str, Any] = {
            "run_name": subject.name,
            "run_id": subject.mlflow_run_id,
            "model": subject.uri,
            "best_epoch": subject.epoch,
            "split": choice.label if choice.is_split else None,
            "data": choice.source,
            "samples_trained_on": choice.n_seen,
            "backend": self.backend,
            "shots_per_circuit": self.shots,
            "metrics": self.metrics,
            "figures": {name: figure._asdict() for name, figure in self.figures.items()},
            "samples": len(choice.features),
            "circuits": self.used.n_circuits,
            "shots": self.used.n_shots,
            "cost_usd": self.used.cost_usd,
            "calibration": None if self.calibration is None else self.calibration.to_json(),
            "shot_noise": self._shot_noise(),
            "seconds": {"total": self.seconds},
            "evaluation_folder": None if self.folder is None else str(self.folder),
            "evaluation_run_id": self.run_id,
            "files": [str(path) for path in self.files],
        }
        if self.confusion is not None and self.class_names is not None:
            found |= {"classes": list(self.class_names), "confusion": self.confusion.tolist()}
            found["by_class"] = [one._asdict() for one in self.classes]
        if self.comparison is not None:
            found["against"] = self.comparison.to_json()
        if self.baselines is not None:
            found["baselines"] = self.baselines
        return found

    def _shot_noise(self) -> dict[str, Any] | None:
        noise, errors = self.shot_noise, self.outputs.standard_errors
        if noise is None or errors is None:
            return None
        return {
            "output_standard_error": float(np.sqrt(np.mean(errors**2))),
            "correlations": self.outputs.correlations,
            "flips_expected": None if noise.flips is None else noise.flips[0],
            "flips_standard_deviation": None if noise.flips is None else noise.flips[1],
            "flips_if_repeated": None if noise.repeat_flips is None else noise.repeat_flips[0],
            "draws": noise.n_draws,
        }


def _class_score(name: str, matrix: np.ndarray, k: int) -> ClassScore:
    n, n_taken, n_right = int(matrix[k].sum()), int(matrix[:, k].sum()), int(matrix[k, k])
    return ClassScore(
        name,
        n,
        n_right / n if n else None,
        wilson(n_right, n) if n else None,
        n_right / n_taken if n_taken else None,
        wilson(n_right, n_taken) if n_taken else None,
    )


def _named(values: np.ndarray, names: tuple[str, ...] | None) -> np.ndarray:
    return values if names is None else np.array(names, object)[values]


def _numbers(told: Predictions) -> tuple[str, ...]:
    assert told.probability is not None
    return tuple(str(k) for k in range(told.probability.shape[1]))
