"""Shots: outcomes of a whole measurement group drawn jointly, so that commuting strings keep their covariance.

Method: Walker's alias table in Vose's linear-time form (M. D. Vose, IEEE Trans. Softw. Eng. 17 (1991) 972), one per circuit, then
one 32-bit word a shot: its top n bits choose a column, the other 32 - n bits decide between the column and its alias. An
outcome's probability is so represented to within 2**-32, an error of the mean that would show after 10**18 shots; 53-bit
uniforms would double the cost of the generator, which is most of the work.
"""

from __future__ import annotations

import numpy as np

from actors.simulation.jit import inlined, kernel
from actors.simulation.philox import fill_words
from actors.simulation.state_vector.measure_kernels import probabilities, walsh
from actors.simulation.state_vector.state_kernels import turn_uniform
from actors.simulation.vectors import rounded


@kernel
def alias_table(weights, threshold, alias, small, large):
    """Fill threshold and alias (uint32 [d]) for probabilities proportional to `weights` [d], d a power of two, d <= 2**31.

    Column j keeps a draw whose low bits, of 2**32 / d values, are below ``threshold[j]``, else gives ``alias[j]``. weights is
    destroyed; small, large: int64 [d], scratch.
    """
    size = weights.size
    total = 0.0
    for j in range(size):
        total += weights[j]
    scale = size / total
    levels = 4294967296.0 / size
    n_small = n_large = 0
    for j in range(size):
        weights[j] *= scale
        if weights[j] < 1.0:
            small[n_small] = j
            n_small += 1
        else:
            large[n_large] = j
            n_large += 1
    while n_small > 0 and n_large > 0:
        n_small -= 1
        j, k = small[n_small], large[n_large - 1]
        threshold[j] = np.uint32(weights[j] * levels + 0.5)
        alias[j] = k
        weights[k] -= 1.0 - weights[j]
        if weights[k] < 1.0:
            n_large -= 1
            small[n_small] = k
            n_small += 1
    for i in range(n_large):
        threshold[large[i]] = 0
        alias[large[i]] = large[i]
    for i in range(n_small):  # left over by rounding only: their weight is 1 to rounding
        threshold[small[i]] = 0
        alias[small[i]] = small[i]


@kernel
def draw_counts(threshold, alias, words, shots, n_qubits, counts):
    """counts [d] int64: how often each outcome comes up in the first `shots` of `words`."""
    shift = 32 - n_qubits
    low = np.uint32((np.int64(1) << shift) - 1)
    counts[:] = 0
    for i in range(shots):
        word = words[i]
        column = np.int64(word) >> shift
        outcome = column if (word & low) < threshold[column] else np.int64(alias[column])
        counts[outcome] += 1


@kernel
def needs_rotation(basis):
    """Whether any qubit is measured in X or Y."""
    for letter in basis:  # noqa: SIM110  (numba has no generator expressions here)
        if letter != 0:
            return True
    return False


@kernel
def rotate_basis(re, im, n_qubits, width, basis):
    """Turn the state in place so that measuring Z on a bit reads X (``basis[bit] == 1``) or Y (2) of the state before."""
    root, zero = rounded(re, np.sqrt(0.5)), rounded(re, 0.0)
    for bit in range(n_qubits):
        if basis[bit] == 1:
            turn_uniform(re, im, width << n_qubits, width << bit, root, zero, -root, zero)
        elif basis[bit] == 2:
            turn_uniform(re, im, width << n_qubits, width << bit, root, zero, zero, -root)


@inlined
def sampled_values(seen, buffers, state, scratch, n_qubits, noise, lanes, first_sample, values):
    """values [M, width]: means of the +-1 outcomes of ``noise.shots`` shots per group; ``buffers[scratch]`` is destroyed.

    noise, lanes: see ``forward.Noise`` and ``forward.Lanes``. first_sample: the run's number of the block's sample 0.
    """
    size, width = 1 << n_qubits, lanes.sample.size
    weights, counts = np.empty(size), np.empty(size, np.int64)
    threshold, alias = np.empty(size, np.uint32), np.empty(size, np.uint32)
    small, large = np.empty(size, np.int64), np.empty(size, np.int64)
    shots, keys = noise.shots, noise.keys
    words = np.empty((shots + 3) // 4 * 4, np.uint32)
    end = width << n_qubits
    re, im = buffers[state, 0, :end], buffers[state, 1, :end]
    plane0, plane1 = buffers[scratch, 0, :end], buffers[scratch, 1, :end]
    for group in range(keys.size):
        if needs_rotation(seen.group_basis[group]):
            for i in range(end):
                plane0[i] = re[i]
                plane1[i] = im[i]
            rotate_basis(plane0, plane1, n_qubits, width, seen.group_basis[group])
            probabilities(plane0, plane1, plane0)
        else:
            probabilities(re, im, plane0)
        for lane in range(width):
            for j in range(size):
                weights[j] = plane0[j * width + lane]
            alias_table(weights, threshold, alias, small, large)
            displacement, sample = (
                noise.displacement_start + lanes.row[lane],
                first_sample + lanes.sample[lane],
            )
            fill_words(keys[group], displacement, sample, noise.step, words)
            draw_counts(threshold, alias, words, shots, n_qubits, counts)
            for j in range(size):
                plane0[j * width + lane] = counts[j]
        walsh(seen, 1 + group, n_qubits, width, plane0, plane1, values)
    for m in range(values.shape[0]):
        for lane in range(width):
            values[m, lane] /= shots
