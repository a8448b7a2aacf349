"""Blocks of carried states: several states of every sample of a Base side by side, from their first operation to the end.

A carried state shares everything before its first operation with the undisplaced circuit of its sample. States come in the order of their
first operation, the undisplaced states advance with them, and each block starts from copies of those.

Layout: lane ``u * n_samples + s`` of a block holds state ``first + u`` of sample s.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from actors.simulation.jit import allocating, inlined, kernel
from actors.simulation.state_vector.coefficients import (
    coefficient_rows,
    operation_coefficients,
    trig_rows,
    turn_coefficients,
)
from actors.simulation.state_vector.permutation_kernels import copy_row
from actors.simulation.state_vector.rows import COMPLEMENT, DISPLACED, QUADRATURE
from actors.simulation.state_vector.state_kernels import apply_operation, tile_length, tile_rows

SHORT_RUN = 8
"""Below so many samples copying lane by lane is faster than run by run."""
UNMOVED, NEW_COLUMN, NEW_ANGLE = range(3)
"""What the states of a block do to an operation: nothing, use the other column of a GROW, change an angle."""


class Shifts(NamedTuple):
    """The displacement rows of a job; indptr, angles, deltas: as in ``orchestrator.jobs.Displacements``."""

    indptr: np.ndarray
    angles: np.ndarray
    deltas: np.ndarray


@kernel
def repeat_states(source, n_samples, target, width, rows):
    """target lane i = source lane ``i % n_samples`` for the first `rows` basis rows; blocks [2, .]."""
    for plane in range(2):
        read, write = source[plane], target[plane]
        for j in range(rows):
            if n_samples == width or n_samples >= SHORT_RUN:
                for start in range(0, width, n_samples):
                    copy_row(read, j * n_samples, write, j * width + start, n_samples)
            else:
                for i in range(width):
                    write[j * width + i] = read[j * n_samples + i % n_samples]


@kernel
def repeat_lanes(values, out):
    """``out[:, i] = values[:, i % columns of values]``."""
    for row in range(out.shape[0]):
        for start in range(0, out.shape[1], values.shape[1]):
            for i in range(values.shape[1]):
                out[row, start + i] = values[row, i]


@kernel
def displace_row(code, op, angles, displaced, row, cosine, sine):
    """Overwrite cosine, sine [trig rows of op, samples] where displacement row `row` moves an angle of `op`."""
    for entry in range(displaced.indptr[row], displaced.indptr[row + 1]):
        angle, delta = displaced.angles[entry], displaced.deltas[entry]
        if code.angles[angle].operation != op:
            continue
        column = angles.column[angle]
        for trig in range(code.angles[angle].first, code.angles[angle].stop):
            rate, place = code.trigs[trig].rate, trig - code.operations[op].trig
            if column < 0:
                value = rate * (angles.shared[angle] + delta)
                cosine[place, :] = math.cos(value)
                sine[place, :] = math.sin(value)
            else:
                for i in range(cosine.shape[1]):
                    value = rate * (angles.data[i, column] + delta)
                    cosine[place, i] = math.cos(value)
                    sine[place, i] = math.sin(value)


@kernel
def negated_row(code, angle):
    """The trig row of the two of a REFLECTION that moves: the second, unless its rate is 0."""
    first = code.angles[angle].first
    return first if code.trigs[first + 1].rate == 0 else first + 1


@kernel
def change_trig(code, op, angle, kind, cosine, sine):
    """cosine, sine [trig rows of op, samples] of the environment of `angle`."""
    if kind == QUADRATURE:
        place = code.angles[angle].first - code.operations[op].trig
        for i in range(cosine.shape[1]):
            cosine[place, i], sine[place, i] = -sine[place, i], cosine[place, i]
    else:
        place = negated_row(code, angle) - code.operations[op].trig
        for i in range(cosine.shape[1]):
            cosine[place, i], sine[place, i] = -cosine[place, i], -sine[place, i]


@kernel
def other_column(coefficients):
    """[4, samples]: (a, b) replaced by (-conj(b), conj(a)), the orthogonal column of the same unitary."""
    for i in range(coefficients.shape[1]):
        ar, ai, br, bi = coefficients[0, i], coefficients[1, i], coefficients[2, i], coefficients[3, i]
        coefficients[0, i], coefficients[1, i], coefficients[2, i], coefficients[3, i] = -br, bi, ar, -ai


@allocating
def moved_operations(code, displaced, carried, first, n_states):
    """int64 [O]: what some state of a block does to each operation."""
    moved = np.zeros(code.n_operations, np.int64)
    for state in range(first, first + n_states):
        if carried.kind[state] == COMPLEMENT:
            moved[carried.operation[state]] = max(moved[carried.operation[state]], NEW_COLUMN)
        elif carried.kind[state] != DISPLACED:
            moved[carried.operation[state]] = NEW_ANGLE
        else:
            row = carried.rows[carried.start[state]]
            for entry in range(displaced.indptr[row], displaced.indptr[row + 1]):
                op = code.angles[displaced.angles[entry]].operation
                if op < moved.size:
                    moved[op] = NEW_ANGLE
    return moved


@allocating
def moved_coefficients(code, op, base, displaced, carried, first, own):
    """own [rows of op, width]: the coefficients of `op` in a block of states some of which change its angles."""
    (t0, t1), width, n_samples = trig_rows(code, op), own.shape[1], len(base.angles.data)
    cosine, sine = np.empty((t1 - t0, width)), np.empty((t1 - t0, width))
    repeat_lanes(base.cosine[t0:t1], cosine)
    repeat_lanes(base.sine[t0:t1], sine)
    for start in range(0, width, n_samples):
        state = first + start // n_samples
        cos, sin = cosine[:, start : start + n_samples], sine[:, start : start + n_samples]
        kind = carried.kind[state]
        if kind == DISPLACED:
            displace_row(code, op, base.angles, displaced, carried.rows[carried.start[state]], cos, sin)
        elif kind != COMPLEMENT and carried.operation[state] == op:
            change_trig(code, op, carried.angle[state], kind, cos, sin)
    operation_coefficients(code, op, cosine, sine, width, own)


@allocating
def block_operation(code, op, base, displaced, carried, first, width, moved):
    """(coefficients [rows of op, width or 1], whether they are uniform) of `op` in a block."""
    (c0, c1), n_samples = coefficient_rows(code, op), len(base.angles.data)
    if moved == UNMOVED and not base.per_sample[op]:
        return base.coefficients[c0:c1, :1], True
    own = np.empty((c1 - c0, width))
    if moved == NEW_ANGLE:
        moved_coefficients(code, op, base, displaced, carried, first, own)
    else:
        repeat_lanes(base.coefficients[c0:c1, : n_samples if base.per_sample[op] else 1], own)
    for start in range(0, width, n_samples):
        state = first + start // n_samples
        if carried.kind[state] == COMPLEMENT and carried.operation[state] == op:
            other_column(own[:, start : start + n_samples])
    return own[:, :width], width == 1


@inlined
def carry(code, base, displaced, carried, first, n_states, start, buffers, block, scratch):
    """Apply operations `start`.. to a block of carried states; returns the new places of (block, scratch)."""
    width = n_states * len(base.angles.data)
    moved = moved_operations(code, displaced, carried, first, n_states)
    forwards = np.bool_(False)
    tile = np.empty((tile_rows(code), tile_length(width)), buffers.dtype)
    for op in range(start, code.n_operations):
        own, uniform = block_operation(code, op, base, displaced, carried, first, width, moved[op])
        block, scratch = apply_operation(
            code, op, own, uniform, forwards, buffers, block, scratch, width, tile
        )
    return block, scratch


@allocating
def row_coefficients(code, op, base, displaced, row):
    """[4, samples or 1]: the coefficients of the GROW or TURN `op` in displacement row `row`."""
    (t0, t1), lanes = trig_rows(code, op), len(base.angles.data) if base.per_sample[op] else 1
    cosine, sine = base.cosine[t0:t1, :lanes].copy(), base.sine[t0:t1, :lanes].copy()
    displace_row(code, op, base.angles, displaced, row, cosine[:, :lanes], sine[:, :lanes])
    own = np.empty((4, lanes))
    turn_coefficients(code, op, cosine, sine, lanes, own)
    return own
