"""RayFleet: the dispatcher over Ray actors, and the only module that imports ray to run circuits.

::

    run(jobs) ─► Scheduler ─assignments─► actor.run.remote(job) ─┐
        ▲           ▲                                            │ ray.wait, always with a timeout
        └─ results ─┴─ job_done, job_failed, worker_lost ◄───────┘

Ray restarts no actor and repeats no call here (max_restarts = max_task_retries = 0): when it does, whether a job ran is unknown and
the actor's state is gone behind the driver's back. A dead actor is replaced by a new one, and its jobs are redone by the others
meanwhile; a job is content, so doing one twice gives the same bits. The loop is synchronous, so it works where an event loop
is running already (notebooks).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import ray
from ray import cloudpickle
from ray.exceptions import (
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from actors.circuit_actor import CircuitActor, check_known
from actors.retry import RetryPolicy, UnknownCircuitError, WorkerLostError, error_for
from actors.scheduler import GivenUp, Scheduler
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import ExecutionError, FleetError, QfleetError
from orchestrator.jobs import Displacements, Job, JobResult
from orchestrator.protocols import Backend, DispatcherStats, JobSpan

_log = logging.getLogger(__name__)
_POLL_SECONDS = 1.0
"""Longest single wait; between two, the loop sees that nothing is left to wait for."""
_FETCH_SECONDS = 30.0
"""Longest transfer of a finished result from another node."""
_OPEN_SECONDS = 600.0
"""Longest opening of a session: where nothing is cached yet, all kernels are compiled in it."""
_CLOSE_SECONDS = 1.0
"""What closing sessions may take before the actors are killed."""
_LOST = (
    RayActorError,
    NodeDiedError,
    WorkerCrashedError,
    OutOfMemoryError,
    ObjectLostError,
    GetTimeoutError,
)
"""Errors after which nothing is known of a worker; it is replaced, even if it should still live."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Hello(NamedTuple):
    """How an actor introduces itself."""

    pid: int
    node_id: str


class ActorProcess:
    """What lives in an actor's process: a CircuitActor.

    Jobs and results cross as bytes pickled by C code: Ray's own serializer costs the driver twice as much per job.
    """

    def __init__(self, backend: bytes, worker: str, n_threads: int) -> None:
        # Before the backend is unpickled, which imports numba. (runtime_env would do it too, for 0.4 s more per actor.)
        for name in _THREAD_VARIABLES:
            os.environ[name] = str(n_threads)
        self._payload = backend
        self._worker = worker
        self._actor: CircuitActor | None = None

    def prepare(self) -> Hello:
        """Import the backend. Here and not in __init__, so that an error reaches the driver as itself."""
        self._circuit_actor()
        return Hello(os.getpid(), ray.get_runtime_context().get_node_id())

    def open(self) -> Hello:
        """Compile kernels and open the session."""
        self._circuit_actor().open()
        return self.prepare()

    def run(self, job: bytes, circuit: MeasuredCircuit | None = None) -> bytes:
        """Pickled JobResult of the pickled `job`; `circuit` comes along when the driver thinks it is not known here."""
        actor = self._circuit_actor()
        if circuit is not None:
            actor.register(circuit)
        return pickle.dumps(actor.run(pickle.loads(job)), protocol=pickle.HIGHEST_PROTOCOL)

    def echo(self, job: bytes) -> bytes:
        """A job that computes nothing, to measure what sending one costs."""
        return pickle.dumps(pickle.loads(job), protocol=pickle.HIGHEST_PROTOCOL)

    def close(self) -> None:
        """Close the session."""
        if self._actor is not None:
            self._actor.close()

    def _circuit_actor(self) -> CircuitActor:
        if self._actor is None:
            try:
                backend = cloudpickle.loads(self._payload)
            except Exception as error:
                raise ExecutionError(
                    f"{self._worker} cannot load the backend: {type(error).__name__}: {error}; is its package installed there?"
                ) from error
            self._actor = CircuitActor(backend, self._worker)
        return self._actor


@dataclass(eq=False)
class _Worker:
    """An actor, seen from the driver."""

    name: str
    handle: Any
    spawned_at: float
    hello: Hello | None = None  # None until it is ready
    known: set[str] = field(default_factory=set)  # circuit keys that it was sent


