"""Test predictions kept beside a run, so that trainings on the same samples can be compared sample by sample.

Written by the trainer after the final test; an .npz, no pickle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.errors import CheckpointError
from pipelines.evaluate import Scores
from pipelines.run_folder import RunFolder, read_arrays, write_arrays
from pipelines.run_setup import PreparedRun

FILE = "predictions.npz"
Kind = Literal["classes", "values", "fidelity"]
KINDS: tuple[Kind, ...] = ("classes", "values", "fidelity")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said of the test split.

    Attributes:
        rows: int64 [S], of the data set. actual, predicted: [S], class indices or values; of an autoencoder, `predicted` is the fidelity.
        n_train: samples trained on.
    """

    kind: Kind
    rows: np.ndarray
    actual: np.ndarray
    predicted: np.ndarray
    n_train: int

    @property
    def merit(self) -> np.ndarray:
        """float64 [S], the larger the better: 1 or 0 for right or wrong; minus the squared error; the fidelity."""
        if self.kind == "fidelity":
            return np.asarray(self.predicted, np.float64)
        from pipelines.merits import merits_of

        return merits_of(self.predicted, self.actual, is_classes=self.kind == "classes")

    def is_of_the_samples_of(self, other: Predictions) -> bool:
        """Whether both answered for the same rows with the same targets, so that they can be paired."""
        return (
            self.kind == other.kind
            and np.array_equal(self.rows, other.rows)
            and np.array_equal(self.actual, other.actual)
        )


def kind_of(run: PreparedRun) -> Kind:
    """What the predictions of `run` are."""
    if run.data.task == "autoencoder":
        return "fidelity"
    return "values" if run.data.task == "regression" else "classes"


def predictions_of(run: PreparedRun, scores: Scores) -> Predictions | None:
    """Of the test split, as `scores` has them; None where samples were left out, and nobody knows any more which."""
    if len(scores.actual) != len(run.data.test.targets):
        return None
    return Predictions(
        kind_of(run), run.data.rows.test, scores.actual, scores.predicted, len(run.data.train.targets)
    )


def write_predictions(folder: RunFolder, found: Predictions | None) -> None:
    """Keep them in a run's folder; None: nothing is written."""
    if found is not None:
        arrays = {name: np.asarray(getattr(found, name)) for name in ("rows", "actual", "predicted")}
        sizes = {"kind": np.array(KINDS.index(found.kind)), "n_train": np.array(found.n_train)}
        write_arrays(folder.path / FILE, arrays | sizes)


def read_predictions(folder: RunFolder) -> Predictions | None:
    """What `write_predictions` kept; None where there are none."""
    try:
        arrays = read_arrays(folder.path / FILE)
        kind = KINDS[int(arrays["kind"])]
        return Predictions(
            kind, arrays["rows"], arrays["actual"], arrays["predicted"], int(arrays["n_train"])
        )
    except (CheckpointError, KeyError, IndexError):
        return None
