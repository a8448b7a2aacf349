"""Angles to the coefficients of operations, for all lanes of a block at once.

Layout: `cosine` and `sine` are [trig rows, width]; coefficients are [coefficient rows of one operation, width]. A uniform operation
is the case width = 1, with the same bits.
"""

from __future__ import annotations

import numpy as np

from actors.simulation.density_matrix.program import LOCAL, PERMUTE
from actors.simulation.jit import allocating, kernel
from actors.simulation.vectors import fma


@kernel
def trig_rows(code, op):
    """First and stop of the trig rows of operation `op`."""
    return code.operations[op].trig, code.operations[op + 1].trig


@kernel
def coefficient_rows(code, op):
    """First and stop of the coefficient rows of operation `op`."""
    return code.operations[op].coefficient, code.operations[op + 1].coefficient


@kernel
def add_terms(code, row, n_entries, cosine, sine, out):
    """out [n_entries, width] = or += ``cosine * C + sine * S`` of trig row `row`; its first row of a factor begins anew."""
    first = code.trigs[row].term
    is_new = code.trigs[row].begins == 1
    for entry in range(n_entries):
        of_cosine, of_sine = code.terms[first + entry], code.terms[first + n_entries + entry]
        values = out[entry]
        if is_new:
            for i in range(values.size):
                values[i] = fma(cosine[i], of_cosine, sine[i] * of_sine)
        elif of_cosine != 0.0 or of_sine != 0.0:
            for i in range(values.size):
                values[i] = fma(cosine[i], of_cosine, fma(sine[i], of_sine, values[i]))


@kernel
def multiply_after(factor, out):
    """out [16, width] becomes the 4 x 4 matrix product ``factor @ out``, lane by lane."""
    for lane in range(out.shape[1]):
        for c in range(4):
            x0, x1, x2, x3 = out[c, lane], out[4 + c, lane], out[8 + c, lane], out[12 + c, lane]
            for r in range(4):
                m0, m1, m2, m3 = (
                    factor[4 * r, lane],
                    factor[4 * r + 1, lane],
                    factor[4 * r + 2, lane],
                    factor[4 * r + 3, lane],
                )
                out[4 * r + c, lane] = fma(m3, x3, fma(m2, x2, fma(m1, x1, m0 * x0)))


@allocating
def operation_coefficients(code, op, cosine, sine, out):
    """Fill out [rows of op, width]; `cosine`, `sine` start at the operation's first trig row. Nothing to do for a permutation."""
    kind, n_entries = code.operations[op].kind, code.operations[op].n_entries
    if kind == PERMUTE:
        return
    first, stop = trig_rows(code, op)
    factor = np.empty((n_entries if kind != LOCAL else 0, out.shape[1]))
    n_done = 0
    for row in range(first, stop):
        cos, sin = cosine[row - first], sine[row - first]
        if n_done == 0 or kind == LOCAL:
            add_terms(code, row, n_entries, cos, sin, out)
        else:
            add_terms(code, row, n_entries, cos, sin, factor)
        if row + 1 == stop or code.trigs[row + 1].begins == 1:
            if n_done > 0:
                multiply_after(factor, out)
            n_done += 1


@allocating
def fill_base(code, per_sample, cosine, sine, out):
    """out [n_coefficients, W]: undisplaced coefficients; of operations equal for all samples only column 0."""
    for op in range(code.n_operations):
        (t0, t1), (c0, c1) = trig_rows(code, op), coefficient_rows(code, op)
        lanes = cosine.shape[1] if per_sample[op] else 1
        operation_coefficients(code, op, cosine[t0:t1, :lanes], sine[t0:t1, :lanes], out[c0:c1, :lanes])


@kernel
def differentiate_trig(code, op, derivative, lane_row, cosine, sine):
    """In each lane whose displacement row has a derivative (>= 0) by an angle of `op`: (cos, sin) -> d/da (cos, sin).

    derivative: int64 [D]. The constant part of the factor, of rate 0, becomes 0.
    """
    for lane in range(lane_row.size):
        angle = derivative[lane_row[lane]]
        if angle < 0 or code.angles[angle].operation != op:
            continue
        for row in range(code.angles[angle].first, code.angles[angle].stop):
            place, rate = row - code.operations[op].trig, code.trigs[row].rate
            cos, sin = cosine[place, lane], sine[place, lane]
            cosine[place, lane] = -rate * sin
            sine[place, lane] = rate * cos
