"""Angles to gate matrices, of the undisplaced circuits of a block of samples and of displacement rows that leave them.

A matrix is held by its columns as a real map: entry ``[i, o]`` says how much of the real input i goes into the real output o, the inputs
and outputs being real and imaginary part of the first state, of the second, and so on. ``states`` multiplies and adds these as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from actors.simulation.torch_engine.rows import Chunk, Moved
from actors.simulation.torch_engine.tables import DirectSum, Tables, Turn
from actors.simulation.torch_engine.trigonometry import cos_sin
from orchestrator.jobs import Job

Matrix = list[torch.Tensor]
"""Columns of one operation: of a Turn one [i, o, R, W], of a DirectSum one for each block. R, W are 1 where all are alike."""

_PLACES = ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))
_SIGNS = ((1, 1, 1, 1), (-1, 1, -1, 1), (-1, 1, 1, -1), (-1, -1, 1, 1))
"""Column i of the real map of the quaternion (Re a, Im a, Re b, Im b): its components so arranged, with these signs."""


def quaternion_columns(quaternion: torch.Tensor) -> torch.Tensor:
    """[4, 4, ...]: the columns of ``[[a, -conj(b)], [b, conj(a)]]`` for quaternions [4, ...]."""
    rest = (1,) * (quaternion.ndim - 1)
    places, signs = _arrangement(quaternion.device, quaternion.dtype)
    columns = quaternion.index_select(0, places).reshape(4, 4, *quaternion.shape[1:])
    return columns * signs.reshape(4, 4, *rest)


@functools.cache
def _arrangement(device: torch.device, real: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The places [16] and signs [16] on a device."""
    places = torch.tensor(_PLACES, device=device).reshape(16)
    return places, torch.tensor(_SIGNS, dtype=real, device=device).reshape(16)


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """[4, ...]: the quaternion of the matrix product."""
    columns = quaternion_columns(left)
    total = columns[0] * right[0]
    for i in range(1, 4):
        total = total + columns[i] * right[i]
    return total


@dataclass(frozen=True, eq=False)
class Trigs:
    """Angles of W circuits by trig row, float64.

    Attributes:
        angles: [T + 1, W]. cosine, sine: [T + 1, W], of the rates times the angles; the last row is of the angle 0.
    """

    angles: torch.Tensor
    cosine: torch.Tensor
    sine: torch.Tensor


class Base:
    """The undisplaced circuits of some samples of a job.

    Args:
        tables: the program. job: checked. samples: which of its samples.
    """

    def __init__(self, tables: Tables, job: Job, samples: slice) -> None:
        self._tables = tables
        column = np.full(tables.program.n_angles + 1, -1)
        column[job.data_columns] = np.arange(len(job.data_columns))
        data = job.data_angles[samples]
        values = np.zeros((len(tables.angle_of_row) + 1, len(data)))
        shared = np.append(job.shared_angles, 0.0)[tables.angle_of_row]
        columns = column[tables.angle_of_row]
        values[:-1] = np.where(columns[:, None] >= 0, data.T[columns] if data.size else 0.0, shared[:, None])
        self.width = len(data)
        self._is_of_sample = columns >= 0
        angles = tables.double(values)
        cosine, sine = cos_sin(angles * tables.rates)
        self.trigs = Trigs(angles, cosine, sine)

    def rotation(self, level: int) -> torch.Tensor:
        """float64 [4, turns, W]: the quaternions of the rotations of one level."""
        rotations, rows = self._tables.rotations, self._tables.rotations.trig[level]
        cosine, sine = self.trigs.cosine.index_select(0, rows), self.trigs.sine.index_select(0, rows)
        return cosine * rotations.even[level] + sine * rotations.odd[level]

    @cached_property
    def _turns(self) -> torch.Tensor:
        """[4, 4, turns, W]: columns."""
        return quaternion_columns(run_product([self.rotation(i) for i in range(self._tables.n_levels)]))

    @cached_property
    def _known(self) -> dict[int, Matrix]:
        return {}

    def matrix(self, op: int) -> Matrix:
        """Of operation `op` of the undisplaced circuits, [., ., 1, W], or [., ., 1, 1] where no angle of it depends on the sample."""
        if op not in self._known:
            operation, width = self._tables.operations[op], self.width
            assert isinstance(operation, Turn | DirectSum)
            rows = operation.angle_rows
            if not self._is_of_sample[rows.start : rows.stop].any():
                width = 1
            if isinstance(operation, Turn):
                found = [self._turns[:, :, operation.place, None, :width]]
            else:
                trigs = self.trigs.cosine[rows.start : rows.stop], self.trigs.sine[rows.start : rows.stop]
                found = block_columns(operation, trigs[0][:, None, :width], trigs[1][:, None, :width])
            self._known[op] = [columns.to(self._tables.real) for columns in found]
        return self._known[op]


