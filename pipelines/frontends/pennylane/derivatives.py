"""Exact derivatives of tapes from backends that give them directly: Jacobians, and vector-Jacobian products in one reverse sweep.

A Jacobian of sums of many Pauli words (a Hamiltonian) takes one sweep for each sum, not for each word: the weights of the sums are the
cotangents. Rows of a plan are then the pairs of a tape's row and a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pennylane.tape import QuantumScript

from orchestrator.planning.derivative import DirectDerivative
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from pipelines.frontends.pennylane.batch import Batch, Group, Part, Run, evaluated, shaped
from pipelines.frontends.pennylane.errors import QfleetDeviceError


class Wanted:
    """The angles of a group that any of its tapes wants a derivative by.

    Attributes:
        angles: int64 [Kj], ascending.
    """

    def __init__(self, group: Group, tapes: Sequence[QuantumScript]) -> None:
        self._angle = np.empty(0, np.int64) if group.structure is None else group.structure.angle
        trainable = {tuple(tapes[number].trainable_params) for number in group.tapes}
        of = {parameters: self._angles_of(parameters) for parameters in trainable}
        self.angles = np.unique(np.concatenate([found[found >= 0] for found in of.values()]))
        self._columns = {
            parameters: [None if a < 0 else int(np.searchsorted(self.angles, a)) for a in found]
            for parameters, found in of.items()
        }

    def columns(self, tape: QuantumScript) -> list[int | None]:
        """The place among `angles` of each trainable parameter of a tape; None where no value depends on it."""
        return self._columns[tuple(tape.trainable_params)]

    def _angles_of(self, parameters: tuple[int, ...]) -> np.ndarray:
        """Of trainable parameters; -1 for one that nothing feels, or that is an observable's."""
        found = np.full(len(parameters), -1, np.int64)
        for i, parameter in enumerate(parameters):
            if parameter < len(self._angle):
                found[i] = self._angle[parameter]
        return found


def jacobians(batch: Batch, run: Run) -> tuple[list[np.ndarray], tuple[Any, ...]]:
    """Values [rows, words] of each group, and the Jacobian of each tape, as PennyLane nests it.

    Raises:
        QfleetDeviceError: a tape that is broadcast, which PennyLane has no Jacobian for.
    """
    for number, parts in enumerate(batch.parts):
        if parts[0].batch_size is not None:
            raise QfleetDeviceError(
                f"tape {number} is broadcast, and has a vector-Jacobian product but no Jacobian: expand it first "
                "(qml.transforms.broadcast_expand)"
            )
    wanted = [Wanted(group, batch.tapes) for group in batch.groups]
    sums = [group.readout.sums() for group in batch.groups]
    plans = [_jacobian_plan(g, w.angles, rows) for g, w, rows in zip(batch.groups, wanted, sums, strict=True)]
    values, found = [], []
    for g, evaluation in enumerate(evaluated(plans, run)):
        of_words, of_readings = _by_reading(batch.groups[g], wanted[g].angles, sums[g], evaluation)
        values.append(of_words)
        found.append(of_readings)
    return values, tuple(
        _nested(wanted[part.group].columns(tape), found[part.group], part.start)
        for tape, (part,) in zip(batch.tapes, batch.parts, strict=True)
    )


def vector_jacobian_products(batch: Batch, cotangents: Sequence[Any], run: Run) -> tuple[Any, ...]:
    """Of each tape, for each of its trainable parameters: an array of the parameter's shape.

    Args:
        cotangents: of each tape, shaped as its results.

    Raises:
        QfleetDeviceError: cotangents of another shape.
    """
    values = _values_where_needed(batch, run)
    gathered = [
        [np.zeros((group.n_rows, *reading.shape)) for reading in group.readout.readings]
        for group in batch.groups
    ]
    for parts, of_tape in zip(batch.parts, cotangents, strict=True):
        part = parts[0]
        onto = gathered[part.group]
        for whole, one in zip(onto, (of_tape,) if len(onto) == 1 else of_tape, strict=True):
            rows = whole[part.start : part.start + part.n_rows]
            rows[...] = _fitted(one, rows.shape)
    wanted, plans = [], []
    for group, found, of_readings in zip(batch.groups, values, gathered, strict=True):
        of_words = np.zeros((group.n_rows, len(group.readout.words)))
        for reading, one in zip(group.readout.readings, of_readings, strict=True):
            reading.pull(found, one, of_words)
        wanted.append(Wanted(group, batch.tapes))
        plans.append(_plan(group, wanted[-1].angles, of_words) if len(wanted[-1].angles) else None)
    evaluations = evaluated(plans, run)
    products = []
    for tape, (part,) in zip(batch.tapes, batch.parts, strict=True):
        evaluation = evaluations[part.group]
        jacobian = None if evaluation is None else evaluation.jacobian
        products.append(_product(tape, wanted[part.group].columns(tape), part, jacobian))
    return tuple(products)


