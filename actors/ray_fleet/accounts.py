"""What a fleet has done and what happened to it: totals, the newest jobs, the newest events. No Ray, no decisions."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from orchestrator.jobs import JobResult
from orchestrator.protocols import FleetEvent, JobSpan

_log = logging.getLogger(__name__)
_MAX_EVENTS = 10_000
"""Events that `events` remembers."""
_CLOCK_SLACK_SECONDS = 0.05
"""By so much the clocks of two machines that are kept right may differ."""


class Accounts:
    """Running totals of a fleet.

    Args:
        max_spans: jobs that `spans` remembers.
        on_event: told of every event, on the thread that runs the fleet.
    """

    def __init__(self, max_spans: int, on_event: Callable[[FleetEvent], None] | None = None) -> None:
        self.jobs_done = 0
        self.workers_lost = 0
        self.busy_seconds = 0.0
        self.cache_hits = 0
        self.spans: deque[JobSpan] = deque(maxlen=max_spans)
        self.events: deque[FleetEvent] = deque(maxlen=_MAX_EVENTS)
        self._on_event = on_event

    def happened(self, kind: str, worker: str = "", text: str = "") -> None:
        """Something happened to a worker (or to all, if none is named)."""
        event = FleetEvent(time.time(), kind, worker, text)
        self.events.append(event)
        _log.info("%s", " ".join(filter(None, (worker, kind, text and f": {text}"))))
        if self._on_event is not None:
            self._on_event(event)

    def delivered(self, result: JobResult, asked_at: float, step: int) -> None:
        """A job was answered."""
        self.jobs_done += 1
        self.busy_seconds += result.compute_seconds
        self.cache_hits += result.cache_hit
        self.spans.append(JobSpan.of(result, asked_at, step))


def on_drivers_clock(result: JobResult, sent_at: float, received_at: float) -> JobResult:
    """The result as sent at `sent_at`, with its times moved to where they can have been, if the worker's clock is wrong.

    What is computed is not touched. All times in Unix seconds; the first two by the driver's clock.
    """
    started, finished = result.started_at, result.finished_at
    is_possible = sent_at - _CLOCK_SLACK_SECONDS <= started <= finished <= received_at + _CLOCK_SLACK_SECONDS
    if is_possible:
        return replace(result, sent_at=sent_at)
    received_at = max(received_at, sent_at)  # the driver's own clock may have been put back
    longest = received_at - sent_at
    seconds = finished - started
    if not 0 <= seconds <= longest:  # put right in the middle of the job, or no number
        seconds = min(max(result.compute_seconds, 0.0), longest) if result.compute_seconds >= 0 else 0.0
    # The end is known best: an answer is taken in soon after it was given, but a job may have waited for the one before it.
    return replace(result, sent_at=sent_at, started_at=received_at - seconds, finished_at=received_at)
