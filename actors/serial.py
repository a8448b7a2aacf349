"""SerialDispatcher: the same jobs through the same CircuitActor, in this process. For debugging and for tests."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from actors.circuit_actor import CircuitActor, check_known
from actors.retry import Decision, RetryPolicy, UnknownCircuitError, error_for
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import FleetError
from orchestrator.jobs import Job, JobResult
from orchestrator.protocols import Backend, DispatcherStats, JobSpan

_OVERHEAD_SECONDS = 5e-5
"""A call through the actor, measured; no process border is crossed."""

_MAX_SPANS = 20_000
"""Jobs that `timeline` remembers."""


class SerialDispatcher:
    """Runs jobs one after the other in this process.

    Args:
        backend: where circuits run.
        policy: how often a failing job is tried.
    """

    def __init__(self, backend: Backend, policy: RetryPolicy | None = None) -> None:
        self._actor = CircuitActor(backend, "serial")
        self._policy = policy or RetryPolicy()
        self._circuits: dict[str, MeasuredCircuit] = {}
        self._is_closed = False
        self._jobs_done = 0
        self._jobs_retried = 0
        self._busy_seconds = 0.0
        self._cache_hits = 0
        self._spans: deque[JobSpan] = deque(maxlen=_MAX_SPANS)

    @property
    def n_workers(self) -> int:
        """One: this process."""
        return 1

    @property
    def job_overhead_seconds(self) -> float:
        """What sending one more job costs."""
        return _OVERHEAD_SECONDS

    def register(self, circuit: MeasuredCircuit) -> None:
        """Make `circuit` known under its key."""
        self._circuits[circuit.key] = circuit

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Yield the result of every job, in order.

        Raises:
            ExecutionError: a job failed more often than the retry policy allows; FleetError: this dispatcher is closed.
        """
        check_known(jobs, self._circuits)
        for job in jobs:
            if self._is_closed:
                raise FleetError("the dispatcher is closed: make a new one")
            sent_at = time.time()
            result = replace(self._run_one(job), sent_at=sent_at)
            self._jobs_done += 1
            self._busy_seconds += result.compute_seconds
            self._cache_hits += result.cache_hit
            self._spans.append(JobSpan(result.worker, result.job_id, result.started_at, result.finished_at))
            yield result

    def stats(self) -> DispatcherStats:
        """Totals so far."""
        return DispatcherStats(
            n_workers=1,
            jobs_done=self._jobs_done,
            jobs_retried=self._jobs_retried,
            workers_lost=0,
            busy_seconds=self._busy_seconds,
            cache_hits=self._cache_hits,
            cache_lookups=self._jobs_done,
        )

    def timeline(self) -> list[JobSpan]:
        """The last jobs, in order."""
        return list(self._spans)

    def close(self) -> None:
        """Close the session."""
        self._is_closed = True
        self._actor.close()

    def _run_one(self, job: Job) -> JobResult:
        n_failures = 0
        while True:
            try:
                return self._actor.run(job)
            except (
                UnknownCircuitError
            ):  # the first job of this circuit, or its first after it fell out of the cache
                self._actor.register(self._circuits[job.circuit_key])
            except Exception as error:
                n_failures += 1
                if self._policy.decide(error, n_failures) is Decision.RAISE:
                    raise error_for(job.job_id, n_failures, error) from error
                self._jobs_retried += 1
