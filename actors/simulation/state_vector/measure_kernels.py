"""From a block of states to expectation values.

Layout: planes flat, element ``row * width + lane``; values come out as [M, width]. Sums over basis rows run in a fixed order (halving,
or row by row), each lane by itself.
"""

from __future__ import annotations

import numpy as np

from actors.simulation.jit import fma, kernel


@kernel
def odd_parity(bits):
    """Whether `bits` has an odd number of ones."""
    for shift in (32, 16, 8, 4, 2, 1):
        bits ^= bits >> shift
    return (bits & 1) == 1


@kernel
def probabilities(re, im, out):
    """``out = re**2 + im**2`` over whole planes; `out` may be one of them."""
    for i in range(out.size):
        out[i] = fma(re[i], re[i], im[i] * im[i])


@kernel
def walsh(seen, plan, n_qubits, width, plane0, plane1, values):
    """values[m, :] = sign sum of `plane0` (probabilities or counts) for the strings m of a plan; destroys both planes."""
    for step in range(seen.plan_step[plan], seen.plan_step[plan + 1]):
        level, source, target = seen.steps[step, 0], seen.steps[step, 1] * width, seen.steps[step, 2] * width
        half = width << (n_qubits - 1 - level)
        read, write = (plane0, plane1) if level % 2 == 0 else (plane1, plane0)
        low, high, out = (
            read[source : source + half],
            read[source + half : source + 2 * half],
            write[target : target + half],
        )
        if seen.steps[step, 3] == 1:
            for i in range(half):
                out[i] = low[i] - high[i]
        else:
            for i in range(half):
                out[i] = low[i] + high[i]
    last = plane0 if n_qubits % 2 == 0 else plane1
    for leaf in range(seen.plan_leaf[plan], seen.plan_leaf[plan + 1]):
        row, string = seen.leaves[leaf, 0] * width, seen.leaves[leaf, 1]
        for i in range(width):
            values[string, i] = seen.sign[string] * last[row + i]


@kernel
def flipped_expectation(re, im, n_qubits, width, flip, sign_mask, n_y, out):
    """out [width] = <P> of a string with X or Y, pairing row j with ``k = j ^ flip``.

    ``<P> = sum over pairs of 2 Re(i**n_y (-1)**parity(j & sign_mask) conj(psi_k) psi_j)``.
    """
    out[:] = 0.0
    top = np.int64(1)
    while top << 1 <= flip:
        top <<= 1
    for j in range(np.int64(1) << n_qubits):
        if j & top:
            continue
        k = j ^ flip
        factor = -2.0 if odd_parity(j & sign_mask) != (n_y % 4 in (1, 2)) else 2.0
        re_j, im_j = re[j * width : (j + 1) * width], im[j * width : (j + 1) * width]
        re_k, im_k = re[k * width : (k + 1) * width], im[k * width : (k + 1) * width]
        if n_y % 2 == 0:
            for i in range(width):
                out[i] = fma(factor, fma(re_k[i], re_j[i], im_k[i] * im_j[i]), out[i])
        else:
            for i in range(width):
                out[i] = fma(factor, fma(re_k[i], im_j[i], -im_k[i] * re_j[i]), out[i])


@kernel
def exact_values(seen, buffers, state, scratch, n_qubits, width, values):
    """values [M, width] of all strings, from ``buffers[state]``; ``buffers[scratch]`` is destroyed."""
    end = width << n_qubits
    re, im = buffers[state, 0, :end], buffers[state, 1, :end]
    if seen.plan_leaf[1] > 0:
        probabilities(re, im, buffers[scratch, 0, :end])
        walsh(seen, np.int64(0), n_qubits, width, buffers[scratch, 0], buffers[scratch, 1], values)
    for m in range(seen.flip.size):
        if seen.flip[m] != 0:
            flipped_expectation(
                re, im, n_qubits, width, seen.flip[m], seen.sign_mask[m], seen.n_y[m], values[m]
            )
