"""A backend whose jobs take a given time and no processor: latency, as of a service, without the service."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate
from orchestrator.jobs import Displacements, Job, JobResult
from orchestrator.protocols import Capabilities

_CAPABILITIES = Capabilities(is_exact=True, has_shots=False, has_jacobian=False, max_qubits=2)


class LatencyBackend:
    """Answers every job after `seconds`, with numbers that follow from the job: the cosine of the sum of each circuit's angles.

    Args:
        jobs_in_flight: jobs that a session answers at the same time.
    """

    def __init__(self, seconds: float, jobs_in_flight: int = 1) -> None:
        self.name = "latency"
        self.capabilities = replace(_CAPABILITIES, jobs_in_flight=jobs_in_flight)
        self._seconds = seconds

    def open_session(self) -> LatencySession:
        """A session; nothing is opened."""
        return LatencySession(self._seconds)


class LatencySession:
    """One actor's; any number of threads may wait in it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def compile(self, circuit: MeasuredCircuit) -> int:
        """The number of values of a circuit."""
        return len(circuit.paulis)

    def run(self, compiled: int, job: Job) -> JobResult:
        """The answer, in time."""
        started, began = time.time(), time.perf_counter()
        time.sleep(self._seconds)
        sums = job.shared_angles.sum() + job.data_angles.sum(axis=1)
        values = np.cos(sums[:, None, None] * np.arange(1, compiled + 1)) * np.ones(
            (1, job.n_displacements, 1)
        )
        seconds = time.perf_counter() - began
        return JobResult(
            job.job_id, values, None, None, values[..., 0].size, 0, 0.0, False, seconds, started, time.time(), "", "latency"
        )  # fmt: skip

    def close(self) -> None:
        """Nothing is held."""


def circuit() -> MeasuredCircuit:
    """What the jobs ask of."""
    return MeasuredCircuit(CircuitTemplate(2, 4, (), "latency"), ("ZI", "IZ"))


def jobs(n: int, seed: int = 0) -> list[Job]:
    """`n` small jobs."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    key, none = circuit().key, Displacements.none()
    columns = np.array([1, 3])
    return [Job(key, rng.normal(size=4), columns, rng.normal(size=(2, 2)), none, step=i) for i in range(n)]
