"""Inner products ``Im <lambda|G|psi>`` per lane, from which the adjoint method builds derivatives.

Layout: planes flat, element ``row * width + lane``, of two blocks of the same width; accumulators hold `tile_length` columns, that is
several basis rows of every lane side by side, and are folded at the end. The order of a lane's sum depends on the width, so
the adjoint loop uses one width per program.
"""

from __future__ import annotations

import numpy as np

from actors.simulation.jit import kernel
from actors.simulation.state_vector.block_kernels import insert_zeros
from actors.simulation.state_vector.measure_kernels import odd_parity
from actors.simulation.vectors import fma, rounded


@kernel
def fold(sums, length, width):
    """Add up the parts of `sums` [rows, >= length] that belong to the same lane, into the first `width` columns."""
    while length > width:
        length //= 2
        for row in range(sums.shape[0]):
            for i in range(length):
                sums[row, i] += sums[row, length + i]


@kernel
def turn_products(re, im, lam_re, lam_im, stride, width, sums):
    """sums[0..2, :width] = Im <lambda|X|psi>, Im <lambda|Y|psi>, Im <lambda|Z|psi> on the bit of `stride`."""
    length = min(stride, sums.shape[1])
    sums[:3, :length] = 0.0
    x, y, z = sums[0, :length], sums[1, :length], sums[2, :length]
    for base in range(0, re.size, 2 * stride):
        for low in range(base, base + stride, length):
            high = low + stride
            a, b, c, d = (
                re[low : low + length],
                im[low : low + length],
                re[high : high + length],
                im[high : high + length],
            )
            e, f = lam_re[low : low + length], lam_im[low : low + length]
            g, h = lam_re[high : high + length], lam_im[high : high + length]
            for i in range(length):
                x[i] += fma(e[i], d[i], fma(-f[i], c[i], fma(g[i], b[i], -h[i] * a[i])))
                y[i] += fma(g[i], a[i], fma(h[i], b[i], fma(-e[i], c[i], -f[i] * d[i])))
                z[i] += fma(e[i], b[i], fma(-f[i], a[i], fma(-g[i], d[i], h[i] * c[i])))
    fold(sums[:3], length, width)


@kernel
def generator_product(re, im, lam_re, lam_im, n_qubits, width, bits, rows, entries, sums):
    """sums[0, :width] = Im <lambda|G|psi> for the G with the entries ``G[rows[e, 0], rows[e, 1]] = entries[e]`` on `bits`."""
    run = np.int64(1) << bits[0]
    length = min(run * width, sums.shape[1])
    sums[0, :length] = 0.0
    total = sums[0, :length]
    for outer in range((np.int64(1) << (n_qubits - bits.size)) // run):
        start = insert_zeros(outer * run, bits) * width
        for low in range(start, start + run * width, length):
            for entry in range(entries.size):
                row, column = low + rows[entry, 0] * width, low + rows[entry, 1] * width
                g_re, g_im = rounded(re, entries[entry].real), rounded(re, entries[entry].imag)
                e, f = lam_re[row : row + length], lam_im[row : row + length]
                a, b = re[column : column + length], im[column : column + length]
                for i in range(length):
                    overlap_re = fma(e[i], a[i], f[i] * b[i])
                    overlap_im = fma(e[i], b[i], -f[i] * a[i])
                    total[i] = fma(g_re, overlap_im, fma(g_im, overlap_re, total[i]))
    fold(sums[:1], length, width)


@kernel
def apply_pauli(seen, m, psi, out, n_qubits, width):
    """out = P psi for string m, which maps ``|j>`` to ``i**n_y (-1)**parity(j & sign_mask) |j ^ flip>``; blocks [2, .]."""
    flip, sign_mask, n_y, sign = seen.flip[m], seen.sign_mask[m], seen.n_y[m], seen.sign[m]
    for j in range(np.int64(1) << n_qubits):
        low, to = j * width, (j ^ flip) * width
        factor = rounded(out, -sign if odd_parity(j & sign_mask) != (n_y % 4 >= 2) else sign)
        re, im = psi[0, low : low + width], psi[1, low : low + width]
        to_re, to_im = out[0, to : to + width], out[1, to : to + width]
        if n_y % 2 == 0:
            for i in range(width):
                to_re[i] = factor * re[i]
                to_im[i] = factor * im[i]
        else:
            for i in range(width):
                to_re[i] = -factor * im[i]
                to_im[i] = factor * re[i]


@kernel
def spread_half(write, target, half, read, source, difference, accumulate):
    """The transpose of `measure_kernels.halve`: a run of `half` elements spread to two neighbouring runs."""
    for i in range(half):
        value = write[target + i]
        other = -value if difference else value
        if accumulate:
            read[source + i] += value
            read[source + half + i] += other
        else:
            read[source + i] = value
            read[source + half + i] = other


@kernel
def weighted_diagonal(seen, weights, n_qubits, width, plane0, plane1):
    """plane0 = the diagonal of ``sum_m weights[m] Z_m`` over the strings of I and Z: the transpose of `walsh` at plan 0.

    weights: float64 [M, width]. plane1 is destroyed.
    """
    last = plane0 if n_qubits % 2 == 0 else plane1
    for leaf in range(seen.plan_leaf[0], seen.plan_leaf[1]):
        row, string = seen.leaves[leaf, 0] * width, seen.leaves[leaf, 1]
        for i in range(width):
            last[row + i] = seen.sign[string] * weights[string, i]
    for step in range(seen.plan_step[1] - 1, seen.plan_step[0] - 1, -1):
        level, source, target = seen.steps[step, 0], seen.steps[step, 1] * width, seen.steps[step, 2] * width
        read, write = (plane0, plane1) if level % 2 == 0 else (plane1, plane0)
        # A node's sum and difference follow one another in the plan: going back, the second met is added.
        is_second = (
            step + 1 < seen.plan_step[1]
            and seen.steps[step + 1, 0] == level
            and seen.steps[step + 1, 1] == seen.steps[step, 1]
        )
        half = width << (n_qubits - 1 - level)
        spread_half(write, target, half, read, source, seen.steps[step, 3] == 1, is_second)


@kernel
def weighted_paulis(seen, weights, psi, out, work, n_qubits, width):
    """out = ``sum_m weights[m] P_m psi`` per lane, weights float64 [M, width]; `work`, a block, is destroyed."""
    end = width << n_qubits
    if seen.plan_leaf[1] > 0:
        weighted_diagonal(seen, weights, n_qubits, width, work[0], work[1])
        for plane in range(2):
            read, write, diagonal = psi[plane], out[plane], work[0]
            for i in range(end):
                write[i] = diagonal[i] * read[i]
    else:
        out[:, :end] = 0.0
    for m in range(seen.flip.size):
        if seen.flip[m] == 0:
            continue
        apply_pauli(seen, m, psi, work, n_qubits, width)
        for plane in range(2):
            for row in range(0, end, width):
                for i in range(width):
                    out[plane, row + i] += rounded(out, weights[m, i]) * work[plane, row + i]
