"""Scheduler: which worker gets which job. A pure state machine: events in, assignments out; no clock, no process, no network.

Work is pulled: a worker has `max_in_flight` slots and a job is assigned only to a free one, so a slow worker gets less and a lost
one takes little with it. The same events in the same order give the same assignments.

::

    job_added ──► queued ──assignments()──► in flight ──job_done──► delivered, exactly once
                    ▲                           │
                    └── worker_lost, job_failed ┴──(out of attempts)──► given up
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from actors.retry import Decision, RetryPolicy, UnknownCircuitError, WorkerLostError


@dataclass(frozen=True)
class Assignment:
    """Send `job` to `worker`."""

    worker: str
    job: int


@dataclass(frozen=True)
class GivenUp:
    """`job` failed `n_failures` times, with `error` last, and is not tried again."""

    job: int
    n_failures: int
    error: BaseException


@dataclass
class _Job:
    """A job whose result has not been delivered."""

    n_failures: int = 0
    holders: set[str] = field(default_factory=set)
    failed_on: set[str] = field(default_factory=set)


@dataclass
class _Worker:
    """A living worker: when it joined, and its jobs in the order in which they were sent (a dict used as an ordered set)."""

    order: int
    jobs: dict[int, None] = field(default_factory=dict)


class Scheduler:
    """Assigns jobs to workers; counts, retries and forgets them.

    A job is a number that the caller chose and never reuses, a worker a name.

    Args:
        max_in_flight: jobs that a worker holds at most: one it works on, the others waiting so that it need not.
        policy: decides whether a failed job is tried again.
        n_at_once: how many of them it works on at the same time.
    """

    def __init__(self, max_in_flight: int = 2, policy: RetryPolicy | None = None, n_at_once: int = 1) -> None:
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight = {max_in_flight}: a worker holds at least one job")
        self.n_done = 0
        self.n_retried = 0
        self._max_in_flight = max_in_flight
        self._policy = policy or RetryPolicy()
        self._n_at_once = n_at_once
        self._open: dict[int, _Job] = {}
        self._queue: deque[int] = deque()
        self._retries: deque[int] = deque()
        self._workers: dict[str, _Worker] = {}
        self._n_joined = 0
        # Free slots as (jobs the worker would then hold already, order of joining, name): the smallest is the next to be filled,
        # so every worker gets a first job before any gets a second. A worker with k jobs has exactly the slots k, k+1, ...
        self._slots: list[tuple[int, int, str]] = []

    @property
    def n_open(self) -> int:
        """Jobs that are neither delivered nor given up nor withdrawn."""
        return len(self._open)

    @property
    def workers(self) -> tuple[str, ...]:
        """Living workers in the order in which they joined."""
        return tuple(self._workers)

    def job_added(self, job: int) -> None:
        """A new job goes to the end of the queue."""
        if job in self._open:
            raise ValueError(f"job {job} is here already")
        self._open[job] = _Job()
        self._queue.append(job)

    def worker_joined(self, worker: str) -> None:
        """A worker is ready for jobs."""
        if worker in self._workers:
            raise ValueError(f"worker {worker} is here already")
        self._workers[worker] = _Worker(self._n_joined)
        for level in range(self._max_in_flight):
            heapq.heappush(self._slots, (level, self._n_joined, worker))
        self._n_joined += 1

    def worker_lost(self, worker: str, error: BaseException | None = None) -> list[GivenUp]:
        """A worker is gone: its jobs go back to the front of the queue, in their order.

        Only the first `n_at_once` of them were being worked on and can have caused the loss, so only those are charged with a failure.
        """
        lost = self._workers.pop(worker, None)
        if lost is None:
            return []
        error = error or WorkerLostError(f"{worker} is lost")
        given_up, again = [], []
        for place, job in enumerate(lost.jobs):
            state = self._open.get(job)
            if state is None:
                continue
            state.holders.discard(worker)
            if place < self._n_at_once and self._charge(state, error) is Decision.RAISE:
                del self._open[job]
                given_up.append(GivenUp(job, state.n_failures, error))
            elif not state.holders:
                again.append(job)
        self._retry(again)
        return given_up

    def job_done(self, worker: str, job: int) -> bool:
        """A result came: True if it is the first of its job and to be delivered, False if it is late or a duplicate."""
        self._release(worker, job)
        if self._open.pop(job, None) is None:
            return False
        self.n_done += 1
        return True

    def job_failed(self, worker: str, job: int, error: BaseException) -> GivenUp | None:
        """A worker answered with a failure: the job is tried again, elsewhere if it can be, or given up."""
        was_held = self._release(worker, job)
        state = self._open.get(job)
        if (
            state is None or not was_held
        ):  # withdrawn, delivered by another, or already queued again: nothing to add
            return None
        if self._charge(state, error) is Decision.RAISE:
            del self._open[job]
            return GivenUp(job, state.n_failures, error)
        if not isinstance(error, UnknownCircuitError):  # no fault of the worker's
            state.failed_on.add(worker)
        if not state.holders:
            self._retry([job])
        return None

    def withdraw(self, jobs: Iterable[int]) -> None:
        """Nobody waits for these jobs any more. What is in flight keeps its slot until it is answered; the answer is dropped."""
        for job in jobs:
            self._open.pop(job, None)

    def assignments(self) -> list[Assignment]:
        """Fill free slots from the queue."""
        made: list[Assignment] = []
        passed_over = []
        while self._retries and self._retries[0] not in self._open:
            self._retries.popleft()
        while self._slots and (self._retries or self._queue):
            slot = heapq.heappop(self._slots)
            _, order, name = slot
            worker = self._workers.get(name)
            if worker is None or worker.order != order:  # the slot of a lost worker
                continue
            job = self._take(name)
            if job is None:
                passed_over.append(slot)
                continue
            worker.jobs[job] = None
            self._open[job].holders.add(name)
            made.append(Assignment(name, job))
        for slot in passed_over:
            heapq.heappush(self._slots, slot)
        return made

    def summary(self) -> str:
        """The whole state in a few lines, for tests and for reading."""

        def numbers(jobs: Iterable[int]) -> str:
            return " ".join(str(job) for job in jobs) or "-"

        lines = [f"{name}: {numbers(worker.jobs)}" for name, worker in self._workers.items()]
        lines.append(f"again: {numbers(job for job in self._retries if job in self._open)}")
        lines.append(f"queued: {numbers(job for job in self._queue if job in self._open)}")
        lines.append(f"done: {self.n_done}, retried: {self.n_retried}")
        return "\n".join(lines)

    def _take(self, worker: str) -> int | None:
        """The next job that `worker` may have: one to be tried again first, but not where it failed unless it failed everywhere."""
        for place, job in enumerate(self._retries):
            state = self._open.get(job)
            if state is not None and (
                worker not in state.failed_on or state.failed_on.issuperset(self._workers)
            ):
                del self._retries[place]
                return job
        while self._queue:
            job = self._queue.popleft()
            if job in self._open:
                return job
        return None

    def _charge(self, state: _Job, error: BaseException) -> Decision:
        state.n_failures += 1
        return self._policy.decide(error, state.n_failures)

    def _retry(self, jobs: list[int]) -> None:
        self._retries.extendleft(reversed(jobs))
        self.n_retried += len(jobs)

    def _release(self, worker: str, job: int) -> bool:
        """Free the slot that `job` holds on `worker`; False if it holds none."""
        holder = self._workers.get(worker)
        if holder is None or job not in holder.jobs:
            return False
        del holder.jobs[job]
        heapq.heappush(self._slots, (len(holder.jobs), holder.order, worker))
        if job in self._open:
            self._open[job].holders.discard(worker)
        return True
