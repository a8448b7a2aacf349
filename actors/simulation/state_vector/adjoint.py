"""The adjoint method: all derivatives of an exact expectation value from one forward and one reverse sweep.

T. Jones and J. Gacon, "Efficient calculation of gradients in classical simulations of variational quantum algorithms",
arXiv:2009.02823. With ``psi_k`` the state after gate k, ``dU_k/da = i G_k U_k`` and ``lambda_k`` the state ``P psi`` carried back
to just after gate k, ``d<P>/da_k = -2 Im <lambda_k|G_k|psi_k>``.

Here gates come in fused runs. Gate k of a run has, seen from the end of the run, the generator ``V G_k V+`` with V the product of the gates
after it: for one-qubit gates the rotation axis turned by V. Operations of one stage share no qubit, so all their inner products
are taken between the states at the stage's end, and each block comes into the cache once per stage.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from actors.simulation.jit import allocating, entry_point, inlined, kernel, source_digest
from actors.simulation.state_vector.base import advance, make_base, start_zero
from actors.simulation.state_vector.coefficients import (
    Angles,
    coefficient_rows,
    invert_coefficients,
    quaternion_product,
    trig_rows,
)
from actors.simulation.state_vector.derivative_kernels import (
    apply_pauli,
    generator_product,
    turn_products,
    weighted_paulis,
)
from actors.simulation.state_vector.measure_kernels import exact_values
from actors.simulation.state_vector.program import BLOCKS, TURN
from actors.simulation.state_vector.state_kernels import apply_operation, tile_length, tile_rows
from actors.simulation.vectors import fma


@kernel
def turned_axes(code, base, op, axes):
    """axes [T, 3, width]: for the rotations of a GROW or TURN, their axes as seen at the end of its run."""
    for lane in range(axes.shape[2]):
        v0, v1, v2, v3 = 1.0, 0.0, 0.0, 0.0  # V, the product of the rotations after this one
        for row in range(code.operations[op + 1].trig - 1, code.operations[op].trig - 1, -1):
            x, y, z = code.trigs[row].axis[0], code.trigs[row].axis[1], code.trigs[row].axis[2]
            t0, t1, t2, t3 = quaternion_product(v0, v1, v2, v3, 0.0, z, -y, x)
            _, z, minus_y, x = quaternion_product(t0, t1, t2, t3, v0, -v1, -v2, -v3)
            axes[row, 0, lane], axes[row, 1, lane], axes[row, 2, lane] = x, -minus_y, z
            cos, sin, even, odd = (
                base.cosine[row, lane],
                base.sine[row, lane],
                code.trigs[row].even,
                code.trigs[row].odd,
            )
            q0, q1 = fma(cos, even[0], sin * odd[0]), fma(cos, even[1], sin * odd[1])
            q2, q3 = fma(cos, even[2], sin * odd[2]), fma(cos, even[3], sin * odd[3])
            v0, v1, v2, v3 = quaternion_product(v0, v1, v2, v3, q0, q1, q2, q3)


@inlined
def add_products(code, op, axes, wanted, re, im, lam_re, lam_im, width, sums, out):
    """out [Kj, width] = the derivatives by the wanted angles of operation `op`, from the states at the end of its stage.

    wanted: int64 [T], for each trig row the place of its angle in the Jacobian, -1 if not wanted.
    """
    n_qubits = code.n_qubits
    if code.operations[op].kind == BLOCKS:
        place = wanted[code.operations[op].trig]
        bits = code.block_bits[code.operations[op].block_bit : code.operations[op + 1].block_bit]
        first, stop = code.operations[op].generator, code.operations[op + 1].generator
        rows, entries = code.generator_rows[first:stop], code.generator[first:stop]
        generator_product(re, im, lam_re, lam_im, n_qubits, width, bits, rows, entries, sums)
        for lane in range(width):
            out[place, lane] = -2.0 * sums[0, lane]
        return
    turn_products(re, im, lam_re, lam_im, width << code.operations[op].bit, width, sums)
    for row in range(*trig_rows(code, op)):
        if wanted[row] >= 0:
            for lane in range(width):
                x, y, z = axes[row, 0, lane], axes[row, 1, lane], axes[row, 2, lane]
                total = x * sums[0, lane] + y * sums[1, lane] + z * sums[2, lane]
                out[wanted[row], lane] = -2.0 * total


@allocating
def wanted_operations(code, wanted):
    """bool [O]: operations with a wanted angle."""
    result = np.zeros(code.n_operations, np.bool_)
    for op in range(result.size):
        for row in range(*trig_rows(code, op)):
            if wanted[row] >= 0:
                result[op] = True
    return result


@inlined
def reverse_sweep(code, base, wanted, buffers, state, scratch, out):
    """out [V, Kj, width]: derivatives by the wanted angles for the V blocks ``buffers[2:]`` (lambda = P psi).

    ``buffers[state]`` holds psi at the end of the circuit; all states are carried back to the first wanted operation.
    """
    width, n_lambdas = len(base.angles.data), len(out)
    has_wanted = wanted_operations(code, wanted)
    axes = np.empty((code.trigs.size, 3, width))
    inverse = np.empty((code.n_coefficients, width))
    for op in range(code.n_operations):
        (c0, c1), lanes = coefficient_rows(code, op), width if base.per_sample[op] else 1
        invert_coefficients(code, op, base.coefficients[c0:c1, :lanes], inverse[c0:c1, :lanes])
        if has_wanted[op] and code.operations[op].kind <= TURN:
            turned_axes(code, base, op, axes)
    backwards = np.bool_(True)
    first_wanted = 0
    while first_wanted < has_wanted.size and not has_wanted[first_wanted]:
        first_wanted += 1
    tile = np.empty((tile_rows(code), tile_length(width)), buffers.dtype)
    sums = np.empty((3, tile_length(width)), buffers.dtype)
    places = np.arange(2, 2 + n_lambdas)
    for stage in range(code.stage.size - 2, -1, -1):
        start, stop = code.stage[stage], code.stage[stage + 1]
        if stop <= first_wanted:
            break
        for v in range(n_lambdas):
            lam = buffers[places[v]]
            for op in range(start, stop):
                if has_wanted[op]:
                    psi = buffers[state]
                    add_products(code, op, axes, wanted, psi[0], psi[1], lam[0], lam[1], width, sums, out[v])
        if stage == 0:
            break
        for v in range(-1, n_lambdas):  # -1: psi itself, last needed by the products above
            place = state if v < 0 else places[v]
            for op in range(stop - 1, start - 1, -1):
                own = inverse[
                    code.operations[op].coefficient : code.operations[op + 1].coefficient,
                    : width if base.per_sample[op] else 1,
                ]
                place, scratch = apply_operation(
                    code, op, own, not base.per_sample[op], backwards, buffers, place, scratch, width, tile
                )
            if v < 0:
                state = place
            else:
                places[v] = place


@inlined
def run_block(code, seen, base, wanted, weights, buffers, values, derivatives):
    """values [M, width], derivatives [V, Kj, width] of one block of samples, as many reverse sweeps together as there are buffers.

    weights: float64 [M, width] for the one sweep of a weighted sum, [0, width] for a sweep per string.
    """
    width, n_sweeps, n_qubits = len(base.angles.data), len(derivatives), code.n_qubits
    zero, one = np.int64(0), np.int64(1)  # typed: a literal would make numba compile the callees again
    for first in range(0, n_sweeps, len(buffers) - 2):
        stop = min(first + len(buffers) - 2, n_sweeps)
        start_zero(buffers[0], width)
        state, scratch = advance(code, base, zero, code.n_operations, buffers, zero, one)
        if first == 0:
            exact_values(seen, buffers, state, scratch, n_qubits, width, values)
        if len(weights) > 0:
            weighted_paulis(seen, weights, buffers[state], buffers[2], buffers[scratch], n_qubits, width)
        else:
            for m in range(first, stop):
                apply_pauli(seen, m, buffers[state], buffers[2 + m - first], n_qubits, width)
        reverse_sweep(code, base, wanted, buffers, state, scratch, derivatives[first:stop])


@allocating
def filled_up(data, first, width):
    """`width` rows of `data` [S, Kd] from `first` on, the last one repeated past the end."""
    rows = np.empty((width, data.shape[1]))
    for lane in range(width):
        for column in range(data.shape[1]):
            rows[lane, column] = data[min(first + lane, len(data) - 1), column]
    return rows


@kernel
def store_lanes(found, derivatives, first, values, jacobian):
    """Write the lanes of a block, [M, width] and [V, Kj, width], to the samples from `first` on, [S, M] and [S, V, Kj]."""
    for lane in range(min(found.shape[1], len(values) - first)):
        for m in range(found.shape[0]):
            values[first + lane, m] = found[m, lane]
        for v in range(derivatives.shape[0]):
            for k in range(derivatives.shape[1]):
                jacobian[first + lane, v, k] = derivatives[v, k, lane]


def _build(digest: int) -> Any:
    def adjoint(code, seen, angles, wanted, cotangents, buffers, values, jacobian):
        _ = digest
        n_samples, n_sweeps, n_wanted = jacobian.shape
        width = buffers.shape[2] >> code.n_qubits
        found, derivatives = (
            np.empty((values.shape[1], width), buffers.dtype),
            np.zeros((n_sweeps, n_wanted, width)),
        )
        for first in range(0, n_samples, width):
            base = make_base(code, Angles(angles.shared, angles.column, filled_up(angles.data, first, width)))
            weights = (
                filled_up(cotangents, first, width) if len(cotangents) > 0 else np.empty((width, 0))
            ).T.copy()
            run_block(code, seen, base, wanted, weights, buffers, found, derivatives)
            store_lanes(found, derivatives, first, values, jacobian)

    return entry_point(adjoint)


adjoint = _build(source_digest())
"""Fill values [S, M] and jacobian [S, V, Kj]: V = M, or with cotangents [S, M] (else [0, M]) V = 1, the weighted sum.

buffers: real [2 + sweeps together, 2, 2**n * width]; their type is the precision. The last block of `width` lanes is filled up with copies
of the last sample.
"""
