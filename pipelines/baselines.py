"""The honest null beside an accuracy: the same model without entanglement, a support vector machine and a small neural network.

All learn from the same training split and answer for the same samples, so the difference to each is a mean over paired samples, with a
confidence interval by bootstrap over these (B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError, ExecutionError
from orchestrator.losses.base import Task
from orchestrator.models.model import Model
from orchestrator.registry import ANSATZE
from orchestrator.training.loop import evaluate_samples, initial_state, train
from orchestrator.training.reports import Samples
from pipelines.evaluate import Scores
from pipelines.merits import gain, merits_of, score_of
from pipelines.run_setup import PreparedRun

_SVM_GRID = {"C": [0.1, 1.0, 10.0, 100.0], "gamma": ["scale", 0.1, 1.0]}
_FOLDS = 5


@dataclass(frozen=True)
class Baseline:
    """How a baseline did on the split, and how much better the model did.

    Attributes:
        name: for people.
        score: accuracy, or root mean squared error for regression.
        difference: the model's accuracy less the baseline's, or the baseline's mean squared error less the model's: positive where the
            model is better.
        low, high: 95 % confidence interval of `difference`.
        circuits: run for it.
    """

    name: str
    score: float
    difference: float
    low: float
    high: float
    circuits: int

    @property
    def verdict(self) -> str:
        """In words."""
        if self.low > 0:
            return "the model is better"
        return "the model is worse" if self.high < 0 else "no difference seen"


def baselines(run: PreparedRun, scores: Scores, split: str, coordinator: Coordinator) -> list[Baseline]:
    """All that apply, for a model whose `scores` on `split` are known.

    Args:
        coordinator: the twin is trained on it, as the run's configuration says.

    Raises:
        ConfigError: an autoencoder, which predicts nothing.
    """
    check_predicts(run.config.loss.name, run.data.task)
    samples: Samples = getattr(run.data, split)
    found = []
    twin = _separable_twin(run, samples, coordinator)
    if twin is not None:
        found.append(_against("separable twin", twin[0], scores, run.config.run.seed, twin[1]))
    for name, learn in (("support vector machine", _support_vectors), ("neural network", _neural_network)):
        predicted = learn(run, samples.features)
        found.append(_against(name, predicted, scores, run.config.run.seed, 0))
    return found


def check_predicts(loss_name: str, task: Task) -> None:
    """Refuse a comparison of predictions where there are none.

    Raises:
        ConfigError: an autoencoder.
    """
    if task == "autoencoder":
        problem = "an autoencoder predicts nothing to compare; see qfleet reconstruct, which sets a linear subspace beside it"
        raise ConfigError("loss.name", loss_name, problem)


def _against(name: str, predicted: np.ndarray, scores: Scores, seed: int, circuits: int) -> Baseline:
    is_classes = scores.class_names is not None
    return paired(name, predicted, scores.predicted, scores.actual, seed, circuits, is_classes=is_classes)


def paired(
    name: str,
    of_baseline: np.ndarray,
    of_model: np.ndarray,
    actual: np.ndarray,
    seed: int,
    circuits: int = 0,
    *,
    is_classes: bool = True,
) -> Baseline:
    """The baseline `name`, from what it and the model predicted for the same samples [S]; `seed`: of the resampling."""
    own, other = (
        merits_of(predicted, actual, is_classes=is_classes) for predicted in (of_model, of_baseline)
    )
    return Baseline(
        name, score_of(float(other.mean()), is_classes), **gain(own, other, seed), circuits=circuits
    )


def _separable_twin(
    run: PreparedRun, samples: Samples, coordinator: Coordinator
) -> tuple[np.ndarray, int] | None:
    """Predictions of the same model without entangling gates, trained as the model was, and its circuits; None if there is no twin."""
    config = run.config.model
    name = f"{config.ansatz}_separable"
    if config.circuit is not None or name not in ANSATZE:
        return None
    model = Model.from_config(config.model_copy(update={"ansatz": name}), run.task.model.n_outputs)
    task = replace(run.task, model=model)
    state = initial_state(task)
    try:
        for _ in train(task, state, coordinator):
            pass
    except ExecutionError as error:
        error.add_note("this was the separable twin's training")
        raise
    outputs, used = evaluate_samples(
        model, state.best_params, samples.features, coordinator,
        shots=task.shots, seed=task.run.seed, purpose="baseline",
    )  # fmt: skip
    return task.loss.predict(outputs)["prediction"], state.totals.n_circuits + used.n_circuits


def _support_vectors(run: PreparedRun, features: np.ndarray) -> np.ndarray:
    """RBF kernel; C and gamma by cross-validation on the training split."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC, SVR

    return _learnt(
        run,
        features,
        lambda is_classes: GridSearchCV(SVC() if is_classes else SVR(), _SVM_GRID, cv=_folds(run)),
    )


def _neural_network(run: PreparedRun, features: np.ndarray) -> np.ndarray:
    """One hidden layer of 100, as scikit-learn has it, until it has converged."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    settings: dict[str, Any] = {"max_iter": 5000, "random_state": run.config.run.seed % 2**32}
    return _learnt(
        run,
        features,
        lambda is_classes: MLPClassifier(**settings) if is_classes else MLPRegressor(**settings),
    )


def _learnt(run: PreparedRun, features: np.ndarray, make: Callable[[bool], Any]) -> np.ndarray:
    estimator = make(run.data.class_names is not None)
    estimator.fit(run.data.train.features, run.data.train.targets)
    return np.asarray(estimator.predict(features))


def _folds(run: PreparedRun) -> int:
    """At most as many as the smallest class has samples."""
    targets = run.data.train.targets
    smallest = np.bincount(targets).min() if run.data.class_names is not None else len(targets)
    return int(max(2, min(_FOLDS, smallest)))
