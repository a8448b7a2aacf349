"""Gates on several qubits, block by block (see ``gate_algebra.BlockGate``); layout as in `state_kernels`.

Blocks of one and two rows, which controlled gates and the rotations about XX, YY and ZZ are made of, have loops of their own.
"""

from __future__ import annotations

import numpy as np

from actors.simulation.jit import kernel
from actors.simulation.state_vector.complex_arithmetic import times, times_plus
from actors.simulation.state_vector.permutation_kernels import copy_row
from actors.simulation.vectors import lanes_of, load, store


@kernel
def insert_zeros(index, bits):
    """`index` with a 0 put in at each of the ascending places `bits`."""
    for k in range(bits.size):
        low = index & ((np.int64(1) << bits[k]) - 1)
        index = ((index - low) << 1) | low
    return index


@kernel
def scale_run(re, im, at, length, tile):
    """Multiply `length` elements from `at` on by the number in rows 0 and 1 of `tile`."""
    step = lanes_of(re)
    whole = length - length % step
    u_re, u_im = tile[0], tile[1]
    for k in range(0, whole, step):
        x = times(load(re, at + k), load(im, at + k), load(u_re, k), load(u_im, k))
        store(re, at + k, x[0])
        store(im, at + k, x[1])
    for k in range(whole, length):
        re[at + k], im[at + k] = times(re[at + k], im[at + k], u_re[k], u_im[k])


@kernel
def mix_runs(re, im, at, to, length, tile):
    """Multiply the pairs of elements from `at` and from `to` on by the 2 x 2 matrix in rows 0 to 7 of `tile`."""
    step = lanes_of(re)
    whole = length - length % step
    a_re, a_im, b_re, b_im = tile[0], tile[1], tile[2], tile[3]
    c_re, c_im, d_re, d_im = tile[4], tile[5], tile[6], tile[7]
    for k in range(0, whole, step):
        x, y = (load(re, at + k), load(im, at + k)), (load(re, to + k), load(im, to + k))
        upper, lower = (
            times(x[0], x[1], load(a_re, k), load(a_im, k)),
            times(x[0], x[1], load(c_re, k), load(c_im, k)),
        )
        upper = times_plus(y[0], y[1], load(b_re, k), load(b_im, k), upper[0], upper[1])
        lower = times_plus(y[0], y[1], load(d_re, k), load(d_im, k), lower[0], lower[1])
        store(re, at + k, upper[0])
        store(im, at + k, upper[1])
        store(re, to + k, lower[0])
        store(im, to + k, lower[1])
    for k in range(whole, length):
        xr, xi, yr, yi = re[at + k], im[at + k], re[to + k], im[to + k]
        upper, lower = times(xr, xi, a_re[k], a_im[k]), times(xr, xi, c_re[k], c_im[k])
        re[at + k], im[at + k] = times_plus(yr, yi, b_re[k], b_im[k], upper[0], upper[1])
        re[to + k], im[to + k] = times_plus(yr, yi, d_re[k], d_im[k], lower[0], lower[1])


@kernel
def multiply_runs(re, im, low, width, rows, length, tile):
    """`apply_block` for `length` elements of each of its rows from `low` on, any number of rows."""
    m = rows.size
    work = tile[2 * m * m : 2 * m * (m + 1)]
    for c in range(m):
        copy_row(re, low + rows[c] * width, work[2 * c], np.int64(0), length)
        copy_row(im, low + rows[c] * width, work[2 * c + 1], np.int64(0), length)
    for r in range(m):
        at = low + rows[r] * width
        to_re, to_im = re[at : at + length], im[at : at + length]
        for c in range(m):
            u_re, u_im = tile[2 * (r * m + c)], tile[2 * (r * m + c) + 1]
            x_re, x_im = work[2 * c], work[2 * c + 1]
            for i in range(length):
                if c == 0:
                    to_re[i], to_im[i] = times(x_re[i], x_im[i], u_re[i], u_im[i])
                else:
                    to_re[i], to_im[i] = times_plus(x_re[i], x_im[i], u_re[i], u_im[i], to_re[i], to_im[i])


@kernel
def apply_block(re, im, n_qubits, width, bits, rows, tile):
    """Multiply the rows ``base | rows[0..m-1]`` by an m x m matrix, for every `base` that is 0 at `bits`, in place.

    tile: rows 2 (r m + c) and the next hold the real and imaginary part of entry (r, c), rows 2 m m and on are scratch.
    """
    m = rows.size
    run = np.int64(1) << bits[0]  # rows that follow one another for the same base bits
    length = min(run * width, tile.shape[1])
    for outer in range((np.int64(1) << (n_qubits - bits.size)) // run):
        start = insert_zeros(outer * run, bits) * width
        for low in range(start, start + run * width, length):
            if m == 1:
                scale_run(re, im, low + rows[0] * width, length, tile)
            elif m == 2:
                mix_runs(re, im, low + rows[0] * width, low + rows[1] * width, length, tile)
            else:
                multiply_runs(re, im, low, width, rows, length, tile)
