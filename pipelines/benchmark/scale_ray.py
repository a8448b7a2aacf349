"""What a job costs the driver on real Ray actors whose backend computes nothing."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from actors.ray_fleet import RayFleet
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.coordinator import Coordinator
from orchestrator.jobs import Job, JobResult
from orchestrator.protocols import Capabilities
from pipelines.benchmark.scale import plan_of

_N_JOBS, _N_REPEATS = 500, 4


class _EchoSession:
    def compile(self, circuit: MeasuredCircuit) -> int:
        return len(circuit.paulis)

    def run(self, compiled: Any, job: Job) -> JobResult:
        now = time.time()
        zeros = np.zeros((job.n_samples, job.n_displacements, compiled))
        n_circuits = job.n_samples * job.n_displacements
        return JobResult(
            job_id=job.job_id,
            values=zeros,
            variances=zeros,
            jacobian=None,
            n_circuits=n_circuits,
            n_shots=n_circuits * (job.shots or 0),
            cost_usd=0.0,
            cache_hit=True,
            compute_seconds=0.0,
            started_at=now,
            finished_at=now,
            worker="",
            backend="echo",
        )

    def close(self) -> None:
        pass


class EchoBackend:
    """Answers 0 for every value, at once."""

    def __init__(self) -> None:
        self.name = "echo"
        self.capabilities = Capabilities(
            is_exact=True, has_shots=True, has_jacobian=False, max_qubits=100, circuits_per_job=9
        )

    def open_session(self) -> _EchoSession:
        """A session that computes nothing."""
        return _EchoSession()


def measure(n_actors: int) -> dict[str, float]:
    """Jobs a second of wall time, and microseconds of the driver's processor time a job, with Ray's threads: the best of a few plans."""
    backend, plan = EchoBackend(), plan_of(_N_JOBS)
    with RayFleet(backend, n_actors, cpus_per_actor=0.5) as fleet:
        coordinator = Coordinator(fleet, backend.capabilities)
        walls, processor = [], []
        for _ in range(_N_REPEATS):
            wall_at, processor_at = time.perf_counter(), time.process_time()
            coordinator.evaluate(plan)
            walls.append(time.perf_counter() - wall_at)
            processor.append(time.process_time() - processor_at)
    return {
        "n_actors": n_actors,
        "jobs_per_second": _N_JOBS / min(walls),
        "microseconds_per_job": 1e6 * min(processor) / _N_JOBS,
    }
