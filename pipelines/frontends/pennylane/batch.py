"""A batch of tapes as one plan for each structure in it: S rows of angles, no object for each circuit.

Rows of one tape follow each other: for each copy of its shots (a shot vector has several) the B rows that it is broadcast over. Tapes of
one structure, one number of shots and the same measurements share a plan, whichever tapes stand between them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from pennylane.operation import Operator
from pennylane.tape import QuantumScript

from orchestrator.models.angle_map import Angles
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from pipelines.frontends.pennylane.errors import QfleetDeviceError
from pipelines.frontends.pennylane.gates import PIECES
from pipelines.frontends.pennylane.readout import Readout, readout_of
from pipelines.frontends.pennylane.structure import Gates, Structure, structure_of, wires_used

Run = Callable[[Sequence[EvaluationPlan]], list[Evaluation]]
"""Runs plans, all at once."""


class Part(NamedTuple):
    """Rows of a group that belong to one tape and one number of shots.

    Attributes:
        group, start: where they begin.
        n_copies: executions of the tape with so many shots.
        batch_size: rows of each; None: one, and the tape is not broadcast.
    """

    group: int
    start: int
    n_copies: int
    batch_size: int | None

    @property
    def n_rows(self) -> int:
        """Of all copies."""
        return self.n_copies * (self.batch_size or 1)


@dataclass
class Group:
    """Tapes of one structure, as rows of their parameters.

    Attributes:
        structure: None where only identities are measured, which no circuit need be run for.
        shots: of each circuit; None: exact.
        blocks: float64 [rows, parameters] each.
        tapes: the number of the tape that each block belongs to.
    """

    structure: Structure | None
    readout: Readout
    shots: int | None
    blocks: list[np.ndarray] = field(default_factory=list)
    tapes: list[int] = field(default_factory=list)
    n_rows: int = 0

    def add(self, tape: int, rows: np.ndarray, n_copies: int) -> int:
        """Append the rows of a tape, so many times; returns the place of the first."""
        start = self.n_rows
        for _ in range(n_copies):
            self.blocks.append(rows)
            self.tapes.append(tape)
        self.n_rows += n_copies * len(rows)
        return start

    def angles(self) -> Angles:
        """Of all rows: those that are the same everywhere are held once."""
        assert self.structure is not None
        rows = np.concatenate(self.blocks)[:, self.structure.datum]
        varies = (rows != rows[0]).any(axis=0)
        return Angles(np.where(varies, 0.0, rows[0]), np.flatnonzero(varies), rows[:, varies])


class Batch:
    """Tapes, read.

    Args:
        tapes: of gates in `PIECES` and measurements that `readout_of` takes.
        order: place of each of the device's wires; None: it takes any.

    Attributes:
        groups: in the order in which they occur.
        parts: of each tape, in the order of its shots.

    Raises:
        QfleetDeviceError: a gate that is not in `PIECES`, a parameter that is not a finite real number, or a measurement that is refused.
    """

    def __init__(self, tapes: Sequence[QuantumScript], order: dict[Any, int] | None) -> None:
        self.tapes = tapes
        self.groups: list[Group] = []
        self._places: dict[tuple[Gates, int, int | None], int] = {}
        self._gates: dict[int, tuple[str, tuple[Any, ...]]] = {}
        self._by_id: dict[tuple[int, ...], Readout] = {}
        self._by_content: dict[Hashable, Readout] = {}
        self._order = order
        self.parts = [self._read(number, tape) for number, tape in enumerate(tapes)]

    def _read(self, number: int, tape: QuantumScript) -> list[Part]:
        gates = tuple([self._gates.get(id(op)) or self._gate(op) for op in tape.operations])
        rows, batch_size = _rows([x for op in tape.operations for x in op.data], number, tape)
        readout = self._readout(tape)
        parts = []
        for shots, n_copies in tape.shots.shot_vector or ((None, 1),):
            place = self._place(gates, readout, shots)
            start = self.groups[place].add(number, rows, n_copies)
            parts.append(Part(place, start, n_copies, batch_size))
        return parts

    def _gate(self, op: Operator) -> tuple[str, tuple[Any, ...]]:
        """Name and wires of an operation. Shifted tapes share those that are not shifted, and PennyLane's wires are slow to tell."""
        if op.name not in PIECES:
            raise QfleetDeviceError(
                f"{op} must be decomposed first: device.preprocess() makes the program that does it"
            )
        found = self._gates[id(op)] = (op.name, op.wires.labels)
        return found

    def _readout(self, tape: QuantumScript) -> Readout:
        """The one readout of equal measurements. Shifted tapes share the measurements themselves, which is soon told."""
        of = tuple(map(id, tape.measurements))
        found = self._by_id.get(of)
        if found is None:
            found = readout_of(tape.measurements)
            found = self._by_id[of] = self._by_content.setdefault(found.key, found)
        return found

    def _place(self, gates: Gates, readout: Readout, shots: int | None) -> int:
        """The group of tapes like this."""
        key = (gates, id(readout), shots)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = len(self.groups)
            structure = None
            if readout.words:
                wires = wires_used(gates, readout.wires, self._order)
                structure = structure_of(gates, readout.words, wires)
            self.groups.append(Group(structure, readout, shots))
        return place


