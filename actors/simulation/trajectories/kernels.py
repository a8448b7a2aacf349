"""What happens to the lanes of a block of state vectors beside gates. Layout as in ``state_vector.state_kernels``.

Everything here acts on one lane, or on each lane by itself, so a shot's bits do not depend on its neighbours.
"""

from __future__ import annotations

import math

import numpy as np

from actors.simulation.jit import allocating, kernel
from actors.simulation.state_vector.coefficients import quaternion_product
from actors.simulation.vectors import fma


@kernel
def flip_lane(re, im, n_rows, width, lane, bit, pauli):
    """Apply the Pauli matrix `pauli` (1, 2, 3 for X, Y, Z) to `bit` of one lane, up to a global phase."""
    stride = np.int64(1) << bit
    for base in range(0, n_rows, 2 * stride):
        for row in range(base, base + stride):
            low, high = row * width + lane, (row + stride) * width + lane
            for plane in (re, im):
                x, y = plane[low], plane[high]
                if pauli == 3:
                    plane[high] = -y
                elif pauli == 2:
                    plane[low], plane[high] = -y, x
                else:
                    plane[low], plane[high] = y, x


@kernel
def lane_weights(re, im, n_rows, width, lane, bit):
    """(weight of 0, weight of 1) of `bit` in one lane: sums of squared amplitudes, row by row."""
    zero = one = 0.0
    for row in range(n_rows):
        x, y = re[row * width + lane], im[row * width + lane]
        if (row >> bit) & 1:
            one = fma(x, x, fma(y, y, one))
        else:
            zero = fma(x, x, fma(y, y, zero))
    return zero, one


@kernel
def jump_lane(re, im, n_rows, width, lane, bit, scale):
    """Let `bit` of one lane decay: amplitudes of 1, times `scale`, go to 0."""
    for row in range(n_rows):
        if (row >> bit) & 1:
            high, low = row * width + lane, (row ^ (np.int64(1) << bit)) * width + lane
            re[low], im[low] = scale * re[high], scale * im[high]
            re[high], im[high] = 0.0, 0.0


@kernel
def scale_lanes(re, im, n_rows, width, bit, of_zero, of_one):
    """Multiply each lane's amplitudes by ``of_zero[lane]`` or ``of_one[lane]``, as `bit` is 0 or 1."""
    for row in range(n_rows):
        factor = of_one if (row >> bit) & 1 else of_zero
        part_re, part_im = re[row * width : (row + 1) * width], im[row * width : (row + 1) * width]
        for lane in range(width):
            part_re[lane] *= factor[lane]
            part_im[lane] *= factor[lane]


@allocating
def damp(re, im, n_rows, width, bit, probability, below, words):
    """Amplitude damping of `bit`: a jump or none in each lane, by its word ``words[lane]``.

    A jump has the probability ``p P(1) <= p``, so a lane whose word is not `below` p needs no weights: it keeps its bit, its amplitudes
    of 1 are scaled by ``sqrt(1 - p)``, and its norm is left to fall. Any other lane is normalised.
    """
    of_zero, of_one = np.ones(width), np.full(width, math.sqrt(1.0 - probability))
    for lane in range(width):
        if words[lane] >= below:
            continue
        zero, one = lane_weights(re, im, n_rows, width, lane, bit)
        if words[lane] * (zero + one) < probability * one * 4294967296.0:
            jump_lane(re, im, n_rows, width, lane, bit, 1.0 / math.sqrt(one))
            of_one[lane] = 1.0
        else:
            of_zero[lane] = 1.0 / math.sqrt(fma(1.0 - probability, one, zero))
            of_one[lane] *= of_zero[lane]
    scale_lanes(re, im, n_rows, width, bit, of_zero, of_one)


@kernel
def accumulate(re, im, n_rows, width):
    """`re` becomes the cumulative sums of ``re**2 + im**2`` over rows, lane by lane."""
    for row in range(n_rows):
        x, y = re[row * width : (row + 1) * width], im[row * width : (row + 1) * width]
        if row == 0:
            for lane in range(width):
                x[lane] = fma(x[lane], x[lane], y[lane] * y[lane])
        else:
            below = re[(row - 1) * width : row * width]
            for lane in range(width):
                x[lane] = fma(x[lane], x[lane], fma(y[lane], y[lane], below[lane]))


@kernel
def draw_outcome(cumulative, n_rows, width, lane, word):
    """The first row whose cumulative sum exceeds ``word / 2**32`` of the last one."""
    wanted = cumulative[(n_rows - 1) * width + lane] * (word / 4294967296.0)
    low, high = np.int64(0), n_rows - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle * width + lane] > wanted:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def turn_quaternion(code, op, cosine, sine, pauli_after):
    """The quaternion of TURN `op`, with the Pauli ``pauli_after[i]`` (0: none) after its i-th gate; cosine, sine: [T] of the circuit."""
    first, stop = code.operations[op].trig, code.operations[op + 1].trig
    ar, ai, br, bi = 1.0, 0.0, 0.0, 0.0
    for row in range(first, stop):
        even, odd, cos, sin = code.trigs[row].even, code.trigs[row].odd, cosine[row], sine[row]
        qa, qb = fma(cos, even[0], sin * odd[0]), fma(cos, even[1], sin * odd[1])
        qc, qd = fma(cos, even[2], sin * odd[2]), fma(cos, even[3], sin * odd[3])
        ar, ai, br, bi = quaternion_product(qa, qb, qc, qd, ar, ai, br, bi)
        pauli = pauli_after[row - first]
        if pauli == 1:
            ar, ai, br, bi = quaternion_product(0.0, 0.0, 0.0, -1.0, ar, ai, br, bi)
        elif pauli == 2:
            ar, ai, br, bi = quaternion_product(0.0, 0.0, 1.0, 0.0, ar, ai, br, bi)
        elif pauli == 3:
            ar, ai, br, bi = quaternion_product(0.0, -1.0, 0.0, 0.0, ar, ai, br, bi)
    return ar, ai, br, bi
