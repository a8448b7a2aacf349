"""Where the wall time of training goes: a clock whose laps leave no gap, and how the time that jobs are out is divided.

Everything between two reports of the training loop belongs to exactly one phase:

==========  ============================================================================================
plan        angles from parameters and features, cutting into jobs
ship        serialising and sending jobs; the way back of the last result
queue       sent, but not computing yet: on the way, or waiting in the actor
compute     inside the backend, on the worker whose answer came last (the critical path)
assemble    checking answers and putting them together, loss and chain rule
update      the optimizer
log         whatever the driver of the loop does between two reports: display, journal, checkpoints
==========  ============================================================================================
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from orchestrator.jobs import JobResult

PHASES = ("plan", "ship", "queue", "compute", "assemble", "update", "log")


class PhaseClock:
    """Gives every moment to one phase: a lap ends one and begins the next, so the phases add up to the wall time.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._lap_at = now()
        self._seconds = dict.fromkeys(PHASES, 0.0)

    def lap(self, phase: str) -> None:
        """The time since the last lap belongs to `phase`, one of `PHASES`."""
        now = self._now()
        self._seconds[phase] += now - self._lap_at
        self._lap_at = now

    def lap_jobs(
        self, began_at: float, ended_at: float, results: Sequence[JobResult], *, is_alone: bool = True
    ) -> float:
        """The time since the last lap, which is returned, went by while jobs were out; see `divided`."""
        now = self._now()
        wall = now - self._lap_at
        for phase, seconds in divided(wall, began_at, ended_at, results, is_alone=is_alone).items():
            self._seconds[phase] += seconds
        self._lap_at = now
        return wall

    def take(self) -> dict[str, float]:
        """Seconds by phase since the last `take`, which begins anew."""
        taken, self._seconds = self._seconds, dict.fromkeys(PHASES, 0.0)
        return taken


def divided(
    wall: float, began_at: float, ended_at: float, results: Sequence[JobResult], *, is_alone: bool = True
) -> dict[str, float]:
    """`wall` seconds during which jobs were out, as ``ship``, ``queue`` and ``compute``, which add up to it.

    The worker that answered last decides how long it took. What it computed is a duration of its own clock, and sending is one of the
    driver's; only the way back of the last result compares the two clocks, so with clocks that differ (actors on other machines)
    time may go from ``ship`` to ``queue`` or back, but no further.

    Args:
        began_at, ended_at: Unix seconds on the driver, when it began to wait and after the last result had come.
        results: in the order in which they came.
        is_alone: no other jobs were out. Else these may have computed while others were waited for, and only what they computed from
            `began_at` on is counted, which compares the two clocks once more.
    """
    if not results:
        return {"ship": wall, "queue": 0.0, "compute": 0.0}
    last = results[-1]
    critical = [result for result in results if result.worker == last.worker]
    sent = _between(critical[0].sent_at - began_at, wall)
    computed = (r.compute_seconds if is_alone else _since(began_at, r) for r in critical)
    compute = _between(sum(computed), wall - sent)
    back = _between(ended_at - last.finished_at, wall - sent - compute)
    return {"ship": sent + back, "queue": wall - sent - compute - back, "compute": compute}


def added(totals: Mapping[str, float], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds by phase of both, phase by phase."""
    return {phase: totals.get(phase, 0.0) + seconds.get(phase, 0.0) for phase in PHASES}


def _since(began_at: float, result: JobResult) -> float:
    """Seconds that a job computed after `began_at`."""
    return _between(result.finished_at - began_at, result.compute_seconds)


def _between(seconds: float, most: float) -> float:
    return min(max(seconds, 0.0), most)
