"""QuantumKernelClassifier: a support vector machine on a quantum kernel."""

from __future__ import annotations

import functools
import inspect
import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

from orchestrator.config import ModelConfig
from orchestrator.kernels.base import Kernel, KernelMatrix
from orchestrator.kernels.matrix import kernel_matrix
from orchestrator.kernels.repair import positive_semidefinite
from orchestrator.registry import resolve
from pipelines.frontends.executor import BackendSpec, FleetSpec
from pipelines.frontends.scikit.base import QuantumEstimator, Used, seed_of
from pipelines.frontends.scikit.classifier import encoded_labels
from pipelines.frontends.scikit.columns import CircuitColumns
from pipelines.frontends.scikit.machine import Machine
from pipelines.frontends.scikit.persistence import Saved, labels_from_plain, labels_to_plain
from pipelines.frontends.scikit.refusals import ParameterError, in_terms_of
from pipelines.frontends.scikit.settings import NAMES, names_own_code


class QuantumKernelClassifier(ClassifierMixin, QuantumEstimator):
    """A support vector machine on how alike the states are that a feature map makes of rows; its kernel comes from the fleet.

    S rows take S circuits with the kernel ``projected`` (three times as many with shots), and S (S - 1) / 2 with ``fidelity``. New rows are
    compared with support vectors alone. There are no probabilities: `sklearn.calibration.CalibratedClassifierCV` makes some.

    Args:
        kernel: ``projected`` | ``fidelity``, or ``"module:attribute"``.
        gamma: of the projected kernel, inverse squared width; the others have none.
        C: penalty of rows inside the margin.
        feature_repeats: of the maps iqp and zz.
        entanglement: pairs of qubits that these maps join.

    The others are those of `QuantumEstimator`; all rows count alike.

    Attributes:
        classes_: the labels, sorted. kernel_, gamma_: those of the fit, which predictions go by.
        support_: int64 [V], the rows that are support vectors; support_vectors_: float64 [V, F], as the circuit takes them.
        machine_: what they weigh. The others: see `QuantumEstimator`.
    """

    classes_: np.ndarray
    kernel_: str
    gamma_: float
    support_: np.ndarray
    support_vectors_: np.ndarray
    machine_: Machine

    def __init__(
        self,
        n_qubits: int | None = None,
        *,
        kernel: str = "projected",
        gamma: float = 1.0,
        C: float = 1.0,
        feature_map: str = "iqp",
        feature_repeats: int = 2,
        entanglement: str | Sequence[Sequence[int]] = "linear",
        scale: bool = True,
        n_components: int | None = None,
        angle_scale: float = 0.5,
        angle_limit: float | None = None,
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
        self.kernel = kernel
        self.gamma = gamma
        self.C = C
        self.feature_map = feature_map
        self.feature_repeats = feature_repeats
        self.entanglement = entanglement
        self.scale = scale
        self.n_components = n_components
        self.angle_scale = angle_scale
        self.angle_limit = angle_limit
        self.random_state = random_state
        self.backend = backend
        self.fleet = fleet
        self.shots = shots
        self.folder = folder
        self.yes_spend_usd = yes_spend_usd
        self.options = options
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Compute the kernel of rows [S, F] with themselves and fit the machine to it and to labels [S], which may be texts.

        Raises:
            ValueError: rows or labels are no data of that kind (`SampleError`: only one class), or a parameter is refused
                (`ParameterError`). ExecutionError, FleetError, BudgetError: circuits could not be run.
        """
        with self._fitting():
            X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
            classes, targets = encoded_labels(y)
            self._check_kernel()
            check_scalar(self.C, "C", numbers.Real, min_val=0, include_boundaries="neither")
            self.seed_ = seed_of(self.random_state)
            self.config_, n_features = self._configured(X.shape[1], "cross_entropy")
            self.columns_ = CircuitColumns.fit(
                X, self.config_.data, self.config_.model.feature_map, n_features
            )
            self.kernel_, self.gamma_ = self.kernel, float(self.gamma)
            features = self.columns_(X)
            found = self._kernel(features, None, "fit")
            own = found.values if found.variances is None else positive_semidefinite(found.values)
            self.machine_, self.support_ = Machine.fit(own, targets, float(self.C))
            self.support_vectors_ = features[self.support_]
            self.classes_ = classes
            self.used_ = Used(found.n_circuits, found.n_shots, found.cost_usd)
            if self.verbose:
                print(
                    f"kernel of {len(X)} rows: {self.used_.circuits} circuits; {len(self.support_)} support vectors"
                )
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """[S] for two classes, positive for the second; [S, K] for more, see `Machine.decide`."""
        compared = self._compared(X)
        return self.machine_.decide(compared)

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row, [S]."""
        compared = self._compared(X)
        return self.classes_[self.machine_.classes(compared)]

    def _compared(self, X: Any) -> np.ndarray:
        """Kernel values [S, V] of rows with the support vectors."""
        check_is_fitted(self)
        with in_terms_of(NAMES):
            return self._kernel(self._rows(X), self.support_vectors_, "rows evaluated").values

    def _check_kernel(self) -> None:
        if not isinstance(self.kernel, str):
            raise ParameterError("kernel", self.kernel, "the name of a kernel", "projected")
        gamma: Any = self.gamma
        if not isinstance(gamma, numbers.Real):
            raise ParameterError("gamma", gamma, "must be a positive number", "1.0")

    def _kernel(self, features: np.ndarray, others: np.ndarray | None, what: str) -> KernelMatrix:
        kernel = kernel_for(self.kernel_, self.config_.model, self.gamma_)
        with self._running(what) as executor:
            return kernel_matrix(
                kernel, features, others, coordinator=executor, shots=executor.shots, seed=self.seed_
            )

    def _to_plain(self) -> tuple[dict[str, Any], dict[str, np.ndarray], Any]:
        arrays = {
            "support": self.support_,
            "support_vectors": self.support_vectors_,
            **{f"machine/{name}": array for name, array in self.machine_.to_arrays().items()},
        }
        plain = {"classes": labels_to_plain(self.classes_), "kernel": self.kernel_, "gamma": self.gamma_}
        return plain, arrays, None

    def _from_plain(self, saved: Saved) -> None:
        self.classes_ = labels_from_plain(saved.plain["classes"])
        self.kernel_, self.gamma_ = saved.plain["kernel"], saved.plain["gamma"]
        self.support_, self.support_vectors_ = saved.arrays["support"], saved.arrays["support_vectors"]
        prefix = "machine/"
        self.machine_ = Machine.from_arrays(
            {
                name.removeprefix(prefix): each
                for name, each in saved.arrays.items()
                if name.startswith(prefix)
            }
        )


def kernel_for(name: str, config: ModelConfig, gamma: float) -> Kernel:
    """The kernel of that name, the same one for equal settings, so that circuits are built once; `gamma` goes to those that take one.

    Raises:
        InputError: no such kernel, or it does not go with the feature map.
    """
    make = _made if names_own_code(name, config) else _kept
    return make(name, config.model_dump_json(), gamma)


def _made(name: str, config: str, gamma: float) -> Kernel:
    make = resolve("kernel", name)
    width = {"gamma": gamma} if "gamma" in inspect.signature(make).parameters else {}
    kernel: Kernel = make(ModelConfig.model_validate_json(config), **width)
    return kernel


_kept = functools.lru_cache(maxsize=32)(_made)
