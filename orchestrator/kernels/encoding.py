"""A feature map as kernels use it: without the trainable part of a model, forwards or inverted, and as what actors run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cirq
import numpy as np
import sympy

from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.models.angle_map import AngleMap, Angles
from orchestrator.models.feature_maps.base import TrainableFeatureMap, TransformedFeatureMap
from orchestrator.registry import FEATURE_MAPS, import_path, resolve


@dataclass(frozen=True, eq=False)
class EncodingCircuit:
    """A circuit without parameters of its own, and how its angles follow from the data.

    Attributes:
        measured: template and Pauli strings.
        angle_map: inputs -> angles.
    """

    measured: MeasuredCircuit
    angle_map: AngleMap

    def angles(self, inputs: np.ndarray) -> Angles:
        """Gate angles for the values [S, F'] of the circuit's symbols."""
        return self.angle_map.angles(np.empty(0), inputs)


class Encoding:
    """The feature map of a model's configuration.

    Attributes:
        n_qubits: of the map.
        n_features: F, the columns of a sample.

    Raises:
        ConfigError: the map has trainable parameters, so there is no one state to a sample.
    """

    def __init__(self, config: ModelConfig) -> None:
        if config.image_shape is not None:
            problem = "a kernel compares whole samples, not patches of them; leave it out"
            raise ConfigError("model.image_shape", list(config.image_shape), problem, "none")
        self._map = resolve("feature map", config.feature_map)(config)
        if isinstance(self._map, TrainableFeatureMap):
            fixed = [
                n for n, path in FEATURE_MAPS.items() if not hasattr(import_path(path), "params_per_layer")
            ]
            problem = f"has trainable parameters, a kernel needs a fixed map: {', '.join(fixed)}"
            raise ConfigError("model.feature_map", config.feature_map, problem, fixed[0])
        self.n_qubits = config.n_qubits
        self.n_features = int(self._map.n_features)
        self._n_inputs = int(getattr(self._map, "n_inputs", self.n_features))

    def inputs(self, features: np.ndarray) -> np.ndarray:
        """What the symbols stand for, float64 [S, F'], from features [S, F]: themselves, unless the map has a classical step.

        Raises:
            DataError: the feature map cannot encode a row.
        """
        return self._map.transform(features) if isinstance(self._map, TransformedFeatureMap) else features

    def state_circuit(self, paulis: Sequence[str]) -> EncodingCircuit:
        """The map of one sample, measured in `paulis`; takes inputs [S, F']."""
        symbols = self._symbols("x")
        return self._compiled(self._operations(symbols), symbols, paulis)

    def overlap_circuit(self, paulis: Sequence[str]) -> EncodingCircuit:
        """The map of x and then the inverse map of y, measured in `paulis`; takes inputs [S, 2 F'], x before y."""
        x, y = self._symbols("x"), self._symbols("y")
        there, back = self._operations(x), cirq.inverse(self._operations(y))
        return self._compiled([there, back], [*x, *y], paulis)

    def _symbols(self, letter: str) -> list[sympy.Symbol]:
        return [sympy.Symbol(f"{letter}{i}") for i in range(self._n_inputs)]

    def _operations(self, symbols: Sequence[sympy.Symbol]) -> list[cirq.Operation]:
        return list(self._map.operations(cirq.LineQubit.range(self.n_qubits), symbols))

    def _compiled(
        self, operations: Any, symbols: Sequence[sympy.Symbol], paulis: Sequence[str]
    ) -> EncodingCircuit:
        qubits = cirq.LineQubit.range(self.n_qubits)
        template, expressions = template_from_circuit(cirq.Circuit(operations), qubits)
        angle_map = AngleMap.from_expressions(expressions, [], symbols)
        return EncodingCircuit(MeasuredCircuit(template, tuple(paulis)), angle_map)
