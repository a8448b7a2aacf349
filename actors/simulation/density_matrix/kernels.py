"""What operations do to a block of density matrices.

Layout: a block is one flat array, element ``component * width + lane``; a qubit's digit has the stride ``inner * width``. "Uniform"
coefficients are one column for all lanes, else there is one column a lane. Both give the same bits (same operations, explicitly
fused), and so does every width, because no lane sees another.
"""

from __future__ import annotations

import numpy as np

from actors.simulation.density_matrix.program import GROW, LOCAL, PERMUTE, TURN
from actors.simulation.jit import kernel
from actors.simulation.state_vector.block_kernels import insert_zeros
from actors.simulation.vectors import fma

TILE = 64
"""Elements of a tile row, at most (unless the block is wider): the 16 coefficients of one qubit take 8 KB of the L1 cache."""


@kernel
def tile_length(width):
    """Columns of a tile for blocks of `width` lanes: the largest power of two times `width` up to `TILE`, or `width`."""
    length = width
    while 2 * length <= TILE:
        length *= 2
    return length


@kernel
def fill_tile(coefficients, uniform, width, tile):
    """Repeat the columns of `coefficients` [rows, width, or 1 if uniform] over those of `tile`."""
    for row in range(coefficients.shape[0]):
        values, target = coefficients[row], tile[row]
        if uniform:
            target[:] = values[0]
        else:
            for low in range(0, target.size, width):
                for i in range(width):
                    target[low + i] = values[i]


@kernel
def grow(block, size, letters, tile):
    """Of the first `size` elements x make ``(m[l, I] + m[l, Z]) x`` for each of `letters`, in place; tile: rows 4 l + c of m."""
    length = min(size, tile.shape[1])
    for k in range(letters.size - 1, -1, -1):  # the first letter overwrites x, so it comes last
        from_i, from_z = tile[4 * letters[k]], tile[4 * letters[k] + 3]
        for low in range(0, size, length):
            x, y = block[low : low + length], block[k * size + low : k * size + low + length]
            for i in range(length):
                y[i] = (from_i[i] + from_z[i]) * x[i]


@kernel
def turn_uniform(block, size, stride, m):
    """Apply the matrix m [16, 1] to the digit of `stride` in the first `size` elements, in place; its row I is (m[0], 0, 0, 0)."""
    keep = m[0, 0]
    a0, a1, a2, a3 = m[4, 0], m[5, 0], m[6, 0], m[7, 0]
    b0, b1, b2, b3 = m[8, 0], m[9, 0], m[10, 0], m[11, 0]
    c0, c1, c2, c3 = m[12, 0], m[13, 0], m[14, 0], m[15, 0]
    for base in range(0, size, 4 * stride):
        part_i, part_x = block[base : base + stride], block[base + stride : base + 2 * stride]
        part_y, part_z = (
            block[base + 2 * stride : base + 3 * stride],
            block[base + 3 * stride : base + 4 * stride],
        )
        for i in range(stride):
            w, x, y, z = part_i[i], part_x[i], part_y[i], part_z[i]
            part_i[i] = keep * w
            part_x[i] = fma(a3, z, fma(a2, y, fma(a1, x, a0 * w)))
            part_y[i] = fma(b3, z, fma(b2, y, fma(b1, x, b0 * w)))
            part_z[i] = fma(c3, z, fma(c2, y, fma(c1, x, c0 * w)))


@kernel
def turn_lanes(block, size, stride, tile):
    """As `turn_uniform`, the matrix in the rows of `tile`."""
    length = min(stride, tile.shape[1])
    keep = tile[0]
    a0, a1, a2, a3 = tile[4], tile[5], tile[6], tile[7]
    b0, b1, b2, b3 = tile[8], tile[9], tile[10], tile[11]
    c0, c1, c2, c3 = tile[12], tile[13], tile[14], tile[15]
    for base in range(0, size, 4 * stride):
        for low in range(base, base + stride, length):
            part_i, part_x = block[low : low + length], block[low + stride : low + stride + length]
            part_y, part_z = (
                block[low + 2 * stride : low + 2 * stride + length],
                block[low + 3 * stride : low + 3 * stride + length],
            )
            for i in range(length):
                w, x, y, z = part_i[i], part_x[i], part_y[i], part_z[i]
                part_i[i] = keep[i] * w
                part_x[i] = fma(a3[i], z, fma(a2[i], y, fma(a1[i], x, a0[i] * w)))
                part_y[i] = fma(b3[i], z, fma(b2[i], y, fma(b1[i], x, b0[i] * w)))
                part_z[i] = fma(c3[i], z, fma(c2[i], y, fma(c1[i], x, c0[i] * w)))


