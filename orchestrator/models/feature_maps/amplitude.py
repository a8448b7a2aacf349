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


class _Pairs(NamedTuple):
    """One level of the tree.

    Attributes:
        half_angle: float64 [S, N]: that of the pair's own direction, half its rotation.
        length: float64 [S, N], of the pair.
    """

    half_angle: np.ndarray
    length: np.ndarray

    @property
    def direction(self) -> tuple[np.ndarray, np.ndarray]:
        """(cosine, sine) of the half angle; of a pair of zeros (±1, 0)."""
        sine = np.where(self.length > 0, np.sin(self.half_angle), 0.0)
        return np.cos(self.half_angle), sine


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
        return np.concatenate(
            [_mixed(2 * pairs.half_angle) for pairs in reversed(self._tree(features))], axis=1
        )

    def pullback(self, features: np.ndarray, of_inputs: np.ndarray) -> np.ndarray:
        """Derivative by the features [S, 2^n], from that by the RY's angles [S, 2^n - 1]: back along the tree.

        The derivative by the two leaves of a pair is divided by the pair's length as a part of the row's largest entry, and so are rounding
        and shot noise. Where both are zero the pair's angle is 0 whatever comes below it, and the derivative is taken at that angle: right
        for the first of the two, and 0 for the second, whose derivative the angles do not show.

        Raises:
            DataError: as `transform`.
        """
        tree = self._tree(features)
        of_values, end = np.zeros((len(features), 1)), 0
        for pairs in reversed(tree):
            begin, end = end, end + pairs.length.shape[1]
            of_half = 2 * _unmixed(of_inputs[:, begin:end])
            across = of_half / np.where(pairs.length > 0, pairs.length, np.inf)
            cosine, sine = pairs.direction
            of_pairs = [of_values * cosine - across * sine, of_values * sine + across * cosine]
            of_values = np.stack(of_pairs, axis=2).reshape(len(features), -1)
        return of_values / np.abs(features).max(axis=1, keepdims=True)  # the angles feel no common factor

    def _tree(self, features: np.ndarray) -> list[_Pairs]:
        """The amplitudes in pairs, then the lengths of the pairs in pairs, and so on up to the last pair."""
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
            # of signed leaves this is the signed rotation
            levels.append(_Pairs(np.arctan2(right, left), np.hypot(left, right)))
            values = levels[-1].length
        return levels

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
    """From the rotation of each control state j, [S, N], to the angle of each RY i: ``1/N sum_j (-1)**(j . gray(i)) angles[:, j]``."""
    return _hadamard(angles)[:, _gray(angles.shape[1])]


def _unmixed(of_mixed: np.ndarray) -> np.ndarray:
    """The transpose of `_mixed`: from the derivative by the RY's angles, [S, N], to that by the rotations."""
    placed = np.empty_like(of_mixed)
    placed[:, _gray(of_mixed.shape[1])] = of_mixed
    return _hadamard(placed)


def _gray(n: int) -> np.ndarray:
    positions = np.arange(n)
    return positions ^ (positions >> 1)


def _hadamard(angles: np.ndarray) -> np.ndarray:
    """Walsh-Hadamard transform over N, [S, N], by butterflies in a fixed order."""
    n = angles.shape[1]
    values = angles / n
    half = 1
    while half < n:
        blocks = values.reshape(len(values), n // (2 * half), 2, half)
        sums, differences = blocks[:, :, 0] + blocks[:, :, 1], blocks[:, :, 0] - blocks[:, :, 1]
        values = np.stack([sums, differences], axis=2).reshape(angles.shape)
        half *= 2
    return values
