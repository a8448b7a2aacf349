"""The forward loop: all circuits of a job, block by block, each state prefix computed once.

Displaced circuits share everything before their first displaced operation with the undisplaced circuit of their sample. So displacement
rows are taken in the order of their first operation, the undisplaced states ("base", one lane per sample) advance
operation by operation, and each block starts from a copy of them. A block's lanes are consecutive circuits of the list
"displacement-major, sample-minor", so small batches of samples still fill the lanes.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from actors.simulation.jit import entry_point, inlined, kernel, source_digest
from actors.simulation.state_vector.coefficients import (
    Angles,
    coefficient_rows,
    fill_base,
    fill_trig,
    operation_coefficients,
    per_sample_operations,
    trig_rows,
)
from actors.simulation.state_vector.measure_kernels import exact_values
from actors.simulation.state_vector.sampling import sampled_values
from actors.simulation.state_vector.state_kernels import apply_operation, tile_length, tile_rows


class Displaced(NamedTuple):
    """The displacement rows of a job, and the order they are run in.

    Attributes:
        indptr, angles, deltas: as in ``orchestrator.jobs.Displacements``.
        order: int64 [D], rows by first operation. first_operation: int64 [D], in that order: the first operation a row moves.
    """

    indptr: np.ndarray
    angles: np.ndarray
    deltas: np.ndarray
    order: np.ndarray
    first_operation: np.ndarray


class Noise(NamedTuple):
    """Where shot noise comes from; `shots` 0 asks for exact values. keys: uint64 [G]."""

    shots: int
    step: int
    sample_start: int
    displacement_start: int
    keys: np.ndarray


class Lanes(NamedTuple):
    """What the lanes of a block compute: int64 [width] each."""

    sample: np.ndarray
    row: np.ndarray


class Base(NamedTuple):
    """The undisplaced circuits of up to one block of samples.

    Attributes:
        angles: of these samples. per_sample: bool [O], operations whose coefficients differ between samples.
        cosine, sine: float64 [T, W]. coefficients: float64 [n_coefficients, W], see `fill_base`.
    """

    angles: Angles
    per_sample: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray
    coefficients: np.ndarray


@inlined
def make_base(code, angles):
    """The Base of the samples whose rows ``angles.data`` are."""
    width = len(angles.data)
    per_sample = per_sample_operations(code, angles.column)
    if width == 1:
        per_sample[:] = False
    cosine, sine = np.empty((code.trigs.size, width)), np.empty((code.trigs.size, width))
    fill_trig(code, angles, cosine, sine)
    coefficients = np.empty((code.n_coefficients, width))
    fill_base(code, per_sample, cosine, sine, coefficients)
    return Base(angles, per_sample, cosine, sine, coefficients)


@kernel
def start_zero(buffer, width):
    """``|0..0>`` in row 0, which is all that the first GROW reads."""
    buffer[0, :width] = 1.0
    buffer[1, :width] = 0.0


@inlined
def advance(code, base, start, stop, buffers, state, scratch):
    """Apply operations start..stop-1 to the undisplaced states; returns the new places of (state, scratch)."""
    width = len(base.angles.data)
    forwards = np.bool_(False)
    tile = np.empty((tile_rows(code), tile_length(width)))
    for op in range(start, stop):
        uniform = not base.per_sample[op]
        first, last = coefficient_rows(code, op)
        own = base.coefficients[first:last, : 1 if uniform else width]
        state, scratch = apply_operation(
            code, op, own, uniform, forwards, buffers, state, scratch, width, tile
        )
    return state, scratch


@kernel
def make_lanes(order, first_circuit, n_samples, width):
    """The Lanes of `width` consecutive circuits of the list "displacement-major, sample-minor"."""
    sample, row = np.empty(width, np.int64), np.empty(width, np.int64)
    for i in range(width):
        sample[i] = (first_circuit + i) % n_samples
        row[i] = order[(first_circuit + i) // n_samples]
    return Lanes(sample, row)


@kernel
def copy_lanes(source, source_width, target, lane_sample, rows):
    """target lane i = source lane ``lane_sample[i]``, for the first `rows` basis rows."""
    width = lane_sample.size
    for plane in range(2):
        for j in range(rows):
            read = source[plane, j * source_width : (j + 1) * source_width]
            write = target[plane, j * width : (j + 1) * width]
            for i in range(width):
                write[i] = read[lane_sample[i]]


@kernel
def take_lanes(values, lane_sample, out):
    """``out[:, i] = values[:, lane_sample[i]]``."""
    for row in range(out.shape[0]):
        for i in range(lane_sample.size):
            out[row, i] = values[row, lane_sample[i]]


@kernel
def displace_trig(code, op, base, displaced, lanes, cosine, sine):
    """Overwrite cosine, sine [trig rows of op, width] in the lanes whose displacement row moves an angle of `op`."""
    angles, n_lanes, start = base.angles, lanes.row.size, 0
    while start < n_lanes:
        row, stop = lanes.row[start], start + 1
        while stop < n_lanes and lanes.row[stop] == row:
            stop += 1
        for entry in range(displaced.indptr[row], displaced.indptr[row + 1]):
            angle, delta = displaced.angles[entry], displaced.deltas[entry]
            if code.angles[angle].operation != op:
                continue
            column = angles.column[angle]
            for trig in range(code.angles[angle].first, code.angles[angle].stop):
                rate, place = code.trigs[trig].rate, trig - code.operations[op].trig
                if column < 0:
                    value = rate * (angles.shared[angle] + delta)
                    cosine[place, start:stop] = math.cos(value)
                    sine[place, start:stop] = math.sin(value)
                else:
                    for i in range(start, stop):
                        value = rate * (angles.data[lanes.sample[i], column] + delta)
                        cosine[place, i] = math.cos(value)
                        sine[place, i] = math.sin(value)
        start = stop


@inlined
def block_operation(code, op, base, displaced, lanes, is_moved):
    """(coefficients [rows of op, width or 1], whether they are uniform) of `op` in a block."""
    (t0, t1), (c0, c1) = trig_rows(code, op), coefficient_rows(code, op)
    width = lanes.sample.size
    if not is_moved and not base.per_sample[op]:
        return base.coefficients[c0:c1, :1], True
    own = np.empty((c1 - c0, width))
    if not is_moved:
        take_lanes(base.coefficients[c0:c1], lanes.sample, own)
        return own[:, :width], False
    cosine, sine = np.empty((t1 - t0, width)), np.empty((t1 - t0, width))
    take_lanes(base.cosine[t0:t1], lanes.sample, cosine)
    take_lanes(base.sine[t0:t1], lanes.sample, sine)
    displace_trig(code, op, base, displaced, lanes, cosine, sine)
    operation_coefficients(code, op, cosine[:, :width], sine[:, :width], own[:, :width])
    return own[:, :width], False


@inlined
def moved_operations(code, displaced, lanes):
    """bool [O]: the operations that some lane's displacement row moves."""
    moved = np.zeros(code.n_operations, np.bool_)
    last = np.int64(-1)
    for row in lanes.row:
        if row != last:
            for entry in range(displaced.indptr[row], displaced.indptr[row + 1]):
                op = code.angles[displaced.angles[entry]].operation
                if op < moved.size:
                    moved[op] = True
        last = row
    return moved


