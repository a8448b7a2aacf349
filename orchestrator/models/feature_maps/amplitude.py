"""Amplitude encoding: 2^n features are the amplitudes of n qubits, prepared by RY and CNOT gates that hardware can run.

Möttönen et al., quant-ph/0407010: going down a binary tree over the amplitudes, qubit k is rotated by an angle that depends on
the qubits before it. Such a uniformly controlled rotation of k qubits is 2^k RY with a CNOT after each, the angles mixed along a
Gray code. The angles are not polynomial in the features, so `transform` computes them classically.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cirq
import numpy as np
import sympy

from orchestrator.config import ModelConfig
from orchestrator.errors import ConfigError, DataError
from orchestrator.models.feature_maps.transform import check_n_features

MAX_QUBITS = 10
"""The gates double with each qubit: 2,045 at ten."""


class GateCount(NamedTuple):
    """Gates of a state preparation."""

    rotations: int
    cnots: int


class AmplitudeFeatureMap:
    """Features x prepare ``sum_k x_k / |x| |k>``, signs included, qubit 0 being the most significant bit of k.

    Raises:
        ConfigError: more than `MAX_QUBITS` qubits.
    """

    def __init__(self, config: ModelConfig) -> None:
        if config.n_qubits > MAX_QUBITS:
            raise ConfigError(
                "model.n_qubits",
                config.n_qubits,
                f"amplitude encoding takes 2**n features and about twice as many gates, so at most {MAX_QUBITS} qubits",
                str(MAX_QUBITS),
            )
        self.n_features = 2**config.n_qubits
        self.n_inputs = self.n_features - 1

    @property
    def gate_count(self) -> GateCount:
        """What one preparation takes: 2^n - 1 RY and 2^n - 2 CNOT."""
        return GateCount(self.n_features - 1, self.n_features - 2)

    def transform(self, features: np.ndarray) -> np.ndarray:
        """The angle of every RY, float64 [S, 2^n - 1], of features [S, 2^n]; the length of a row does not matter.

        Raises:
            DataError: not 2^n features, a row of zeros, or one that is not finite.
        """
        check_n_features("amplitude", features, self.n_features)
        largest = np.abs(features).max(axis=1, keepdims=True)
        unusable = np.flatnonzero((largest == 0) | ~np.isfinite(largest))
        if len(unusable):
            what = "zero and so no state" if largest[unusable[0]] == 0 else "not finite"
            raise DataError(
                f"row {unusable[0] + 1}: the vector of {self.n_features} features is {what}; leave the row out"
            )
        values = features / largest  # so that no square overflows
        levels = []
        while values.shape[1] > 1:
            left, right = values[:, 0::2], values[:, 1::2]
            levels.append(2 * np.arctan2(right, left))  # of signed leaves this is the signed rotation
            values = np.hypot(left, right)
        return np.concatenate([_mixed(level) for level in reversed(levels)], axis=1)

    def operations(
        self, qubits: Sequence[cirq.Qid], features: Sequence[sympy.Symbol]
    ) -> Iterator[cirq.Operation]:
        """One uniformly controlled RY per qubit, controlled by all qubits before it; `features` are what `transform` gives."""
        angles = iter(features)
        for level, target in enumerate(qubits):
            for step in range(1, 2**level + 1):
                yield cirq.ry(next(angles))(target)
                if level:
                    flipped = min(
                        (step & -step).bit_length(), level
                    )  # which bit the Gray code changes, from 1
                    yield cirq.CNOT(qubits[level - flipped], target)


def _mixed(angles: np.ndarray) -> np.ndarray:
    """From the rotation of each control state j, [S, N], to the angle of each RY i: ``1/N sum_j (-1)**(j . gray(i)) angles[:, j]``.

    A Walsh-Hadamard transform, by butterflies in a fixed order, read along the Gray code.
    """
    n = angles.shape[1]
    values = angles / n
    half = 1
    while half < n:
        blocks = values.reshape(len(values), n // (2 * half), 2, half)
        sums, differences = blocks[:, :, 0] + blocks[:, :, 1], blocks[:, :, 0] - blocks[:, :, 1]
        values = np.stack([sums, differences], axis=2).reshape(angles.shape)
        half *= 2
    positions = np.arange(n)
    return values[:, positions ^ (positions >> 1)]
