"""From the expectation values of Pauli words to what a tape measures, and back for derivatives.

Each measurement is one reading: a weighted sum (expval), a difference of two of them (var), or the probabilities of all outcomes of some
wires, which are a Walsh-Hadamard transform of the values of their Z strings. Sums run in a fixed order, without BLAS.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Protocol

import numpy as np
from pennylane.measurements import ExpectationMP, MeasurementProcess, ProbabilityMP, VarianceMP
from pennylane.pauli import PauliWord

from orchestrator.circuits.zero_outcome import outcome_probabilities
from pipelines.frontends.pennylane.errors import QfleetDeviceError
from pipelines.frontends.pennylane.observables import diagonal, real_words, square_of, words_of

Words = Mapping[PauliWord, float]
"""Real combinations of Pauli words."""
_ROUNDING = 1e-12
"""A probability below zero by no more is zero: it is put together from up to 1,024 values rounded to 1e-16."""


class Reading(Protocol):
    """One measurement of a tape; S rows (samples), M words, K angles."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its result for one row."""
        ...

    @property
    def key(self) -> Hashable:
        """Equal for readings that read the same."""
        ...

    def result(self, values: np.ndarray) -> np.ndarray:
        """[S, *shape] from the words' values [S, M]."""
        ...

    def jacobian(self, values: np.ndarray, of_words: np.ndarray) -> np.ndarray:
        """[S, *shape, K] from the words' derivatives [S, M, K]."""
        ...

    def pull(self, values: np.ndarray, cotangents: np.ndarray, onto: np.ndarray) -> None:
        """Add to `onto` [S, M] what cotangents [S, *shape] of the result are of the words' values."""
        ...


@dataclass(frozen=True, eq=False)
class Expectation:
    """``offset + sum_i coefficients[i] * values[:, positions[i]]``."""

    positions: np.ndarray
    coefficients: np.ndarray
    offset: float
    shape: tuple[int, ...] = ()

    @property
    def key(self) -> Hashable:
        """See `Reading`."""
        return self.positions.tobytes(), self.coefficients.tobytes(), self.offset

    def result(self, values: np.ndarray) -> np.ndarray:
        """See `Reading`."""
        return np.sum(np.take(values, self.positions, axis=1) * self.coefficients, axis=1) + self.offset

    def jacobian(self, values: np.ndarray, of_words: np.ndarray) -> np.ndarray:
        """See `Reading`."""
        return np.sum(np.take(of_words, self.positions, axis=1) * self.coefficients[:, None], axis=1)

    def pull(self, values: np.ndarray, cotangents: np.ndarray, onto: np.ndarray) -> None:
        """See `Reading`."""
        onto[:, self.positions] += cotangents[:, None] * self.coefficients


@dataclass(frozen=True, eq=False)
class Variance:
    """``<O**2> - <O>**2``."""

    mean: Expectation
    square: Expectation
    shape: tuple[int, ...] = ()

    @property
    def key(self) -> Hashable:
        """See `Reading`."""
        return self.mean.key, self.square.key

    def result(self, values: np.ndarray) -> np.ndarray:
        """See `Reading`."""
        return self.square.result(values) - self.mean.result(values) ** 2

    def jacobian(self, values: np.ndarray, of_words: np.ndarray) -> np.ndarray:
        """See `Reading`."""
        twice = 2 * self.mean.result(values)[:, None]
        return self.square.jacobian(values, of_words) - twice * self.mean.jacobian(values, of_words)

    def pull(self, values: np.ndarray, cotangents: np.ndarray, onto: np.ndarray) -> None:
        """See `Reading`."""
        self.square.pull(values, cotangents, onto)
        self.mean.pull(values, -2 * self.mean.result(values) * cotangents, onto)


