"""From a configuration to a circuit: feature map and ansatz, layer by layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import cirq
import sympy

from orchestrator.config import ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.models.ansatze import PairingAnsatz
from orchestrator.models.entanglement import pairs_of
from orchestrator.models.feature_maps.base import TrainableFeatureMap, TransformedFeatureMap
from orchestrator.models.feature_maps.transform import FeatureTransform
from orchestrator.registry import resolve


class Blocks(NamedTuple):
    """What a configuration says of the circuit.

    Attributes:
        circuit: all layers, on LineQubits.
        params: ``p0 ...``, layer by layer; a layer's are those of the feature map, if it has any, and then those of the ansatz.
        inputs: ``x0 ...``, the features or, where there is a `transform`, what it makes of them.
        transform: the classical step of the feature map, if it has one.
        layers: where each layer's parameters begin, and the end of the last.
    """

    circuit: cirq.Circuit
    params: list[sympy.Symbol]
    inputs: list[sympy.Symbol]
    transform: FeatureTransform | None
    layers: tuple[int, ...]


def blocks_of(config: ModelConfig) -> Blocks:
    """The circuit of `config`, symbolic.

    Raises:
        InputError: a name that does not load, or a number of features that the feature map does not take.
    """
    n_qubits = config.n_qubits
    qubits = cirq.LineQubit.range(n_qubits)
    feature_map, transform = _feature_map(config)
    ansatz = resolve("ansatz", config.ansatz)()
    configured = pairs_of(config)
    is_trainable = isinstance(feature_map, TrainableFeatureMap)
    n_inputs = feature_map.n_features if transform is None else feature_map.n_inputs
    inputs = [sympy.Symbol(f"x{i}") for i in range(n_inputs)]
    of_map = feature_map.params_per_layer(n_qubits) if is_trainable else 0
    per_layer = of_map + ansatz.params_per_layer(n_qubits)
    params = [sympy.Symbol(f"p{i}") for i in range(per_layer * config.n_layers)]
    operations: list[cirq.Operation] = []
    for layer in range(config.n_layers):
        of_layer = params[layer * per_layer : (layer + 1) * per_layer]
        if is_trainable:
            operations += feature_map.layer(qubits, of_layer[:of_map], inputs)
        elif layer == 0 or config.reuploading:
            operations += feature_map.operations(qubits, inputs)
        pairs = ansatz.pairs(n_qubits, layer) if isinstance(ansatz, PairingAnsatz) else configured
        operations += ansatz.layer(qubits, of_layer[of_map:], pairs)
    layers = tuple(layer * per_layer for layer in range(config.n_layers + 1))
    return Blocks(cirq.Circuit(operations), params, inputs, transform, layers)


def _feature_map(config: ModelConfig) -> tuple[Any, FeatureTransform | None]:
    """The configured feature map, and its classical step if it has one."""
    feature_map = resolve("feature map", config.feature_map)(config)
    n_features = feature_map.n_features
    if config.n_features not in (None, n_features):
        raise ConfigError(
            "model.n_features",
            config.n_features,
            f"the feature map {config.feature_map} takes {n_features} features on {config.n_qubits} qubits",
            str(n_features),
        )
    if not isinstance(feature_map, TransformedFeatureMap):
        if hasattr(feature_map, "transform"):
            problem = "has transform, and so needs n_inputs, the number of columns that it gives"
            raise ConfigError("model.feature_map", config.feature_map, problem)
        return feature_map, None
    return feature_map, FeatureTransform(config.feature_map, config.n_qubits, n_features)
