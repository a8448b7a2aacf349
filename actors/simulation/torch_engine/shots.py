"""Shots: outcomes of a measurement group, drawn on the processor from the device's probabilities.

By the same alias table and the same counter-based random words as the backend "ideal" has (see ``state_vector.sampling``): where both
find the same probabilities, and these agree to rounding, both draw the same outcomes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from actors.simulation.jit import entry_point, source_digest
from actors.simulation.philox import fill_words
from actors.simulation.state_vector.sampling import alias_table, draw_counts


def _build(digest: int) -> Any:
    def draw(
        weights: Any,
        first: Any,
        stop: Any,
        key: Any,
        shots: Any,
        step: Any,
        rows: Any,
        samples: Any,
        n_qubits: Any,
    ) -> None:
        _ = digest
        size = 1 << n_qubits
        own, counts = np.empty(size), np.empty(size, np.int64)
        threshold, alias = np.empty(size, np.uint32), np.empty(size, np.uint32)
        small, large = np.empty(size, np.int64), np.empty(size, np.int64)
        words = np.empty((shots + 3) // 4 * 4, np.uint32)
        for lane in range(first, stop):
            for j in range(size):
                own[j] = weights[j, lane]
            alias_table(own, threshold, alias, small, large)
            fill_words(key, rows[lane], samples[lane], step, words)
            draw_counts(threshold, alias, words, shots, n_qubits, counts)
            for j in range(size):
                weights[j, lane] = counts[j]

    return entry_point(draw)


draw = _build(source_digest())
"""Replace probabilities, float64 [2**n, lanes], in the lanes first..stop-1 by how often each outcome comes up in `shots` draws.

key: uint64, of the measurement group. rows, samples: int64 [lanes], the circuits' places in the run.
"""


def warm_up() -> None:
    """Compile `draw`, for the cache on disk."""
    none = np.zeros(1, np.int64)
    draw(np.full((2, 1), 0.5), 0, 1, np.uint64(0), 1, 0, none, none, 1)
