"""IonQ's answers as probabilities and expectation values.

IonQ writes an outcome as a decimal number whose bit i is qubit i; in qfleet qubit 0 is the most significant bit. Here, in `outcomes`, and
nowhere else is one turned into the other.

Sums run in a fixed order, each circuit by itself, so that a circuit's values do not depend on what it was sent with.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from actors.ionq.errors import BadAnswerError
from orchestrator.circuits.measured import MeasuredCircuit, MeasurementGroup

MAX_DENSE_QUBITS = 16
"""Up to so many qubits a circuit's probabilities are held for all outcomes, 2**16 numbers; beyond, for those that came up."""
MAX_DEFECT = 1e-3
"""Probabilities may miss 1 by so much and are scaled: the service is known to answer with sums of 0.9999, which its own client
refuses (it takes 1e-5). More means that outcomes are missing, and scaling would bias the values by as much."""


class Outcomes(NamedTuple):
    """The outcomes of one circuit.

    Attributes:
        rows: int64 [E], ascending basis indices, qubit 0 the most significant bit.
        probabilities: float64 [E], summing to 1.
    """

    rows: np.ndarray
    probabilities: np.ndarray


def outcomes(answer: Mapping[str, float], n_qubits: int) -> Outcomes:
    """One circuit's answer ``{"<decimal>": probability}`` with its bits in qfleet's order.

    Raises:
        BadAnswerError: see `all_outcomes`.
    """
    return all_outcomes([answer], n_qubits)[0]


def all_outcomes(answers: Sequence[Mapping[str, float]], n_qubits: int) -> list[Outcomes]:
    """As `outcomes`, of the circuits of a job.

    Raises:
        BadAnswerError: an answer is empty; a key is no outcome of `n_qubits` qubits or comes twice; a probability is negative or no finite
            number; they do not sum to 1 within `MAX_DEFECT`.
    """
    if not all(answers):
        raise BadAnswerError("an answer holds no outcome")
    lengths = np.array([len(answer) for answer in answers])
    ends = np.cumsum(lengths)
    n_in_all = int(ends[-1]) if len(ends) else 0
    try:
        found = np.fromiter(chain.from_iterable(answer.values() for answer in answers), np.float64, n_in_all)
    except (TypeError, ValueError) as error:
        raise BadAnswerError(f"an answer holds what is no probability: {error}") from error
    is_wrong = ~(np.isfinite(found) & (found >= 0))
    if is_wrong.any():
        raise BadAnswerError(f"a probability is {found[is_wrong][0]}")
    rows = _rows(answers, n_in_all, n_qubits)
    # The circuits one after the other, each by ascending rows: in whatever order they came, the sums below are the same to the bit.
    places = (np.arange(len(answers)) << n_qubits).repeat(lengths) + rows
    order = np.argsort(
        places, kind="stable"
    )  # answers in ascending order of the keys are a merge of few runs
    places, rows, found = places[order], rows[order], found[order]
    if (places[1:] == places[:-1]).any():
        raise BadAnswerError("an answer holds an outcome twice")
    parts = [
        (rows[start:end], found[start:end])
        for start, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    ]
    return [Outcomes(of_one, _normed(values)) for of_one, values in parts]


def _normed(values: np.ndarray) -> np.ndarray:
    total = values.sum()
    if not abs(total - 1) <= MAX_DEFECT:
        raise BadAnswerError(f"the probabilities sum to {total}, not to 1 within {MAX_DEFECT}")
    normed: np.ndarray = values / total
    return normed


def probabilities(answer: Mapping[str, float], n_qubits: int) -> np.ndarray:
    """One circuit's answer as float64 [2**n]; see `outcomes`.

    Raises:
        BadAnswerError: the answer is not a probability distribution.
    """
    found = outcomes(answer, n_qubits)
    dense = np.zeros(2**n_qubits)
    dense[found.rows] = found.probabilities
    return dense


def _rows(answers: Sequence[Mapping[str, float]], n_in_all: int, n_qubits: int) -> np.ndarray:
    """The outcomes of `answers`, one after the other, as basis indices.

    Raises:
        BadAnswerError: a key is no outcome.
    """
    try:
        numbers = np.fromiter(map(int, chain.from_iterable(answers)), np.int64, n_in_all)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadAnswerError(f"an answer holds what is no outcome: {error}") from error
    is_wrong = (numbers < 0) | (numbers >= 2**n_qubits)
    if is_wrong.any():
        raise BadAnswerError(
            f"outcome {numbers[is_wrong][0]} is none of {n_qubits} qubits: 0 to {2**n_qubits - 1}"
        )
    return _table(n_qubits)[numbers] if n_qubits <= MAX_DENSE_QUBITS else _reversed(numbers, n_qubits)


