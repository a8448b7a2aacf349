"""From a block of density matrices to expectation values, exact or from shots.

The distribution of the outcomes of a measurement setting is the Walsh-Hadamard transform of the components of the 2**n strings that
hold the setting's letter or I at each qubit: ``p(b) = 2**-n sum_s (-1)**(b . s) <P_s>``. Shots are drawn from it jointly, with the tables
and the counters of ``state_vector.sampling``.
"""

from __future__ import annotations

import numpy as np

from actors.simulation.jit import inlined, kernel
from actors.simulation.philox import fill_words
from actors.simulation.state_vector.sampling import alias_table, draw_counts


@kernel
def exact_values(reading, block, width, values):
    """values [M, width] of all strings."""
    for m in range(values.shape[0]):
        scale, first = reading.weight[0, m], reading.places[0, m] * width
        for i in range(width):
            values[m, i] = scale * block[first + i]


@kernel
def walsh_hadamard(vector):
    """vector [2**n] becomes ``sum_s (-1)**(b . s) vector[s]``, in place."""
    half = 1
    while half < vector.size:
        for base in range(0, vector.size, 2 * half):
            for j in range(base, base + half):
                low, high = vector[j], vector[j + half]
                vector[j], vector[j + half] = low + high, low - high
        half *= 2


@inlined
def sampled_values(reading, block, noise, lanes, first_sample, values):
    """values [M, width]: means of the +-1 outcomes of ``noise.shots`` shots per group.

    noise, lanes: see ``state_vector.forward``. first_sample: the run's number of the block's sample 0.
    """
    n_qubits, width = reading.n_qubits, lanes.sample.size
    size = 1 << n_qubits
    vector, counts = np.empty(size), np.empty(size, np.int64)
    threshold, alias = np.empty(size, np.uint32), np.empty(size, np.uint32)
    small, large = np.empty(size, np.int64), np.empty(size, np.int64)
    words = np.empty((noise.shots + 3) // 4 * 4, np.uint32)
    for group in range(noise.keys.size):
        for lane in range(width):
            for s in range(size):
                vector[s] = reading.weight[group, s] * block[reading.places[group, s] * width + lane]
            walsh_hadamard(vector)
            for s in range(size):
                vector[s] = max(vector[s], 0.0)  # rounding leaves -1e-16 where nothing is
            alias_table(vector, threshold, alias, small, large)
            displacement = noise.displacement_start + lanes.row[lane]
            sample = first_sample + lanes.sample[lane]
            fill_words(noise.keys[group], displacement, sample, noise.step, words)
            draw_counts(threshold, alias, words, noise.shots, n_qubits, counts)
            for s in range(size):
                vector[s] = counts[s]
            walsh_hadamard(vector)
            for place in range(reading.group_start[group], reading.group_start[group + 1]):
                m = reading.members[place]
                values[m, lane] = vector[reading.masks[m]] / noise.shots
