"""The quantum autoencoder: how well a trained encoder's latent qubits give a sample's state back, and what they hold.

Romero, Olson and Aspuru-Guzik, arXiv 1612.02806. A feature map S(x) prepares the state of a sample on n qubits, the trained encoder U
leaves as much of it as it can on the first k, the *latent* qubits, and the other t = n - k, the *trash*, near |0...0>. Decoding puts
fresh |0> in the place of the trash and applies the inverse of U. Fresh qubits are further wires here, n to n + t - 1, so nothing has to be
reset: the decoder acts on the latent qubits and on them, and the trash is left alone, which traces it out.

Per sample the trash fidelity F_t bounds the reconstruction fidelity F_r: ``F_t**2 <= F_r <= F_t``. With ``U S(x)|0> = sum_j |f_j>|j>``
over the trash's basis states j, ``F_t = <f_0|f_0>`` and ``F_r = sum_j |<f_0|f_j>|**2``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import cirq
import numpy as np
import sympy

from orchestrator.circuits.derived import derived
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate, Gate
from orchestrator.circuits.zero_outcome import (
    MAX_QUBITS,
    outcome_probabilities,
    zero_probability,
    zero_strings,
)
from orchestrator.config import ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.models.angle_map import Angles
from orchestrator.models.feature_maps.base import TrainableFeatureMap
from orchestrator.models.model import Model
from orchestrator.models.subspace import dense_states
from orchestrator.registry import FEATURE_MAPS, resolve

_BASES = "XYZ"
_READ_FROM = {"x": (("Y", -1.0), ("Z", 1.0)), "y": (("X", 1.0), ("Z", 1.0)), "z": (("Y", 1.0), ("X", 1.0))}
"""Angle encoding about an axis: the Pauli matrices, with their signs, whose expectation values are r sin x and r cos x."""


class StepCircuit(NamedTuple):
    """A circuit made of a model's gates, measured.

    Attributes:
        measured: template and Pauli strings.
        source: int64 [K'], which of the model's angles each of its own is; sign: float64 [K'], what that is multiplied by.
    """

    measured: MeasuredCircuit
    source: np.ndarray
    sign: np.ndarray

    def angles(self, of_model: Angles) -> Angles:
        """The angles of S circuits from those of the model's."""
        column = np.full(len(of_model.shared), -1)
        column[of_model.columns] = np.arange(len(of_model.columns))
        own = np.flatnonzero(column[self.source] >= 0)
        data = of_model.data[:, column[self.source[own]]] * self.sign[own]
        return Angles(of_model.shared[self.source] * self.sign, own, data)


@dataclass(frozen=True)
class ReconstructedFeatures:
    """Features read from decoded states.

    Attributes:
        original, reconstructed: float64 [S, F] in the same unit, `unit` in words.
        certainty: float64 [S, F] within 0 and 1, how much the state says of each: with 0 it says nothing. None where that is no question.
    """

    original: np.ndarray
    reconstructed: np.ndarray
    certainty: np.ndarray | None
    unit: str


def check_autoencoder(config: ModelConfig) -> None:
    """Refuse a configuration that names more trash than can be measured, or a feature map that does not stand for one state a sample.

    Args:
        config: with `latent_qubits`.

    Raises:
        ConfigError: naming the nearest valid choice.
    """
    assert config.latent_qubits is not None
    n_trash = config.n_qubits - config.latent_qubits
    if n_trash > MAX_QUBITS:
        problem = f"leaves {n_trash} trash qubits; the projector on |0...0> is measured on up to {MAX_QUBITS}"
        raise ConfigError(
            "model.latent_qubits", config.latent_qubits, problem, str(config.n_qubits - MAX_QUBITS)
        )
    if isinstance(resolve("feature map", config.feature_map)(config), TrainableFeatureMap):
        fixed = [name for name in FEATURE_MAPS if not _is_trainable(name)]
        problem = f"has trainable parameters, an autoencoder compresses fixed states: {', '.join(fixed)}"
        raise ConfigError("model.feature_map", config.feature_map, problem, fixed[0])


def _is_trainable(name: str) -> bool:
    return hasattr(resolve("feature map", name), "params_per_layer")


class Autoencoder:
    """The circuits that a trained autoencoder is examined with, and what their expectation values mean.

    Nothing is run here: evaluate a circuit's `measured` at `angles`, and hand the values to the method of the same kind.

    Args:
        model: made from `config`, as trained or as loaded from a run.
        config: with `latent_qubits`.

    Raises:
        ConfigError: `config` is no autoencoder, or not what the model was made from.
    """

    def __init__(self, model: Model, config: ModelConfig) -> None:
        if config.latent_qubits is None:
            raise ConfigError("model.latent_qubits", None, "the model is no autoencoder")
        check_autoencoder(config)
        self.model = model
        self.n_qubits = config.n_qubits
        self.n_latent = config.latent_qubits
        self.n_trash = config.n_qubits - config.latent_qubits
        self._config = config
        self._is_encoding = _encoding_gates(model, config)

    @property
    def feature_map(self) -> str:
        """Name of the feature map."""
        return self._config.feature_map

    @property
    def encoding_gates(self) -> tuple[bool, ...]:
        """Of every gate of the model, whether it belongs to the feature map; the others are the encoder."""
        return tuple(self._is_encoding)

    @property
    def has_features(self) -> bool:
        """Whether the feature map lets features be read from a state."""
        return self._config.feature_map in ("angle", "amplitude", "basis")

    # --- Circuits ------------------------------

    @cached_property
    def fidelity_circuit(self) -> StepCircuit:
        """Encoding, encoder, decoder on the latent and fresh qubits, inverse encoding; measured for |0...0> of these n qubits.

        Raises:
            ConfigError: more qubits than `zero_outcome.MAX_QUBITS`, whose outcome is not read.
        """
        self._check_readable()
        return self._decoded([True] * len(self._is_encoding), zero_strings(self.n_qubits))

    @cached_property
    def feature_circuit(self) -> StepCircuit:
        """Encoding, encoder, decoder; measured in what the features are read from."""
        return self._decoded([not first for first in self._is_encoding], self.feature_strings)

    @property
    def feature_strings(self) -> tuple[str, ...]:
        """Pauli strings on n qubits that the features are read from."""
        n, name = self.n_qubits, self.feature_map
        if name == "amplitude":
            self._check_readable()
            return zero_strings(n)
        letters = [letter for letter, _ in self._angle_letters] if name == "angle" else ["Z"]
        return tuple(_on(n, {q: letter}) for letter in letters for q in range(n))

    @cached_property
    def code_circuit(self) -> StepCircuit:
        """Encoding and encoder, measured in X, Y and Z of each latent qubit."""
        template = self.model.template
        strings = tuple(_on(self.n_qubits, {q: letter}) for letter in _BASES for q in range(self.n_latent))
        every = np.arange(template.n_angles)
        return StepCircuit(MeasuredCircuit(template, strings), every, np.ones(len(every)))

    def _decoded(self, undone: Sequence[bool], strings: Sequence[str]) -> StepCircuit:
        """The model's circuit, then the inverse of those of its gates that are `undone`, measured on latent and fresh qubits."""
        wires = [*range(self.n_latent), *range(self.n_qubits, self.n_qubits + self.n_trash)]
        there = list(self.model.template.circuit().all_operations())
        line = cirq.LineQubit.range(self.n_qubits + self.n_trash)
        moved: dict[cirq.Qid, cirq.Qid] = {line[q]: line[wire] for q, wire in enumerate(wires)}
        back = [
            cirq.inverse(op).transform_qubits(moved)
            for op, is_undone in zip(reversed(there), reversed(undone), strict=True)
            if is_undone
        ]
        found = derived(cirq.Circuit(there, back), self.model.template, len(line))
        placed = tuple(_on(len(line), dict(zip(wires, string, strict=True))) for string in strings)
        return StepCircuit(MeasuredCircuit(found.template, placed), found.source, found.sign)

    def _check_readable(self) -> None:
        if self.n_qubits > MAX_QUBITS:
            problem = (
                f"a reconstruction is measured in all 2**n strings of I and Z, up to {MAX_QUBITS} qubits"
            )
            raise ConfigError("model.n_qubits", self.n_qubits, problem, str(MAX_QUBITS))

    # --- What their values mean ------------------------------

    def fidelities(self, values: np.ndarray) -> np.ndarray:
        """Reconstruction fidelities [S] from the values [S, 2**n - 1] of `fidelity_circuit`."""
        return np.clip(zero_probability(values, self.n_qubits), 0.0, 1.0)

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Latent codes [S, 3, k]: X, Y, Z of each latent qubit, from the values of `code_circuit`."""
        return values.reshape(len(values), len(_BASES), self.n_latent)

    def features(self, values: np.ndarray, features: np.ndarray) -> ReconstructedFeatures:
        """Reconstructed beside original features, from the values of `feature_circuit` for features [S, F].

        ``angle``: the angle of each qubit's Bloch vector in the plane that the encoding turns in, within (-π, π]; what it says of a
        feature is known up to whole turns. Certainty is the length of that projection. ``amplitude``: the sizes of the amplitudes, whose
        signs no single measurement setting shows; certainty is no question. ``basis``: the likelier bit of each qubit; certainty is
        how far from a coin toss it is.
        """
        if self._config.feature_map == "amplitude":
            length = np.sqrt(np.sum(features**2, axis=1, keepdims=True))
            sizes = np.sqrt(np.maximum(outcome_probabilities(values, self.n_qubits), 0.0))
            return ReconstructedFeatures(np.abs(features) / length, sizes, None, "size of the amplitude")
        if self._config.feature_map == "basis":
            bits = (values < 0).astype(np.float64)
            return ReconstructedFeatures(features, bits, np.abs(values), "bit")
        of_sine, of_cosine = values[:, : self.n_qubits], values[:, self.n_qubits :]
        (_, sine_sign), (_, cosine_sign) = self._angle_letters
        sine, cosine = sine_sign * of_sine, cosine_sign * of_cosine
        certainty = np.minimum(np.hypot(sine, cosine), 1.0)
        return ReconstructedFeatures(features, np.arctan2(sine, cosine), certainty, "radians")

    def states(self, table: np.ndarray) -> np.ndarray:
        """Encoded states, complex128 [S, 2**n], from the model's whole angle vectors [S, K]; dense, in this process."""
        gates = zip(self.model.template.gates, self._is_encoding, strict=True)
        return dense_states([gate for gate, first in gates if first], self.n_qubits, table)

    @property
    def _angle_letters(self) -> tuple[tuple[str, float], tuple[str, float]]:
        return _READ_FROM[self._config.feature_axis]


def _encoding_gates(model: Model, config: ModelConfig) -> list[bool]:
    """Of every gate of the model, whether it belongs to the feature map.

    On every qubit the map's gates come first, and their order on a qubit is kept however gates of different qubits are packed; so the
    first gates of each qubit are told apart by counting.

    Raises:
        ConfigError: the model's circuit does not begin with the map, or features enter behind it.
    """
    feature_map = resolve("feature map", config.feature_map)(config)
    inputs = [sympy.Symbol(f"x{i}") for i in range(getattr(feature_map, "n_inputs", feature_map.n_features))]
    qubits = cirq.LineQubit.range(config.n_qubits)
    encoding, _ = template_from_circuit(cirq.Circuit(feature_map.operations(qubits, inputs)), qubits)
    left = _by_qubit(encoding)
    found = []
    for gate in model.template.gates:
        waiting = [left[q] for q in gate.qubits]
        is_next = all(each and each[0] == _said(gate) for each in waiting)
        for each in waiting if is_next else ():
            each.pop(0)
        found.append(is_next)
    owner = {gate.angle: first for gate, first in zip(model.template.gates, found, strict=True)}
    if any(left.values()) or not all(owner[k] for k in model.angle_map.data_columns):
        problem = "the circuit is not this feature map followed by an encoder without features"
        raise ConfigError("model.feature_map", config.feature_map, problem)
    return found


def _by_qubit(template: CircuitTemplate) -> dict[int, list[Any]]:
    """The gates on each qubit, in order; placeholders of idle qubits left out."""
    return {
        q: [_said(gate) for gate in template.gates if q in gate.qubits and gate.name != "Identity"]
        for q in range(template.n_qubits)
    }


def _said(gate: Gate) -> tuple[str, tuple[int, ...]]:
    return gate.name, gate.qubits


def _on(n_qubits: int, letters: dict[int, str]) -> str:
    """The Pauli string with these letters, I on all other qubits."""
    return "".join(letters.get(q, "I") for q in range(n_qubits))
