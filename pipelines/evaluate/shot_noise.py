"""What finite shots do to predictions and scores, told apart from what the choice of samples does.

The outputs z that were measured are the true ones plus an error of known covariance V (`pipelines.evaluate.outputs`), nearly normal by
the number of shots. Where nothing else is known of a sample (a flat prior), its true outputs are distributed as N(z, V), and those of
another evaluation with other shots as N(z, 2 V). Both are drawn from here: the share of draws whose class is another one says how
likely a prediction is an accident of the shots, and the standard deviation of a score over the draws how much of it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.losses.base import Loss
from pipelines.evaluate.measures import Predictions, measures
from pipelines.evaluate.outputs import Outputs

_MAX_DRAWS, _MIN_DRAWS, _WORK = 400, 50, 4e6


@dataclass(frozen=True, eq=False)
class ShotNoise:
    """The part of the uncertainty that comes from shots.

    Attributes:
        flip_probability: float64 [S], that infinitely many shots would predict another class; None where no classes are predicted.
        repeat_probability: float64 [S], that another evaluation with as many shots would; None likewise.
        errors: standard error of each figure of merit by shots alone.
        n_draws: of which all of it is estimated.
    """

    flip_probability: np.ndarray | None
    repeat_probability: np.ndarray | None
    errors: dict[str, float]
    n_draws: int

    @property
    def flips(self) -> tuple[float, float] | None:
        """How many predictions infinitely many shots are expected to change, and its standard deviation."""
        return _number(self.flip_probability)

    @property
    def repeat_flips(self) -> tuple[float, float] | None:
        """How many another evaluation is expected to change, and its standard deviation."""
        return _number(self.repeat_probability)


def shot_noise(loss: Loss, outputs: Outputs, actual: np.ndarray | None, seed: int) -> ShotNoise | None:
    """The uncertainty of `outputs` by shots, and what it does to what `loss` predicts; None where they are exact.

    Args:
        actual: [S], what is right; None where nobody knows.
    """
    if outputs.covariance is None:
        return None
    n_samples, n_outputs = outputs.values.shape
    n_draws = int(min(max(_WORK / (n_samples * n_outputs), _MIN_DRAWS), _MAX_DRAWS))
    rng = np.random.default_rng([seed, n_samples, n_outputs])
    root = _roots(outputs.covariance)
    told = Predictions.of(loss, outputs.values, actual)
    of_truth, of_repeat = np.zeros(n_samples), np.zeros(n_samples)
    scores: dict[str, list[float]] = {}
    for _ in range(n_draws):
        error = np.einsum("scd,sd->sc", root, rng.standard_normal((n_samples, n_outputs)))
        truth = Predictions.of(loss, outputs.values + error, actual)
        if told.is_classes:
            repeat = loss.predict(outputs.values + np.sqrt(2.0) * error)["prediction"]
            of_truth += truth.predicted != told.predicted
            of_repeat += repeat != told.predicted
        for name, values in measures(truth).items():
            scores.setdefault(name, []).append(float(values[0]))
    errors = {name: float(np.std(values, ddof=1)) for name, values in scores.items()}
    if not told.is_classes:
        return ShotNoise(None, None, errors, n_draws)
    return ShotNoise(of_truth / n_draws, of_repeat / n_draws, errors, n_draws)


def _roots(covariance: np.ndarray) -> np.ndarray:
    """float64 [S, C, C] with ``root @ root.T`` the covariance; what rounding made negative in it is none."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :])


def _number(probability: np.ndarray | None) -> tuple[float, float] | None:
    """Mean and standard deviation of how many of independent events happen."""
    if probability is None:
        return None
    return float(probability.sum()), float(np.sqrt(np.sum(probability * (1.0 - probability))))
