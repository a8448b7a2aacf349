"""QuantumRegressor: a trained circuit whose output is a value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from pipelines.frontends.scikit.persistence import Saved
from pipelines.frontends.scikit.refusals import in_terms_of
from pipelines.frontends.scikit.settings import NAMES
from pipelines.frontends.scikit.training import Rows
from pipelines.frontends.scikit.variational import VariationalEstimator


class QuantumRegressor(RegressorMixin, VariationalEstimator):
    """A variational regressor: re-uploading circuit, a linear map of every <Z>, mean squared error.

    Targets are scaled to mean 0 and standard deviation 1 of the rows trained on, which is what losses are in; predictions are in the unit
    of the targets. Parameters are those of `VariationalEstimator`; all rows count alike.

    Attributes:
        target_mean_, target_scale_: of the rows trained on. The others: see `QuantumEstimator` and `TrainedEstimator`.
    """

    target_mean_: float
    target_scale_: float

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows [S, F] and values [S].

        Raises:
            ValueError: rows or values are no data of that kind, or a parameter is refused (`ParameterError`).
            ExecutionError, FleetError, BudgetError: circuits could not be run.
        """
        with self._fitting():
            X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2, y_numeric=True)
            self._train(X, np.asarray(y, np.float64), None, "mse")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Values [S], in the unit of the targets."""
        check_is_fitted(self)
        with in_terms_of(NAMES):
            outputs = self._outputs(self._rows(X))
        return outputs[:, 0] * self.target_scale_ + self.target_mean_

    def _prepared(self, rows: Rows) -> Rows:
        targets = rows.targets[rows.train]
        self.target_mean_ = float(targets.mean())
        self.target_scale_ = float(targets.std()) if np.ptp(targets) > 0 else 1.0
        return replace(rows, targets=(rows.targets - self.target_mean_) / self.target_scale_)

    def _to_plain(self) -> tuple[dict[str, Any], dict[str, np.ndarray], Any]:
        plain, arrays, model = super()._to_plain()
        of_targets = {"target_mean": self.target_mean_, "target_scale": self.target_scale_}
        return plain | of_targets, arrays, model

    def _from_plain(self, saved: Saved) -> None:
        super()._from_plain(saved)
        self.target_mean_, self.target_scale_ = saved.plain["target_mean"], saved.plain["target_scale"]
