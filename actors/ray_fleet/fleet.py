"""RayFleet: the driver's loop between the scheduler and the actors. See the package for the picture."""

from __future__ import annotations

import itertools
import logging
import pickle
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

import numpy as np
import ray
from ray import cloudpickle

from actors.circuit_actor import check_known
from actors.ray_fleet.connection import connect, release
from actors.ray_fleet.process import (
    FETCH_SECONDS,
    ActorProcess,
    Hello,
    fetch,
    finished,
    kill,
    n_threads_for,
    started,
    thread_options,
    wait_for_all,
)
from actors.retry import RetryPolicy, UnknownCircuitError, WorkerLostError, error_for, is_of_one_job
from actors.scheduler import GivenUp, Scheduler
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import FleetError, QfleetError
from orchestrator.jobs import Displacements, FailedJob, Job, JobResult
from orchestrator.protocols import Backend, DispatcherStats, FleetEvent, JobSpan, WorkerStatus

_log = logging.getLogger(__name__)
_OPEN_SECONDS = 300.0
"""Longest opening of a session."""
_CLOSE_SECONDS = 1.0
"""What closing sessions may take before the actors are killed."""
_MAX_EVENTS = 10_000
"""Events that `events` remembers."""
_JOBS = "jobs"
"""Name of the threads that run jobs, in an actor with several of them."""


@dataclass(eq=False)
class _Worker:
    """An actor, seen from the driver."""

    name: str
    handle: Any
    run: Any  # its method that runs a job
    spawned_at: float
    hello: Hello | None = None  # None until it is ready
    jobs_done: int = 0
    circuits_done: int = 0
    busy_seconds: float = 0.0
    cache_hits: int = 0
    failures: int = 0
    last_error: str = ""
    known: set[str] = field(default_factory=set)  # circuit keys that it need not be sent again


@dataclass(eq=False)
class _Run:
    """One call of `run` in progress."""

    jobs: dict[int, Job] = field(default_factory=dict)  # not answered yet, by number
    results: deque[JobResult | FailedJob] = field(default_factory=deque)
    error: QfleetError | None = None
    goes_on: bool = False  # after a job that is given up
    asked_at: float = field(default_factory=time.time)  # Unix seconds


class _Call(NamedTuple):
    """A call in flight: of job number `job`, or of `open` if that is None."""

    worker: _Worker
    job: int | None
    sent_at: float  # Unix seconds


