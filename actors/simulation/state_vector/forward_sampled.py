"""Means over shots of all circuits of a job: every row a state of its own, measured by drawing."""

from __future__ import annotations

from typing import Any

import numpy as np

from actors.simulation.jit import allocating, entry_point, inlined, source_digest
from actors.simulation.state_vector.base import advance, make_base, start_zero
from actors.simulation.state_vector.carrying import carry, repeat_states
from actors.simulation.state_vector.coefficients import Angles
from actors.simulation.state_vector.forward import Lanes
from actors.simulation.state_vector.sampling import sampled_values


@allocating
def make_lanes(carried, first, n_states, n_samples):
    """The Lanes of a block."""
    sample, row = np.empty(n_states * n_samples, np.int64), np.empty(n_states * n_samples, np.int64)
    for i in range(sample.size):
        sample[i] = i % n_samples
        row[i] = carried.rows[first + i // n_samples]
    return Lanes(sample, row)


@inlined
def run_samples(code, seen, base, displaced, carried, noise, first_sample, max_width, buffers, values):
    """values [W, D, M]: all circuits of the W <= max_width samples of `base`; `first_sample`: their place in the run."""
    n_samples, _, n_paulis = values.shape
    state, block, scratch, done = np.int64(0), np.int64(1), np.int64(2), np.int64(0)
    start_zero(buffers[state], n_samples)
    together = max_width // n_samples
    for first in range(0, carried.kind.size, together):
        n_states = min(together, carried.kind.size - first)
        width, until = n_states * n_samples, carried.operation[first]
        state, scratch = advance(code, base, done, until, buffers, state, scratch)
        done = until
        rows = np.int64(1) << min(done, code.n_qubits)
        repeat_states(buffers[state], n_samples, buffers[block], width, rows)
        block, scratch = carry(code, base, displaced, carried, first, n_states, done, buffers, block, scratch)
        lanes = make_lanes(carried, first, n_states, n_samples)
        found = np.empty((n_paulis, width))
        sampled_values(seen, buffers, block, scratch, code.n_qubits, noise, lanes, first_sample, found)
        for i in range(width):
            for m in range(n_paulis):
                values[lanes.sample[i], lanes.row[i], m] = found[m, i]


def _build(digest: int) -> Any:
    def forward_sampled(code, seen, angles, displaced, carried, noise, max_width, buffers, values):
        _ = digest
        for first in range(0, len(values), max_width):
            stop = min(first + max_width, len(values))
            base = make_base(code, Angles(angles.shared, angles.column, angles.data[first:stop]))
            place = noise.sample_start + first
            run_samples(
                code, seen, base, displaced, carried, noise, place, max_width, buffers, values[first:stop]
            )

    return entry_point(forward_sampled)


forward_sampled = _build(source_digest())
"""As ``forward_exact.forward_exact``, with buffers real [3, ...]."""