@dataclass(frozen=True, eq=False)
class Probabilities:
    """Of all outcomes of n wires, from the places of their ``2**n - 1`` Z strings."""

    positions: np.ndarray
    n_wires: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(2**n,)."""
        return (2**self.n_wires,)

    @property
    def key(self) -> Hashable:
        """See `Reading`."""
        return self.positions.tobytes()

    def result(self, values: np.ndarray) -> np.ndarray:
        """See `Reading`."""
        found = outcome_probabilities(np.take(values, self.positions, axis=1), self.n_wires)
        return np.where((found < 0) & (found > -_ROUNDING), 0.0, found)

    def jacobian(self, values: np.ndarray, of_words: np.ndarray) -> np.ndarray:
        """See `Reading`."""
        n_rows, _, n_angles = of_words.shape
        by_angle = np.take(of_words, self.positions, axis=1).transpose(0, 2, 1).reshape(n_rows * n_angles, -1)
        identity = np.zeros((len(by_angle), 1))  # is always 1
        found = _transformed(np.concatenate([identity, by_angle], axis=1), self.n_wires)
        return found.reshape(n_rows, n_angles, -1).transpose(0, 2, 1)

    def pull(self, values: np.ndarray, cotangents: np.ndarray, onto: np.ndarray) -> None:
        """See `Reading`. The transform is its own transpose."""
        onto[:, self.positions] += _transformed(cotangents, self.n_wires)[:, 1:]


def _transformed(rows: np.ndarray, n_wires: int) -> np.ndarray:
    """The Walsh-Hadamard transform of [N, 2**n], divided by 2**n."""
    return outcome_probabilities(rows[:, 1:], n_wires) + (rows[:, :1] - 1) / 2**n_wires


@dataclass(frozen=True, eq=False)
class Readout:
    """All measurements of a tape.

    Attributes:
        words: M Pauli words to measure, none of them the identity.
        wires: that are measured, those of identities included.
        readings: one a measurement, in the tape's order.
    """

    words: tuple[PauliWord, ...]
    wires: tuple[Any, ...]
    readings: tuple[Reading, ...]

    @cached_property
    def key(self) -> Hashable:
        """Equal for readouts that read the same."""
        return self.words, self.wires, tuple(reading.key for reading in self.readings)

    @property
    def is_linear(self) -> bool:
        """Whether cotangents of the words do not depend on their values."""
        return not any(isinstance(reading, Variance) for reading in self.readings)

    def sums(self) -> np.ndarray | None:
        """The readings as rows of weights [L, M] where they are all weighted sums and fewer than the words; else None."""
        n_words = len(self.words)
        if len(self.readings) >= n_words or not all(isinstance(r, Expectation) for r in self.readings):
            return None
        rows = np.zeros((len(self.readings), n_words))
        for row, reading in zip(rows, self.readings, strict=True):
            reading.pull(np.empty((1, n_words)), np.ones(1), row[None])
        return rows


def readout_of(measurements: Iterable[MeasurementProcess]) -> Readout:
    """What `measurements` read from the values of Pauli words.

    Words find their measurement setting first come, first served. Those of `probs` come first, so that all strings of a probability
    distribution are read from the same shots; then those of `var`, so that a variance is that of some shots wherever one setting can do.

    Raises:
        QfleetDeviceError: an observable or a measurement that is refused.
    """
    measurements = list(measurements)
    places: dict[PauliWord, int] = {}
    found = {
        i: _reading(measurements[i], places)
        for i in sorted(range(len(measurements)), key=lambda i: _turn(measurements[i]))
    }
    readings = tuple(found[i] for i in range(len(measurements)))
    wires = dict.fromkeys(wire for measurement in measurements for wire in measurement.wires.labels)
    return Readout(tuple(places), tuple(wires), readings)


def _turn(measurement: MeasurementProcess) -> int:
    """Lower numbers come first."""
    return 0 if isinstance(measurement, ProbabilityMP) else 1 if isinstance(measurement, VarianceMP) else 2


def _reading(measurement: MeasurementProcess, places: dict[PauliWord, int]) -> Reading:
    if isinstance(measurement, ProbabilityMP):
        return _probabilities(measurement.wires.labels, places)
    if not isinstance(measurement, ExpectationMP | VarianceMP):
        raise QfleetDeviceError(
            f"{measurement} is no expectation value: device.preprocess() says what to use instead"
        )
    mean, square = _mean_and_square(measurement)
    if square is None:
        return _expectation(mean, places)
    return Variance(_expectation(mean, places), _expectation(square, places))


def _mean_and_square(measurement: MeasurementProcess) -> tuple[Words, Words | None]:
    """Of an observable and, where a variance is measured, of its square."""
    squared = isinstance(measurement, VarianceMP)
    if measurement.obs is not None:
        return words_of(measurement.obs), square_of(measurement.obs) if squared else None
    # Of mid-circuit measurements, which are deferred.
    values, wires = np.asarray(measurement.eigvals(), np.float64), measurement.wires.labels
    mean = real_words(diagonal(values, wires), measurement)
    return mean, real_words(diagonal(values**2, wires), measurement) if squared else None


def _expectation(words: Words, places: dict[PauliWord, int]) -> Expectation:
    identity = PauliWord({})
    found = {
        places.setdefault(word, len(places)): weight for word, weight in words.items() if word != identity
    }
    return Expectation(
        np.array(list(found), np.int64), np.array(list(found.values()), np.float64), words.get(identity, 0.0)
    )


def _probabilities(wires: Sequence[Any], places: dict[PauliWord, int]) -> Probabilities:
    positions = []
    for letters in product("IZ", repeat=len(wires)):
        word = PauliWord({wire: letter for wire, letter in zip(wires, letters, strict=True) if letter == "Z"})
        if word:
            positions.append(places.setdefault(word, len(places)))
    return Probabilities(np.array(positions, np.int64), len(wires))
