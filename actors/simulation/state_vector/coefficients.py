"""Angles to gate coefficients, for all lanes of a block at once.

Layout: `cosine` and `sine` are [trig rows, width]; coefficients are [coefficient rows of one operation, width]. A uniform operation
is the case width = 1, with the same bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from actors.simulation.jit import allocating, kernel
from actors.simulation.state_vector.program import BLOCKS, TURN
from actors.simulation.vectors import fma, lanes_of, load, mul, neg, splat, store


class Angles(NamedTuple):
    """The undisplaced angles of W samples, radians.

    Attributes:
        shared: float64 [K]. column: int64 [K], the column of `data` that holds an angle, -1 for a shared one.
        data: float64 [W, Kd].
    """

    shared: np.ndarray
    column: np.ndarray
    data: np.ndarray


@kernel
def trig_rows(code, op):
    """First and stop of the trig rows of operation `op`."""
    return code.operations[op].trig, code.operations[op + 1].trig


@kernel
def coefficient_rows(code, op):
    """First and stop of the coefficient rows of operation `op`."""
    return code.operations[op].coefficient, code.operations[op + 1].coefficient


@kernel
def quaternion_product(ar, ai, br, bi, xr, xi, yr, yi):
    """The quaternion (four reals) of the matrix product of (ar, ai, br, bi) and (xr, xi, yr, yi), of scalars or vectors."""
    return (
        fma(ar, xr, fma(neg(ai), xi, fma(neg(br), yr, neg(mul(bi, yi))))),
        fma(ar, xi, fma(ai, xr, fma(neg(br), yi, mul(bi, yr)))),
        fma(br, xr, fma(neg(bi), xi, fma(ar, yr, mul(ai, yi)))),
        fma(br, xi, fma(bi, xr, fma(ar, yi, neg(mul(ai, yr))))),
    )


@kernel
def rotation_quaternion(cos, sin, even, odd):
    """``cos even + sin odd``, even and odd four reals each, of scalars or vectors."""
    return (
        fma(cos, even[0], mul(sin, odd[0])),
        fma(cos, even[1], mul(sin, odd[1])),
        fma(cos, even[2], mul(sin, odd[2])),
        fma(cos, even[3], mul(sin, odd[3])),
    )


@kernel
def turn_coefficients(code, op, cosine, sine, lanes, out):
    """out [4, lanes]: the product of the rotations of a GROW or TURN. `cosine`, `sine` start at the operation's first trig row."""
    first, stop = trig_rows(code, op)
    out_a, out_b, out_c, out_d = out[0], out[1], out[2], out[3]
    step = lanes_of(out)
    whole = lanes - lanes % step
    for row in range(first, stop):
        e, o = code.trigs[row].even, code.trigs[row].odd
        even, odd = (e[0], e[1], e[2], e[3]), (o[0], o[1], o[2], o[3])
        evens = (splat(even[0]), splat(even[1]), splat(even[2]), splat(even[3]))
        odds = (splat(odd[0]), splat(odd[1]), splat(odd[2]), splat(odd[3]))
        cos, sin = cosine[row - first], sine[row - first]
        for i in range(0, whole, step):
            a, b, c, d = rotation_quaternion(load(cos, i), load(sin, i), evens, odds)
            if row > first:
                x, y, z, w = load(out_a, i), load(out_b, i), load(out_c, i), load(out_d, i)
                a, b, c, d = quaternion_product(a, b, c, d, x, y, z, w)
            store(out_a, i, a)
            store(out_b, i, b)
            store(out_c, i, c)
            store(out_d, i, d)
        for i in range(whole, lanes):
            a, b, c, d = rotation_quaternion(cos[i], sin[i], even, odd)
            if row > first:
                a, b, c, d = quaternion_product(a, b, c, d, out_a[i], out_b[i], out_c[i], out_d[i])
            out_a[i], out_b[i], out_c[i], out_d[i] = a, b, c, d


