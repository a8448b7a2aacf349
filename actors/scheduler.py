"""Scheduler: which worker gets which job. A pure state machine: events in, assignments out; no clock, no process, no network.

Work is pulled: a worker has `max_in_flight` slots and a job is assigned only to a free one, so a slow worker gets less and a lost
one takes little with it. The same events at the same times give the same assignments.

::

    job_added ──► queued ──assignments()──► in flight ──job_done──► delivered, exactly once
                    ▲                           │
                    └── worker_lost, job_failed ┴──(out of attempts)──► given up

What it knows beyond that is kept in files of their own: how fast workers are (`speeds`), which clients' turn it is (`fair_queue`), which
jobs are tried again (`retries`), who rests because it keeps failing (`quarantine`), which jobs take too long (`deadlines`). Every event
takes logarithmic time in the number of jobs and workers, and the memory is that of what is queued or in flight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from actors.deadlines import Deadlines
from actors.fair_queue import FairQueue
from actors.places import Places
from actors.quarantine import Quarantine
from actors.retries import Retries
from actors.retry import Decision, RetryPolicy, UnknownCircuitError, WorkerLostError, is_passing
from actors.speeds import Speed, Speeds

OVERDUE, OVERDUE_SECONDS = 3.0, 0.2
"""A job is a straggler after so many times the time expected of it, and no sooner than that."""
TRUST = 20.0
"""Jobs are kept from a slow worker for so many times as long as one takes there; then its speed is measured again."""


class Assignment(NamedTuple):
    """Send `job` to `worker`; `is_duplicate`: another has it already, and takes too long."""

    worker: str
    job: int
    is_duplicate: bool = False


@dataclass(frozen=True)
class GivenUp:
    """`job` failed `n_failures` times, with `error` last, and is not tried again."""

    job: int
    n_failures: int
    error: BaseException


@dataclass(slots=True)
class _Job:
    """A job whose result has not been delivered."""

    size: float
    client: str
    n_failures: int = 0
    holders: tuple[str, ...] = ()
    failed_on: frozenset[str] = frozenset()
    sent_at: float = 0.0
    overdue_at: float = math.inf


@dataclass(slots=True, eq=False)
class _Worker:
    """A living worker: when it joined, and its jobs in the order in which they were sent, each with its size and when that was."""

    name: str
    order: int
    jobs: dict[int, tuple[float, float]] = field(default_factory=dict)
    size: float = 0.0  # of its jobs
    answered_at: float = -math.inf
    speed: Speed | None = None  # while it is in service: None of one that leaves, rests or is gone
    is_leaving: bool = False
    is_listed: bool = False  # among the idle


class Scheduler:
    """Assigns jobs to workers; counts, retries and forgets them.

    A job is a number that the caller chose and never reuses, a worker a name. `now` is in seconds of a steady clock, one for all calls.

    Args:
        max_in_flight: jobs that a worker holds at most: one it works on, the others waiting so that it need not.
        policy: decides whether a failed job is tried again.
        n_at_once: how many of them it works on at the same time.
        may_duplicate: a job that takes much longer than expected is given to an idle worker too, and the first answer is taken. Not for
            backends that charge.
    """

    def __init__(
        self,
        max_in_flight: int = 2,
        policy: RetryPolicy | None = None,
        n_at_once: int = 1,
        *,
        may_duplicate: bool = False,
    ) -> None:
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight = {max_in_flight}: a worker holds at least one job")
        self.n_done = 0
        self.n_retried = 0
        self.n_duplicated = 0
        self._max_in_flight = max_in_flight
        self._policy = policy or RetryPolicy()
        self._n_at_once = n_at_once
        self._may_duplicate = may_duplicate
        self._open: dict[int, _Job] = {}
        self._queue = FairQueue()
        self._retries = Retries()
        self._workers: dict[str, _Worker] = {}
        self._n_leaving = 0
        self._n_joined = 0
        self._speeds = Speeds()
        self._quarantine = Quarantine()
        self._deadlines = Deadlines(self._is_deadline)
        self._kept_until: float | None = None  # when faster workers should be through the queue
        self._wakes_at: float | None = None
        # Free slots, by the seconds that a job of unit size would take there: among like workers every one gets a first job before any
        # gets a second. One that is no longer free is dropped when met.
        self._slots: Places[_Worker] = Places()
        self._idle: Places[_Worker] = Places()  # likewise, workers without a job; kept only for duplicates

    @property
    def n_open(self) -> int:
        """Jobs that are neither delivered nor given up nor withdrawn."""
        return len(self._open)

    @property
    def workers(self) -> tuple[str, ...]:
        """Living workers that are not leaving, in the order in which they joined; those that rest are among them."""
        return tuple(name for name, worker in self._workers.items() if not worker.is_leaving)

    def resting(self) -> dict[str, float]:
        """Workers that get no jobs for a while, because they failed several in a row that others can do, and until when."""
        return self._quarantine.resting

    def is_idle(self, worker: str) -> bool:
        """Whether a worker holds no job (or is not here at all)."""
        known = self._workers.get(worker)
        return known is None or not known.jobs

    def wakes_at(self) -> float | None:
        """When `assignments` should be asked next although nothing has happened by then; None: no need."""
        return self._wakes_at

    # Events

    def job_added(self, job: int, size: float = 1.0, client: str = "") -> None:
        """A new job goes to the end of its client's queue; clients share the workers evenly.

        Args:
            size: how much work it is, in any unit: circuits, mostly.
        """
        if job in self._open:
            raise ValueError(f"job {job} is here already")
        if not 0 < size < math.inf:
            raise ValueError(f"size = {size} of job {job}: a positive number is wanted, e.g. 1")
        self._open[job] = _Job(size, client)
        self._queue.add(job, size, client)
        self._kept_until = None

    def worker_joined(self, worker: str, now: float = 0.0) -> None:
        """A worker is ready for jobs."""
        if worker in self._workers:
            raise ValueError(f"worker {worker} is here already")
        known = self._workers[worker] = _Worker(worker, self._n_joined)
        self._n_joined += 1
        self._serve(known)

    def worker_leaving(self, worker: str) -> None:
        """A worker gets nothing more; once it `is_idle` it can be stopped, and `worker_lost` called."""
        known = self._workers.get(worker)
        if known is not None and not known.is_leaving:
            known.is_leaving = True
            self._n_leaving += 1
            self._quarantine.forget(worker)
            self._retire(known)

    def worker_lost(self, worker: str, error: BaseException | None = None, now: float = 0.0) -> list[GivenUp]:
        """A worker is gone: its jobs go back to the front of the queue, in their order.

        Only the first `n_at_once` of them were being worked on and can have caused the loss, so only those are charged with a failure.
        """
        lost = self._workers.pop(worker, None)
        if lost is None:
            return []
        self._n_leaving -= lost.is_leaving
        self._quarantine.forget(worker)
        self._retire(lost)
        error = error or WorkerLostError(f"{worker} is lost")
        given_up, again = [], []
        for place, job in enumerate(lost.jobs):
            state = self._open.get(job)
            if state is None:
                continue
            state.holders = _without(state.holders, worker)
            if place < self._n_at_once and self._charge(state, error) is Decision.RAISE:
                given_up.append(self._give_up(job, error))
            elif not state.holders:
                again.append(job)
        self._retry(again)
        return given_up

    def job_done(self, worker: str, job: int, now: float = 0.0, seconds: float | None = None) -> bool:
        """A result came: True if it is the first of its job and to be delivered, False if it is late or a duplicate.

        Args:
            seconds: the worker computed for; None: they are taken from when the job was sent and answered.
        """
        state = self._open.pop(job, None)
        known = self._workers.get(worker)
        held = self._release(known, job, state) if known is not None else None
        if held is not None and known is not None:
            self._quarantine.succeeded(worker)
            self._measure(known, held, now, seconds)
        if state is None:
            return False
        if held is None and not state.holders:  # from a worker that was taken for lost
            self._retries.remove(job, state.failed_on)
        self.n_done += 1
        return True

    def job_failed(self, worker: str, job: int, error: BaseException, now: float = 0.0) -> GivenUp | None:
        """A worker answered with a failure: the job is tried again, elsewhere if it can be, or given up."""
        state = self._open.get(job)
        known = self._workers.get(worker)
        held = self._release(known, job, state) if known is not None else None
        if held is None or state is None:  # withdrawn, delivered by another, or already queued again
            return None
        if self._charge(state, error) is Decision.RAISE:
            return self._give_up(job, error)
        if not isinstance(error, UnknownCircuitError):  # no fault of the worker's
            state.failed_on |= {worker}
            self._failed(worker, now)
        if not state.holders:
            self._retry([job])
        return None

    def withdraw(self, jobs: Iterable[int]) -> None:
        """Nobody waits for these jobs any more. What is in flight keeps its slot until it is answered; the answer is dropped."""
        for job in jobs:
            state = self._open.pop(job, None)
            if state is not None:
                self._queue.remove(job, state.client)
                self._retries.remove(job, state.failed_on)

    # Decisions

    def assignments(self, now: float = 0.0) -> list[Assignment]:
        """Fill free slots from the queue, and see to stragglers."""
        if self._quarantine:
            for worker in self._quarantine.ended(now):
                self._serve(self._workers[worker])
        self._wakes_at = self._quarantine.next_end()
        made: list[Assignment] = []
        if self._retries or self._queue:
            self._fill_slots(made, now)
        if self._may_duplicate and not self._retries and not self._queue:
            self._duplicate_stragglers(made, now)
        return made

    def summary(self) -> str:
        """The whole state in a few lines, for tests and for reading."""

        def numbers(jobs: Iterable[int]) -> str:
            return " ".join(str(job) for job in jobs) or "-"

        lines = []
        for name, worker in self._workers.items():
            state = " (resting)" if name in self._quarantine else " (leaving)" if worker.is_leaving else ""
            lines.append(f"{name}{state}: {numbers(worker.jobs)}")
        lines.append(f"again: {numbers(self._retries)}")
        lines.append(f"queued: {numbers(self._queue)}")
        lines.append(f"done: {self.n_done}, retried: {self.n_retried}")
        return "\n".join(lines)

    # Choosing a job for a worker

    def _fill_slots(self, made: list[Assignment], now: float) -> None:
        passed_over = []
        n_waiting = len(self._retries) + len(self._queue)
        while n_waiting and self._slots:
            slot = self._slots.take()
            worker = slot[2]
            if not self._has_room(worker):
                continue
            job = self._retries.take(worker.name, self._failed_everywhere) if self._retries else None
            if job is None:
                if not self._queue or self._is_done_sooner_without(worker, now):
                    passed_over.append(slot)
                    if not self._retries:
                        break  # the slots behind it are of slower workers still
                    continue
                job = self._queue.take()
                assert job is not None
            made.append(self._assign(worker, job, now))
            n_waiting -= 1
        for slot in passed_over:
            self._slots.add(*slot)

    def _failed_everywhere(self, failed_on: frozenset[str]) -> bool:
        if len(failed_on) < self._n_serving:
            return False
        serving = (name for name, worker in self._workers.items() if not worker.is_leaving)
        return all(name in failed_on or name in self._quarantine for name in serving)

    def _is_done_sooner_without(self, worker: _Worker, now: float) -> bool:
        """Whether the next job in the queue would be done sooner if `worker` left it, and the whole queue, to faster workers.

        What these still have to do of the jobs in their hands is taken for all of them, so `worker` is passed over too rarely rather than
        too often.
        """
        speed = worker.speed
        if speed is None or not speed.is_measured:
            return False
        queued = self._queue.size
        size = self._n_at_once * queued / len(self._queue)
        here = (worker.size + size) / speed.units_per_second
        if here <= self._speeds.seconds_by_all(queued) or now >= worker.answered_at + TRUST * here:
            return False
        there = self._speeds.seconds_by_faster(speed, queued, size)
        if here <= there:
            return False
        if self._kept_until is None:
            self._kept_until = now + there
        if now >= self._kept_until:  # the others are not what they were
            return False
        self._wake(self._kept_until)
        return True

    # Stragglers

    def _is_deadline(self, job: int, at: float) -> bool:
        state = self._open.get(job)
        return state is not None and state.overdue_at == at and len(state.holders) == 1

    def _is_overdue_at(self, job: int, state: _Job, at: float) -> None:
        state.overdue_at = at
        self._deadlines.add(job, at, len(self._open))

    def _expect(self, worker: _Worker, job: int, state: _Job, now: float) -> None:
        """Set the time after which `job`, just sent to `worker`, is a straggler. Before anything was measured nothing is expected."""
        speed = self._speeds.of(worker.speed) if worker.speed is not None else self._speeds.typical
        if speed is not None:
            work = max(worker.size, state.size * self._n_at_once)
            self._is_overdue_at(job, state, now + max(OVERDUE * work / speed, OVERDUE_SECONDS))

    def _duplicate_stragglers(self, made: list[Assignment], now: float) -> None:
        """Give jobs that take too long to idle workers too, if those would be done sooner than it has taken already."""
        unsuited = []
        while (worker := self._first_idle()) is not None and (first := self._deadlines.first()) is not None:
            at, job = first
            if at > now:
                self._wake(at)
                break
            state = self._open[job]
            speed = None if worker.speed is None else self._speeds.of(worker.speed)
            takes = state.size * self._n_at_once / speed if speed else math.inf
            if worker.name in state.failed_on:
                unsuited.append(self._idle.take())
            elif takes > now - state.sent_at:  # the others are slower still
                self._is_overdue_at(job, state, state.sent_at + takes)
            else:
                self._idle.take()
                made.append(self._assign(worker, job, now, is_duplicate=True))
                self.n_duplicated += 1
        for idle in unsuited:
            self._idle.add(*idle)

    def _first_idle(self) -> _Worker | None:
        """The fastest idle worker; those that are not idle any more are taken off the list of them."""
        while self._idle:
            worker = self._idle.first()
            if not worker.jobs and worker.speed is not None:
                return worker
            worker.is_listed = False
            self._idle.take()
        return None

    # Bookkeeping

    @property
    def _n_serving(self) -> int:
        return len(self._workers) - self._n_leaving - len(self._quarantine)

    def _serve(self, worker: _Worker) -> None:
        """`worker` is in service from now on, or again: all of its slots that are free are offered."""
        worker.speed = self._speeds.add(worker.size)
        rank = self._speeds.rank(worker.speed)
        for level in range(len(worker.jobs), self._max_in_flight):
            self._slots.add((level + 1) / rank, worker.order, worker)
        self._list_idle(worker, worker.speed)

    def _retire(self, worker: _Worker) -> None:
        """`worker` is in service no more; its slots are dropped when they are met."""
        if worker.speed is not None:
            self._speeds.remove(worker.speed)
            worker.speed = None

    def _has_room(self, worker: _Worker) -> bool:
        """Whether a worker is in service and has a free slot."""
        return worker.speed is not None and len(worker.jobs) < self._max_in_flight

    def _assign(self, worker: _Worker, job: int, now: float, *, is_duplicate: bool = False) -> Assignment:
        state = self._open[job]
        size = state.size
        worker.jobs[job] = (size, now)
        worker.size += size
        if worker.speed is not None:
            self._speeds.loaded(worker.speed, size)
        state.holders += (worker.name,)
        if is_duplicate:
            worker.is_listed = False
        else:
            state.sent_at = now
            if self._may_duplicate:
                self._expect(worker, job, state, now)
        return Assignment(worker.name, job, is_duplicate)

    def _release(self, worker: _Worker, job: int, state: _Job | None) -> tuple[float, float] | None:
        """Free the slot that `job` holds on `worker`. Returns its size and when it was sent; None if it holds none."""
        held = worker.jobs.pop(job, None)
        if held is None:
            return None
        size, _ = held
        worker.size = worker.size - size if worker.jobs else 0.0
        if state is not None:
            state.holders = _without(state.holders, worker.name)
        speed = worker.speed
        if speed is not None:
            self._speeds.loaded(speed, -size)
            self._slots.add((len(worker.jobs) + 1) / self._speeds.rank(speed), worker.order, worker)
            self._list_idle(worker, speed)
        return held

    def _list_idle(self, worker: _Worker, speed: Speed) -> None:
        if self._may_duplicate and not worker.jobs and not worker.is_listed:
            worker.is_listed = True
            self._idle.add(1 / self._speeds.rank(speed), worker.order, worker)

    def _measure(self, worker: _Worker, held: tuple[float, float], now: float, seconds: float | None) -> None:
        """Learn the speed of `worker` from a job that it has done."""
        size, sent_at = held
        if seconds is None:
            began_at = sent_at if self._n_at_once > 1 else max(sent_at, worker.answered_at)
            seconds = now - began_at
        worker.answered_at = now
        if worker.speed is None:
            return
        is_first = self._speeds.typical is None
        self._speeds.note(worker.speed, size * self._n_at_once, seconds)
        if is_first and self._speeds.typical is not None:
            self._begin_to_expect(now)

    def _begin_to_expect(self, now: float) -> None:
        """The first speed is known: what was ordered and sent before that is put on the same footing as what follows."""
        for places in (self._slots, self._idle):
            places.rekey(lambda key, worker: key / self._speeds.rank(worker.speed) if worker.speed else key)
        if self._may_duplicate:
            for worker in self._workers.values():
                for job in worker.jobs:
                    state = self._open.get(job)
                    if state is not None:
                        self._expect(worker, job, state, now)

    def _failed(self, worker: str, now: float) -> None:
        """`worker` failed a job that another may do: perhaps it needs a rest."""
        known = self._workers[worker]
        if known.is_leaving:
            return
        if self._quarantine.failed(worker, now, has_others=self._n_serving > 1):
            self._retire(known)

    def _charge(self, state: _Job, error: BaseException) -> Decision:
        state.n_failures += 1
        if state.holders and is_passing(error):
            return Decision.RETRY  # another is at it
        return self._policy.decide(error, state.n_failures)

    def _give_up(self, job: int, error: BaseException) -> GivenUp:
        return GivenUp(job, self._open.pop(job).n_failures, error)

    def _retry(self, jobs: list[int]) -> None:
        self._retries.add([(job, self._open[job].failed_on) for job in jobs])
        self.n_retried += len(jobs)

    def _wake(self, at: float) -> None:
        self._wakes_at = at if self._wakes_at is None else min(self._wakes_at, at)


def _without(holders: tuple[str, ...], worker: str) -> tuple[str, ...]:
    if holders == (worker,):
        return ()
    return tuple(name for name in holders if name != worker)