def _plan(
    group: Group, wanted: np.ndarray, cotangents: np.ndarray | None, n_copies: int = 1
) -> EvaluationPlan | None:
    """Values and the derivative by the wanted angles, each row so many times; None where there is no circuit."""
    if group.structure is None:
        return None
    angles = group.angles()
    return EvaluationPlan(
        group.structure.circuit,
        angles._replace(data=np.repeat(angles.data, n_copies, axis=0)),
        wanted,
        DirectDerivative() if len(wanted) else None,
        cotangents=cotangents,
    )


def _jacobian_plan(group: Group, wanted: np.ndarray, sums: np.ndarray | None) -> EvaluationPlan | None:
    if sums is None or not len(wanted):
        return _plan(group, wanted, None)
    return _plan(group, wanted, np.tile(sums, (group.n_rows, 1)), len(sums))


def _by_reading(
    group: Group, wanted: np.ndarray, sums: np.ndarray | None, evaluation: Evaluation | None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Values [rows, words], and of each reading the derivatives [rows, *shape, Kj]."""
    readings = group.readout.readings
    if evaluation is None or evaluation.jacobian is None:
        values = np.zeros((group.n_rows, 0)) if evaluation is None else evaluation.values
        return values, [np.zeros((group.n_rows, *reading.shape, 0)) for reading in readings]
    if sums is None:
        values = evaluation.values
        return values, [reading.jacobian(values, evaluation.jacobian) for reading in readings]
    by_sum = evaluation.jacobian.reshape(group.n_rows, len(sums), len(wanted))
    return evaluation.values[:: len(sums)], [by_sum[:, i] for i in range(len(sums))]


def _values_where_needed(batch: Batch, run: Run) -> list[np.ndarray]:
    """Values [rows, words] of the groups whose cotangents depend on them; zeros for the others."""
    nothing = np.empty(0, np.int64)
    plans = [None if group.readout.is_linear else _plan(group, nothing, None) for group in batch.groups]
    return [
        np.zeros((group.n_rows, len(group.readout.words))) if evaluation is None else evaluation.values
        for group, evaluation in zip(batch.groups, evaluated(plans, run), strict=True)
    ]


def _fitted(cotangent: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A cotangent as [rows, *shape of the reading]; a number alone stands for all entries, as PennyLane's zeros do."""
    found = np.asarray(cotangent, np.float64)
    if found.size == 1:
        return np.full(shape, found.reshape(()))
    if found.size != np.prod(shape):
        raise QfleetDeviceError(f"cotangents of shape {found.shape} do not fit a result of {shape}")
    return found.reshape(shape)


def _nested(columns: Sequence[int | None], of_readings: Sequence[np.ndarray], row: int) -> Any:
    """The Jacobian of one tape: by measurement, and in it by parameter."""
    nested = []
    for found in of_readings:
        one = found[row]
        zero = np.zeros(one.shape[:-1])
        nested.append([zero if column is None else np.array(one[..., column]) for column in columns])
    if len(columns) == 1:
        return shaped([by_parameter[0] for by_parameter in nested])
    return shaped([tuple(by_parameter) for by_parameter in nested])


def _product(
    tape: QuantumScript, columns: Sequence[int | None], part: Part, jacobian: np.ndarray | None
) -> tuple[np.ndarray, ...]:
    """Of one tape, by its trainable parameters; summed over the rows where a parameter is the same for all of them."""
    found = []
    for parameter, column in zip(tape.get_parameters(), columns, strict=True):
        if column is None or jacobian is None:
            found.append(np.zeros(np.shape(parameter)))
            continue
        of_rows = jacobian[part.start : part.start + part.n_rows, 0, column]
        found.append(np.array(of_rows if np.ndim(parameter) else of_rows.sum()))
    return tuple(found)
