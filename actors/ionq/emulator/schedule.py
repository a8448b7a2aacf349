"""When a machine runs which job: one at a time, in the order in which they come out of its queue."""

from __future__ import annotations

from dataclasses import dataclass

from actors.ionq.emulator.jobs import Job


@dataclass
class _Waiting:
    """A job that may not have started. ready_at: when its time in the queue is over. starts_at: as planned; None: not yet."""

    job: Job
    ready_at: float
    execution_seconds: float
    starts_at: float | None = None


class Schedule:
    """The jobs of one machine.

    A job that comes later can put others off, never bring them forward; a canceled one that has not started makes room.
    """

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._free_at = 0.0

    def add(self, job: Job, queue_seconds: float, execution_seconds: float) -> None:
        """Plan a job that has just been accepted, whose time in the queue takes so long if nothing else runs."""
        self._waiting.append(_Waiting(job, job.submitted_at + queue_seconds, execution_seconds))
        self.plan(job.submitted_at)

    def plan(self, now: float) -> None:
        """Say of every job that has not started when it starts and ends."""
        waiting: list[_Waiting] = []
        for each in self._waiting:
            if each.starts_at is not None and each.starts_at <= now:
                self._free_at = max(self._free_at, each.job.ends_at)
            elif each.job.canceled_at is None:
                waiting.append(each)
        self._waiting = sorted(waiting, key=lambda each: (each.ready_at, each.job.number))
        free_at = self._free_at
        for each in self._waiting:
            each.starts_at = max(each.ready_at, free_at)
            free_at = each.starts_at + each.execution_seconds
            each.job.plan(each.starts_at, free_at)