class RayFleet:
    """Runs jobs on `n_actors` Ray actors.

    Args:
        backend: where circuits run; pickled to every actor, where its session is opened.
        n_actors: actors to start.
        max_in_flight: jobs that an actor holds at most; more where the backend answers more at the same time.
        cpus_per_actor: CPUs reserved for an actor, and the threads that numerical libraries may use in it.
        address: Ray cluster to join; None: ``RAY_ADDRESS`` if set, else a local Ray that ends with the fleet. A Ray that this
            process is connected to already is used in any case, and left running.
        policy: which failed jobs are tried again, and how often.
        max_replacements: dead actors replaced in the fleet's lifetime; None: three for each actor.
        start_timeout_seconds: how long actors may take to start.
        wait_for_nodes_seconds: how long to wait for CPUs that the cluster has not got yet, where an autoscaler adds them; 0: more
            actors than fit are refused at once.
        max_spans: jobs that `timeline` remembers.

    Raises:
        FleetError: Ray cannot be reached, or has not the CPUs, or actors did not start in time.
        QfleetError: the backend could not be opened.
    """

    def __init__(
        self,
        backend: Backend,
        n_actors: int,
        *,
        max_in_flight: int = 2,
        cpus_per_actor: float = 1.0,
        address: str | None = None,
        policy: RetryPolicy | None = None,
        max_replacements: int | None = None,
        start_timeout_seconds: float = 120.0,
        wait_for_nodes_seconds: float = 0.0,
        max_spans: int = 20_000,
    ) -> None:
        self._n_actors = n_actors
        self._jobs_at_once = backend.capabilities.jobs_in_flight
        self._max_in_flight = max(max_in_flight, self._jobs_at_once)
        self._cpus_per_actor = cpus_per_actor
        self._policy = policy or RetryPolicy()
        self._replacements_left = 3 * n_actors if max_replacements is None else max_replacements
        self._start_timeout_seconds = max(start_timeout_seconds, wait_for_nodes_seconds)
        self._waits_for_nodes = wait_for_nodes_seconds > 0
        self._payload = cloudpickle.dumps(backend)
        remote = ray.remote
        if self._jobs_at_once > 1:
            # Jobs on threads of their own: what else an actor is asked is answered while all of them wait.
            remote = ray.remote(concurrency_groups={_JOBS: self._jobs_at_once})
        self._actor_class = remote(ActorProcess).options(
            num_cpus=cpus_per_actor,
            max_restarts=0,
            max_task_retries=0,
            enable_task_events=False,  # Ray's log of every call, for its dashboard: a third of a round trip
            **thread_options(n_threads_for(cpus_per_actor)),
        )
        self._scheduler = self._new_scheduler()
        self._workers: dict[str, _Worker] = {}
        self._worker_numbers = itertools.count()
        self._job_numbers = itertools.count()
        self._calls: dict[Any, _Call] = {}
        self._runs: dict[int, _Run] = {}  # job number -> the run that waits for it
        self._abandoned: deque[_Run] = deque()
        self._circuits: dict[str, Any] = {}  # circuit key -> reference of the MeasuredCircuit in Ray's store
        self._spans: deque[JobSpan] = deque(maxlen=max_spans)
        self._events: deque[FleetEvent] = deque(maxlen=_MAX_EVENTS)
        self._workers_lost = 0
        self._jobs_done = 0
        self._jobs_retried = 0  # by schedulers before the present one
        self._busy_seconds = 0.0
        self._cache_hits = 0
        self._last_loss = ""
        self._is_closed = False
        self._connection = connect(address)
        try:
            self._start()
            self._job_overhead_seconds = self._measure_overhead()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def n_workers(self) -> int:
        """Actors that are ready for jobs."""
        return len(self._scheduler.workers)

    @property
    def job_overhead_seconds(self) -> float:
        """What sending one more job costs the driver, measured on these actors when they had started."""
        return self._job_overhead_seconds

    def worker_pids(self) -> dict[str, int]:
        """Process id of each ready actor (on its own machine)."""
        return {worker.name: worker.hello.pid for worker in self._workers.values() if worker.hello}

    def register(self, circuit: MeasuredCircuit) -> None:
        """Make `circuit` known: it is put into Ray's store once, and fetched by each actor with its first job."""
        if circuit.key not in self._circuits:
            self._check_open()
            self._circuits[circuit.key] = ray.put(circuit)

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Send the jobs; the iterator yields the result of every one as it completes.

        Not for several threads at once. After an interrupt the fleet can be used again.

        Raises:
            ExecutionError: a job failed more often than the retry policy allows; FleetError: no worker is left.
        """
        return cast(Iterator[JobResult], self._sent(jobs, goes_on=False))

    def run_all(self, jobs: Sequence[Job]) -> Iterator[JobResult | FailedJob]:
        """As `run`, but jobs that are given up are yielded as such, and the others go on; see `Dispatcher.run_all`."""
        return self._sent(jobs, goes_on=True)

    def _sent(self, jobs: Sequence[Job], *, goes_on: bool) -> Iterator[JobResult | FailedJob]:
        self._check_open()
        check_known(jobs, self._circuits)
        answers = self._answers(jobs, goes_on=goes_on)
        next(
            answers
        )  # sends the jobs; begun, the generator will also clear up if nobody asks it for an answer
        return cast(Iterator[JobResult | FailedJob], answers)

    def _answers(self, jobs: Sequence[Job], *, goes_on: bool) -> Iterator[JobResult | FailedJob | None]:
        """None when the jobs are sent, then the answers."""
        run = _Run({next(self._job_numbers): job for job in jobs}, goes_on=goes_on)
        try:
            for number in run.jobs:
                self._runs[number] = run
                self._scheduler.job_added(number)
            self._send()
            yield None
            while run.jobs or run.results or run.error:
                while run.results:
                    yield run.results.popleft()
                if run.error is not None:
                    raise run.error
                if run.jobs:
                    self._check_open()
                    self._pump()
        except (QfleetError, GeneratorExit):
            # Not withdrawn at once: the garbage collector may close a generator in the middle of another run's bookkeeping.
            self._abandoned.append(run)
            raise
        except BaseException:
            self._recover()
            raise

    def stats(self) -> DispatcherStats:
        """Totals so far."""
        return DispatcherStats(
            n_workers=self.n_workers,
            jobs_done=self._jobs_done,
            jobs_retried=self._jobs_retried + self._scheduler.n_retried,
            workers_lost=self._workers_lost,
            busy_seconds=self._busy_seconds,
            cache_hits=self._cache_hits,
            cache_lookups=self._jobs_done,
        )

    def timeline(self) -> list[JobSpan]:
        """The last jobs, in the order in which their results came."""
        return list(self._spans)

    def workers(self) -> list[WorkerStatus]:
        """The actors there are."""
        in_flight = Counter(call.worker.name for call in self._calls.values() if call.job is not None)
        return [
            WorkerStatus(
                worker.name,
                "ready" if worker.hello else "starting",
                worker.hello.node_id if worker.hello else "",
                worker.hello.pid if worker.hello else 0,
                in_flight[worker.name],
                worker.jobs_done,
                worker.circuits_done,
                worker.busy_seconds,
                worker.cache_hits,
                worker.jobs_done,
                worker.failures,
                worker.last_error,
            )
            for worker in self._workers.values()
        ]

    def events(self) -> list[FleetEvent]:
        """What happened to actors so far."""
        return list(self._events)

    def close(self) -> None:
        """Close the sessions, stop the actors, and Ray too if this fleet started it and is the last to use it."""
        if self._is_closed:
            return
        self._is_closed = True
        handles = [worker.handle for worker in self._workers.values()]
        try:
            if handles and ray.is_initialized():
                # An actor in the middle of a job won't answer in time; it is not waited for.
                closing = [handle.close.remote() for handle in handles]
                ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_SECONDS)
        finally:
            for handle in handles:
                kill(handle)
            self._workers.clear()
            self._calls.clear()
            release(self._connection)

    # Starting and replacing actors

    def _start(self) -> None:
        """Start all actors: processes and imports in parallel, then the sessions in parallel."""
        self._check_capacity()
        workers = [self._spawn() for _ in range(self._n_actors)]
        preparing = [worker.handle.prepare.remote() for worker in workers]
        n_missing = wait_for_all(preparing, self._start_timeout_seconds)
        if n_missing:
            total = ray.cluster_resources().get("CPU", 0.0)
            free = ray.available_resources().get("CPU", 0.0)
            raise FleetError(
                f"{n_missing} of {self._n_actors} actors did not start within {self._start_timeout_seconds:g} s; the cluster has "
                f"{total:g} CPUs, {free:g} of them free: start fewer actors, or wait until other programs have ended"
            )
        hellos = started(preparing)
        self._open_sessions(workers)
        for worker, hello in zip(workers, hellos, strict=True):
            self._joined(worker, hello)

    def _check_capacity(self) -> None:
        needed = self._n_actors * self._cpus_per_actor
        total = ray.cluster_resources().get("CPU", 0.0)
        if needed > total and not self._waits_for_nodes:
            fitting = int(total // self._cpus_per_actor)
            raise FleetError(
                f"{self._n_actors} actors with {self._cpus_per_actor:g} CPUs each need {needed:g} CPUs, and this Ray cluster "
                f"has {total:g}: set fleet.n_actors to at most {fitting}, or fleet.cpus_per_actor to less; or fleet.wait_for_nodes_seconds "
                "where an autoscaler adds machines"
            )

    def _spawn(self) -> _Worker:
        name = f"actor-{next(self._worker_numbers)}"
        handle = self._actor_class.remote(self._payload, name, n_threads_for(self._cpus_per_actor))
        run = handle.run.options(concurrency_group=_JOBS) if self._jobs_at_once > 1 else handle.run
        worker = self._workers[name] = _Worker(name, handle, run, time.monotonic())
        return worker

    def _open_sessions(self, workers: list[_Worker]) -> None:
        opening = [worker.handle.open.remote() for worker in workers]
        if wait_for_all(opening, _OPEN_SECONDS):
            raise FleetError(f"the backend's sessions were not open after {_OPEN_SECONDS:g} s")
        started(opening)

    def _joined(self, worker: _Worker, hello: Hello) -> None:
        worker.hello = hello
        self._events.append(FleetEvent(time.time(), "joined", worker.name))
        self._scheduler.worker_joined(worker.name)

    def _lose(self, worker: _Worker, error: BaseException) -> None:
        """Take a worker out, requeue its jobs, start another in its place."""
        if self._workers.pop(worker.name, None) is None:
            return
        self._workers_lost += 1
        self._last_loss = str(error)
        self._events.append(FleetEvent(time.time(), "lost", worker.name, str(error)))
        _log.info("%s is lost: %s", worker.name, error)
        kill(worker.handle)  # out of reach is not dead: an actor that comes back must not hold CPUs
        self._calls = {
            reference: call for reference, call in self._calls.items() if call.worker is not worker
        }
        for given_up in self._scheduler.worker_lost(worker.name, error):
            self._give_up(given_up)
        self._fill_up()

    def _fill_up(self) -> None:
        """Start actors until there are as many as wanted, while replacements are left. They join when they are ready."""
        while len(self._workers) < self._n_actors and self._replacements_left > 0:
            self._replacements_left -= 1
            worker = self._spawn()
            _log.info("%s is started in its place; %d more may be", worker.name, self._replacements_left)
            self._calls[worker.handle.open.remote()] = _Call(worker, None, time.time())

    def _check_alive(self) -> None:
        """Raise a FleetError if waiting is of no use: no actor is ready, and none is about to be."""
        if self._scheduler.workers:
            return
        oldest = min((worker.spawned_at for worker in self._workers.values()), default=None)
        if oldest is None:
            problem = f"every actor is lost ({self._workers_lost} in all) and none may be replaced any more"
        elif time.monotonic() - oldest > self._start_timeout_seconds:
            problem = (
                f"every actor is lost and the new ones did not start within {self._start_timeout_seconds:g} s"
            )
        else:
            return
        raise FleetError(
            f"{problem}; the last loss: {self._last_loss}. If they were killed for memory, use fewer actors or smaller circuits; "
            "then resume the run"
        )

    # The loop

    def _pump(self) -> None:
        """One turn: wait for something to finish, take in all that has, send what can be sent."""
        ready = finished(self._calls)
        if not ready:
            self._check_alive()
        for reference in ready:
            call = self._calls.pop(reference, None)
            if call is not None:  # else dropped together with its worker, a moment ago
                self._receive(call, fetch(reference))
        self._send()

    def _send(self) -> None:
        self._withdraw_abandoned()
        for assignment in self._scheduler.assignments():
            worker = self._workers[assignment.worker]
            job = self._runs[assignment.job].jobs[assignment.job]
            circuit = None if job.circuit_key in worker.known else self._circuits[job.circuit_key]
            if self._jobs_at_once == 1:  # else calls overtake each other, so each brings its circuit along
                worker.known.add(job.circuit_key)
            reference = worker.run.remote(pickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL), circuit)
            self._calls[reference] = _Call(worker, assignment.job, time.time())

    def _receive(self, call: _Call, answer: Any) -> None:
        """Tell the scheduler, and the run that waits, what came of a call."""
        if isinstance(answer, WorkerLostError):
            self._lose(call.worker, answer)
        elif call.job is None:
            if isinstance(answer, BaseException):
                self._lose(call.worker, answer)  # it lives, but cannot open the backend: as good as dead
            else:
                self._joined(call.worker, answer)
        elif isinstance(answer, BaseException):
            if isinstance(answer, UnknownCircuitError):
                call.worker.known.discard(answer.circuit_key)
            else:
                call.worker.failures += 1
                call.worker.last_error = str(answer)
            given_up = self._scheduler.job_failed(call.worker.name, call.job, answer)
            if given_up is not None:
                self._give_up(given_up)
        elif self._scheduler.job_done(call.worker.name, call.job):
            self._deliver(call.worker, call.job, replace(answer, sent_at=call.sent_at))

    def _deliver(self, worker: _Worker, number: int, result: JobResult) -> None:
        run = self._runs.pop(number)
        del run.jobs[number]
        worker.jobs_done += 1
        worker.circuits_done += result.n_circuits
        worker.busy_seconds += result.compute_seconds
        worker.cache_hits += result.cache_hit
        run.results.append(result)
        self._jobs_done += 1
        self._busy_seconds += result.compute_seconds
        self._cache_hits += result.cache_hit
        self._spans.append(
            JobSpan(
                result.worker,
                result.job_id,
                result.started_at,
                result.finished_at,
                run.asked_at,
                result.phases,
            )
        )

    def _give_up(self, given_up: GivenUp) -> None:
        run = self._runs.pop(given_up.job)
        job = run.jobs.pop(given_up.job)
        told = error_for(job.job_id, given_up.n_failures, given_up.error)
        if run.goes_on and is_of_one_job(told):
            run.results.append(FailedJob(job.job_id, told))
        else:
            run.error = run.error or told

    def _withdraw_abandoned(self) -> None:
        while self._abandoned:
            run = self._abandoned.popleft()
            self._scheduler.withdraw(run.jobs)
            for number in run.jobs:
                self._runs.pop(number, None)

    def _recover(self) -> None:
        """After an interrupt, which may have struck between any two lines of the bookkeeping: begin it anew.

        Calls in flight stay known, so that their late answers free nothing and reach nobody, and a death is still noticed.
        """
        for run in {id(run): run for run in self._runs.values()}.values():
            run.error = run.error or FleetError("the run was interrupted: run its jobs again")
            run.jobs.clear()
        self._runs.clear()
        self._abandoned.clear()
        self._jobs_retried += self._scheduler.n_retried
        self._scheduler = self._new_scheduler()
        for worker in self._workers.values():
            if worker.hello is not None:
                self._scheduler.worker_joined(worker.name)
        self._fill_up()

    def _new_scheduler(self) -> Scheduler:
        return Scheduler(self._max_in_flight, self._policy, self._jobs_at_once)

    def _check_open(self) -> None:
        if self._is_closed:
            raise FleetError("the fleet is closed: make a new one")

    def _measure_overhead(self) -> float:
        """Seconds of wall time for one more job: jobs that compute nothing, sent through a window as `run` sends them."""
        job = Job("0" * 32, np.zeros(48), np.arange(8), np.zeros((16, 8)), Displacements.none())
        handles = itertools.cycle([worker.handle for worker in self._workers.values()])
        window = self._n_actors * self._max_in_flight

        def seconds_per_job(n_jobs: int) -> float:
            started = time.perf_counter()
            pending: list[Any] = []
            for _ in range(n_jobs):
                if len(pending) >= window:
                    ready, pending = ray.wait(pending, num_returns=1, timeout=FETCH_SECONDS)
                    for reference in ready:
                        fetch(reference)
                pending.append(next(handles).echo.remote(pickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL)))
            wait_for_all(pending, FETCH_SECONDS)
            return (time.perf_counter() - started) / n_jobs

        return min(
            seconds_per_job(32) for _ in range(3)
        )  # the least is the least disturbed; the first warms up
