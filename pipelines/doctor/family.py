"""The configured model at other numbers of qubits and layers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.config import ModelConfig
from orchestrator.errors import DataError
from orchestrator.models.model import Model
from orchestrator.registry import resolve


class Member(NamedTuple):
    """A model of the family.

    Attributes:
        n_qubits, n_layers: its size; layers are 0 where they are not known, in a circuit of the user's own.
        features: float64 [S, F], training rows cut to the columns that it takes.
    """

    n_qubits: int
    n_layers: int
    model: Model
    features: np.ndarray


def resized(config: ModelConfig, features: np.ndarray, n_qubits: int, n_layers: int) -> Member:
    """What `config` describes at another size: the same blocks and observables, no parameter frozen.

    The head and the number of outputs do not matter to the circuit's derivatives, so a linear head stands in: it takes any number of
    observables.

    Args:
        features: float64 [S, F] of the configured size; a smaller model takes the first of the columns.

    Raises:
        InputError: observables, entanglement or features that this size does not have.
    """
    values = config.model_dump() | {
        "n_qubits": n_qubits,
        "n_layers": n_layers,
        "frozen": (),
        "head": "linear",
        "n_features": _fixed_features(config),
    }
    model = Model.from_config(ModelConfig(**values))
    if model.n_features > features.shape[1]:
        raise DataError(
            f"{n_qubits} qubits take {model.n_features} features, the data have {features.shape[1]}"
        )
    cut = features[:, : model.n_features]
    model.inputs(cut[:1])
    return Member(n_qubits, n_layers, model, cut)


def _fixed_features(config: ModelConfig) -> int | None:
    """Features that stay the same at any size; None where they follow from the number of qubits."""
    free = config.model_copy(update={"n_features": None})
    own = int(resolve("feature map", config.feature_map)(free).n_features)
    return None if config.n_features in (None, own) else config.n_features