@kernel
def shrink(block, out, size, stride, letters, tile):
    """As `turn_lanes`, of which only the components `letters` are kept, into `out`."""
    length = min(stride, tile.shape[1])
    n_kept = letters.size
    for number in range(size // (4 * stride)):
        for low in range(0, stride, length):
            first = 4 * stride * number + low
            w, x = block[first : first + length], block[first + stride : first + stride + length]
            y, z = (
                block[first + 2 * stride : first + 2 * stride + length],
                block[first + 3 * stride : first + 3 * stride + length],
            )
            for k in range(n_kept):
                start = (n_kept * number + k) * stride + low
                to = out[start : start + length]
                m0, m1 = tile[4 * letters[k]], tile[4 * letters[k] + 1]
                m2, m3 = tile[4 * letters[k] + 2], tile[4 * letters[k] + 3]
                if letters[k] == 0:
                    for i in range(length):
                        to[i] = m0[i] * w[i]
                else:
                    for i in range(length):
                        to[i] = fma(m3[i], z[i], fma(m2[i], y[i], fma(m1[i], x[i], m0[i] * w[i])))


@kernel
def permute(block, out, width, source, weight):
    """``out[j] = weight[j] block[source[j]]``, component by component."""
    for j in range(source.size):
        scale, first = weight[j], np.int64(source[j]) * width
        read, write = block[first : first + width], out[j * width : (j + 1) * width]
        for i in range(width):
            write[i] = scale * read[i]


@kernel
def apply_local(code, op, block, width, coefficients, uniform, work):
    """Multiply the changed rows of LOCAL `op` in place; work: float64 [max_columns, run], scratch."""
    here, after = code.operations[op], code.operations[op + 1]
    bits = code.bits[here.bit : after.bit]
    columns = code.columns[here.column : after.column]
    run = (np.int64(1) << bits[0]) * width  # elements that follow one another for the same outer digits
    length = min(run, work.shape[1])
    first_entry = here.coefficient
    for outer in range((here.size_in >> bits.size) * width // run):
        start = insert_zeros(outer << bits[0], bits) * width
        for low in range(start, start + run, length):
            for c in range(columns.size):
                read, keep = block[low + columns[c] * width : low + columns[c] * width + length], work[c]
                for i in range(length):
                    keep[i] = read[i]
            for row in range(here.row, after.row):
                at = low + code.rows[row, 0] * width
                to = block[at : at + length]
                begin = code.rows[row, 1]
                stop = code.rows[row + 1, 1] if row + 1 < after.row else after.coefficient
                if begin == stop:
                    to[:] = 0.0
                for entry in range(begin, stop):
                    values, x = coefficients[entry - first_entry], work[code.entries[entry]]
                    if uniform:
                        scale = values[0]
                        if entry == begin:
                            for i in range(length):
                                to[i] = scale * x[i]
                        else:
                            for i in range(length):
                                to[i] = fma(scale, x[i], to[i])
                    else:
                        for piece in range(0, length, width):
                            part, target = x[piece : piece + width], to[piece : piece + width]
                            if entry == begin:
                                for i in range(width):
                                    target[i] = values[i] * part[i]
                            else:
                                for i in range(width):
                                    target[i] = fma(values[i], part[i], target[i])


@kernel
def apply_operation(code, op, coefficients, uniform, buffers, state, scratch, width, tile, work):
    """Apply operation `op` to ``buffers[state]``; returns the new places of (state, scratch).

    buffers: float64 [., 4**n * width]. coefficients: float64 [rows of op, width], one column if `uniform`. tile: [16, tile_length].
    """
    here = code.operations[op]
    block, out = buffers[state], buffers[scratch]
    if here.kind == PERMUTE:
        permute(block, out, width, code.sources[here.permutation], code.weights[here.permutation])
        return scratch, state
    if here.kind == LOCAL:
        apply_local(code, op, block, width, coefficients, uniform, work)
        return state, scratch
    size, stride = here.size_in * width, here.inner * width
    if here.kind == TURN and uniform:
        turn_uniform(block, size, stride, coefficients)
        return state, scratch
    fill_tile(coefficients, uniform, width, tile)
    if here.kind == TURN:
        turn_lanes(block, size, stride, tile)
        return state, scratch
    letters = code.letters[here.letter : code.operations[op + 1].letter]
    if here.kind == GROW:
        grow(block, size, letters, tile)
        return state, scratch
    shrink(block, out, size, stride, letters, tile)
    return scratch, state
