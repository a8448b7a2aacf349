"""QuantumClassifier: a trained circuit whose outputs are logits of classes."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from orchestrator.registry import resolve
from pipelines.frontends.scikit.persistence import Saved, labels_from_plain, labels_to_plain
from pipelines.frontends.scikit.refusals import SampleError, in_terms_of
from pipelines.frontends.scikit.settings import NAMES
from pipelines.frontends.scikit.variational import VariationalEstimator


class QuantumClassifier(ClassifierMixin, VariationalEstimator):
    """A variational classifier of two or more classes: re-uploading circuit, a linear map of every <Z>, cross-entropy.

    ::

        QuantumClassifier(n_qubits=4, random_state=0).fit(X, y).predict(X)

    Parameters are those of `VariationalEstimator`, none of which is a weight of samples: all rows count alike.

    Attributes:
        classes_: the labels, sorted. The others: see `QuantumEstimator` and `TrainedEstimator`.
    """

    classes_: np.ndarray

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows [S, F] and labels [S], which may be texts.

        Raises:
            ValueError: rows or labels are no data of that kind (`SampleError`: only one class), or a parameter is refused
                (`ParameterError`). ExecutionError, FleetError, BudgetError: circuits could not be run.
        """
        with self._fitting():
            X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
            classes, targets = encoded_labels(y)
            if self._goes_on() and not np.array_equal(classes, self.classes_):
                raise SampleError(
                    f"warm_start: the classes are {classes.tolist()}, those of the fit before were {self.classes_.tolist()}"
                )
            names = tuple(str(label) for label in classes)
            loss = "binary_cross_entropy" if len(classes) == 2 else "cross_entropy"
            self._train(X, targets, names, loss)
            self.classes_ = classes
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits: [S] for two classes, positive for the second; [S, K] for more."""
        outputs = self._outputs_of_rows(X)
        return outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities [S, K] by the logits' sigmoid or softmax, in the order of `classes_`."""
        return self._answers(X)["probability"]

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest label of each row, [S]."""
        answers = self._answers(X)["prediction"]
        return self.classes_[answers]

    def _answers(self, X: Any) -> dict[str, np.ndarray]:
        outputs = self._outputs_of_rows(X)
        answers: dict[str, np.ndarray] = resolve("loss", self.config_.loss.name)().predict(outputs)
        return answers

    def _outputs_of_rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        with in_terms_of(NAMES):
            return self._outputs(self._rows(X))

    def _to_plain(self) -> tuple[dict[str, Any], dict[str, np.ndarray], Any]:
        plain, arrays, model = super()._to_plain()
        return {**plain, "classes": labels_to_plain(self.classes_)}, arrays, model

    def _from_plain(self, saved: Saved) -> None:
        super()._from_plain(saved)
        self.classes_ = labels_from_plain(saved.plain["classes"])


def encoded_labels(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes, sorted, and the number of each row's class, int64 [S].

    Raises:
        SampleError: only one class. ValueError: continuous or multi-output targets.
    """
    check_classification_targets(y)
    classes, targets = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise SampleError(f"y holds one class only, {classes.tolist()[0]!r}: a classifier needs two or more")
    return classes, targets.astype(np.int64)
