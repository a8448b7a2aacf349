"""The loop over blocks: all circuits of a job, each prefix of a state computed once.

As in ``state_vector.forward``: displacement rows are taken in the order of the first operation they move, the undisplaced states of up to
one block of samples advance with them, and each block of displaced circuits starts from a copy. A derivative is a row too: the
operation of its angle is replaced by its derivative, and what follows is linear.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from actors.simulation.density_matrix.coefficients import (
    coefficient_rows,
    differentiate_trig,
    fill_base,
    operation_coefficients,
    trig_rows,
)
from actors.simulation.density_matrix.kernels import apply_operation, tile_length
from actors.simulation.density_matrix.measure_kernels import exact_values, sampled_values
from actors.simulation.jit import allocating, entry_point, inlined, source_digest
from actors.simulation.state_vector.coefficients import Angles, fill_trig, per_sample_operations
from actors.simulation.state_vector.forward import displace_trig, make_lanes, moved_operations, take_lanes


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


class Scratch(NamedTuple):
    """Room for what an operation spreads or copies: tile float64 [16, .], work float64 [max_columns, .]."""

    tile: np.ndarray
    work: np.ndarray


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


@allocating
def make_scratch(code, width):
    """The Scratch of blocks of `width` lanes."""
    length = tile_length(width)
    return Scratch(np.empty((16, length)), np.empty((code.max_columns, length)))


@inlined
def advance(code, base, start, stop, buffers, state, spare):
    """Apply operations start..stop-1 to the undisplaced states; returns the new places of (state, spare)."""
    width = len(base.angles.data)
    room = make_scratch(code, width)
    for op in range(start, stop):
        uniform = not base.per_sample[op]
        first, last = coefficient_rows(code, op)
        own = base.coefficients[first:last, : 1 if uniform else width]
        state, spare = apply_operation(
            code, op, own, uniform, buffers, state, spare, width, room.tile, room.work
        )
    return state, spare


@inlined
def block_operation(code, op, base, displaced, derivative, lanes, is_moved):
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
    differentiate_trig(code, op, derivative, lanes.row, cosine, sine)
    operation_coefficients(code, op, cosine[:, :width], sine[:, :width], own[:, :width])
    return own[:, :width], False


@inlined
def finish_block(code, base, displaced, derivative, lanes, start, buffers, block, spare):
    """Apply operations `start`.. to a block of displaced circuits; returns the new places of (block, spare)."""
    width = lanes.sample.size
    moved = moved_operations(code, displaced, lanes)
    room = make_scratch(code, width)
    for op in range(start, code.n_operations):
        own, uniform = block_operation(code, op, base, displaced, derivative, lanes, moved[op])
        block, spare = apply_operation(
            code, op, own, uniform, buffers, block, spare, width, room.tile, room.work
        )
    return block, spare


@inlined
def run_samples(code, reading, base, displaced, derivative, noise, first_sample, max_width, buffers, values):
    """values [W, D, M]: all circuits of the W <= max_width samples of `base`; `first_sample`: their place in the run."""
    n_samples, n_rows, n_paulis = values.shape
    # Typed, because numba would compile every callee once more for each literal argument.
    state, block, spare, done = np.int64(0), np.int64(1), np.int64(2), np.int64(0)
    buffers[state, :n_samples] = 1.0
    n_circuits = n_samples * n_rows
    for circuit0 in range(0, n_circuits, max_width):
        width = min(max_width, n_circuits - circuit0)
        lanes = make_lanes(displaced.order, circuit0, n_samples, width)
        until = displaced.first_operation[circuit0 // n_samples]
        state, spare = advance(code, base, done, until, buffers, state, spare)
        done = until
        size = code.operations[done].size_in
        take_lanes(
            buffers[state, : size * n_samples].reshape(size, n_samples),
            lanes.sample,
            buffers[block, : size * width].reshape(size, width),
        )
        block, spare = finish_block(code, base, displaced, derivative, lanes, done, buffers, block, spare)
        found = np.empty((n_paulis, width))
        if noise.shots == 0:
            exact_values(reading, buffers[block], width, found)
        else:
            sampled_values(reading, buffers[block], noise, lanes, first_sample, found)
        for i in range(width):
            for m in range(n_paulis):
                values[lanes.sample[i], lanes.row[i], m] = found[m, i]


def _build(digest: int) -> Any:
    def forward(code, reading, angles, displaced, derivative, noise, max_width, values):
        _ = digest
        buffers = np.empty((3, max_width * code.max_components))
        for first in range(0, len(values), max_width):
            stop = min(first + max_width, len(values))
            base = make_base(code, Angles(angles.shared, angles.column, angles.data[first:stop]))
            place = noise.sample_start + first
            run_samples(
                code,
                reading,
                base,
                displaced,
                derivative,
                noise,
                place,
                max_width,
                buffers,
                values[first:stop],
            )

    return entry_point(forward)


forward = _build(source_digest())
"""Fill values [S, D, M] of a whole job in blocks of at most `max_width` lanes; compiled on first call or read from disk."""
