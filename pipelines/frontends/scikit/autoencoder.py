"""QuantumAutoencoder: a transformer that compresses rows to fewer qubits."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import ConfigError
from orchestrator.models.angle_map import Angles
from orchestrator.models.autoencoder import Autoencoder, StepCircuit
from orchestrator.models.decoder import ProductDecoder
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from pipelines.frontends.executor import BackendSpec, FleetSpec
from pipelines.frontends.scikit.columns import default_qubits
from pipelines.frontends.scikit.persistence import Saved
from pipelines.frontends.scikit.refusals import SampleError, in_terms_of
from pipelines.frontends.scikit.settings import NAMES
from pipelines.frontends.scikit.variational import TrainedEstimator

_AXES = "xyz"


def _can_be_read(estimator: QuantumAutoencoder) -> bool:
    """Whether features can be read of decoded states with sign and size."""
    return estimator._fitted_map() in ("angle", "basis")


class QuantumAutoencoder(TransformerMixin, TrainedEstimator):
    """A trained encoder that leaves of each row's state what it can on the first qubits (arXiv 1612.02806; docs/autoencoder.md).

    Trained is the trash fidelity, how near the other qubits are left to |0...0>; no targets are needed.

    Args:
        n_latent: qubits that are kept, 1 to n_qubits - 1. None: half of them.
        feature_map: angle | basis | amplitude | zz | iqp; of the first two, rows can be had back of codes (`inverse_transform`).
        n_layers: of the encoder, which needs many: docs/autoencoder.md says how many.

    The others are those of `QuantumEstimator` and `VariationalEstimator`.

    Attributes:
        autoencoder_: the circuits that codes and fidelities are read from. The others: see `QuantumEstimator` and `TrainedEstimator`.
    """

    n_latent: int | None
    autoencoder_: Autoencoder

    def __init__(
        self,
        n_latent: int | None = None,
        n_qubits: int | None = None,
        n_layers: int = 6,
        *,
        feature_map: str = "angle",
        ansatz: str = "strongly_entangling",
        entanglement: str | Sequence[Sequence[int]] = "circular",
        initial_scale: float = 0.1,
        scale: bool = True,
        n_components: int | None = None,
        angle_scale: float = 0.5,
        angle_limit: float | None = float(np.pi),
        epochs: int = 40,
        batch_size: int = 32,
        learning_rate: float = 0.1,
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
        self.n_latent = n_latent
        self.n_qubits = n_qubits
        self.n_layers = n_layers
        self.feature_map = feature_map
        self.ansatz = ansatz
        self.entanglement = entanglement
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

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows [S, F]; y is of no account.

        Raises:
            ValueError: rows are no data of that kind, or a parameter is refused (`ParameterError`).
            ExecutionError, FleetError, BudgetError: circuits could not be run.
        """
        with self._fitting():
            X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
            self._train(X, np.zeros(len(X)), None, "trash_fidelity")
            self.autoencoder_ = Autoencoder(self.model_, self.config_.model)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Codes [S, 3 n_latent] of rows: <X> of every kept qubit, then <Y>, then <Z>."""
        check_is_fitted(self)
        with in_terms_of(NAMES):
            return self._values(self.autoencoder_.code_circuit, self._rows(X), "codes")

    @available_if(_can_be_read)
    def inverse_transform(self, X: Any) -> np.ndarray:
        """Rows [S, F] of codes [S, 3 n_latent], in the unit of the rows that were trained on.

        Decoded is the product of one-qubit states that has these expectation values: what the kept qubits shared is not in a code, so with
        two of them or more `reconstruct` knows more. There is no such method where a feature map's states do not tell sign and size of
        features (amplitude), or nothing of them (zz, iqp).

        Raises:
            ValueError: codes of another shape, or not finite.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float64)
        if codes.shape[1] != 3 * self.autoencoder_.n_latent:
            raise SampleError(
                f"codes have {codes.shape[1]} columns: this autoencoder's have {3 * self.autoencoder_.n_latent}"
            )
        decoder = ProductDecoder(self.autoencoder_)
        angles, weights = decoder.angles(self.params_, self.autoencoder_.codes(codes))
        values = self._evaluated(decoder.measured, angles, "decode")
        return self._raw(*decoder.features(values, weights))

    @available_if(_can_be_read)
    def reconstruct(self, X: Any) -> np.ndarray:
        """Rows [S, F] as they come back of their own compressed states: encoder, fresh qubits in the place of the trash, decoder."""
        check_is_fitted(self)
        with in_terms_of(NAMES):
            features = self._rows(X)
            values = self._values(self.autoencoder_.feature_circuit, features, "features")
            found = self.autoencoder_.features(values, features)
        assert found.certainty is not None
        return self._raw(found.reconstructed, found.certainty)

    def score_samples(self, X: Any) -> np.ndarray:
        """Reconstruction fidelity of each row, [S]: how likely the decoded state is found in that of the row."""
        check_is_fitted(self)
        with in_terms_of(NAMES):
            circuit = self.autoencoder_.fidelity_circuit
            return self.autoencoder_.fidelities(self._values(circuit, self._rows(X), "fidelity"))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean reconstruction fidelity of rows; y is of no account."""
        return float(self.score_samples(X).mean())

    def trash_fidelity(self, X: Any) -> np.ndarray:
        """Probability [S] that the other qubits are left in |0...0>: low for rows unlike those trained on."""
        check_is_fitted(self)
        with in_terms_of(NAMES):
            return self._outputs(self._rows(X))[:, 0]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of a code, ``latent_x0`` and so on; `input_features` is of no account."""
        check_is_fitted(self)
        n_latent = self.autoencoder_.n_latent
        return np.array([f"latent_{axis}{qubit}" for axis in _AXES for qubit in range(n_latent)], object)

    def _known_params(self) -> dict[str, Any]:
        params = super()._known_params()
        if self.n_latent is None:
            n_qubits = default_qubits(self.feature_map, self._columns_used(self.n_features_in_))
            wanted: Any = self.n_qubits
            if isinstance(wanted, numbers.Integral):
                n_qubits = int(wanted)
            params["n_latent"] = max(n_qubits // 2, 1)
        return params

    def _fitted_map(self) -> str:
        """The feature map of the fit, whatever the parameter was set to since; before one, the parameter."""
        return self.config_.model.feature_map if hasattr(self, "config_") else self.feature_map

    def _values(self, circuit: StepCircuit, features: np.ndarray, what: str) -> np.ndarray:
        """Expectation values of one of the autoencoder's circuits for features of rows."""
        angles = circuit.angles(self.model_.angles(self.params_, features))
        return self._evaluated(circuit.measured, angles, f"reconstruct/{what}")

    def _evaluated(self, circuit: MeasuredCircuit, angles: Angles, purpose: str) -> np.ndarray:
        keys = noise_keys(self.seed_, purpose, circuit)
        with self._running("rows evaluated") as executor:
            plan = EvaluationPlan(circuit, angles, shots=executor.shots, noise_keys=keys)
            return executor.evaluate(plan).values

    def _raw(self, features: np.ndarray, certainty: np.ndarray) -> np.ndarray:
        is_bits = self._fitted_map() == "basis"
        return self.columns_.inverse(features, certainty, is_angles=not is_bits)

    def _from_plain(self, saved: Saved) -> None:
        super()._from_plain(saved)
        try:
            self.autoencoder_ = Autoencoder(self.model_, self.config_.model)
        except ConfigError as error:
            raise ValueError(str(error)) from error
