"""What operations do to a block of states.

Layout of every kernel here: `re` and `im` are the flat planes of one block, element ``row * width + lane``; a bit b of the basis
index has the stride ``width << b`` elements. "Uniform" coefficients are scalars shared by all lanes; per-lane ones come as a
*tile* ``[rows, length]`` with ``tile[c, i]`` the coefficient of lane ``i % width``, `length` a power of two times `width`, so
that several basis rows are served by one inner loop. Both give the same bits (same operations, explicitly fused).
"""

from __future__ import annotations

import numpy as np

from actors.simulation.jit import fma, kernel
from actors.simulation.state_vector.program import BLOCKS, GROW, PERMUTE, PERMUTE_PHASE, TURN

TILE = 256
"""Elements of a tile row, at most (unless the block is wider): 4 rows of a one-qubit gate take 8 KB of the L1 cache."""


@kernel
def turn_uniform(re, im, size, stride, ar, ai, br, bi):
    """Apply ``[[a, -conj(b)], [b, conj(a)]]`` to the bit of `stride` in the first `size` elements, in place."""
    for base in range(0, size, 2 * stride):
        re0, im0 = re[base : base + stride], im[base : base + stride]
        re1, im1 = re[base + stride : base + 2 * stride], im[base + stride : base + 2 * stride]
        for i in range(stride):
            xr, xi, yr, yi = re0[i], im0[i], re1[i], im1[i]
            re0[i] = fma(ar, xr, fma(-ai, xi, fma(-br, yr, -bi * yi)))
            im0[i] = fma(ar, xi, fma(ai, xr, fma(-br, yi, bi * yr)))
            re1[i] = fma(br, xr, fma(-bi, xi, fma(ar, yr, ai * yi)))
            im1[i] = fma(br, xi, fma(bi, xr, fma(ar, yi, -ai * yr)))


@kernel
def turn_lanes(re, im, size, stride, tile):
    """As `turn_uniform`, the coefficients ar, ai, br, bi in the rows of `tile`."""
    length = min(stride, tile.shape[1])
    ar, ai, br, bi = tile[0, :length], tile[1, :length], tile[2, :length], tile[3, :length]
    for base in range(0, size, 2 * stride):
        for low in range(base, base + stride, length):
            high = low + stride
            re0, im0, re1, im1 = (
                re[low : low + length],
                im[low : low + length],
                re[high : high + length],
                im[high : high + length],
            )
            for i in range(length):
                xr, xi, yr, yi = re0[i], im0[i], re1[i], im1[i]
                re0[i] = fma(ar[i], xr, fma(-ai[i], xi, fma(-br[i], yr, -bi[i] * yi)))
                im0[i] = fma(ar[i], xi, fma(ai[i], xr, fma(-br[i], yi, bi[i] * yr)))
                re1[i] = fma(br[i], xr, fma(-bi[i], xi, fma(ar[i], yr, ai[i] * yi)))
                im1[i] = fma(br[i], xi, fma(bi[i], xr, fma(ar[i], yi, -ai[i] * yr)))


@kernel
def grow_uniform(re, im, size, ar, ai, br, bi):
    """The first `size` elements are the state so far; make ``a * state`` of them and ``b * state`` of the next `size`."""
    re0, im0, re1, im1 = re[:size], im[:size], re[size : 2 * size], im[size : 2 * size]
    for i in range(size):
        xr, xi = re0[i], im0[i]
        re1[i] = fma(br, xr, -bi * xi)
        im1[i] = fma(br, xi, bi * xr)
        re0[i] = fma(ar, xr, -ai * xi)
        im0[i] = fma(ar, xi, ai * xr)


@kernel
def grow_lanes(re, im, size, tile):
    """As `grow_uniform`, the coefficients in the rows of `tile`."""
    length = min(size, tile.shape[1])
    ar, ai, br, bi = tile[0, :length], tile[1, :length], tile[2, :length], tile[3, :length]
    for low in range(0, size, length):
        high = low + size
        re0, im0, re1, im1 = (
            re[low : low + length],
            im[low : low + length],
            re[high : high + length],
            im[high : high + length],
        )
        for i in range(length):
            xr, xi = re0[i], im0[i]
            re1[i] = fma(br[i], xr, -bi[i] * xi)
            im1[i] = fma(br[i], xi, bi[i] * xr)
            re0[i] = fma(ar[i], xr, -ai[i] * xi)
            im0[i] = fma(ar[i], xi, ai[i] * xr)


