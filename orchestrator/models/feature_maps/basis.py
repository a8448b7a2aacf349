"""Basis encoding: features that are bits choose a basis state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cirq
import numpy as np
import sympy

from orchestrator.config import ModelConfig
from orchestrator.errors import DataError
from orchestrator.models.feature_maps.transform import check_n_features


class BasisFeatureMap:
    """Features x in {0, 1}, one per qubit, prepare |x_0 x_1 ...> up to a phase."""

    def __init__(self, config: ModelConfig) -> None:
        self.n_features = self.n_inputs = config.n_qubits

    def transform(self, features: np.ndarray) -> np.ndarray:
        """The features [S, F] as they are.

        Raises:
            DataError: one is neither 0 nor 1.
        """
        check_n_features("basis", features, self.n_features)
        wrong = np.argwhere((features != 0) & (features != 1))
        if len(wrong):
            row, column = wrong[0]
            value = float(features[row, column])
            raise DataError(
                f"row {row + 1}, feature {column + 1}: {value:g} is neither 0 nor 1, which basis encoding needs; the nearest is "
                f"{int(value >= 0.5)} (data.standardize = false leaves bits as they are)"
            )
        return features

    def operations(
        self, qubits: Sequence[cirq.Qid], features: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        """RX(π x) on every qubit: nothing, or X but for a phase."""
        for qubit, feature in zip(qubits, features, strict=True):
            yield cirq.rx(sympy.pi * feature)(qubit)
