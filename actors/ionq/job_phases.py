"""Where the time of one job goes, on the clock of its session: a stopwatch whose laps leave no gap."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from actors.ionq.clock import Clock
from actors.ionq.submission import Latency
from orchestrator.jobs import JobPhases

T = TypeVar("T")


class JobStopwatch:
    """Follows one job through its session, from its construction on. For the thread that runs the job.

    Args:
        clock: that of the session.
        processor: seconds of processor time of this thread so far.
    """

    def __init__(self, clock: Clock, processor: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._processor = processor
        self._lap_at = clock.now()
        self._processor_at = self._delivered_at = processor()
        self._serialise = self._submit = self._queue = self._execution = self._fetch = 0.0
        self._in_bodies = 0.0  # since the last lap
        self._is_served = True

    def timed(self, write: Callable[[str], T]) -> Callable[[str], T]:
        """`write`, which writes a body in the middle of a submission, with its time counted as serialising."""

        def timed_write(token: str) -> T:
            begin = self._clock.now()
            try:
                return write(token)
            finally:
                self._in_bodies += self._clock.now() - begin

        return timed_write

    def serialised(self) -> None:
        """The circuits have become text."""
        self._serialise += self._lap()

    def delivered(self, latency: Latency | None) -> None:
        """One submission of the job was answered; `latency` is None if the book had the answer."""
        seconds, bodies = self._lap(), self._in_bodies
        self._in_bodies = 0.0
        self._delivered_at = self._processor()
        self._serialise += bodies
        if latency is None:
            self._submit += seconds - bodies
            return
        self._is_served = False
        queue, execution = waited(latency)
        self._queue += queue
        self._execution += execution
        self._fetch += latency.wait - queue - execution + latency.fetch
        self._submit += seconds - bodies - latency.wait - latency.fetch

    def decoded(self) -> JobPhases:
        """All values are there."""
        return JobPhases(
            self._serialise,
            self._submit,
            self._queue,
            self._execution,
            self._fetch,
            self._lap(),
            self._delivered_at - self._processor_at,
            self._processor() - self._delivered_at,
            self._is_served,
        )

    def _lap(self) -> float:
        now = self._clock.now()
        seconds, self._lap_at = now - self._lap_at, now
        return seconds


def waited(latency: Latency) -> tuple[float, float]:
    """Queue and execution, in seconds, as parts of the time that was waited for a job.

    The service's clock begins before its answer to the POST is here, and long before where another process sent the job: of what did not
    pass while this one waited, the queue is left out first.
    """
    execution = min(max(latency.execution or 0.0, 0.0), latency.wait)
    rest = latency.wait - execution
    return (rest if latency.queue is None else min(max(latency.queue, 0.0), rest)), execution