@kernel
def permute(re, im, out_re, out_im, width, source, inverse):
    """``out[j] = in[source[j]]``, or with `inverse` ``out[source[j]] = in[j]``, row by row."""
    for j in range(source.size):
        a, b = (j, source[j]) if inverse else (source[j], j)
        in_re, in_im = re[a * width : (a + 1) * width], im[a * width : (a + 1) * width]
        to_re, to_im = out_re[b * width : (b + 1) * width], out_im[b * width : (b + 1) * width]
        for i in range(width):
            to_re[i] = in_re[i]
            to_im[i] = in_im[i]


@kernel
def permute_phase(re, im, out_re, out_im, width, source, phase, inverse):
    """``out[j] = phase[j] in[source[j]]``, or its inverse; `phase` is float64 [2, 2**n] (real, imaginary part)."""
    for j in range(source.size):
        a, b = (j, source[j]) if inverse else (source[j], j)
        c, s = phase[0, j], -phase[1, j] if inverse else phase[1, j]
        in_re, in_im = re[a * width : (a + 1) * width], im[a * width : (a + 1) * width]
        to_re, to_im = out_re[b * width : (b + 1) * width], out_im[b * width : (b + 1) * width]
        for i in range(width):
            xr, xi = in_re[i], in_im[i]
            to_re[i] = fma(c, xr, -s * xi)
            to_im[i] = fma(c, xi, s * xr)


@kernel
def insert_zeros(index, bits):
    """`index` with a 0 put in at each of the ascending places `bits`."""
    for k in range(bits.size):
        low = index & ((np.int64(1) << bits[k]) - 1)
        index = ((index - low) << 1) | low
    return index


@kernel
def apply_block(re, im, n_qubits, width, bits, rows, tile):
    """Multiply the rows ``base | rows[0..m-1]`` by an m x m matrix, for every `base` that is 0 at `bits`, in place.

    tile: rows 2 (r m + c) and the next hold the real and imaginary part of entry (r, c), rows 2 m m and on are scratch.
    """
    m = rows.size
    work = tile[2 * m * m : 2 * m * (m + 1)]
    run = np.int64(1) << bits[0]  # rows that follow one another for the same base bits
    length = min(run * width, tile.shape[1])
    for outer in range((np.int64(1) << (n_qubits - bits.size)) // run):
        start = insert_zeros(outer * run, bits) * width
        for low in range(start, start + run * width, length):
            for c in range(m):
                at = low + rows[c] * width
                in_re, in_im, x_re, x_im = (
                    re[at : at + length],
                    im[at : at + length],
                    work[2 * c],
                    work[2 * c + 1],
                )
                for i in range(length):
                    x_re[i] = in_re[i]
                    x_im[i] = in_im[i]
            for r in range(m):
                at = low + rows[r] * width
                to_re, to_im = re[at : at + length], im[at : at + length]
                for c in range(m):
                    u_re, u_im = tile[2 * (r * m + c)], tile[2 * (r * m + c) + 1]
                    x_re, x_im = work[2 * c], work[2 * c + 1]
                    if c == 0:
                        for i in range(length):
                            to_re[i] = fma(u_re[i], x_re[i], -u_im[i] * x_im[i])
                            to_im[i] = fma(u_re[i], x_im[i], u_im[i] * x_re[i])
                    else:
                        for i in range(length):
                            to_re[i] = fma(u_re[i], x_re[i], fma(-u_im[i], x_im[i], to_re[i]))
                            to_im[i] = fma(u_re[i], x_im[i], fma(u_im[i], x_re[i], to_im[i]))


@kernel
def spread_tile(coefficients, width, tile):
    """Repeat the `width` columns of `coefficients` (1 column: a uniform one) over the columns of `tile`."""
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

    buffers: float64 [., 2, 2**n * width], blocks as (re, im) planes. coefficients: float64 [rows of op, width], one column if
    `uniform`, already inverted if `inverse`. A GROW has no inverse. tile: float64 [tile_rows, tile_length], scratch.
    """
    kind = code.operations[op].kind
    re, im = buffers[state, 0], buffers[state, 1]
    if kind <= TURN:
        stride = width << code.operations[op].bit
        if uniform:
            ar, ai, br, bi = coefficients[0, 0], coefficients[1, 0], coefficients[2, 0], coefficients[3, 0]
            if kind == GROW:
                grow_uniform(re, im, stride, ar, ai, br, bi)
            else:
                turn_uniform(re, im, width << code.n_qubits, stride, ar, ai, br, bi)
        else:
            spread_tile(coefficients, width, tile[:4])
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
