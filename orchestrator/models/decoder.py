"""ProductDecoder: features from a latent code alone, without the state that it was measured of.

The code of a sample is <X>, <Y> and <Z> of each latent qubit (`Autoencoder.code_circuit`). Of all states with these expectation values the
one of greatest entropy is a product of one-qubit states (Jaynes, Phys. Rev. 108, 171 (1957)), and that is decoded: what the latent
qubits shared is not in the code, and is lost. With one latent qubit nothing is.
"""

from __future__ import annotations

from functools import cached_property

import cirq
import numpy as np
import sympy

from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import ANGLE_PREFIX
from orchestrator.errors import ConfigError
from orchestrator.models.angle_map import AngleMap, Angles
from orchestrator.models.autoencoder import Autoencoder

_POLAR, _AZIMUTH = "t", "f"


class ProductDecoder:
    """The circuits that decode latent codes, and what their expectation values mean. Nothing is run here.

    A one-qubit state with Bloch vector r is a mixture of the pure states along r and -r; a code of k qubits is so a mixture of 2**k pure
    product states, each of them a circuit: one rotation about y and one about z on each latent qubit, then the decoder.

    Args:
        autoencoder: whose encoder is undone.

    Raises:
        ConfigError: features cannot be read of its feature map's states, sign and all.
    """

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.autoencoder = autoencoder
        self.n_latent = autoencoder.n_latent
        if autoencoder.feature_map not in ("angle", "basis"):
            problem = "does not let features be read of a state, with their signs and size: reconstruct rows instead"
            raise ConfigError("model.feature_map", autoencoder.feature_map, problem, "angle")

    @property
    def measured(self) -> MeasuredCircuit:
        """What actors compile and run."""
        return self._circuit[0]

    def angles(self, params: np.ndarray, codes: np.ndarray) -> tuple[Angles, np.ndarray]:
        """Gate angles of S 2**k circuits, those of a sample side by side, and their weights [S, 2**k].

        Args:
            params: of the model, [P].
            codes: [S, 3, k], X, Y and Z of each latent qubit; a vector longer than 1, which shots may give, is cut.
        """
        model = self.autoencoder.model
        lengths = np.sqrt(np.sum(codes**2, axis=1))
        x, y, z = np.moveaxis(codes, 1, 0)
        polar, azimuth = np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)
        against = (np.arange(2**self.n_latent)[:, None] >> np.arange(self.n_latent)) & 1 == 1
        lengths, polar, azimuth = np.minimum(lengths, 1)[:, None], polar[:, None], azimuth[:, None]
        shares = np.where(against, 1 - lengths, 1 + lengths) / 2
        turned = np.where(against, np.pi - polar, polar), np.where(against, azimuth + np.pi, azimuth)
        features = np.concatenate([each.reshape(-1, self.n_latent) for each in turned], axis=1)
        of_gates = model.angles(params, np.zeros((0, model.n_features))).shared
        return self._circuit[1].angles(of_gates, features), np.prod(shares, axis=2)

    def features(self, values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features [S, F] and their certainties [S, F] (see `Autoencoder.features`).

        Args:
            values: [S 2**k, M], of the circuits. weights: [S, 2**k], theirs.
        """
        mixed = np.einsum("sw,swm->sm", weights, values.reshape(*weights.shape, -1))
        found = self.autoencoder.features(mixed, np.zeros((len(mixed), self.autoencoder.model.n_features)))
        assert found.certainty is not None
        return found.reconstructed, found.certainty

    @cached_property
    def _circuit(self) -> tuple[MeasuredCircuit, AngleMap]:
        auto = self.autoencoder
        qubits = cirq.LineQubit.range(auto.n_qubits)
        given = [sympy.Symbol(f"{letter}{q}") for letter in (_POLAR, _AZIMUTH) for q in range(self.n_latent)]
        prepared = [
            rotation(symbol)(qubits[number % self.n_latent])
            for number, symbol in enumerate(given)
            for rotation in [cirq.ry if number < self.n_latent else cirq.rz]
        ]
        there = auto.model.template.circuit().all_operations()
        encoder = [op for op, first in zip(there, auto.encoding_gates, strict=True) if not first]
        circuit = cirq.Circuit(cirq.I.on_each(*qubits), prepared, cirq.inverse(encoder))
        template, expressions = template_from_circuit(circuit, qubits)
        of_model = [sympy.Symbol(f"{ANGLE_PREFIX}{k}") for k in range(auto.model.template.n_angles)]
        angle_map = AngleMap.from_expressions(expressions, of_model, given)
        return MeasuredCircuit(template, auto.feature_strings), angle_map