def run_product(rotations: Sequence[torch.Tensor]) -> torch.Tensor:
    """[4, ...]: the product of quaternions in order of time."""
    total = rotations[0]
    for rotation in rotations[1:]:
        total = product(rotation, total)
    return total


def block_columns(operation: DirectSum, cosine: torch.Tensor, sine: torch.Tensor) -> Matrix:
    """The columns [2 m, 2 m, R, W] of each block, from cosine and sine [J, R, W] of its trig rows."""
    return [_columns_of(block.terms, cosine, sine) for block in operation.blocks]


def _columns_of(terms: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """As `block_columns`, of one block with the terms [2, m, m, J, 1, 1]."""
    _, m, _, n_rates = terms.shape[:4]
    re = torch.zeros((m, m, *cosine.shape[1:]), dtype=torch.float64, device=cosine.device)
    im = torch.zeros_like(re)
    for j in range(n_rates):
        re = re + (cosine[j] * terms[0, :, :, j] - sine[j] * terms[1, :, :, j])
        im = im + (cosine[j] * terms[1, :, :, j] + sine[j] * terms[0, :, :, j])
    from_re, from_im = torch.stack([re, im], 1), torch.stack([-im, re], 1)  # [row, part, column, R, W]
    columns = torch.stack([from_re, from_im]).permute(3, 0, 1, 2, 4, 5)  # [column, part in, row, part, R, W]
    return columns.reshape(2 * m, 2 * m, *columns.shape[4:])


class Displaced:
    """The circuits of a chunk of displacement rows, for the samples of a base."""

    def __init__(self, tables: Tables, base: Base, chunk: Chunk, deltas: np.ndarray) -> None:
        """`deltas`: float64, of all entries of the job's displacements."""
        self._tables = tables
        self._base = base
        self._chunk = chunk
        self._cosine, self._sine = self._moved_trigs(deltas)
        self._turns = None if chunk.turns is None else self._moved_turns()

    def matrix(self, op: int) -> Matrix:
        """Of operation `op`, [., ., R, W], with R or W of 1 where all are alike."""
        moved = self._chunk.moved.get(op)
        base = self._base.matrix(op)
        if moved is None:
            return base
        operation = self._tables.operations[op]
        if isinstance(operation, Turn):
            assert self._turns is not None
            own = [self._turns[:, :, moved.first : moved.first + moved.n_rows]]
        else:
            assert isinstance(operation, DirectSum)
            shape = (len(operation.angle_rows), moved.n_rows, self._base.width)
            own = block_columns(
                operation,
                self._cosine[moved.first : moved.first + shape[0] * shape[1]].reshape(shape),
                self._sine[moved.first : moved.first + shape[0] * shape[1]].reshape(shape),
            )
        return [
            self._among(moved, one.to(self._tables.real), others)
            for one, others in zip(own, base, strict=True)
        ]

    def _among(self, moved: Moved, own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """The columns of all rows of the chunk: `own` of those that move the operation, `others` of the rest."""
        shape = (*others.shape[:2], self._chunk.n_rows, self._base.width)
        return others.expand(shape).clone().index_copy_(2, moved.rows, own)

    def _moved_trigs(self, deltas: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine [E, W] of the trig rows that the chunk's entries move."""
        chunk, tables = self._chunk, self._tables
        delta = tables.double(deltas[chunk.entry][:, None])
        angles = self._base.trigs.angles.index_select(0, chunk.trig)
        return cos_sin(tables.rates.index_select(0, chunk.trig) * (angles + delta))

    def _moved_turns(self) -> torch.Tensor:
        """Columns [4, 4, G, W] of all turns that rows of the chunk move, G pairs of a turn and a row."""
        turns, rotations = self._chunk.turns, self._tables.rotations
        assert turns is not None
        n_levels, n_pairs = self._tables.n_levels, len(turns.place)
        flat = rotations.trig.index_select(1, turns.place).reshape(-1)
        planes = []
        for of_base, own in ((self._base.trigs.cosine, self._cosine), (self._base.trigs.sine, self._sine)):
            filled = of_base.index_select(0, flat).index_copy_(0, turns.to, own.index_select(0, turns.entry))
            planes.append(filled.reshape(n_levels, n_pairs, self._base.width))
        even = rotations.even.index_select(2, turns.place)
        odd = rotations.odd.index_select(2, turns.place)
        cosine, sine = planes
        each = [cosine[level] * even[level] + sine[level] * odd[level] for level in range(n_levels)]
        return quaternion_columns(run_product(each))
