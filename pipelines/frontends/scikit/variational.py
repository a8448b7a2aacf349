"""VariationalEstimator: what the estimators share that train a circuit by the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.models.model import Model
from pipelines.frontends.executor import BackendSpec, FleetSpec
from pipelines.frontends.scikit.base import QuantumEstimator, Used, seed_of
from pipelines.frontends.scikit.columns import CircuitColumns
from pipelines.frontends.scikit.persistence import Saved
from pipelines.frontends.scikit.refusals import ParameterError
from pipelines.frontends.scikit.training import Rows, model_for, outputs_of, task_for, trained


class TrainedEstimator(QuantumEstimator):
    """Trained by the training loop: what is the same whatever is learnt.

    Attributes:
        model_: the circuit and its head. params_: its parameters [P], those of the epoch of least (validation) loss.
        n_iter_: epochs done. loss_curve_: mean loss of each; validation_curve_: that of the rows set aside, None where there are none.
    """

    warm_start: bool
    validation_fraction: float

    model_: Model
    params_: np.ndarray
    n_iter_: int
    loss_curve_: list[float]
    validation_curve_: list[float] | None

    def _train(
        self,
        features: np.ndarray,
        targets: np.ndarray,
        class_names: tuple[str, ...] | None,
        loss: str,
    ) -> None:
        """Fit to raw rows [S, F_raw] and targets [S] as the loss takes them.

        Raises:
            InputError: a parameter is refused.
        """
        before = (self.config_, self.model_, self.params_) if self._goes_on() else None
        self.seed_ = seed_of(self.random_state)
        config, n_features = self._configured(features.shape[1], loss)
        rows = Rows.split(features, targets, class_names, config)
        rows = self._prepared(rows)
        columns = CircuitColumns.fit(features[rows.train], config.data, config.model.feature_map, n_features)
        model = model_for(config, len(class_names or ()))
        start = None if before is None else _continued(config, model, *before)
        task = task_for(config, model, rows, columns)
        with self._running("fit") as executor:
            state = trained(task, executor, start, self.verbose)
        self.config_, self.columns_, self.model_, self.params_ = config, columns, model, state.best_params
        self.n_iter_ = state.epoch
        self.loss_curve_ = [report.metrics["train/epoch_loss"] for report in state.history]
        has_validation = len(rows.validation) > 0
        self.validation_curve_ = state.monitored if has_validation else None
        self.used_ = Used.of(state.totals)

    def _prepared(self, rows: Rows) -> Rows:
        """The rows, targets scaled where an estimator scales them."""
        return rows

    def _goes_on(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "params_")

    def _outputs(self, features: np.ndarray) -> np.ndarray:
        """Outputs [S, C] for features [S, F] of the circuit."""
        with self._running("rows evaluated") as executor:
            return outputs_of(self.model_, self.params_, features, executor, self.seed_)

    def _to_plain(self) -> tuple[dict[str, Any], dict[str, np.ndarray], Any]:
        plain = {
            "n_iter": self.n_iter_,
            "loss_curve": self.loss_curve_,
            "validation_curve": self.validation_curve_,
        }
        return plain, {"params": self.params_}, self.model_

    def _from_plain(self, saved: Saved) -> None:
        if saved.model is None:
            raise KeyError("model")
        self.model_, self.params_ = saved.model, saved.arrays["params"]
        self.n_iter_, self.loss_curve_ = saved.plain["n_iter"], saved.plain["loss_curve"]
        self.validation_curve_ = saved.plain["validation_curve"]


class VariationalEstimator(TrainedEstimator):
    """Constructor of classifier and regressor.

    Args:
        n_layers: of the ansatz.
        ansatz, entanglement, reuploading: see docs/models.md; the feature map ``reuploading`` repeats itself, whatever `reuploading` says.
        epochs: passes over the rows, at most. batch_size: rows of a step.
        learning_rate, optimizer, schedule: adam | sgd; constant | step | exponential | cosine | plateau.
        gradient: name of a gradient rule (docs/gradients.md); auto: exact where the backend is, else parameter shift.
        validation_fraction: rows set aside, by whose loss the best epoch is chosen; 0: none, and the loss in training says.
        patience: stop after so many epochs without a lower loss; None: never.
        warm_start: begin with the parameters of the fit before.
        initial_scale: standard deviation of the first parameters, radians.

    The others are those of `QuantumEstimator`.
    """

    def __init__(
        self,
        n_qubits: int | None = None,
        n_layers: int = 3,
        *,
        feature_map: str = "reuploading",
        ansatz: str = "three_rotation",
        entanglement: str | Sequence[Sequence[int]] = "circular",
        reuploading: bool = False,
        initial_scale: float = 0.3,
        scale: bool = True,
        n_components: int | None = None,
        angle_scale: float = 1.0,
        angle_limit: float | None = None,
        epochs: int = 30,
        batch_size: int = 32,
        learning_rate: float = 0.05,
        optimizer: str = "adam",
        schedule: str = "cosine",
        gradient: str = "auto",
        validation_fraction: float = 0.0,
        patience: int | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        backend: BackendSpec = "ideal",
        fleet: FleetSpec = None,
        shots: int | None = None,
        folder: str | Path | None = None,
        yes_spend_usd: float | None = None,
        options: Mapping[str, Any] | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_qubits = n_qubits
        self.n_layers = n_layers
        self.feature_map = feature_map
        self.ansatz = ansatz
        self.entanglement = entanglement
        self.reuploading = reuploading
        self.initial_scale = initial_scale
        self.scale = scale
        self.n_components = n_components
        self.angle_scale = angle_scale
        self.angle_limit = angle_limit
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.schedule = schedule
        self.gradient = gradient
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.warm_start = warm_start
        self.random_state = random_state
        self.backend = backend
        self.fleet = fleet
        self.shots = shots
        self.folder = folder
        self.yes_spend_usd = yes_spend_usd
        self.options = options
        self.verbose = verbose


def _continued(config: TrainingConfig, model: Model, *before: Any) -> np.ndarray:
    """The parameters that training goes on with.

    Raises:
        ParameterError: the circuit is another one, so they would mean nothing to it.
    """
    config_before, model_before, params = before
    if config.model != config_before.model or model.n_params != model_before.n_params:
        problem = (
            "the circuit, the columns or the classes are others than those of the fit before: fit a clone"
        )
        raise ParameterError("warm_start", True, problem, "False")
    return np.asarray(params)
