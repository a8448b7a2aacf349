"""Jobs: what became of each submission, as a function of the clock. And the list of them, in pages."""

from __future__ import annotations

import uuid
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from actors.ionq.emulator.faults import Fault
from actors.ionq.emulator.refusal import bad_request, not_found
from actors.ionq.emulator.submission import Submission
from orchestrator.errors import QfleetError, nearest

STATUSES = ("submitted", "ready", "started", "completed", "failed", "canceled")
ENDED = ("completed", "failed", "canceled")
_READY, _STARTED = 0.25, 0.75
"""The parts of its time in the queue after which a job is ready, and started."""


class Failure(NamedTuple):
    """Why a job failed, as API v0.4 says it."""

    code: str
    message: str


@dataclass(eq=False)
class Job:
    """An accepted job.

    Attributes:
        id, child_ids: UUIDs. number: it was the number-th to be accepted. submission: what was asked for.
        submitted_at, dwell_seconds: on the emulator's clock; it ends at their sum. price: micro-dollars when it completes.
        fault: what goes wrong with it. answer: JSON text of each circuit's probabilities, when they are computed.
        canceled_at: on the clock, None if it was not. is_forgotten: its answer was let go; it can be computed again.
        execution_seconds: the last part of its dwell time; None: a quarter of it.
    """

    id: str
    number: int
    submission: Submission
    submitted_at: float
    dwell_seconds: float
    price: int
    fault: Fault | None
    answer: Future[list[str]]
    child_ids: tuple[str, ...] = ()
    canceled_at: float | None = None
    is_forgotten: bool = False
    execution_seconds: float | None = None

    def plan(self, starts_at: float, ends_at: float) -> None:
        """Say when it starts and ends, on the emulator's clock."""
        self.dwell_seconds, self.execution_seconds = ends_at - self.submitted_at, ends_at - starts_at

    def forget(self) -> None:
        """Let the answer go."""
        self.is_forgotten, self.answer = True, Future()
        self.answer.set_result([])

    @property
    def ready_at(self) -> float:
        """When it leaves ``submitted``."""
        if self.execution_seconds is not None:
            return self.submitted_at + _READY / _STARTED * (self.dwell_seconds - self.execution_seconds)
        return self.submitted_at + _READY * self.dwell_seconds

    @property
    def started_at(self) -> float:
        """When it starts."""
        if self.execution_seconds is not None:
            return self.ends_at - self.execution_seconds
        return self.submitted_at + _STARTED * self.dwell_seconds

    @property
    def ends_at(self) -> float:
        """When it ends, if nobody cancels it and its simulation is done."""
        return self.submitted_at + self.dwell_seconds

    def status(self, now: float) -> str:
        """One of `STATUSES`."""
        if self.canceled_at is not None:
            return "canceled"
        if now < self.started_at:
            return "submitted" if now < self.ready_at else "ready"
        if now < self.ends_at:
            return "started"
        if self.fault is not None and self.fault.kind == "cancel":
            return "canceled"
        if not self.answer.done() or self.answer.cancelled():
            return "started"
        if self.answer.exception() is not None or self._fails_by_fault:
            return "failed"
        return "completed"

    def failure(self, now: float) -> Failure | None:
        """Why it failed; None if it did not, or does not say."""
        if self.status(now) != "failed":
            return None
        error = self.answer.exception()
        if error is not None:
            return Failure(
                "SimulationError" if isinstance(error, QfleetError) else "InternalError", str(error)
            )
        return (
            None
            if self.fault is None or self.fault.code is None
            else Failure(self.fault.code, self.fault.message)
        )

    def child_status(self, child: int, now: float) -> str:
        """Status of one circuit of a batch."""
        if self._child_fault(child) and now >= self.ends_at and self.canceled_at is None:
            return "failed"
        status = self.status(now)
        is_fault_of_other = self.fault is not None and self.fault.kind == "child_fail"
        return "completed" if status == "failed" and is_fault_of_other else status

    def child_failure(self, child: int, now: float) -> Failure | None:
        """Why one circuit of a batch failed."""
        if self.child_status(child, now) != "failed":
            return None
        if self._child_fault(child):
            assert self.fault is not None
            return Failure(self.fault.code, self.fault.message) if self.fault.code else None
        return self.failure(now)

    @property
    def failed_child(self) -> int | None:
        """The circuit that fails alone, if one does."""
        is_child = self.fault is not None and self.fault.kind == "child_fail" and self.child_ids
        return min(self.fault.child, len(self.child_ids) - 1) if is_child and self.fault is not None else None

    @property
    def _fails_by_fault(self) -> bool:
        fault = self.fault
        return fault is not None and (
            fault.kind == "fail" or (fault.kind == "child_fail" and fault.parent == "failed")
        )

    def _child_fault(self, child: int) -> bool:
        return self.failed_child == child


class Place(NamedTuple):
    """What an id stands for: a job, or circuit number `child` of a batch."""

    job: Job
    child: int | None


@dataclass
class Jobs:
    """All jobs that are not deleted, in the order of acceptance."""

    _by_id: dict[str, Job] = field(default_factory=dict)
    _children: dict[str, Place] = field(default_factory=dict)
    _accepted: int = 0

    @property
    def n_accepted(self) -> int:
        """How many there have been, deleted ones included."""
        return self._accepted

    def add(
        self,
        submission: Submission,
        now: float,
        dwell_seconds: float,
        price: int,
        fault: Fault | None,
        answer: Future[list[str]],
    ) -> Job:
        """Accept `submission`."""
        self._accepted += 1
        children = tuple(
            str(uuid.uuid4()) for _ in range(len(submission.circuits) if submission.is_batch else 0)
        )
        job = Job(
            str(uuid.uuid4()), self._accepted, submission, now, dwell_seconds, price, fault, answer, children
        )
        self._by_id[job.id] = job
        self._children |= {child: Place(job, index) for index, child in enumerate(children)}
        return job

    def find(self, job_id: str) -> Place:
        """The job, or circuit of a batch, with that id.

        Raises:
            Refusal: there is none (404).
        """
        if job_id in self._by_id:
            return Place(self._by_id[job_id], None)
        if job_id in self._children:
            return self._children[job_id]
        raise not_found(f"job {job_id}")

    def delete(self, job: Job) -> None:
        """Forget `job`."""
        del self._by_id[job.id]
        for child in job.child_ids:
            del self._children[child]

    def all(self) -> list[Job]:
        """In the order of acceptance."""
        return list(self._by_id.values())

    def page(
        self, status: str | None, after: str | None, limit: int, now: float
    ) -> tuple[list[Job], str | None]:
        """(jobs of that status, the newest first, what to ask the next page with).

        Raises:
            Refusal: a status or a page that means nothing.
        """
        if status is not None and status not in STATUSES:
            raise bad_request(
                f"status = {status!r}; nearest valid: {nearest(status, STATUSES) or STATUSES[0]!r}"
            )
        if after is not None and not after.isdigit():
            raise bad_request(f"next = {after!r} was not given out by this service")
        before = int(after) if after is not None else self._accepted + 1
        found = [
            job
            for job in reversed(self._by_id.values())
            if job.number < before and status in (None, job.status(now))
        ]
        page = found[:limit]
        return page, str(page[-1].number) if len(found) > limit else None
