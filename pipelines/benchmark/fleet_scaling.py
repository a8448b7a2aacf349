"""How many times faster more actors are: of this machine's cores, and of a service's latency."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from actors.ray_fleet import RayFleet
from orchestrator.jobs import Job
from orchestrator.protocols import Dispatcher
from pipelines.benchmark import fleet_backend
from pipelines.benchmark.cases import Case, build
from pipelines.benchmark.timing import timed
from pipelines.benchmark.workloads import select

LOCAL_WORKLOAD = "W4-full"
"""12 qubits, every pair entangled: the engine computes, rather than that results travel."""
_JOB_SECONDS = 0.06
_ROUNDS = 5
_SHARE = 0.5  # CPUs an actor reserves here; Ray needs to be asked for no more than there are


def local(n_actors: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Wall time of about `seconds` of the engine's work on one actor over that on `n_actors`: medians of rounds taken in turn."""
    case = build(select([LOCAL_WORKLOAD])[0])
    say(f"{LOCAL_WORKLOAD} on 1 and on {n_actors} actors of this machine, {_ROUNDS} rounds of each")
    with (
        RayFleet(case.backend, 1, cpus_per_actor=_SHARE) as alone,
        RayFleet(case.backend, n_actors, cpus_per_actor=_SHARE) as together,
    ):
        for fleet in (alone, together):
            fleet.register(case.circuit)
            _drive(fleet, _copies(case, 4 * n_actors, 0))  # kernels are read, circuits compiled
        one_run = min(timed(lambda: _drive(alone, _copies(case, 8, 1))) for _ in range(3)) / 8
        n_per_job = max(1, round(_JOB_SECONDS / one_run))
        n_jobs = max(n_actors, math.ceil(seconds / (n_per_job * one_run) / n_actors) * n_actors)
        walls: dict[int, list[float]] = {1: [], n_actors: []}
        busy: list[float] = []
        own: list[float] = []
        for number in range(_ROUNDS):
            jobs = _copies(case, n_jobs, 2 + number, n_per_job)
            walls[1].append(timed(lambda jobs=jobs: _drive(alone, jobs)))  # type: ignore[misc]
            before, own_before = together.stats().busy_seconds, time.process_time()
            walls[n_actors].append(timed(lambda jobs=jobs: _drive(together, jobs)))  # type: ignore[misc]
            busy.append((together.stats().busy_seconds - before) / (n_actors * walls[n_actors][-1]))
            own.append((time.process_time() - own_before) / walls[n_actors][-1])
    one, many = (statistics.median(found) for found in walls.values())
    return {
        "workload": LOCAL_WORKLOAD,
        "actors": n_actors,
        "jobs": n_jobs,
        "circuits_per_job": n_per_job * case.workload.n_circuits,
        "seconds_1": one,
        "seconds_n": many,
        "speed_up": one / many,
        "busy": statistics.median(busy),
        "driver_cores": statistics.median(own),
    }


def latency(n_actors: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Jobs a second on 1 and on `n_actors` actors whose jobs take `seconds` each and no processor."""
    backend = fleet_backend.LatencyBackend(seconds)
    started = time.perf_counter()
    say(f"starting {n_actors} actors")
    with RayFleet(backend, n_actors, cpus_per_actor=1 / (64 * 2), start_timeout_seconds=600.0) as fleet:
        starting = time.perf_counter() - started
        fleet.register(fleet_backend.circuit())
        _drive(fleet, fleet_backend.jobs(4 * n_actors))
        say(f"jobs of {seconds:g} s on {n_actors} actors")
        n_many = 20 * n_actors
        many = n_many / min(timed(lambda: _drive(fleet, fleet_backend.jobs(n_many))) for _ in range(3))
        overhead = fleet.job_overhead_seconds
        say("and on 1 of them")
        fleet.resize(1)
        n_one = max(20, round(2.0 / seconds))
        one = n_one / min(timed(lambda: _drive(fleet, fleet_backend.jobs(n_one))) for _ in range(2))
    return {
        "actors": n_actors,
        "job_seconds": seconds,
        "start_seconds": starting,
        "jobs_per_second_1": one,
        "jobs_per_second_n": many,
        "speed_up": many / one,
        "job_overhead_ms": 1e3 * overhead,
    }


def _drive(fleet: Dispatcher, jobs: Sequence[Job]) -> None:
    for _ in fleet.run(jobs):
        pass


def _copies(case: Case, n_jobs: int, number: int, n_per_job: int = 1) -> list[Job]:
    """Jobs of the workload, each `n_per_job` times as many samples, none like another."""
    features = case.job.data_angles
    return [
        replace(
            case.job,
            data_angles=(features[None] + 0.001 * (1 + i) * (1 + number))
            .repeat(n_per_job, axis=0)
            .reshape(-1, features.shape[1]),
            step=i,
        )
        for i in range(n_jobs)
    ]
