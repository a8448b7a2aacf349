"""Exact values of all circuits of a job: `rows` says how each row is answered, this loop does it, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np

from actors.simulation.jit import entry_point, inlined, kernel, source_digest
from actors.simulation.state_vector.base import advance, make_base, start_zero
from actors.simulation.state_vector.carrying import (
    carry,
    negated_row,
    repeat_states,
    row_coefficients,
)
from actors.simulation.state_vector.coefficients import Angles, coefficient_rows
from actors.simulation.state_vector.environment_kernels import (
    angle_weights,
    bit_correlators,
    column_weights,
    combine,
    combine_final,
    cross_values,
    final_weights,
    lane_quaternion,
    transposed,
)
from actors.simulation.state_vector.measure_kernels import exact_values
from actors.simulation.state_vector.rows import COMPLEMENT, DISPLACED, QUADRATURE, REFLECTION


@kernel
def store_undisplaced(routes, found, values):
    """The rows that move nothing: found [samples, M]."""
    for row in routes.undisplaced:
        for lane in range(len(found)):
            for m in range(found.shape[1]):
                values[lane, row, m] = found[lane, m]


@inlined
def store_final(code, seen, base, displaced, routes, psi, work, found, values):
    """The rows of final operations, from correlators of the undisplaced states `psi`."""
    n_samples, n_paulis = found.shape
    x, y = np.empty((n_paulis, n_samples), psi.dtype), np.empty((n_paulis, n_samples), psi.dtype)
    x_lanes, y_lanes = np.empty(found.shape), np.empty(found.shape)
    for place in range(routes.final_operation.size):
        op = routes.final_operation[place]
        (c0, c1), bit = coefficient_rows(code, op), code.operations[op].bit
        bit_correlators(seen, bit, psi, work, code.n_qubits, n_samples, x, y)
        transposed(x, x_lanes)
        transposed(y, y_lanes)
        has_bit = (seen.sign_mask >> bit) & 1
        for served in range(routes.final_start[place], routes.final_start[place + 1]):
            row = routes.final_rows[served]
            new, old = row_coefficients(code, op, base, displaced, row), base.coefficients[c0:c1]
            for lane in range(n_samples):
                if lane == 0 or new.shape[1] > 1:
                    weights = final_weights(lane_quaternion(old, lane), lane_quaternion(new, lane))
                combine_final(weights, has_bit, x_lanes[lane], y_lanes[lane], found[lane], values[lane, row])


@kernel
def moved_by(code, displaced, row, angle, kind):
    """rate times displacement of `angle` in `row`: the half-angle of its QUADRATURE or REFLECTION."""
    delta = 0.0
    for entry in range(displaced.indptr[row], displaced.indptr[row + 1]):
        if displaced.angles[entry] == angle:
            delta = displaced.deltas[entry]
    first = code.angles[angle].first
    if kind == QUADRATURE:
        return code.trigs[first].rate * delta
    negated = negated_row(code, angle)
    kept = first + 1 if negated == first else first
    return 0.5 * (code.trigs[negated].rate - code.trigs[kept].rate) * delta


@inlined
def store_state(code, base, displaced, carried, state, found, own, re, im, values):
    """The rows that `state` serves; own, re, im float64 [samples, M] are its values and the parts of its overlap."""
    kind, op, angle = carried.kind[state], carried.operation[state], carried.angle[state]
    n_samples = len(found)
    for served in range(carried.start[state], carried.start[state + 1]):
        row = carried.rows[served]
        if kind == DISPLACED:
            for lane in range(n_samples):
                for m in range(own.shape[1]):
                    values[lane, row, m] = own[lane, m]
        elif kind == COMPLEMENT:
            c0, c1 = coefficient_rows(code, op)
            new, old = row_coefficients(code, op, base, displaced, row), base.coefficients[c0:c1]
            for lane in range(n_samples):
                if lane == 0 or new.shape[1] > 1:
                    weights = column_weights(lane_quaternion(old, lane), lane_quaternion(new, lane))
                combine(weights, found[lane], own[lane], re[lane], im[lane], values[lane, row])
        else:
            weights = angle_weights(moved_by(code, displaced, row, angle, kind), kind == REFLECTION)
            for lane in range(n_samples):
                cross = im[lane] if kind == REFLECTION else re[lane]
                combine(weights, found[lane], own[lane], cross, cross, values[lane, row])


@kernel
def parts_needed(kinds):
    """(whether a block of states of these `kinds` needs the real parts of overlaps, whether the imaginary ones)."""
    real = imaginary = False
    for kind in kinds:
        real = real or kind in (QUADRATURE, COMPLEMENT)
        imaginary = imaginary or kind in (REFLECTION, COMPLEMENT)
    return real, imaginary


@inlined
def store_block(
    code, seen, base, displaced, carried, first, n_states, found, psi, buffers, block, scratch, values
):
    """The rows of a block of carried states; `psi` holds the undisplaced states repeated for them."""
    n_samples, n_paulis = found.shape
    width = n_samples * n_states
    part = np.empty((n_paulis, width), buffers.dtype)
    own, re, im = (np.empty((width, n_paulis)), np.empty((width, n_paulis)), np.empty((width, n_paulis)))
    exact_values(seen, buffers, block, scratch, code.n_qubits, width, part)
    transposed(part, own)
    needed = parts_needed(carried.kind[first : first + n_states])
    for imaginary in (False, True):
        if needed[1] if imaginary else needed[0]:
            cross_values(seen, psi, buffers[block], buffers[scratch], code.n_qubits, width, imaginary, part)
            transposed(part, im if imaginary else re)
    for u in range(n_states):
        low, high = u * n_samples, (u + 1) * n_samples
        store_state(
            code,
            base,
            displaced,
            carried,
            first + u,
            found,
            own[low:high],
            re[low:high],
            im[low:high],
            values,
        )


@inlined
def run_samples(code, seen, base, displaced, routes, max_width, buffers, values):
    """values [W, D, M]: all circuits of the W <= max_width samples of `base`."""
    n_samples, _, n_paulis = values.shape
    carried = routes.carried
    # Typed, because numba would compile every callee once more for each literal argument.
    state, block, scratch, final, done = np.int64(0), np.int64(1), np.int64(2), np.int64(3), np.int64(0)
    found = np.empty((n_samples, n_paulis))
    if routes.needs_base:
        start_zero(buffers[final], n_samples)
        final, scratch = advance(code, base, done, code.n_operations, buffers, final, scratch)
        part = np.empty((n_paulis, n_samples), buffers.dtype)
        exact_values(seen, buffers, final, scratch, code.n_qubits, n_samples, part)
        transposed(part, found)
        store_undisplaced(routes, found, values)
        store_final(code, seen, base, displaced, routes, buffers[final], buffers[scratch], found, values)
    start_zero(buffers[state], n_samples)
    together, repeated = max_width // n_samples, np.int64(0)
    for first in range(0, carried.kind.size, together):
        n_states = min(together, carried.kind.size - first)
        width, until = n_states * n_samples, carried.operation[first]
        state, scratch = advance(code, base, done, until, buffers, state, scratch)
        done = until
        rows = np.int64(1) << min(done, code.n_qubits)
        repeat_states(buffers[state], n_samples, buffers[block], width, rows)
        block, scratch = carry(code, base, displaced, carried, first, n_states, done, buffers, block, scratch)
        psi = final if n_states == 1 else len(buffers) - 1
        if routes.needs_base and n_states > 1 and repeated != width:
            repeat_states(buffers[final], n_samples, buffers[psi], width, np.int64(1) << code.n_qubits)
            repeated = width
        store_block(
            code,
            seen,
            base,
            displaced,
            carried,
            first,
            n_states,
            found,
            buffers[psi],
            buffers,
            block,
            scratch,
            values,
        )


def _build(digest: int) -> Any:
    def forward_exact(code, seen, angles, displaced, routes, max_width, buffers, values):
        _ = digest
        for first in range(0, len(values), max_width):
            stop = min(first + max_width, len(values))
            base = make_base(code, Angles(angles.shared, angles.column, angles.data[first:stop]))
            run_samples(code, seen, base, displaced, routes, max_width, buffers, values[first:stop])

    return entry_point(forward_exact)


forward_exact = _build(source_digest())
"""Fill values [S, D, M] of a whole job in blocks of at most `max_width` lanes; compiled on first call or read from disk.

buffers: real [5, 2, 2**n * max_width], or [4, ...] where a block never holds two states of a sample; their type is the precision.
"""
