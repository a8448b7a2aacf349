"""From a configuration to a circuit: feature map and ansatz, layer by layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import cirq
import sympy

from orchestrator.config import ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.models.feature_maps.base import TrainableFeatureMap, TransformedFeatureMap
from orchestrator.models.feature_maps.transform import FeatureTransform
from orchestrator.models.layers import layer_of
from orchestrator.models.patches import Patches
from orchestrator.registry import resolve


class Blocks(NamedTuple):
    """What a configuration says of the circuit.

    Attributes:
        circuit: all layers, on LineQubits.
        params: ``p0 ...``, layer by layer; a layer's are those of the feature map, if it has any, and then those of the ansatz.
        inputs: ``x0 ...``, the features or, where there is a `transform`, what it makes of them.
        transform: the classical step of the feature map, if it has one.
        layers: where each layer's parameters begin, and the end of the last.
        places: the qubits that are left after the last layer.
        patches: what part of a sample the circuit sees at a time, if not all of it.
    """

    circuit: cirq.Circuit
    params: list[sympy.Symbol]
    inputs: list[sympy.Symbol]
    transform: FeatureTransform | None
    layers: tuple[int, ...]
    places: tuple[int, ...]
    patches: Patches | None


def blocks_of(config: ModelConfig) -> Blocks:
    """The circuit of `config`, symbolic.

    Raises:
        InputError: a name that does not load, or a number of features that the feature map does not take.
    """
    qubits = cirq.LineQubit.range(config.n_qubits)
    patches = Patches.from_config(config)
    feature_map, transform = _feature_map(config, patches)
    is_trainable = isinstance(feature_map, TrainableFeatureMap)
    n_inputs = feature_map.n_features if transform is None else feature_map.n_inputs
    inputs = [sympy.Symbol(f"x{i}") for i in range(n_inputs)]
    of_map = feature_map.params_per_layer(config.n_qubits) if is_trainable else 0
    params: list[sympy.Symbol] = []
    layers, places = [0], tuple(range(config.n_qubits))
    operations: list[cirq.Operation] = []
    for number in range(config.n_layers if config.layers is None else len(config.layers)):
        layer = layer_of(config, number, places)
        n_params = of_map + layer.n_params(len(places))
        own = [sympy.Symbol(f"p{layers[-1] + i}") for i in range(n_params)]
        if number and (is_trainable or config.reuploading):
            _check_whole(config, number, len(places))
        if is_trainable:
            operations += feature_map.layer(qubits, own[:of_map], inputs)
        elif number == 0 or config.reuploading:
            operations += feature_map.operations(qubits, inputs)
        operations += layer.operations([qubits[place] for place in places], own[of_map:])
        places = tuple(places[i] for i in layer.kept(len(places)))
        params += own
        layers.append(len(params))
    return Blocks(cirq.Circuit(operations), params, inputs, transform, tuple(layers), places, patches)


def _check_whole(config: ModelConfig, number: int, n_left: int) -> None:
    """Features are uploaded again on all qubits, so none may have been pooled away."""
    if n_left < config.n_qubits:
        key, value = ("reuploading", True) if config.reuploading else ("feature_map", config.feature_map)
        problem = f"uploads the features again before layer {number}, where {n_left} of {config.n_qubits} qubits are left"
        raise ConfigError(f"model.{key}", value, problem, "false" if config.reuploading else "angle")


def _feature_map(config: ModelConfig, patches: Patches | None) -> tuple[Any, FeatureTransform | None]:
    """The configured feature map, and its classical step if it has one."""
    if patches is not None and config.n_features is None:
        config = config.model_copy(update={"n_features": patches.size})
    feature_map = resolve("feature map", config.feature_map)(config)
    n_features = feature_map.n_features
    if patches is not None and patches.size != n_features:
        problem = f"holds {patches.size} features, the feature map {config.feature_map} takes {n_features} on {config.n_qubits} qubits"
        raise ConfigError("model.patch_shape", list(patches.shape), problem)
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
