"""What operations do to a block of states.

Layout of every kernel here: `re` and `im` are the flat planes of one block, element ``row * width + lane``; a bit b of the basis
index has the stride ``width << b`` elements. "Uniform" coefficients are scalars shared by all lanes; per-lane ones come as a
*tile* ``[rows, length]`` with ``tile[c, i]`` the coefficient of lane ``i % width``, `length` a power of two times `width`, so
that several basis rows are served by one inner loop. Both give the same bits (same operations, explicitly fused), and so do the loops over
vectors and over single elements. Planes and tiles are of one real type, float64 or float32; coefficients come in float64 and are
rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from actors.simulation.jit import kernel
from actors.simulation.state_vector.block_kernels import apply_block
from actors.simulation.state_vector.complex_arithmetic import times, turned
from actors.simulation.state_vector.permutation_kernels import permute, permute_phase
from actors.simulation.state_vector.program import BLOCKS, GROW, PERMUTE, PERMUTE_PHASE, TURN
from actors.simulation.vectors import (
    lanes_of,
    load,
    merge_1,
    merge_2,
    merge_4,
    rounded,
    splat,
    split_1,
    split_2,
    split_4,
    store,
)

TILE = 256
"""Elements of a tile row, at most (unless the block is wider): 4 rows of a one-qubit gate take 8 KB of the L1 cache."""


def _turning(split: Any, merge: Any) -> Any:
    @kernel
    def turn_within(re, im, size, ar, ai, br, bi):
        step = lanes_of(re)
        var, vai, vbr, vbi = splat(ar), splat(ai), splat(br), splat(bi)
        for i in range(0, size, 2 * step):
            xr, yr = split(load(re, i), load(re, i + step))
            xi, yi = split(load(im, i), load(im, i + step))
            xr, xi, yr, yi = turned(xr, xi, yr, yi, var, vai, vbr, vbi)
            upper, lower = merge(xr, yr), merge(xi, yi)
            store(re, i, upper[0])
            store(re, i + step, upper[1])
            store(im, i, lower[0])
            store(im, i + step, lower[1])

    return turn_within


turn_1, turn_2, turn_4 = _turning(split_1, merge_1), _turning(split_2, merge_2), _turning(split_4, merge_4)
"""As `turn_uniform`, for a stride shorter than a vector; `size` is a multiple of two vectors."""


@kernel
def turn_uniform(re, im, size, stride, ar, ai, br, bi):
    """Apply ``[[a, -conj(b)], [b, conj(a)]]`` to the bit of `stride` in the first `size` elements, in place."""
    step = lanes_of(re)
    if stride < step and size % (2 * step) == 0:
        if stride == 1:
            turn_1(re, im, size, ar, ai, br, bi)
            return
        if stride == 2:
            turn_2(re, im, size, ar, ai, br, bi)
            return
        if stride == 4:
            turn_4(re, im, size, ar, ai, br, bi)
            return
    whole = stride - stride % step
    var, vai, vbr, vbi = splat(ar), splat(ai), splat(br), splat(bi)
    for base in range(0, size, 2 * stride):
        for i in range(base, base + whole, step):
            j = i + stride
            x, y = (load(re, i), load(im, i)), (load(re, j), load(im, j))
            xr, xi, yr, yi = turned(x[0], x[1], y[0], y[1], var, vai, vbr, vbi)
            store(re, i, xr)
            store(im, i, xi)
            store(re, j, yr)
            store(im, j, yi)
        for i in range(base + whole, base + stride):
            j = i + stride
            re[i], im[i], re[j], im[j] = turned(re[i], im[i], re[j], im[j], ar, ai, br, bi)


@kernel
def turn_lanes(re, im, size, stride, tile):
    """As `turn_uniform`, the coefficients ar, ai, br, bi in the rows of `tile`."""
    step, length = lanes_of(re), min(stride, tile.shape[1])
    whole = length - length % step
    ar, ai, br, bi = tile[0], tile[1], tile[2], tile[3]
    for base in range(0, size, 2 * stride):
        for low in range(base, base + stride, length):
            for k in range(0, whole, step):
                i, j = low + k, low + stride + k
                a, b = (load(ar, k), load(ai, k)), (load(br, k), load(bi, k))
                x, y = (load(re, i), load(im, i)), (load(re, j), load(im, j))
                xr, xi, yr, yi = turned(x[0], x[1], y[0], y[1], a[0], a[1], b[0], b[1])
                store(re, i, xr)
                store(im, i, xi)
                store(re, j, yr)
                store(im, j, yi)
            for k in range(whole, length):
                i, j = low + k, low + stride + k
                re[i], im[i], re[j], im[j] = turned(re[i], im[i], re[j], im[j], ar[k], ai[k], br[k], bi[k])


@kernel
def grow_lanes(re, im, size, tile):
    """The first `size` elements are the state so far; make ``a * state`` of them and ``b * state`` of the next `size`.

    The coefficients ar, ai, br, bi of each element are in the rows of `tile`.
    """
    step, length = lanes_of(re), min(size, tile.shape[1])
    whole = length - length % step
    ar, ai, br, bi = tile[0], tile[1], tile[2], tile[3]
    for low in range(0, size, length):
        for k in range(0, whole, step):
            i, j = low + k, low + size + k
            x, y = load(re, i), load(im, i)
            upper, lower = times(x, y, load(ar, k), load(ai, k)), times(x, y, load(br, k), load(bi, k))
            store(re, i, upper[0])
            store(im, i, upper[1])
            store(re, j, lower[0])
            store(im, j, lower[1])
        for k in range(whole, length):
            i, j = low + k, low + size + k
            xr, xi = re[i], im[i]
            re[j], im[j] = times(xr, xi, br[k], bi[k])
            re[i], im[i] = times(xr, xi, ar[k], ai[k])


@kernel
def spread_tile(coefficients, width, tile):
    """Repeat the `width` columns of `coefficients` (1 column: a uniform one) over the columns of `tile`, rounded to its type."""
    for c in range(coefficients.shape[0]):
        row, target = coefficients[c], tile[c]
        for low in range(0, target.size, width):
            part = target[low : low + width]
            for i in range(width):
                part[i] = row[i]


@kernel
def tile_length(width):
    """Columns of a tile for blocks of `width` lanes: the largest power of two times `width` up to `TILE`, or `width`."""
    length = width
    while 2 * length <= TILE:
        length *= 2
    return length


@kernel
def tile_rows(code):
    """Rows of a tile: the coefficients of the largest block and its states, or the 4 of a turn."""
    rows = np.int64(4)
    for block in code.blocks:
        m = block.n_rows
        rows = max(rows, 2 * m * (m + 1))
    return rows


@kernel
def apply_operation(code, op, coefficients, uniform, inverse, buffers, state, scratch, width, tile):
    """Apply operation `op` (or its inverse) to ``buffers[state]``; returns the new places of (state, scratch).

    buffers: real [., 2, 2**n * width], blocks as (re, im) planes. coefficients: float64 [rows of op, width], one column if
    `uniform`, already inverted if `inverse`. A GROW has no inverse. tile: real [tile_rows, tile_length], scratch.
    """
    kind = code.operations[op].kind
    re, im = buffers[state, 0], buffers[state, 1]
    if kind <= TURN:
        stride = width << code.operations[op].bit
        if uniform and kind == TURN:
            ar, ai = rounded(re, coefficients[0, 0]), rounded(re, coefficients[1, 0])
            br, bi = rounded(re, coefficients[2, 0]), rounded(re, coefficients[3, 0])
            turn_uniform(re, im, width << code.n_qubits, stride, ar, ai, br, bi)
        else:
            spread_tile(coefficients, np.int64(1) if uniform else width, tile[:4])
            if kind == GROW:
                grow_lanes(re, im, stride, tile)
            else:
                turn_lanes(re, im, width << code.n_qubits, stride, tile)
    elif kind == BLOCKS:
        bits = code.block_bits[code.operations[op].block_bit : code.operations[op + 1].block_bit]
        for block in range(code.operations[op].block, code.operations[op + 1].block):
            m = code.blocks[block].n_rows
            first = code.blocks[block].coefficient - code.operations[op].coefficient
            spread_tile(coefficients[first : first + 2 * m * m], 1 if uniform else width, tile[: 2 * m * m])
            rows = code.block_rows[code.blocks[block].row : code.blocks[block].row + m]
            apply_block(re, im, code.n_qubits, width, bits, rows, tile)
    else:
        out_re, out_im = buffers[scratch, 0], buffers[scratch, 1]
        source = code.permutations[code.operations[op].bit]
        if kind == PERMUTE:
            permute(re, im, out_re, out_im, width, source, inverse)
        elif kind == PERMUTE_PHASE:
            permute_phase(
                re, im, out_re, out_im, width, source, code.phases[code.operations[op].phase], inverse
            )
        return scratch, state
    return state, scratch
