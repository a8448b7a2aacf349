"""Quarantine: a worker that keeps failing where others succeed rests for a while, each time twice as long.

Failures alone say nothing about a worker: the jobs may be at fault, or the service behind all workers. So it rests only if another
worker has done a job since this one's failures began, and is there to take its part. Where everything fails nobody rests, and a job's
own attempts decide.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

N_FAILURES = 3
"""Failures in a row after which a worker rests; after a rest one is enough."""
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 1.0, 60.0


@dataclass(slots=True)
class _Streak:
    """Failures of a worker since its last success."""

    n_done_before: int  # jobs that anybody had done when it began
    n_failures: int = 0
    n_rests: int = 0


class Quarantine:
    """Who failed how often in a row, and who rests until when. Seconds are of the caller's clock."""

    def __init__(self) -> None:
        self._n_done = 0
        self._streaks: dict[str, _Streak] = {}
        self._until: dict[str, float] = {}
        self._ends: list[tuple[float, str]] = []

    def __contains__(self, worker: str) -> bool:
        """Whether a worker rests."""
        return worker in self._until

    def __len__(self) -> int:
        """Workers that rest."""
        return len(self._until)

    @property
    def resting(self) -> dict[str, float]:
        """When the rest of each resting worker ends."""
        return dict(self._until)

    def next_end(self) -> float | None:
        """When the first rest ends."""
        while self._ends and self._until.get(self._ends[0][1]) != self._ends[0][0]:
            heapq.heappop(self._ends)  # of a worker that was lost
        return self._ends[0][0] if self._ends else None

    def succeeded(self, worker: str) -> None:
        """A worker did a job: its failures are forgotten."""
        self._n_done += 1
        if self._streaks:
            self._streaks.pop(worker, None)

    def failed(self, worker: str, now: float, *, has_others: bool) -> bool:
        """A worker failed a job. Returns whether it rests from now on.

        Args:
            has_others: another worker is in service and does not rest.
        """
        if worker in self._until:  # a job that it held when its rest began
            return False
        streak = self._streaks.setdefault(worker, _Streak(self._n_done))
        streak.n_failures += 1
        is_its_fault = has_others and self._n_done > streak.n_done_before
        if not is_its_fault or streak.n_failures < (1 if streak.n_rests else N_FAILURES):
            return False
        until = now + min(FIRST_REST_SECONDS * 2.0**streak.n_rests, LONGEST_REST_SECONDS)
        streak.n_rests += 1
        streak.n_failures = 0
        self._until[worker] = until
        heapq.heappush(self._ends, (until, worker))
        return True

    def ended(self, now: float) -> list[str]:
        """Workers whose rest is over, in the order in which it ended; they are in service again."""
        back = []
        while (end := self.next_end()) is not None and end <= now:
            _, worker = heapq.heappop(self._ends)
            del self._until[worker]
            back.append(worker)
        return back

    def forget(self, worker: str) -> None:
        """A worker is gone."""
        self._streaks.pop(worker, None)
        self._until.pop(worker, None)
