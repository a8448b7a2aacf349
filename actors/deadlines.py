"""Deadlines: when each job in flight will have taken much longer than expected. The first is found at once."""

from __future__ import annotations

import heapq
from collections.abc import Callable

_N_SPARE = 64
"""Deadlines out of date that are kept whatever the number of those that are not."""


class Deadlines:
    """Times and jobs.

    Args:
        is_current: whether a job still has the deadline. It need not be taken out when the job is done or gets another one: it is dropped
            when it is met, and with all others out of date when these have become many.
    """

    def __init__(self, is_current: Callable[[int, float], bool]) -> None:
        self._is_current = is_current
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        """Deadlines that are remembered, those out of date included."""
        return len(self._heap)

    def add(self, job: int, at: float, n_in_flight: int) -> None:
        """The deadline of `job`, one of `n_in_flight`, is `at` (seconds of the caller's clock)."""
        if len(self._heap) > 2 * n_in_flight + _N_SPARE:
            self._heap = [(time, other) for time, other in self._heap if self._is_current(other, time)]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (at, job))

    def first(self) -> tuple[float, int] | None:
        """The first deadline and its job."""
        while self._heap:
            at, job = self._heap[0]
            if self._is_current(job, at):
                return at, job
            heapq.heappop(self._heap)
        return None