@dataclass(eq=False)
class _Run:
    """One call of `run` in progress."""

    jobs: dict[int, Job] = field(default_factory=dict)  # not answered yet, by number
    results: deque[JobResult] = field(default_factory=deque)
    error: QfleetError | None = None


class _Call(NamedTuple):
    """A call in flight: of job number `job`, or of `open` if that is None."""

    worker: _Worker
    job: int | None


class RayFleet:
    """Runs jobs on `n_actors` Ray actors.

    Args:
        backend: where circuits run; pickled to every actor, where its session is opened.
        n_actors: actors to start.
        max_in_flight: jobs that an actor holds at most.
        cpus_per_actor: CPUs reserved for an actor, and the threads that numerical libraries may use in it.
        address: Ray cluster to join; None: ``RAY_ADDRESS`` if set, else a local Ray that ends with the fleet. A Ray that this
            process is connected to already is used in any case, and left running.
        policy: which failed jobs are tried again, and how often.
        max_replacements: dead actors replaced in the fleet's lifetime; None: three for each actor.
        start_timeout_seconds: how long actors may take to start.
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
        max_spans: int = 20_000,
    ) -> None:
        self._n_actors = n_actors
        self._max_in_flight = max_in_flight
        self._cpus_per_actor = cpus_per_actor
        self._policy = policy or RetryPolicy()
        self._replacements_left = 3 * n_actors if max_replacements is None else max_replacements
        self._start_timeout_seconds = start_timeout_seconds
        self._payload = cloudpickle.dumps(backend)
        self._actor_class = ray.remote(ActorProcess).options(
            num_cpus=cpus_per_actor, max_restarts=0, max_task_retries=0
        )
        self._scheduler = Scheduler(max_in_flight, self._policy)
        self._workers: dict[str, _Worker] = {}
        self._worker_numbers = itertools.count()
        self._job_numbers = itertools.count()
        self._calls: dict[Any, _Call] = {}
        self._runs: dict[int, _Run] = {}  # job number -> the run that waits for it
        self._abandoned: deque[_Run] = deque()
        self._circuits: dict[str, Any] = {}  # circuit key -> reference of the MeasuredCircuit in Ray's store
        self._spans: deque[JobSpan] = deque(maxlen=max_spans)
        self._workers_lost = 0
        self._jobs_done = 0
        self._jobs_retried = 0  # by schedulers before the present one
        self._busy_seconds = 0.0
        self._cache_hits = 0
        self._last_loss = ""
        self._is_closed = False
        self._connection = _connect(address)
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
        """Yield the result of every job as it completes.

        Not for several threads at once. After an interrupt the fleet can be used again.

        Raises:
            ExecutionError: a job failed more often than the retry policy allows; FleetError: no worker is left.
        """
        self._check_open()
        check_known(jobs, self._circuits)
        run = _Run({next(self._job_numbers): job for job in jobs})
        try:
            for number in run.jobs:
                self._runs[number] = run
                self._scheduler.job_added(number)
            self._send()
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
                _kill(handle)
            self._workers.clear()
            self._calls.clear()
            _release(self._connection)

    # Starting and replacing actors

    def _start(self) -> None:
        """Start all actors: processes and imports in parallel, kernels once per machine, then the sessions in parallel."""
        self._check_capacity()
        workers = [self._spawn() for _ in range(self._n_actors)]
        preparing = [worker.handle.prepare.remote() for worker in workers]
        n_missing = _wait_for_all(preparing, self._start_timeout_seconds)
        if n_missing:
            total = ray.cluster_resources().get("CPU", 0.0)
            free = ray.available_resources().get("CPU", 0.0)
            raise FleetError(
                f"{n_missing} of {self._n_actors} actors did not start within {self._start_timeout_seconds:g} s; the cluster has "
                f"{total:g} CPUs, {free:g} of them free: start fewer actors, or wait until other programs have ended"
            )
        hellos = _started(preparing)
        first_on_node: dict[str, _Worker] = {}
        for worker, hello in zip(workers, hellos, strict=True):
            first_on_node.setdefault(hello.node_id, worker)
        first = list(first_on_node.values())
        self._open_sessions(first)
        self._open_sessions([worker for worker in workers if worker not in first])
        for worker, hello in zip(workers, hellos, strict=True):
            self._joined(worker, hello)

    def _check_capacity(self) -> None:
        needed = self._n_actors * self._cpus_per_actor
        total = ray.cluster_resources().get("CPU", 0.0)
        if needed > total:
            fitting = int(total // self._cpus_per_actor)
            raise FleetError(
                f"{self._n_actors} actors with {self._cpus_per_actor:g} CPUs each need {needed:g} CPUs, and this Ray cluster "
                f"has {total:g}: set fleet.n_actors to at most {fitting}, or fleet.cpus_per_actor to less"
            )

    def _spawn(self) -> _Worker:
        name = f"actor-{next(self._worker_numbers)}"
        handle = self._actor_class.remote(self._payload, name, max(1, int(self._cpus_per_actor)))
        worker = self._workers[name] = _Worker(name, handle, time.monotonic())
        return worker

    def _open_sessions(self, workers: list[_Worker]) -> None:
        opening = [worker.handle.open.remote() for worker in workers]
        if _wait_for_all(opening, _OPEN_SECONDS):
            raise FleetError(f"the backend's sessions were not open after {_OPEN_SECONDS:g} s")
        _started(opening)

    def _joined(self, worker: _Worker, hello: Hello) -> None:
        worker.hello = hello
        self._scheduler.worker_joined(worker.name)

    def _lose(self, worker: _Worker, error: BaseException) -> None:
        """Take a worker out, requeue its jobs, start another in its place."""
        if self._workers.pop(worker.name, None) is None:
            return
        self._workers_lost += 1
        self._last_loss = str(error)
        _log.info("%s is lost: %s", worker.name, error)
        _kill(worker.handle)  # out of reach is not dead: an actor that comes back must not hold CPUs
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
            self._calls[worker.handle.open.remote()] = _Call(worker, None)

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
        ready, rest = [], []
        if self._calls:
            ready, rest = ray.wait(list(self._calls), num_returns=1, timeout=_POLL_SECONDS)
        if not ready:
            self._check_alive()
        if ready and rest:
            ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        for reference in ready:
            call = self._calls.pop(reference, None)
            if call is not None:  # else dropped together with its worker, a moment ago
                self._receive(call, _fetch(reference))
        self._send()

    def _send(self) -> None:
        self._withdraw_abandoned()
        for assignment in self._scheduler.assignments():
            worker = self._workers[assignment.worker]
            job = self._runs[assignment.job].jobs[assignment.job]
            circuit = None if job.circuit_key in worker.known else self._circuits[job.circuit_key]
            worker.known.add(job.circuit_key)
            reference = worker.handle.run.remote(pickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL), circuit)
            self._calls[reference] = _Call(worker, assignment.job)

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
            given_up = self._scheduler.job_failed(call.worker.name, call.job, answer)
            if given_up is not None:
                self._give_up(given_up)
        elif self._scheduler.job_done(call.worker.name, call.job):
            self._deliver(call.job, answer)

    def _deliver(self, number: int, result: JobResult) -> None:
        run = self._runs.pop(number)
        del run.jobs[number]
        run.results.append(result)
        self._jobs_done += 1
        self._busy_seconds += result.compute_seconds
        self._cache_hits += result.cache_hit
        self._spans.append(JobSpan(result.worker, result.job_id, result.started_at, result.finished_at))

    def _give_up(self, given_up: GivenUp) -> None:
        run = self._runs.pop(given_up.job)
        job = run.jobs.pop(given_up.job)
        run.error = run.error or error_for(job.job_id, given_up.n_failures, given_up.error)

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
        self._scheduler = Scheduler(self._max_in_flight, self._policy)
        for worker in self._workers.values():
            if worker.hello is not None:
                self._scheduler.worker_joined(worker.name)
        self._fill_up()

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
                    ready, pending = ray.wait(pending, num_returns=1, timeout=_FETCH_SECONDS)
                    for reference in ready:
                        _fetch(reference)
                pending.append(next(handles).echo.remote(pickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL)))
            _wait_for_all(pending, _FETCH_SECONDS)
            return (time.perf_counter() - started) / n_jobs

        return min(
            seconds_per_job(32) for _ in range(3)
        )  # the first warms up; the least is the least disturbed


def _fetch(reference: Any) -> Any:
    """What a finished call answered: its value, or the error it ended with (returned, not raised)."""
    try:
        answer = ray.get(reference, timeout=_FETCH_SECONDS)
        return pickle.loads(answer) if isinstance(answer, bytes) else answer
    except RayTaskError as error:  # first: Ray makes it an instance of its cause's class as well
        if isinstance(error.cause, QfleetError):
            return error.cause
        return ExecutionError(f"an actor failed: {type(error.cause).__name__}: {error.cause}")
    except _LOST as error:
        return WorkerLostError(_reason(error))
    except (RayError, pickle.UnpicklingError, ImportError, AttributeError) as error:
        return ExecutionError(f"an actor's answer cannot be read: {type(error).__name__}: {error}")


def _wait_for_all(references: list[Any], seconds: float) -> int:
    """Wait until all calls have ended; returns how many had not after `seconds`."""
    deadline = time.monotonic() + seconds
    waiting = references
    while waiting and (left := deadline - time.monotonic()) > 0:
        _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=min(left, _POLL_SECONDS))
    return len(waiting)


def _started(references: list[Any]) -> list[Hello]:
    """The answers of actors that were started.

    Raises:
        FleetError: one died; QfleetError: the backend could not be opened.
    """
    answers = [_fetch(reference) for reference in references]
    for answer in answers:
        if isinstance(answer, WorkerLostError):
            raise FleetError(f"an actor died while it started: {answer}")
        if isinstance(answer, BaseException):
            raise answer
    return answers


def _reason(error: BaseException) -> str:
    """Ray's multi-line report of a death on one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line) or type(error).__name__


