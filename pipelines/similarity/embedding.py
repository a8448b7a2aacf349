"""Embedding of a trained model: three named blocks, each a vector of unit length.

* **architecture**: counts of qubits, moments, parameters, moved, fixed and two-qubit gates; how the gates are shared among their
  kinds; the names of ansatz, feature map, entanglement, observables and head.
* **data**: counts of samples, columns, features and classes; how the samples are shared among the classes; the spectrum, how variance
  is shared among directions; the names of source and task.
* **behaviour**: what the model says of fixed probes, see `pipelines.similarity.probe`.

The similarity of two blocks is the cosine of their angle; that of two models the weighted mean over the blocks, which is the cosine of
the angle between the blocks put together, each times the root of its weight.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.config import ModelConfig
from orchestrator.errors import InputError, nearest
from orchestrator.models.model import Model
from pipelines.similarity import parts

VERSION = 1
"""Of how embeddings are made; kept ones of another are made anew."""
BLOCKS = ("architecture", "data", "behaviour")
N_DIRECTIONS = 16


@dataclass(frozen=True, eq=False)
class Embedding:
    """Three blocks.

    Attributes:
        architecture, data: float64, of unit length.
        behaviour: float64 [N C], of unit length; empty where there is none.
        kind: which behaviours can be compared: number of features, and classes or number of outputs; why there is none, where so.
    """

    architecture: np.ndarray
    data: np.ndarray
    behaviour: np.ndarray
    kind: str

    def similarities(self, other: Embedding) -> dict[str, float | None]:
        """By block, in [-1, 1]; None where behaviours cannot be compared."""
        comparable = (
            len(self.behaviour) and self.kind == other.kind and len(self.behaviour) == len(other.behaviour)
        )
        return {
            "architecture": parts.cosine(self.architecture, other.architecture),
            "data": parts.cosine(self.data, other.data),
            "behaviour": parts.cosine(self.behaviour, other.behaviour) if comparable else None,
        }


def overall(similarities: Mapping[str, float | None], weights: Mapping[str, float]) -> float:
    """The weighted mean; what cannot be compared counts 0, as vectors without a direction in common do."""
    return sum(weights[block] * (similarities[block] or 0.0) for block in BLOCKS) / sum(weights.values())


def block_weights(text: str) -> dict[str, float]:
    """Weight by block, of ``architecture=1,data=0.5``; a block that is not named has 0.

    Raises:
        InputError: an unknown block, a negative weight, or none that is positive.
    """
    weights = dict.fromkeys(BLOCKS, 0.0)
    for each in text.split(","):
        block, _, value = each.strip().partition("=")
        if block not in BLOCKS:
            raise InputError(
                f"--weights {each}: blocks are {', '.join(BLOCKS)}; nearest valid: {nearest(block, BLOCKS) or BLOCKS[0]}=1"
            )
        try:
            weights[block] = float(value)
        except ValueError:
            raise InputError(f"--weights {each}: a number is wanted; nearest valid: {block}=1") from None
        if not 0 <= weights[block] < float("inf"):
            raise InputError(
                f"--weights {each}: a finite number of at least 0 is wanted; nearest valid: {block}=0"
            )
    if not any(weights.values()):
        raise InputError(f"--weights {text}: all are 0; nearest valid: architecture=1,data=1,behaviour=1")
    return weights


def architecture(model: Model, config: ModelConfig) -> np.ndarray:
    """The block of a model and of what it was made from."""
    gates = model.template.gates
    given = "given" if config.circuit is not None else None
    layers = None if config.layers is None else ",".join(map(str, config.layers))
    chosen = {
        "ansatz": given or layers or config.ansatz,
        "feature map": given or config.feature_map,
        "entanglement": given or json.dumps(config.entanglement),
        "observables": json.dumps(config.observables),
        "head": model.head_name,
    }
    counts = (
        model.template.n_qubits,
        _depth(model),
        model.n_params,
        sum(gate.angle is not None for gate in gates),
        sum(gate.angle is None for gate in gates),
        sum(len(gate.qubits) > 1 for gate in gates),
    )
    mix = Counter(f"{gate.name}/{len(gate.qubits)}" for gate in gates)
    names = [parts.name(f"{key}={value}") for key, value in chosen.items()]
    return parts.joined([*(parts.size(count) for count in counts), parts.counted(mix), *names])


def data_set(about: Mapping[str, Any], spectrum: np.ndarray | None) -> np.ndarray:
    """The block of a data set.

    Args:
        about: what `pipelines.data.datasets.dataset_summary` says.
        spectrum: float64, variance by direction, the largest first; None where nobody knows it, which makes it like no other.
    """
    classes = about.get("class_counts", {}).get("train", {})
    counts = (about["n_rows"]["train"], about["n_raw_features"], about["n_features"], len(classes))
    balance = parts.shares(sorted(classes.values(), reverse=True))
    directions = parts.shares([] if spectrum is None else np.sort(spectrum)[::-1], N_DIRECTIONS)
    names = [parts.name(f"source={about['source']}"), parts.name(f"task={about['task']}")]
    return parts.joined([*(parts.size(count) for count in counts), balance, directions, *names])


def _depth(model: Model) -> int:
    """Moments, each gate as early as can be."""
    busy = np.zeros(model.template.n_qubits, np.int64)
    for gate in model.template.gates:
        qubits = list(gate.qubits)
        busy[qubits] = busy[qubits].max() + 1
    return int(busy.max())