@functools.cache
def _table(n_qubits: int) -> np.ndarray:
    """int64 [2**n]: every number with its bits in the other order."""
    return _reversed(np.arange(2**n_qubits), n_qubits)


def _reversed(numbers: np.ndarray, n_qubits: int) -> np.ndarray:
    """`numbers` with their `n_qubits` bits in the other order."""
    rows = np.zeros_like(numbers)
    for bit in range(n_qubits):
        rows |= ((numbers >> bit) & 1) << (n_qubits - 1 - bit)
    return rows


def z_masks(circuit: MeasuredCircuit, group: MeasurementGroup) -> np.ndarray:
    """int64 [M]: for each of the group's strings the bits of a basis index that it reads, after the change of basis."""
    return np.array(
        [int("".join("0" if c == "I" else "1" for c in circuit.paulis[m]), 2) for m in group.members],
        np.int64,
    )


def expectation_values(distributions: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """``<Z_mask> = sum_j (-1)**parity(j & mask) p_j`` of N circuits, float64 [N, M].

    The Walsh transform at the wanted masks alone: qubit after qubit, the array is halved to sums or differences.

    Args:
        distributions: float64 [N, 2**n], each summing to 1. masks: int64 [M], below 2**n.
    """
    n_qubits = distributions.shape[1].bit_length() - 1
    nodes = {0: distributions}  # the top bits of a mask -> what is left of the array
    for bit in reversed(range(n_qubits)):
        half = 1 << bit
        nodes = {
            top: (
                nodes[top >> 1][:, :half] - nodes[top >> 1][:, half:]
                if top & 1
                else nodes[top >> 1][:, :half] + nodes[top >> 1][:, half:]
            )
            for top in sorted({int(mask) >> bit for mask in masks})
        }
    values = np.empty((len(distributions), len(masks)))
    for place, mask in enumerate(masks):
        values[:, place] = nodes[int(mask)][:, 0] if mask else 1.0
    return np.clip(values, -1.0, 1.0)  # rounding may go beyond by 1e-16


def expectation_values_of(found: Outcomes, masks: np.ndarray) -> np.ndarray:
    """As `expectation_values`, of one circuit from the outcomes that came up: float64 [M]."""
    values = np.empty(len(masks))
    for place, mask in enumerate(masks):
        is_odd = (np.bitwise_count(found.rows & mask) & 1).astype(bool)
        values[place] = np.where(is_odd, -found.probabilities, found.probabilities).sum() if mask else 1.0
    return np.clip(values, -1.0, 1.0)


class Draws(NamedTuple):
    """Where shot noise that is drawn here comes from: the place of each circuit in the run, as of a Job.

    Attributes:
        shots: of each circuit.
        key: one of ``Job.noise_keys``, the measurement group's.
        step: of the run.
        samples, displacements: int64 [N], counted from the run's first.
    """

    shots: int
    key: int
    step: int
    samples: np.ndarray
    displacements: np.ndarray


def sample(found: Sequence[Outcomes], draws: Draws) -> list[Outcomes]:
    """The relative frequencies of shots drawn from exact probabilities, for a target that ignores shots (the ideal simulator).

    Each circuit has a Philox generator of its own, keyed as by the backend "cirq": the same seed gives the same bits, whatever job a
    circuit comes in.
    """
    return [
        Outcomes(one.rows, _generator(draws, place).multinomial(draws.shots, one.probabilities) / draws.shots)
        for place, one in enumerate(found)
    ]


def _generator(draws: Draws, place: int) -> np.random.Generator:
    counter = [0, int(draws.displacements[place]), int(draws.samples[place]), draws.step]
    return np.random.Generator(
        np.random.Philox(counter=np.array(counter, np.uint64), key=np.array([draws.key, 0], np.uint64))
    )


def group_values(found: Sequence[Outcomes], n_qubits: int, masks: np.ndarray) -> np.ndarray:
    """Expectation values float64 [N, M] of N circuits measured alike; `masks` as of `z_masks`.

    Their variances as means over shots: ``actors.backends.results.mean_variances``, as of every backend. Of error-mitigated
    probabilities, which are no longer frequencies of independent shots, that is an approximation.
    """
    if n_qubits > MAX_DENSE_QUBITS:
        return np.array([expectation_values_of(one, masks) for one in found]).reshape(-1, len(masks))
    dense = np.zeros((len(found), 2**n_qubits))
    for place, one in enumerate(found):
        dense[place, one.rows] = one.probabilities
    return expectation_values(dense, masks)
