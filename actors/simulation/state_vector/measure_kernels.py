"""From a block of states to expectation values.

Layout: planes flat, element ``row * width + lane``; values come out as [M, width]. Sums over basis rows run in a fixed order (halving,
or row by row), each lane by itself.
"""

from __future__ import annotations

import numpy as np

from actors.simulation.jit import kernel
from actors.simulation.vectors import add, fma, lanes_of, load, mul, rounded, store, sub


@kernel
def odd_parity(bits):
    """Whether `bits` has an odd number of ones."""
    for shift in (32, 16, 8, 4, 2, 1):
        bits ^= bits >> shift
    return (bits & 1) == 1


@kernel
def probabilities(re, im, out):
    """``out = re**2 + im**2`` over whole planes; `out` may be one of them."""
    step = lanes_of(re)
    whole = out.size - out.size % step
    for i in range(0, whole, step):
        x, y = load(re, i), load(im, i)
        store(out, i, fma(x, x, mul(y, y)))
    for i in range(whole, out.size):
        out[i] = fma(re[i], re[i], mul(im[i], im[i]))


@kernel
def halve(read, source, write, target, half, difference):
    """The sum (or the difference) of two neighbouring runs of `half` elements."""
    step = lanes_of(read)
    whole = half - half % step
    for i in range(0, whole, step):
        low, high = load(read, source + i), load(read, source + half + i)
        if difference:
            store(write, target + i, sub(low, high))
        else:
            store(write, target + i, add(low, high))
    for i in range(whole, half):
        low, high = read[source + i], read[source + half + i]
        write[target + i] = low - high if difference else low + high


@kernel
def walsh(seen, plan, n_qubits, width, plane0, plane1, values):
    """values[m, :] = sign sum of `plane0` (probabilities or counts) for the strings m of a plan; destroys both planes."""
    for step in range(seen.plan_step[plan], seen.plan_step[plan + 1]):
        level, source, target = seen.steps[step, 0], seen.steps[step, 1] * width, seen.steps[step, 2] * width
        half = width << (n_qubits - 1 - level)
        read, write = (plane0, plane1) if level % 2 == 0 else (plane1, plane0)
        halve(read, source, write, target, half, seen.steps[step, 3] == 1)
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
    for row in range(np.int64(1) << n_qubits):
        if row & top:
            continue
        minus = odd_parity(row & sign_mask) != (n_y % 4 in (1, 2))
        factor = rounded(re, -2.0 if minus else 2.0)
        j, k = row * width, (row ^ flip) * width
        for i in range(width):
            a, b, c, d = re[k + i], im[k + i], re[j + i], im[j + i]
            overlap = fma(a, c, b * d) if n_y % 2 == 0 else fma(a, d, -b * c)
            out[i] = fma(factor, overlap, out[i])


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