@kernel
def block_coefficients(code, op, cosine, sine, out):
    """out [rows of op, width]: the entries ``sum_j (cos_j + i sin_j) term_j`` of the blocks of a BLOCKS operation."""
    n_rates = code.operations[op + 1].trig - code.operations[op].trig
    for block in range(code.operations[op].block, code.operations[op + 1].block):
        row = code.blocks[block].coefficient - code.operations[op].coefficient
        for entry in range(code.blocks[block].n_rows ** 2):
            re, im = out[row + 2 * entry], out[row + 2 * entry + 1]
            re[:] = 0.0
            im[:] = 0.0
            for j in range(n_rates):
                term = code.terms[code.blocks[block].term + entry * n_rates + j]
                t_re, t_im, cos, sin = term.real, term.imag, cosine[j], sine[j]
                for i in range(cos.size):
                    re[i] = fma(cos[i], t_re, fma(-sin[i], t_im, re[i]))
                    im[i] = fma(cos[i], t_im, fma(sin[i], t_re, im[i]))


@kernel
def operation_coefficients(code, op, cosine, sine, lanes, out):
    """Fill the first `lanes` columns of `out` for operation `op`; nothing to do for a permutation."""
    kind = code.operations[op].kind
    if kind <= TURN:
        turn_coefficients(code, op, cosine, sine, lanes, out)
    elif kind == BLOCKS:
        block_coefficients(code, op, cosine[:, :lanes], sine[:, :lanes], out[:, :lanes])


@kernel
def negate(values, is_negated, out):
    """``out = -values`` or ``values``."""
    for i in range(values.size):
        out[i] = -values[i] if is_negated else values[i]


@kernel
def invert_coefficients(code, op, values, out):
    """out [rows of op, width]: the coefficients of the inverse of operation `op`, whose own are `values`."""
    if code.operations[op].kind == TURN:
        for row in range(4):
            negate(values[row], row > 0, out[row])
    elif code.operations[op].kind == BLOCKS:
        for block in range(code.operations[op].block, code.operations[op + 1].block):
            m = code.blocks[block].n_rows
            first = code.blocks[block].coefficient - code.operations[op].coefficient
            for r in range(m):
                for c in range(m):
                    to, at = first + 2 * (r * m + c), first + 2 * (c * m + r)
                    negate(values[at], np.bool_(False), out[to])
                    negate(values[at + 1], np.bool_(True), out[to + 1])


@kernel
def fill_trig(code, angles, cosine, sine):
    """cosine, sine [T, W] at the undisplaced angles; of a shared angle one function call serves all lanes."""
    for row in range(code.trigs.size):
        angle, rate = code.trigs[row].angle, code.trigs[row].rate
        column = angles.column[angle] if angle >= 0 else -1
        if column >= 0:
            for lane in range(cosine.shape[1]):
                cosine[row, lane] = math.cos(rate * angles.data[lane, column])
                sine[row, lane] = math.sin(rate * angles.data[lane, column])
        else:
            value = rate * angles.shared[angle] if angle >= 0 else 0.0
            cosine[row, :] = math.cos(value)
            sine[row, :] = math.sin(value)


@allocating
def per_sample_operations(code, angle_column):
    """bool [O]: whether an operation holds an angle that differs between samples."""
    result = np.zeros(code.n_operations, np.bool_)
    for angle in range(angle_column.size):
        if angle_column[angle] >= 0 and code.angles[angle].operation < result.size:
            result[code.angles[angle].operation] = True
    return result


@kernel
def fill_base(code, per_sample, cosine, sine, out):
    """out [n_coefficients, W]: undisplaced coefficients; of operations equal for all samples only column 0."""
    for op in range(code.n_operations):
        (t0, t1), (c0, c1) = trig_rows(code, op), coefficient_rows(code, op)
        lanes = cosine.shape[1] if per_sample[op] else 1
        operation_coefficients(code, op, cosine[t0:t1], sine[t0:t1], lanes, out[c0:c1])
