"""QuantumEstimator: what the estimators share: where circuits run, how rows become features, how an estimator is saved."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from orchestrator.config import BackendConfig, FleetConfig, TrainingConfig
from orchestrator.errors import CheckpointError
from orchestrator.training.reports import Totals
from pipelines.frontends.executor import Executor
from pipelines.frontends.scikit.columns import CircuitColumns, default_qubits, features_taken
from pipelines.frontends.scikit.money import booked, check_can_be_done_again, said
from pipelines.frontends.scikit.persistence import Saved, read_estimator, write_estimator
from pipelines.frontends.scikit.refusals import in_terms_of
from pipelines.frontends.scikit.running import executor_for, spending_of_kept
from pipelines.frontends.scikit.settings import NAMES, config_of, plain
from pipelines.spending import Spending

_LARGEST_SEED = 2**31 - 1


class Used(NamedTuple):
    """What a fit took.

    Attributes:
        circuits, shots: that were run. usd: what they cost.
    """

    circuits: int
    shots: int
    usd: float

    @classmethod
    def of(cls, totals: Totals) -> Used:
        """From the totals of a training."""
        return cls(totals.n_circuits, totals.n_shots, totals.cost_usd)


class QuantumEstimator(BaseEstimator):
    """What all estimators share. Subclasses have the constructor; of its parameters these are known here.

    Args:
        n_qubits: None: as many as `default_qubits` says for the feature map and the number of columns.
        feature_map: name of a feature map, or ``"module:attribute"``.
        scale: columns less their mean over their standard deviation, of the rows trained on. False: as they are.
        n_components: project on so many principal components first. None: on as many as the circuit takes, where that is fewer.
        angle_scale: radians per unit of a scaled column. angle_limit: squash angles into (-limit, limit) radians. None: no limit.
        random_state: of start, order of rows, and shot noise; an int is the seed itself, as ``run.seed``.
        backend, fleet, shots, folder, yes_spend_usd: see `Executor`. The consent to spend is left out of pickles and files.
        options: further keys of the configuration, such as ``{"model.feature_axis": "x"}``.
        verbose: print a line for every epoch.

    Attributes:
        n_features_in_: columns seen in `fit`. feature_names_in_: their names, where all are texts.
        config_: the configuration that the parameters describe.
        columns_: rows -> features of the circuit, fitted to the rows trained on.
        seed_: from `random_state`.
        used_: circuits, shots and dollars of the fit.
    """

    n_qubits: int | None
    feature_map: str
    n_components: int | None
    random_state: Any
    backend: Any
    fleet: Any
    shots: int | None
    folder: str | Path | None
    yes_spend_usd: float | None
    verbose: int

    n_features_in_: int
    config_: TrainingConfig
    columns_: CircuitColumns
    seed_: int
    used_: Used

    def spending(self) -> Spending | None:
        """What the book of `folder` says, of all estimators that use it; None where there is none: nothing was paid there.

        Raises:
            BookError: it cannot be read.
        """
        if self.folder is None:
            return None
        return spending_of_kept(self.folder) or booked(self.folder, self.yes_spend_usd)

    def save(self, folder: str | Path) -> Path:
        """Write the fitted estimator as JSON and arrays, for `load`; returns the folder.

        Raises:
            NotFittedError: it is not fitted. CheckpointError: the folder holds other files, or cannot be written.
            SampleError: labels that JSON does not hold.
        """
        check_is_fitted(self)
        kept, arrays, model = self._to_plain()
        names = getattr(self, "feature_names_in_", None)
        about = {
            **kept,
            "n_features_in": self.n_features_in_,
            "feature_names_in": None if names is None else list(names),
            "config": self.config_.to_dict(),
            "seed": self.seed_,
            "used": list(self.used_),
        }
        of_columns = {f"columns/{name}": array for name, array in self.columns_.to_arrays().items()}
        saved = Saved(type(self).__name__, self._plain_params(), about, {**arrays, **of_columns}, model)
        return write_estimator(folder, saved)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The estimator that `save` wrote: it predicts the same bits, and may not spend until it is told to.

        Raises:
            CheckpointError: the folder holds none, or one of another class, or its files are damaged.
        """
        saved = read_estimator(folder, cls.__name__)
        prefix = "columns/"
        of_columns = {
            name.removeprefix(prefix): each for name, each in saved.arrays.items() if name.startswith(prefix)
        }
        try:
            found = cls(**saved.params)
            found.columns_ = CircuitColumns.from_arrays(of_columns)
            found.config_ = TrainingConfig.from_dict(saved.plain["config"])
            found.seed_, found.used_ = saved.plain["seed"], Used(*saved.plain["used"])
            found.n_features_in_ = saved.plain["n_features_in"]
            if saved.plain["feature_names_in"] is not None:
                found.feature_names_in_ = np.array(saved.plain["feature_names_in"], object)
            found._from_plain(saved)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{folder} is not what qfleet wrote there ({type(error).__name__}: {error})"
            ) from error
        return found

    # --- For subclasses ------------------------------

    def _to_plain(self) -> tuple[dict[str, Any], dict[str, np.ndarray], Any]:
        """What else is to be saved: plain attributes, arrays, and the model or None."""
        raise NotImplementedError

    def _from_plain(self, saved: Saved) -> None:
        """Take over what `_to_plain` gave."""
        raise NotImplementedError

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        """Let the block fit; one that does not end, by an error or an interrupt, leaves the estimator as it was before."""
        before = dict(vars(self))
        try:
            with in_terms_of(NAMES):
                yield
        except BaseException:
            self.__dict__ = before
            raise

    def _executor(self) -> AbstractContextManager[Executor]:
        return executor_for(self.backend, self.fleet, self.shots, self.folder, self.yes_spend_usd)

    @contextmanager
    def _running(self, what: str) -> Iterator[Executor]:
        """The executor, for the block; what is paid meanwhile is said."""
        name = f"{type(self).__name__}: {what}"
        with self._executor() as executor, said(name, executor, self.folder, self.yes_spend_usd):
            yield executor

    def _configured(self, n_columns: int, loss: str) -> tuple[TrainingConfig, int]:
        """The configuration for rows of so many columns, and how many features the circuit takes.

        Raises:
            ConfigError: a parameter is refused.
        """
        params = self._known_params()
        n_columns = self._columns_used(n_columns)
        if self.n_qubits is None:
            params["n_qubits"] = default_qubits(self.feature_map, n_columns)
        with self._executor() as executor:
            check_can_be_done_again(executor, self.random_state)
            config = config_of(params, executor.config, self.seed_, loss)
        n_features = features_taken(config.model, n_columns)
        if config.model.circuit is None and config.model.image_shape is None:
            model = config.model.model_copy(update={"n_features": n_features})
            config = config.model_copy(update={"model": model})
        return config, n_features

    def _columns_used(self, n_columns: int) -> int:
        """Of so many columns; a number of components that is none is refused with the rest of the configuration."""
        return int(self.n_components) if isinstance(self.n_components, numbers.Integral) else n_columns

    def _known_params(self) -> dict[str, Any]:
        """Parameters for `config_of`."""
        return dict(self.get_params(deep=False))

    def _rows(self, X: Any) -> np.ndarray:
        """Features of rows for a fitted estimator."""
        check_is_fitted(self)
        return self.columns_(validate_data(self, X, dtype=np.float64, reset=False))

    def _plain_params(self) -> dict[str, Any]:
        params = {name: plain(value) for name, value in self.get_params(deep=False).items()}
        params |= {"random_state": self.seed_, "yes_spend_usd": None}
        for name in ("backend", "fleet"):
            if isinstance(params[name], (BackendConfig, FleetConfig)):
                params[name] = params[name].model_dump(mode="json", exclude_unset=True)
        params["folder"] = None if self.folder is None else str(self.folder)
        return params

    def __getstate__(self) -> dict[str, Any]:
        """All but the consent to spend."""
        state: Mapping[str, Any] = super().__getstate__()
        return {**state, "yes_spend_usd": None}


def seed_of(random_state: Any) -> int:
    """The seed: an int itself, else drawn from the generator (of the process, for None)."""
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        return int(random_state)
    return int(check_random_state(random_state).randint(_LARGEST_SEED))
