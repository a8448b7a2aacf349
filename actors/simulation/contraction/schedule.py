"""Which displacement rows move what, and the tasks that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from actors.simulation.contraction.program import ChainProgram
from actors.simulation.contraction.sweeps import (
    BASE,
    DISPLACED,
    LEFTWARDS,
    RIGHTWARDS,
    SWEPT,
    TASK,
    TILE,
    Schedule,
)
from orchestrator.jobs import Displacements


@dataclass(frozen=True, eq=False)
class MovedRows:
    """The rows of a displacement table by what they move.

    Attributes:
        indptr, angles, deltas: of the table, as contiguous arrays.
        still: int64, rows that no string sees. single: int64, rows that move one segment, sorted by it. segment: int64, of each.
        several: int64, the others. first_site: int64, of each the first site it moves.
    """

    indptr: np.ndarray
    angles: np.ndarray
    deltas: np.ndarray
    still: np.ndarray
    single: np.ndarray
    segment: np.ndarray
    several: np.ndarray
    first_site: np.ndarray

    @property
    def longest(self) -> int:
        """Most rows that move the same segment."""
        return int(np.bincount(self.segment).max(initial=1))


def sort_rows(program: ChainProgram, table: Displacements) -> MovedRows:
    """The rows of `table` by the segments that their angles belong to. How a row is treated depends on the row alone."""
    angles = np.ascontiguousarray(table.angles, np.int64)
    row = np.repeat(np.arange(len(table)), np.diff(table.indptr))
    segment = program.angle_segment[angles]
    row, segment = row[segment >= 0], segment[segment >= 0]
    low = np.full(len(table), np.iinfo(np.int64).max)
    high = np.full(len(table), -1, np.int64)
    np.minimum.at(low, row, segment)
    np.maximum.at(high, row, segment)
    single = np.flatnonzero(low == high)
    single = single[np.argsort(low[single], kind="stable")]
    several = np.flatnonzero((low < high) & (high >= 0))
    return MovedRows(
        indptr=np.ascontiguousarray(table.indptr, np.int64),
        angles=angles,
        deltas=np.ascontiguousarray(table.deltas, np.float64),
        still=np.flatnonzero(high < 0),
        single=single,
        segment=low[single],
        several=several,
        first_site=program.code.segments["site"][low[several]],
    )


def make_schedule(program: ChainProgram, moved: MovedRows, n_copies: int) -> Schedule:
    """The tasks for rows `moved`, at most `n_copies` of them at a time."""
    n_sites = len(program.code.sites) - 1
    tasks = [(RIGHTWARDS, site, 0, 0) for site in range(n_sites)] + [(BASE, 0, 0, 0)]
    if len(moved.single):
        tasks += [(LEFTWARDS, site, 0, 0) for site in range(n_sites - 1, -1, -1)]
        tasks.append((TILE, 0, 0, 0))
    bounds = [*np.flatnonzero(np.diff(moved.segment, prepend=-1)).tolist(), len(moved.single)]
    for start, stop in pairwise(bounds):
        for first in range(start, stop, n_copies):
            tasks.append((DISPLACED, int(moved.segment[start]), first, min(first + n_copies, stop)))
    for place, first_site in enumerate(moved.first_site.tolist(), start=len(moved.single)):
        tasks += [(SWEPT, site, place, first_site) for site in range(first_site, n_sites)]
    return Schedule(
        indptr=moved.indptr,
        angles=moved.angles,
        deltas=moved.deltas,
        still=moved.still,
        order=np.concatenate([moved.single, moved.several]),
        tasks=np.array(tasks, TASK),
        n_copies=n_copies,
        has_swept=len(moved.several) > 0,
    )
