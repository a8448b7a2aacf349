"""What a feature map offers: circuit operations always, a classical step in front or parameters of its own where it has them.

A feature map is a class made with the model's configuration. One entry in `orchestrator.registry.FEATURE_MAPS` makes it known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import cirq
import numpy as np
import sympy


class FeatureMap(Protocol):
    """What a feature map offers; one with parameters of its own has `layer` (`TrainableFeatureMap`) in place of `operations`.

    The class is made with the model's configuration (`ModelConfig`).

    Attributes:
        n_features: F, the columns of a sample that it takes.
    """

    n_features: int

    def operations(
        self, qubits: Sequence[cirq.Qid], features: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        """The block on `qubits`, its angles polynomial in `features`."""
        ...


@runtime_checkable
class TransformedFeatureMap(Protocol):
    """A feature map whose symbols stand for something computed from the features, or that refuses some of them.

    `transform` may depend on the configuration's n_qubits and n_features alone: a stored model knows no more of it.
    """

    n_features: int
    n_inputs: int
    """F', the symbols that `operations` takes."""

    def transform(self, features: np.ndarray) -> np.ndarray:
        """float64 [S, F'] of features [S, F], each row by itself.

        Raises:
            DataError: a row that cannot be encoded, counted from 1.
        """
        ...


@runtime_checkable
class DifferentiableTransform(TransformedFeatureMap, Protocol):
    """A feature map whose classical step can be differentiated, for gradients by the features themselves."""

    def pullback(self, features: np.ndarray, of_inputs: np.ndarray) -> np.ndarray:
        """Float64 [S, F]: the derivative by `features` [S, F] of a scalar whose derivative by ``transform(features)`` is [S, F']."""
        ...


@runtime_checkable
class TrainableFeatureMap(Protocol):
    """A feature map with parameters of its own. It stands before every layer of the ansatz, whatever ``model.reuploading`` says."""

    n_features: int

    def params_per_layer(self, n_qubits: int) -> int:
        """Parameters of one layer."""
        ...

    def layer(
        self, qubits: Sequence[cirq.Qid], params: Sequence[sympy.Symbol], features: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        """The block of one layer, its angles linear in `params` and polynomial in `features`."""
        ...