def results_of(batch: Batch, values: Sequence[np.ndarray]) -> tuple[Any, ...]:
    """PennyLane's results of all tapes.

    Args:
        values: float64 [rows, words] of each group.
    """
    readings = [
        [reading.result(found) for reading in group.readout.readings]
        for group, found in zip(batch.groups, values, strict=True)
    ]
    return tuple(
        shaped(
            [_of_part(readings[part.group], part, copy) for part in parts for copy in range(part.n_copies)]
        )
        for parts in batch.parts
    )


def shaped(items: Sequence[Any]) -> Any:
    """A tuple, or its only item: PennyLane has no tuples of one."""
    return items[0] if len(items) == 1 else tuple(items)


def evaluated(plans: Sequence[EvaluationPlan | None], run: Run) -> list[Evaluation | None]:
    """The answers of the plans that there are, all of them under way together."""
    answers = iter(run([plan for plan in plans if plan is not None]))
    return [None if plan is None else next(answers) for plan in plans]


def _of_part(readings: Sequence[np.ndarray], part: Part, copy: int) -> Any:
    """The results of one execution: of its measurements, each broadcast if the tape is."""
    start = part.start + copy * (part.batch_size or 1)
    if part.batch_size is None:
        return shaped([found[start] for found in readings])
    return shaped([found[start : start + part.batch_size] for found in readings])


def _rows(data: Sequence[Any], number: int, tape: QuantumScript) -> tuple[np.ndarray, int | None]:
    """A tape's parameters, float64 [rows, parameters], and over how many it is broadcast."""
    try:
        found = _array(data)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: torch, of a tensor with a gradient
        raise QfleetDeviceError(
            f"the parameters of tape {number} must be real numbers, or numpy arrays of one length where they are broadcast: {error}"
        ) from error
    if not np.isfinite(found).all():
        _refuse(found, number, tape)
    if found.ndim == 1:
        return found[None], None
    return np.ascontiguousarray(found.T), found.shape[1]


def _array(data: Sequence[Any]) -> np.ndarray:
    """float64 [parameters] or, broadcast, [parameters, rows]."""
    try:
        return np.array(data, np.float64)
    except ValueError:  # some are broadcast and some are not
        return np.stack(np.broadcast_arrays(*(np.asarray(x, np.float64) for x in data)))


def _refuse(found: np.ndarray, number: int, tape: QuantumScript) -> None:
    place = np.argwhere(~np.isfinite(found))[0]
    of = [(op, i) for op in tape.operations for i in range(len(op.data))]
    op, parameter = of[place[0]]
    raise QfleetDeviceError(
        f"parameter {parameter} of {op.name} on wires {list(op.wires)} of tape {number} is {found[tuple(place)]}: every parameter must be "
        "finite"
    )
