"""How long jobs take together: list scheduling of waits on slots and of computing on one processor a worker, event by event.

Each job takes the first slot that becomes free, in the order of the list (Graham, "Bounds on multiprocessing timing anomalies", SIAM J.
Appl. Math. 17, 1969). It computes, waits for a service, and computes again. Waits pass side by side; what is computed on one worker
does not, since the threads of a Python process share one interpreter.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import NamedTuple


class JobTimes(NamedTuple):
    """Seconds of one job.

    Attributes:
        before, after: computed before and after the wait.
        wait: for a service.
    """

    before: float
    wait: float
    after: float


def makespan(jobs: Sequence[JobTimes], n_workers: int, n_slots: int) -> float:
    """Seconds from the start of the first of `jobs`, in this order, until all are done.

    Args:
        n_workers: workers, each with a processor of its own.
        n_slots: jobs that one worker has in hand at the same time.
    """
    waiting = iter(jobs)
    processor_free_at = [0.0] * n_workers
    numbers = itertools.count()  # events of the same moment in the order in which they were made
    events: list[tuple[float, int, int, JobTimes | None, bool]] = []

    def begin(worker: int, now: float) -> None:
        job = next(waiting, None)
        if job is not None:
            heapq.heappush(events, (now, next(numbers), worker, job, False))

    for _ in range(n_slots):
        for worker in range(n_workers):
            begin(worker, 0.0)
    end = 0.0
    while events:
        now, _, worker, job, has_waited = heapq.heappop(events)
        if job is None:  # a slot is free
            end = now
            begin(worker, now)
            continue
        done = max(now, processor_free_at[worker]) + (job.after if has_waited else job.before)
        processor_free_at[worker] = done
        following = (None, True) if has_waited else (job, True)
        ready = done if has_waited else done + job.wait
        heapq.heappush(events, (ready, next(numbers), worker, *following))
    return end
