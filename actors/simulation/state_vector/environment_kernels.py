"""From the undisplaced final state and environments to the values of displaced rows; the algebra is in `rows`.

Layout: planes flat, element ``row * width + lane``; expectation values come out as [M, width], of the type of the planes,
and are combined in float64 as [width, M].
"""

from __future__ import annotations

import math

import numpy as np

from actors.simulation.jit import kernel
from actors.simulation.state_vector.coefficients import quaternion_product
from actors.simulation.state_vector.measure_kernels import odd_parity, walsh
from actors.simulation.vectors import fma, lanes_of, load, mul, neg, rounded, store


@kernel
def overlap(pr, pi, fr, fi, imaginary):
    """The real or imaginary part of conj(p) f, of scalars or vectors."""
    if imaginary:
        return fma(pr, fi, neg(mul(pi, fr)))
    return fma(pr, fr, mul(pi, fi))


@kernel
def overlaps(psi, phi, start, to, length, imaginary, out, target):
    """out[target + i] = a part of ``conj(psi[start + i]) phi[to + i]``; psi, phi are blocks [2, .]."""
    pr, pi, fr, fi = psi[0], psi[1], phi[0], phi[1]
    step = lanes_of(out)
    whole = length - length % step
    for i in range(0, whole, step):
        a, b = (load(pr, start + i), load(pi, start + i)), (load(fr, to + i), load(fi, to + i))
        store(out, target + i, overlap(a[0], a[1], b[0], b[1], imaginary))
    for i in range(whole, length):
        out[target + i] = overlap(pr[start + i], pi[start + i], fr[to + i], fi[to + i], imaginary)


@kernel
def cross_values(seen, psi, phi, work, n_qubits, width, imaginary, values):
    """values [M, width]: Re (or Im) <psi|P|phi> of all strings, per lane; `work`, a block, is destroyed."""
    if seen.plan_leaf[1] > 0:
        overlaps(psi, phi, np.int64(0), np.int64(0), width << n_qubits, imaginary, work[0], np.int64(0))
        walsh(seen, np.int64(0), n_qubits, width, work[0], work[1], values)
    for m in range(seen.flip.size):
        flip, n_y = seen.flip[m], seen.n_y[m]
        if flip == 0:
            continue
        # i**n_y turns the real part of what follows into +-the imaginary one and back
        part = imaginary != (n_y % 2 == 1)
        is_minus = n_y % 4 == 2 or n_y % 4 == (3 if imaginary else 1)
        line, out = work[0], values[m]
        out[:] = 0.0
        for j in range(np.int64(1) << n_qubits):
            overlaps(psi, phi, (j ^ flip) * width, j * width, width, part, line, np.int64(0))
            factor = rounded(out, -1.0 if odd_parity(j & seen.sign_mask[m]) != is_minus else 1.0)
            for i in range(width):
                out[i] = fma(factor, line[i], out[i])


@kernel
def bit_correlators(seen, bit, psi, work, n_qubits, width, x, y):
    """x, y [M, width]: <X P'> and <Y P'> for the strings ``Z P'`` with a Z at the final bit `bit`; `work` is destroyed.

    With psi_0, psi_1 the halves of psi by this bit, X is ``2 Re conj(psi_0) psi_1`` and Y ``2 Im conj(psi_0) psi_1``, row by row.
    """
    stride = width << bit
    for imaginary in (False, True):
        out = y if imaginary else x
        for base in range(0, width << n_qubits, 2 * stride):
            overlaps(psi, psi, base, base + stride, stride, imaginary, work[0], base // 2)
        walsh(seen, seen.bit_plan[bit], n_qubits - 1, width, work[0], work[1], out)
        for m in range(out.shape[0]):
            for i in range(width):
                out[m, i] *= 2


@kernel
def transposed(values, out):
    """out float64 [width, M] from values [M, width]."""
    for m in range(values.shape[0]):
        for i in range(values.shape[1]):
            out[i, m] = values[m, i]


@kernel
def lane_quaternion(coefficients, lane):
    """The quaternion of a lane; one column serves all lanes."""
    i = lane if coefficients.shape[1] > 1 else 0
    return coefficients[0, i], coefficients[1, i], coefficients[2, i], coefficients[3, i]


@kernel
def final_weights(old, new):
    """(u, v, w) of ``D+ Z D = u X + v Y + w Z`` for ``D = new old**-1``, both quaternions."""
    ar, ai, br, bi = quaternion_product(new[0], new[1], new[2], new[3], old[0], -old[1], -old[2], -old[3])
    u, v = -2.0 * fma(ar, br, -ai * bi), -2.0 * fma(ar, bi, ai * br)
    return u, v, fma(ar, ar, ai * ai) - fma(br, br, bi * bi)


@kernel
def column_weights(old, new):
    """Weights of <psi|O|psi>, <phi|O|phi>, Re and Im <psi|O|phi> when the column of a GROW changes from `old` to `new`."""
    ar, ai, br, bi = quaternion_product(old[0], -old[1], -old[2], -old[3], new[0], new[1], new[2], new[3])
    re, im = fma(ar, br, ai * bi), fma(ar, bi, -ai * br)
    return fma(ar, ar, ai * ai), fma(br, br, bi * bi), 2.0 * re, -2.0 * im


@kernel
def angle_weights(half_angle, imaginary):
    """The same for a QUADRATURE (`half_angle` its rate times the displacement) or, `imaginary`, a REFLECTION."""
    cos, sin = math.cos(half_angle), math.sin(half_angle)
    cross = 2.0 * cos * sin
    return cos * cos, sin * sin, 0.0 if imaginary else cross, cross if imaginary else 0.0


@kernel
def combine(weights, base, own, re, im, out):
    """out [M] = the four expectation values [M] of one lane, weighted."""
    a, b, c, d = weights
    for m in range(out.size):
        out[m] = fma(a, base[m], fma(b, own[m], fma(c, re[m], d * im[m])))


@kernel
def combine_final(weights, has_bit, x, y, base, out):
    """out [M] = ``u x + v y + w base`` for the strings with the final bit, `base` for the others."""
    u, v, w = weights
    for m in range(out.size):
        out[m] = fma(w, base[m], fma(u, x[m], v * y[m])) if has_bit[m] else base[m]
