"""A fleet that loses half of its actors in the middle of a step, and then is doubled: the same bits, and a timeline of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.ray_fleet import RayFleet
from actors.serial import SerialDispatcher
from orchestrator.errors import ExecutionError
from orchestrator.jobs import JobResult
from pipelines.benchmark import fleet_backend

N_ACTORS = 4
_SECONDS = 0.05
_N_JOBS = 1200


@dataclass
class _Course:
    """When what was done, in Unix seconds of the last answer before it."""

    at: dict[str, float] = field(default_factory=dict)


def run(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The figures; the timeline goes into `folder` as JSON and as a picture.

    Raises:
        ExecutionError: an answer differs from that of a dispatcher that nothing happened to; or the added actors came too late.
    """
    jobs = fleet_backend.jobs(_N_JOBS)
    say(
        f"{_N_JOBS} jobs of {_SECONDS:g} s on {N_ACTORS} actors; half of them are killed, then there are {2 * N_ACTORS}"
    )
    course = _Course()
    with RayFleet(
        fleet_backend.LatencyBackend(_SECONDS), N_ACTORS, cpus_per_actor=0.05, max_replacements=0
    ) as fleet:
        fleet.register(fleet_backend.circuit())
        answers = {result.job_id: result.values.tobytes() for result in _disturbed(fleet, course)}
        spans, events, stats = fleet.timeline(), fleet.events(), fleet.stats()
    quiet = SerialDispatcher(fleet_backend.LatencyBackend(0.0))
    quiet.register(fleet_backend.circuit())
    if answers != {result.job_id: result.values.tobytes() for result in quiet.run(jobs)}:
        raise ExecutionError("the disturbed fleet's answers differ from those of a serial dispatcher")
    if "all there" not in course.at:
        raise ExecutionError(
            "the jobs were done before the added actors were there: try it on a quieter machine"
        )
    ends = sorted(span.finished_at for span in spans)
    killed, doubled, joined = course.at["killed"], course.at["doubled"], course.at["all there"]
    rates = {
        f"{N_ACTORS} actors": _rate(ends, ends[0], killed),
        f"{N_ACTORS // 2} actors": _rate(ends, killed, doubled),
        f"{2 * N_ACTORS} actors": _rate(ends, joined, ends[-1]),
    }
    return {
        "jobs": _N_JOBS,
        "jobs_lost": _N_JOBS - len(answers),
        "jobs_retried": stats.jobs_retried,
        "actors_killed": stats.workers_lost,
        "same_bits": True,
        "jobs_per_second": rates,
        "files": _write(folder, spans, events),
    }


def _disturbed(fleet: RayFleet, course: _Course) -> Iterator[JobResult]:
    """The answers to all jobs; a quarter of them in, half of the actors are killed, and after another twelfth the fleet is doubled."""
    for n_done, result in enumerate(fleet.run(fleet_backend.jobs(_N_JOBS)), 1):
        yield result
        if n_done == _N_JOBS // 4:
            for pid in list(fleet.worker_pids().values())[: N_ACTORS // 2]:
                os.kill(pid, signal.SIGKILL)
            course.at["killed"] = result.finished_at
        if n_done == _N_JOBS // 3:
            fleet.resize(2 * N_ACTORS)
            course.at["doubled"] = result.finished_at
        if "doubled" in course.at and fleet.n_workers == 2 * N_ACTORS:
            course.at.setdefault("all there", result.finished_at)


def _rate(ends: list[float], start: float, stop: float) -> float:
    """Jobs a second between two moments."""
    return sum(start < end <= stop for end in ends) / max(stop - start, 1e-9)


def _write(folder: Path, spans: list[Any], events: list[Any]) -> list[str]:
    from pipelines.plots.timeline import fleet_timeline

    folder.mkdir(parents=True, exist_ok=True)
    table, picture = folder / "fleet-timeline.json", folder / "fleet-timeline.png"
    content = {
        "spans": [[span.worker, span.job_id, span.started_at, span.finished_at] for span in spans],
        "events": [event._asdict() for event in events],
    }
    table.write_text(json.dumps(content) + "\n", encoding="utf-8")
    title = f"{N_ACTORS} actors, half of them killed, then {2 * N_ACTORS}"
    fleet_timeline(spans, picture, events=events, title=title)
    return [str(table), str(picture)]
