"""How each displacement row of an exact job is answered: from a state of its own, or from one that many rows share.

Let ``psi`` be the final state, operation t any operation and V what follows it. A row that moves angles of operation t alone replaces
``psi_t`` by ``D psi_t``, and mostly D has only two terms, ``psi' = V D psi_t = alpha psi + beta phi`` with the *environment* phi, one state
for all rows of that kind:

    <O>' = |alpha|**2 <psi|O|psi> + |beta|**2 <phi|O|phi> + 2 Re(conj(alpha) beta <psi|O|phi>)

| kind | operation, what is moved | phi |
|---|---|---|
| QUADRATURE | TURN, one angle: D = cos(r d) + sin(r d) (i n.sigma) | the gate with (cos, sin) replaced by (-sin, cos) |
| REFLECTION | BLOCKS of two eigenphases: D = P_0 + exp(i r d) P_1 | the gate with P_1 replaced by -P_1 |
| COMPLEMENT | GROW, any angles: D changes one column of a unitary matrix | the gate's other column |

*Final* operations need no environment at all: nothing acts on their bit afterwards, so D+ Z D = u X + v Y + w Z there, and correlators of
the undisplaced state with X, Y, Z at that bit give every row. Rows that move several operations are run as circuits of their own.

The way a row is answered depends on the row and the program alone, never on the other rows of a job, which only decide which
environments are worth having; so a row's bits do not depend on how a job was cut. (For one circuit displaced in one angle this costs twice
a run of that circuit.) The idea, that an angle's dependence is fixed by few states, is that of the parameter-shift rule: M. Schuld,
V. Bergholm, C. Gogolin, J. Izaac and N. Killoran, Phys. Rev. A 99 (2019) 032331.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from actors.simulation.state_vector.program import BLOCKS, GROW, TURN, Program
from orchestrator.jobs import Displacements

DISPLACED, QUADRATURE, REFLECTION, COMPLEMENT = range(4)
"""Kinds of state carried to the end of a circuit: a row's own, and the three environments of the table above."""
_UNDISPLACED, _FINAL, _SHARED, _ALONE = range(4)


class Carried(NamedTuple):
    """States to carry to the end of the circuit, one lane per sample each, in the order of their first operation.

    Attributes:
        kind: int64 [U], as above. operation: int64 [U], the first operation that differs from the undisplaced circuit.
        angle: int64 [U], that of a QUADRATURE or REFLECTION, else -1.
        start: int64 [U + 1]; rows: int64 [.], the displacement rows that state u answers are ``rows[start[u]:start[u + 1]]``.
    """

    kind: np.ndarray
    operation: np.ndarray
    angle: np.ndarray
    start: np.ndarray
    rows: np.ndarray


class Routes(NamedTuple):
    """What answers the rows of a job.

    Attributes:
        needs_base: whether the undisplaced circuit is carried to its end.
        undisplaced: int64 [.], rows that move nothing.
        final_operation: int64 [F]; final_start: int64 [F + 1]; final_rows: int64 [.]: the rows of each final operation.
        carried: everything else.
    """

    needs_base: bool
    undisplaced: np.ndarray
    final_operation: np.ndarray
    final_start: np.ndarray
    final_rows: np.ndarray
    carried: Carried


class _Moves(NamedTuple):
    """Per row: the first and last operation it moves, how many entries move something, and one angle of them."""

    first: np.ndarray
    last: np.ndarray
    n_moves: np.ndarray
    angle: np.ndarray


def own_routes(program: Program, rows: Displacements) -> Routes:
    """Every row run as a circuit of its own: the way of jobs with shots."""
    moves = _moves(program, rows)
    every, none = np.arange(len(rows)), np.zeros(0, np.int64)
    carried = _carried(np.full(len(rows), DISPLACED), moves.first, np.full(len(rows), -1), every)
    return Routes(False, none, none, np.zeros(1, np.int64), none, carried)


def exact_routes(program: Program, rows: Displacements) -> Routes:
    """Every row by the cheapest way it has."""
    moves = _moves(program, rows)
    way, kind = _ways(program, moves)
    finals = np.flatnonzero(way == _FINAL)
    finals = finals[np.argsort(moves.first[finals], kind="stable")]
    final_operation, final_start = _runs(moves.first[finals])
    states = np.flatnonzero(way >= _SHARED)
    angle = np.where((kind == QUADRATURE) | (kind == REFLECTION), moves.angle, -1)
    return Routes(
        needs_base=bool((way != _ALONE).any()),
        undisplaced=np.flatnonzero(way == _UNDISPLACED),
        final_operation=final_operation,
        final_start=final_start,
        final_rows=finals,
        carried=_carried(kind[states], moves.first[states], angle[states], states),
    )


def _moves(program: Program, rows: Displacements) -> _Moves:
    operation = program.instructions.angles["operation"][rows.angles]
    row = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
    moves = operation < program.n_operations  # an angle may move nothing, for example a global phase
    operation, row = operation[moves], row[moves]
    first, last = np.full(len(rows), program.n_operations, np.int64), np.full(len(rows), -1, np.int64)
    np.minimum.at(first, row, operation)
    np.maximum.at(last, row, operation)
    angle = np.full(len(rows), -1, np.int64)
    angle[row] = np.asarray(rows.angles, np.int64)[moves]
    return _Moves(first, last, np.bincount(row, minlength=len(rows)), angle)


def _ways(program: Program, moves: _Moves) -> tuple[np.ndarray, np.ndarray]:
    """(way, kind of state) of each row."""
    code = program.instructions
    op = np.minimum(moves.first, program.n_operations)
    kind = code.operations["kind"][op]  # the end mark is -1
    is_final = np.append(program.is_final, False)[op]
    trigs = np.append(np.diff(code.operations["trig"]), 0)[op]
    one_operation, one_angle = moves.first == moves.last, moves.n_moves == 1
    state = np.full(len(op), DISPLACED)
    state[one_operation & (kind == GROW)] = COMPLEMENT
    state[one_operation & one_angle & (kind == TURN)] = QUADRATURE
    state[one_operation & one_angle & (kind == BLOCKS) & (trigs == 2)] = REFLECTION
    way = np.where(state == DISPLACED, _ALONE, _SHARED)
    way[one_operation & is_final] = _FINAL
    way[moves.n_moves == 0] = _UNDISPLACED
    return way, state


def _carried(kind: np.ndarray, operation: np.ndarray, angle: np.ndarray, rows: np.ndarray) -> Carried:
    """The states of `rows` in the order of their operations, environments that are the same state put together."""
    alone = np.where(kind == DISPLACED, rows, -1)
    order = np.lexsort((rows, alone, angle, kind, operation))
    kind, operation, angle, alone, rows = (
        array[order].astype(np.int64) for array in (kind, operation, angle, alone, rows)
    )
    changes = np.zeros(len(rows), bool)
    for array in (kind, operation, angle, alone):
        changes[1:] |= array[1:] != array[:-1]
    changes[:1] = True
    begin = np.flatnonzero(changes)
    return Carried(
        kind[begin], operation[begin], angle[begin], np.append(begin, len(rows)).astype(np.int64), rows
    )


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of a sorted array, and where each begins (and the end)."""
    distinct, begin = np.unique(values, return_index=True)
    return distinct.astype(np.int64), np.append(begin, len(values)).astype(np.int64)
