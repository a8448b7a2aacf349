"""SerialDispatcher: the same jobs through the same CircuitActor, in this process. For debugging, for tests, and for one paid session.

One after the other on the caller's thread; or, where the backend has several jobs in flight, each on one of so many threads.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import replace
from typing import cast

from actors.circuit_actor import CircuitActor, check_known
from actors.crew import Crew
from actors.registered_circuits import RegisteredCircuits
from actors.retry import Decision, RetryPolicy, UnknownCircuitError, error_for, is_of_one_job
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import FleetError, QfleetError
from orchestrator.jobs import FailedJob, Job, JobResult
from orchestrator.protocols import Backend, DispatcherStats, FleetEvent, JobSpan, WorkerStatus

_OVERHEAD_SECONDS = 5e-5
"""A call through the actor, measured; no process border is crossed."""

_MAX_SPANS = 20_000
"""Jobs that `timeline` remembers."""


class SerialDispatcher:
    """Runs jobs in this process, as many at the same time as the backend has in flight.

    Args:
        backend: where circuits run.
        policy: how often a failing job is tried.
    """

    def __init__(self, backend: Backend, policy: RetryPolicy | None = None) -> None:
        self._actor = CircuitActor(backend, "serial")
        self._policy = policy or RetryPolicy()
        self._circuits = RegisteredCircuits()
        n_threads = backend.capabilities.jobs_in_flight
        self._crew: Crew[JobResult | FailedJob] | None = Crew(n_threads) if n_threads > 1 else None
        self._counting = threading.Lock()
        self._is_closed = False
        self._jobs_done = 0
        self._circuits_done = 0
        self._failures = 0
        self._last_error = ""
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
        """Make `circuit` known under its key. The newest few thousand are kept."""
        self._circuits.add(circuit)

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """The iterator yields the result of every job: computed in order when it is asked for; or, where several are in flight, sent now,
        and yielded as it completes.

        Raises:
            ExecutionError: a job failed more often than the retry policy allows; FleetError: this dispatcher is closed.
        """
        return cast(Iterator[JobResult], self._sent(jobs, self._with_circuits(jobs, self._run_one)))

    def run_all(self, jobs: Sequence[Job]) -> Iterator[JobResult | FailedJob]:
        """As `run`, but jobs that are given up are yielded as such, and the others go on; see `Dispatcher.run_all`."""
        return self._sent(jobs, self._with_circuits(jobs, self._try_one))

    def _with_circuits(
        self, jobs: Sequence[Job], answer: Callable[[Job, MeasuredCircuit], JobResult | FailedJob]
    ) -> Callable[[Job], JobResult | FailedJob]:
        """`answer` to each job with its circuit, which the call keeps however many are registered meanwhile."""
        check_known(jobs, self._circuits)
        circuits = self._circuits.of(jobs)
        return lambda job: answer(job, circuits[job.circuit_key])

    def _sent(
        self, jobs: Sequence[Job], answer_one: Callable[[Job], JobResult | FailedJob]
    ) -> Iterator[JobResult | FailedJob]:
        asked_at, step = time.time(), jobs[0].step if jobs else 0
        if self._crew is None:
            return self._counted(map(answer_one, jobs), asked_at, step)
        answers = self._run_together(self._crew, jobs, answer_one)
        next(
            answers
        )  # sends the jobs; begun, the generator will also call them back if nobody asks it for an answer
        return self._counted(cast(Iterator[JobResult | FailedJob], answers), asked_at, step)

    def _counted(
        self, answers: Iterator[JobResult | FailedJob], asked_at: float, step: int
    ) -> Iterator[JobResult | FailedJob]:
        for result in answers:
            if isinstance(result, FailedJob):
                yield result
                continue
            self._jobs_done += 1
            self._circuits_done += result.n_circuits
            self._busy_seconds += result.compute_seconds
            self._cache_hits += result.cache_hit
            self._spans.append(JobSpan.of(result, asked_at, step))
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

    def workers(self) -> list[WorkerStatus]:
        """This process."""
        return [
            WorkerStatus(
                "serial",
                "ready",
                socket.gethostname(),
                os.getpid(),
                jobs_done=self._jobs_done,
                circuits_done=self._circuits_done,
                busy_seconds=self._busy_seconds,
                cache_hits=self._cache_hits,
                cache_lookups=self._jobs_done,
                failures=self._failures,
                last_error=self._last_error,
            )
        ]

    def events(self) -> list[FleetEvent]:
        """None: this process is there as long as anybody can ask."""
        return []

    def close(self) -> None:
        """Close the session. Jobs in flight are not waited for."""
        self._is_closed = True
        if self._crew is not None:
            self._crew.close()
        self._actor.close()

    def _run_together(
        self,
        crew: Crew[JobResult | FailedJob],
        jobs: Sequence[Job],
        answer_one: Callable[[Job], JobResult | FailedJob],
    ) -> Iterator[JobResult | FailedJob | None]:
        """None when the jobs are handed over, then the answers."""
        answers: list[Future[JobResult | FailedJob]] = []
        try:
            answers.extend(crew.hand(answer_one, job) for job in jobs)
            yield None
            for answer in as_completed(answers):
                yield answer.result()
        finally:  # after a failure, an interrupt, or when nobody asks for the rest
            for answer in answers:
                answer.cancel()

    def _try_one(self, job: Job, circuit: MeasuredCircuit) -> JobResult | FailedJob:
        try:
            return self._run_one(job, circuit)
        except QfleetError as error:
            if not is_of_one_job(error):
                raise
            return FailedJob(job.job_id, error)

    def _run_one(self, job: Job, circuit: MeasuredCircuit) -> JobResult:
        sent_at = time.time()
        n_failures = 0
        while True:
            if self._is_closed:
                raise FleetError("the dispatcher is closed: make a new one")
            try:
                return replace(self._actor.run(job), sent_at=sent_at)
            except (
                UnknownCircuitError
            ):  # the first job of this circuit, or its first after it fell out of the cache
                self._actor.register(circuit)
            except Exception as error:
                n_failures += 1
                with self._counting:
                    self._failures += 1
                    self._last_error = str(error)
                if self._policy.decide(error, n_failures) is Decision.RAISE:
                    raise error_for(job.job_id, n_failures, error) from error
                with self._counting:
                    self._jobs_retried += 1