def _kill(handle: Any) -> None:
    """Kill an actor; one that is dead or whose Ray has ended is no error."""
    with contextlib.suppress(Exception):
        ray.kill(handle, no_restart=True)


@dataclass(eq=False)
class _Connection:
    """This process's connection to Ray, shared by its fleets."""

    is_ours: bool
    n_fleets: int = 0


_current: _Connection | None = None


def _connect(address: str | None) -> _Connection:
    """Connect to Ray, or use the connection that is there.

    Raises:
        FleetError: Ray cannot be started or reached.
    """
    global _current
    if not ray.is_initialized():
        _current = _Connection(is_ours=True)
        _init_ray(address or os.environ.get("RAY_ADDRESS") or "local")
    elif _current is None:
        _current = _Connection(is_ours=False)
    _current.n_fleets += 1
    return _current


def _release(connection: _Connection) -> None:
    """The last fleet to go ends what was begun for it."""
    global _current
    connection.n_fleets -= 1
    if connection.n_fleets == 0 and connection is _current:
        _current = None
        if connection.is_ours:
            ray.shutdown()


def _init_ray(address: str) -> None:
    for name, value in (
        ("RAY_USAGE_STATS_ENABLED", "0"),
        (
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV",
            "0",
        ),  # under `uv run` Ray would build a virtual environment for the workers
        (
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
            "0",
        ),  # Ray's future default; without it every start warns about it
    ):
        os.environ.setdefault(name, value)
    try:
        # include_dashboard may only be given for a Ray that is started here.
        local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **local)
    except Exception as error:  # Ray raises ConnectionError, ValueError, RuntimeError and others here
        what = "start Ray" if address == "local" else f"join the Ray cluster at {address!r}"
        raise FleetError(f"cannot {what}: {error}") from error
    _keep_stdout_clean()


def _keep_stdout_clean() -> None:
    """Send Ray's reports of dead workers to the log.

    A thread of Ray's prints them to standard output, log_to_driver or not, where they would stand in the middle of ``--json`` output;
    Ray has no setting for it. Nothing depends on this: where a later Ray has no such function, the reports are printed.
    """
    from ray._private import worker as ray_worker

    def to_log(data: dict[str, Any], ignore_prefix: bool = False) -> None:
        for line in data.get("lines", ()):
            _log.info("Ray: %s", line)

    if hasattr(ray_worker, "print_to_stdstream"):
        ray_worker.print_to_stdstream = to_log
