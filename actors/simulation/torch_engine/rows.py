"""In which order displacement rows are run, and what each block of them moves: index arrays, made once for all steps of a run.

Rows are sorted by the first operation that they move. A block of them begins with the undisplaced states as they are just before the
first operation that one of its rows moves, so what comes before is computed once for all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from actors.simulation.torch_engine.tables import DirectSum, Tables, Turn
from orchestrator.jobs import Displacements


@dataclass(frozen=True, eq=False)
class Moved:
    """How a chunk moves one operation.

    Attributes:
        rows: int64 [n_rows], places in the chunk of the rows that do. first: where theirs begin, among the chunk's turns, or, of a direct
            sum, among its trig rows, which are there in the order [J, n_rows].
    """

    rows: torch.Tensor
    n_rows: int
    first: int


@dataclass(frozen=True, eq=False)
class MovedTurns:
    """All pairs (turn, row) of a chunk, ordered by turn.

    Attributes:
        place: int64 [G], the turns. to: int64 [.], flat places in [L, G] of the rotations that move. entry: int64 [.], their trig rows
            among those of the chunk.
    """

    place: torch.Tensor
    to: torch.Tensor
    entry: torch.Tensor


@dataclass(frozen=True, eq=False)
class Chunk:
    """Displacement rows that are run together.

    Attributes:
        rows: int64 [R], their numbers in the job. start: the first operation that one of them moves; the number of operations if none.
        entry: int64 [E] and trig: int64 [E], the entry of the displacements and the trig row of each cosine that differs.
        moved: by operation. turns: None if no turn is moved.
    """

    rows: np.ndarray
    start: int
    entry: np.ndarray
    trig: torch.Tensor
    moved: dict[int, Moved]
    turns: MovedTurns | None

    @property
    def n_rows(self) -> int:
        """R."""
        return len(self.rows)


def chunks(tables: Tables, displacements: Displacements, n_together: int) -> list[Chunk]:
    """All rows, at most `n_together` in a chunk, by the first operation that they move."""
    code = tables.program.instructions
    row_of_entry = np.repeat(np.arange(len(displacements)), np.diff(displacements.indptr))
    operation = code.angles["operation"][displacements.angles]
    first = np.full(len(displacements), tables.program.n_operations)
    np.minimum.at(first, row_of_entry, operation)
    order = np.argsort(first, kind="stable")
    found = []
    for begin in range(0, len(order), n_together):
        rows = order[begin : begin + n_together]
        place = np.full(len(displacements), -1)
        place[rows] = np.arange(len(rows))
        entries = np.flatnonzero((place[row_of_entry] >= 0) & (operation < tables.program.n_operations))
        where = place[row_of_entry[entries]]
        found.append(
            _chunk(tables, rows, int(first[rows].min()), entries, displacements.angles[entries], where)
        )
    return found


def _chunk(
    tables: Tables, rows: np.ndarray, start: int, entries: np.ndarray, angles: np.ndarray, where: np.ndarray
) -> Chunk:
    """A chunk of `rows`; entries, angles, where: of each entry its number, its angle and the place of its row."""
    owner = tables.program.instructions.angles[angles]
    entry: list[np.ndarray] = []
    trig: list[np.ndarray] = []
    moved: dict[int, Moved] = {}
    turns: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    n_trigs = n_pairs = 0
    for op in np.unique(owner["operation"]):
        operation, own = tables.operations[op], np.flatnonzero(owner["operation"] == op)
        if isinstance(operation, Turn):
            of_rows, pair = np.unique(where[own], return_inverse=True)
            level = owner["first"][own] - operation.angle_rows.start
            moved[int(op)] = Moved(tables.index(of_rows), len(of_rows), n_pairs)
            turns.append((np.full(len(of_rows), operation.place), level, n_pairs + pair))
            entry.append(entries[own])
            trig.append(owner["first"][own])
            n_pairs += len(of_rows)
        else:
            assert isinstance(operation, DirectSum)
            moved[int(op)] = Moved(tables.index(where[own]), len(own), n_trigs)
            entry.append(np.tile(entries[own], len(operation.angle_rows)))
            trig.append(np.repeat(np.array(operation.angle_rows), len(own)))
        n_trigs += len(entry[-1])
    is_turn = [
        np.full(len(one), isinstance(tables.operations[op], Turn))
        for op, one in zip(moved, entry, strict=True)
    ]
    return Chunk(
        rows,
        start,
        _joined(entry),
        tables.index(_joined(trig)),
        moved,
        _turns(tables, turns, n_pairs, np.flatnonzero(_joined(is_turn))) if turns else None,
    )


def _turns(
    tables: Tables, turns: list[tuple[np.ndarray, np.ndarray, np.ndarray]], n_pairs: int, entry: np.ndarray
) -> MovedTurns:
    place, level, pair = (_joined([turn[i] for turn in turns]) for i in range(3))
    return MovedTurns(tables.index(place), tables.index(level * n_pairs + pair), tables.index(entry))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