@inlined
def finish_block(code, base, displaced, lanes, start, buffers, block, scratch):
    """Apply operations `start`.. to a block of displaced circuits; returns the new places of (block, scratch)."""
    width = lanes.sample.size
    moved = moved_operations(code, displaced, lanes)
    forwards = np.bool_(False)
    tile = np.empty((tile_rows(code), tile_length(width)))
    for op in range(start, code.n_operations):
        own, uniform = block_operation(code, op, base, displaced, lanes, moved[op])
        block, scratch = apply_operation(
            code, op, own, uniform, forwards, buffers, block, scratch, width, tile
        )
    return block, scratch


@inlined
def run_samples(code, seen, base, displaced, noise, first_sample, max_width, buffers, values):
    """values [W, D, M]: all circuits of the W <= max_width samples of `base`; `first_sample`: their place in the run."""
    n_samples, n_rows, n_paulis = values.shape
    # Typed, because numba would compile every callee once more for each literal argument.
    state, block, scratch, done = np.int64(0), np.int64(1), np.int64(2), np.int64(0)
    start_zero(buffers[state], n_samples)
    n_circuits = n_samples * n_rows
    for circuit0 in range(0, n_circuits, max_width):
        width = min(max_width, n_circuits - circuit0)
        lanes = make_lanes(displaced.order, circuit0, n_samples, width)
        until = displaced.first_operation[circuit0 // n_samples]
        state, scratch = advance(code, base, done, until, buffers, state, scratch)
        done = until
        copy_lanes(buffers[state], n_samples, buffers[block], lanes.sample, 1 << min(done, code.n_qubits))
        block, scratch = finish_block(code, base, displaced, lanes, done, buffers, block, scratch)
        found = np.empty((n_paulis, width))
        if noise.shots == 0:
            exact_values(seen, buffers, block, scratch, code.n_qubits, width, found)
        else:
            sampled_values(seen, buffers, block, scratch, code.n_qubits, noise, lanes, first_sample, found)
        for i in range(width):
            for m in range(n_paulis):
                values[lanes.sample[i], lanes.row[i], m] = found[m, i]


def _build(digest: int) -> Any:
    def forward(code, seen, angles, displaced, noise, max_width, values):
        _ = digest
        buffers = np.empty((3, 2, max_width << code.n_qubits))
        for first in range(0, len(values), max_width):
            stop = min(first + max_width, len(values))
            base = make_base(code, Angles(angles.shared, angles.column, angles.data[first:stop]))
            place = noise.sample_start + first
            run_samples(code, seen, base, displaced, noise, place, max_width, buffers, values[first:stop])

    return entry_point(forward)


forward = _build(source_digest())
"""Fill values [S, D, M] of a whole job in blocks of at most `max_width` lanes; compiled on first call or read from disk."""
