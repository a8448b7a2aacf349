"""RayFleet: the driver's loop between the scheduler and the actors. See the package for the picture."""

from __future__ import annotations

import itertools
import logging
import pickle
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

import ray

from actors.circuit_actor import check_known
from actors.ray_fleet.accounts import Accounts, on_drivers_clock
from actors.ray_fleet.circuits import CircuitStore
from actors.ray_fleet.connection import connect, release
from actors.ray_fleet.head import HeadWatch
from actors.ray_fleet.overhead import job_overhead_seconds
from actors.ray_fleet.process import POLL_SECONDS, Hello, Launcher, fetch, finished
from actors.ray_fleet.resources import Cluster, Needs, Placement, capacity, refusal
from actors.ray_fleet.roster import OPEN_SECONDS, Roster, Worker
from actors.ray_fleet.versions import SOURCE, mismatch, source_digest, versions
from actors.retry import RetryPolicy, UnknownCircuitError, WorkerLostError, error_for, is_of_one_job
from actors.scheduler import GivenUp, Scheduler
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import ConfigError, ExecutionError, FleetError, QfleetError
from orchestrator.jobs import FailedJob, Job, JobResult
from orchestrator.protocols import Backend, DispatcherStats, FleetEvent, JobSpan, WorkerStatus

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0
"""Between two looks at what nobody tells: actors without a place, sessions that do not open, actors that hang."""


@dataclass(eq=False)
class _Run:
    """One call of `run` in progress."""

    jobs: dict[int, Job] = field(default_factory=dict)  # not answered yet, by number
    results: deque[JobResult | FailedJob] = field(default_factory=deque)
    error: QfleetError | None = None
    goes_on: bool = False  # after a job that is given up
    asked_at: float = field(default_factory=time.time)  # Unix seconds
    client: str = ""  # whose jobs they are, where several share the fleet
    tells_all: bool = False  # failures that stand in the way of every job are told of this one, too
    circuits: dict[str, MeasuredCircuit] = field(default_factory=dict)  # of its jobs, by key


Begun = _Run
"""A job that was begun; to be called off, and for nothing else."""


class _Call(NamedTuple):
    """A call in flight: of job number `job`, or, if that is None, of what the worker is starting with."""

    worker: Worker
    job: int | None
    sent_at: float  # Unix seconds
    sent: float  # seconds of the monotonic clock


class RayFleet:
    """Runs jobs on Ray actors: on `n_actors`, or on as many as there are between two bounds.

    Args:
        backend: where circuits run; pickled to every actor, where its session is opened.
        n_actors: actors to start, and to keep.
        min_actors: begin with so many, the others join when they are there; None: all of them.
        max_in_flight: jobs that an actor holds at most; more where the backend answers more at the same time.
        cpus_per_actor: CPUs reserved for an actor, and the threads that numerical libraries may use in it.
        resources_per_actor: what else is reserved: GPU, memory (bytes), or custom resources of the cluster.
        placement: where actors go: "default" (as Ray does), "spread" over the nodes, or "pack" on few.
        address: Ray cluster to join; None: ``RAY_ADDRESS`` if set, else a local Ray that ends with the fleet. A Ray that this
            process is connected to already is used in any case, and left running.
        policy: which failed jobs are tried again, and how often.
        max_replacements: dead actors replaced in a row without one of the new ones having done a job; None: three for each actor.
        start_timeout_seconds: how long actors may take to start.
        wait_for_nodes_seconds: how long to wait for resources that the cluster has not got yet, where an autoscaler adds them; 0: more
            actors than fit are refused at once.
        hang_seconds: an actor that has not answered a job so long after another was asked in its place and did answer is replaced.
        max_spans: jobs that `timeline` remembers.
        on_event: told of everything that happens to actors, on the thread that runs the fleet.

    Raises:
        ConfigError: more actors are needed than are wanted.
        FleetError: Ray cannot be reached, or has not the resources, or actors did not start in time, or run other versions.
        QfleetError: the backend could not be opened.
    """

    def __init__(
        self,
        backend: Backend,
        n_actors: int,
        *,
        min_actors: int | None = None,
        max_in_flight: int = 2,
        cpus_per_actor: float = 1.0,
        resources_per_actor: Mapping[str, float] | None = None,
        placement: Placement = "default",
        address: str | None = None,
        policy: RetryPolicy | None = None,
        max_replacements: int | None = None,
        start_timeout_seconds: float = 120.0,
        wait_for_nodes_seconds: float = 0.0,
        hang_seconds: float = 60.0,
        max_spans: int = 20_000,
        on_event: Callable[[FleetEvent], None] | None = None,
    ) -> None:
        self._min_actors = n_actors if min_actors is None else min_actors
        if not 1 <= self._min_actors <= n_actors:
            raise ConfigError("min_actors", min_actors, f"should be from 1 to {n_actors}", str(n_actors))
        can = backend.capabilities
        self._jobs_at_once = can.jobs_in_flight
        self._max_in_flight = max(max_in_flight, can.jobs_in_flight)
        self._may_duplicate = not can.is_paid
        self._policy = policy or RetryPolicy()
        self._waits_for_nodes = wait_for_nodes_seconds > 0
        self._hang_seconds = hang_seconds
        self._needs = Needs(cpus_per_actor, dict(resources_per_actor or {}), placement)
        self._accounts = Accounts(max_spans, on_event)
        self._roster = Roster(
            Launcher(backend, self._needs),
            self._needs,
            n_actors,
            max_replacements,
            max(start_timeout_seconds, wait_for_nodes_seconds),
            self._accounts,
        )
        self._scheduler = self._new_scheduler()
        self._job_numbers = itertools.count()
        self._calls: dict[Any, _Call] = {}
        self._runs: dict[int, _Run] = {}  # job number -> the run that waits for it
        self._abandoned: deque[_Run] = deque()
        self._n_holding: Counter[int] = Counter()  # job number -> actors that have it
        self._overtaken: dict[
            int, float
        ] = {}  # answered by another actor than those that hold it: since when
        self._resting: set[str] = set()
        self._jobs_retried = 0  # by schedulers before the present one
        self._look_at = 0.0
        self._has_gap = False  # an actor was lost, and none was asked for in its place yet
        self._is_closed = False
        self._has_started = False
        self._connection = connect(address)
        try:
            self._circuits = CircuitStore(ray.put)
            self._versions = versions() | {SOURCE: source_digest()}
            self._node_id = ray.get_runtime_context().get_node_id()
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
        return self._roster.n_ready

    @property
    def job_overhead_seconds(self) -> float:
        """What sending one more job costs the driver, measured on these actors when they had started."""
        return self._job_overhead_seconds

    def worker_pids(self) -> dict[str, int]:
        """Process id of each ready actor (on its own machine)."""
        ready = (worker for worker in self._roster.workers.values() if worker.state == "ready")
        return {worker.name: worker.hello.pid for worker in ready if worker.hello}

    def register(self, circuit: MeasuredCircuit) -> None:
        """Make `circuit` known. The newest few thousand are kept, in Ray's store the newest few hundred; each is fetched by an actor with
        its first job there.
        """
        self._check_open()
        self._circuits.add(circuit)

    def resize(self, n_actors: int) -> None:
        """Have another number of actors from now on. New ones join while jobs are out; those that leave end what they have.

        Raises:
            ConfigError: fewer than one.
        """
        if n_actors < 1:
            raise ConfigError("n_actors", n_actors, "should be greater than or equal to 1", "1")
        self._check_open()
        for worker in self._roster.resize(n_actors):
            self._scheduler.worker_leaving(worker.name)
        self._retire_idle()
        self._fill_up()

    # Running jobs

    def run(self, jobs: Sequence[Job], client: str = "") -> Iterator[JobResult]:
        """Send the jobs; the iterator yields the result of every one as it completes.

        Not for several threads at once. After an interrupt the fleet can be used again.

        Args:
            client: whose jobs they are; clients share the actors evenly.

        Raises:
            ExecutionError: a job failed more often than the retry policy allows; FleetError: no worker is left.
        """
        return cast(Iterator[JobResult], self._sent(jobs, client, goes_on=False))

    def run_all(self, jobs: Sequence[Job], client: str = "") -> Iterator[JobResult | FailedJob]:
        """As `run`, but jobs that are given up are yielded as such, and the others go on; see `Dispatcher.run_all`."""
        return self._sent(jobs, client, goes_on=True)

    def _sent(self, jobs: Sequence[Job], client: str, *, goes_on: bool) -> Iterator[JobResult | FailedJob]:
        self._check_open()
        check_known(jobs, self._circuits)
        answers = self._answers(jobs, client, goes_on=goes_on)
        # Sends the jobs. Begun, the generator will also clear up if nobody asks it for an answer.
        next(answers)
        return cast(Iterator[JobResult | FailedJob], answers)

    def _answers(
        self, jobs: Sequence[Job], client: str, *, goes_on: bool
    ) -> Iterator[JobResult | FailedJob | None]:
        """None when the jobs are sent, then the answers."""
        run = _Run({next(self._job_numbers): job for job in jobs}, goes_on=goes_on, client=client)
        try:
            self._take_in(run)
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

    def _take_in(self, run: _Run) -> None:
        for number, job in run.jobs.items():
            # Kept by the run as well: however many circuits are registered meanwhile, it can send its own.
            if job.circuit_key not in run.circuits:
                run.circuits[job.circuit_key] = self._circuits.get(job.circuit_key)
            self._runs[number] = run
            size = max(1, job.n_samples * job.n_displacements)
            self._scheduler.job_added(number, size, run.client)

    def begin(self, job: Job, answers: deque[JobResult | FailedJob], client: str = "") -> Begun:
        """Take in one job of one of several clients, whose answer `turn` will put into `answers`: its result, or why there is none.

        For who serves several clients on one thread (`actors.ray_fleet.shared_server`); neither waits nor sends.
        """
        run = _Run({next(self._job_numbers): job}, answers, client=client, tells_all=True)
        self._take_in(run)
        return run

    def call_off(self, begun: Begun) -> None:
        """Nobody waits any more for what was begun."""
        self._abandoned.append(begun)

    def turn(self, wake: Any = None) -> None:
        """Send what there is room for, wait a second at most for an answer or for the reference `wake`, and take in what is there.

        Raises:
            FleetError: no actor is left, and none is to come.
        """
        self._check_open()
        self._send()
        self._pump(wake)

    def forget(self, circuit_key: str) -> None:
        """Nobody asks for this circuit any more: it is taken out of Ray's store."""
        self._circuits.forget(circuit_key)

    # What there is to know

    def stats(self) -> DispatcherStats:
        """Totals so far."""
        done = self._accounts
        return DispatcherStats(
            n_workers=self.n_workers,
            jobs_done=done.jobs_done,
            jobs_retried=self._jobs_retried + self._scheduler.n_retried,
            workers_lost=done.workers_lost,
            busy_seconds=done.busy_seconds,
            cache_hits=done.cache_hits,
            cache_lookups=done.jobs_done,
        )

    def timeline(self) -> list[JobSpan]:
        """The last jobs, in the order in which their results came."""
        return list(self._accounts.spans)

    def workers(self) -> list[WorkerStatus]:
        """The actors there are."""
        return self._roster.statuses(self._scheduler.resting())

    def events(self) -> list[FleetEvent]:
        """What happened to actors so far."""
        return list(self._accounts.events)

    def close(self) -> None:
        """Close the sessions, stop the actors, and Ray too if this fleet started it and is the last to use it."""
        if self._is_closed:
            return
        self._is_closed = True
        self._calls.clear()
        try:
            self._roster.close()
        finally:
            release(self._connection)

    def _check_open(self) -> None:
        if self._is_closed:
            raise FleetError("the fleet is closed: make a new one")

    # Actors that come and go

    def _start(self) -> None:
        """Ask for all actors, and wait until there are enough to begin with."""
        nodes = list(Cluster().nodes().values())
        if not self._waits_for_nodes and capacity(self._needs, nodes) < self._min_actors:
            key = "fleet.n_actors" if self._min_actors == self._roster.n_wanted else "fleet.min_actors"
            raise FleetError(refusal(self._min_actors, self._needs, nodes, of=key))
        self._fill_up()
        while self.n_workers < self._min_actors:
            self._pump()
        self._has_started = True

    def _fill_up(self) -> None:
        for worker in self._roster.fill_up():
            self._prepare(worker)

    def _prepare(self, worker: Worker) -> None:
        self._calls[worker.handle.prepare.remote()] = _Call(worker, None, time.time(), time.monotonic())

    def _open_session(self, worker: Worker, hello: Hello) -> None:
        """The process is there: see that it may compute for us, and have it open its session."""
        problem = self._mismatch(hello)
        if problem is not None:
            self._failed_to_start(worker, FleetError(problem))
            return
        self._roster.heard_of(worker, hello)
        self._calls[worker.handle.open.remote()] = _Call(worker, None, time.time(), time.monotonic())

    def _mismatch(self, hello: Hello) -> str | None:
        """Why an actor must not compute for us; None: it may."""
        theirs = hello.versions | {SOURCE: hello.source}
        if hello.node_id == self._node_id:  # the same files; who edits them while a run goes on knows it
            theirs[SOURCE] = self._versions[SOURCE]
        problem = mismatch(self._versions, theirs, hello.node_id[:8])
        if problem is not None and self._versions[SOURCE] != (now := source_digest()):
            # They have changed since this fleet was started, perhaps there as well. What is compared is installations, not moments.
            self._versions[SOURCE] = now
            return self._mismatch(hello)
        return problem

    def _joined(self, worker: Worker) -> None:
        self._roster.joined(worker)
        self._scheduler.worker_joined(worker.name, time.monotonic())

    def _failed_to_start(self, worker: Worker, error: BaseException) -> None:
        """It lives, but cannot open the backend: as good as dead; and before there is a fleet, a matter for the caller."""
        if (
            not self._has_started
            and isinstance(error, QfleetError)
            and not isinstance(error, WorkerLostError)
        ):
            raise error
        self._lose(worker, error)

    def _lose(self, worker: Worker, error: BaseException) -> None:
        """Take a worker out, requeue its jobs, ask for another in its place."""
        if not self._roster.lose(worker, str(error)):
            return
        for reference in [reference for reference, call in self._calls.items() if call.worker is worker]:
            job = self._calls.pop(reference).job
            if job is not None:
                self._released(job)
                self._doubt_circuit(job)
        for given_up in self._scheduler.worker_lost(worker.name, error, time.monotonic()):
            self._give_up(given_up)
        self._has_gap = True

    def _doubt_circuit(self, number: int | None) -> None:
        """The circuit of a job that got lost may be what is lost, with the node that held it: put it into Ray's store anew."""
        if number is not None and number in self._runs:
            self._circuits.forget_reference(self._runs[number].jobs[number].circuit_key)

    def _retire_idle(self) -> None:
        """End those that leave and have answered all that they were asked."""
        leaving = [
            worker
            for worker in self._roster.workers.values()
            if not worker.is_there and not worker.n_in_flight
        ]
        if leaving:
            for reference in [r for r, call in self._calls.items() if call.worker in leaving]:
                del self._calls[reference]  # of those that were still starting
            self._roster.retire(leaving)
            for worker in leaving:
                self._scheduler.worker_lost(worker.name, None, time.monotonic())

    def _check_alive(self) -> None:
        """Raise a FleetError if waiting is of no use: there are too few actors, and no more are about to come."""
        n_needed = 1 if self._has_started else self._min_actors
        if self.n_workers >= n_needed:
            return
        problem = self._roster.problem(n_needed, time.monotonic())
        if problem is None:
            return
        if self._has_started:
            problem += (
                ". If they were killed for memory, use fewer actors or smaller circuits; then resume the run"
            )
        else:
            problem += ": start fewer actors, or wait until other programs have ended"
        raise FleetError(problem)

    def _look_around(self) -> None:
        """See to what nobody tells."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        # Answers may keep coming from actors while the head is gone, until Ray ends this process.
        if not HeadWatch.of_this_cluster().answers():
            return
        self._roster.notice_waiting(now)
        if self._has_started:
            for worker in self._roster.overdue(now):
                if worker.state == "opening":
                    self._lose(worker, WorkerLostError(f"its session was not open after {OPEN_SECONDS:g} s"))
        since = now - self._hang_seconds
        late = {number for number, at in self._overtaken.items() if at < since}
        for worker in {call.worker for call in self._calls.values() if call.job in late}:
            reason = (
                f"it has not answered {self._hang_seconds:g} s after another actor did the same job: it hangs"
            )
            self._lose(worker, WorkerLostError(reason))

    # The loop

    def _pump(self, wake: Any = None) -> None:
        """One turn: wait for something to finish (or for `wake`), take in all that has, send what can be sent."""
        seconds = self._seconds_to_wait()
        ready = finished(self._calls if wake is None else [*self._calls, wake], seconds)
        for reference in ready:
            call = self._calls.pop(reference, None)
            if call is not None:  # else dropped together with its worker, a moment ago
                self._receive(call, fetch(reference))
        if self._has_gap or not ready:
            # An actor's loss may be that of the cluster: then Ray ends this process at the next thing that it is asked.
            if not HeadWatch.of_this_cluster().answers():
                time.sleep(_SILENCE_SECONDS)
                return
            if self._has_gap:
                self._has_gap = False
                self._fill_up()
            if not ready:
                self._check_alive()
                if not self._calls and wake is None:  # every actor rests
                    time.sleep(seconds)
        self._look_around()
        self._send()

    def _seconds_to_wait(self) -> float:
        wakes_at = self._scheduler.wakes_at()
        if wakes_at is None:
            return POLL_SECONDS
        return min(max(wakes_at - time.monotonic(), 0.001), POLL_SECONDS)

    def _send(self) -> None:
        self._withdraw_abandoned()
        for worker_name, number, is_duplicate in self._scheduler.assignments(time.monotonic()):
            worker = self._roster.workers[worker_name]
            run = self._runs[number]
            job = run.jobs[number]
            # Where calls overtake each other, each brings its circuit along.
            is_new = worker.known.note(job.circuit_key) or self._jobs_at_once > 1
            circuit = self._circuits.reference(run.circuits[job.circuit_key]) if is_new else None
            reference = worker.run.remote(pickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL), circuit)
            self._calls[reference] = _Call(worker, number, time.time(), time.monotonic())
            worker.n_in_flight += 1
            self._n_holding[number] += 1
            if is_duplicate:
                self._accounts.happened(
                    "duplicated", worker_name, f"job {job.job_id} takes too long elsewhere"
                )
        self._tell_rests()

    def _tell_rests(self) -> None:
        resting = self._scheduler.resting()
        if resting.keys() == self._resting:
            return
        for name in resting.keys() - self._resting:
            seconds = resting[name] - time.monotonic()
            error = self._roster.workers[name].last_error
            self._accounts.happened("resting", name, f"for {seconds:.3g} s; the last failure: {error}")
        for name in self._resting - resting.keys():
            if name in self._roster.workers:
                self._accounts.happened("back", name)
        self._resting = set(resting)

    def _receive(self, call: _Call, answer: Any) -> None:
        """Tell the scheduler, and the run that waits, what came of a call."""
        worker = call.worker
        if call.job is not None:
            worker.n_in_flight -= 1
            self._released(call.job)
        if isinstance(answer, WorkerLostError):
            self._doubt_circuit(call.job)
            self._lose(worker, answer)
        elif call.job is not None:
            self._answered(worker, call.job, call, answer)
        elif isinstance(answer, BaseException):
            self._failed_to_start(worker, answer)
        elif isinstance(answer, Hello):
            self._open_session(worker, answer)
        else:
            self._joined(worker)
        if not worker.is_there:
            self._retire_idle()

    def _answered(self, worker: Worker, number: int, call: _Call, answer: Any) -> None:
        """A job was answered: by a result, by an error, or by something that is neither."""
        now = time.monotonic()
        run = self._runs.get(number)
        if not isinstance(answer, (JobResult, BaseException)):
            answer = ExecutionError(f"{worker.name} answered with {type(answer).__name__}, not a JobResult")
        elif isinstance(answer, JobResult) and run and answer.job_id != run.jobs[number].job_id:
            answer = ExecutionError(f"{worker.name} answered for job {answer.job_id}")
        if isinstance(answer, BaseException):
            if isinstance(answer, UnknownCircuitError):
                worker.known.discard(answer.circuit_key)
            else:
                worker.failures += 1
                worker.last_error = str(answer)
            given_up = self._scheduler.job_failed(worker.name, number, answer, now)
            if given_up is not None:
                self._give_up(given_up)
            return
        held = now - call.sent
        seconds = answer.compute_seconds if 0 <= answer.compute_seconds <= held else None
        if self._scheduler.job_done(worker.name, number, now, seconds):
            if self._n_holding[number]:
                self._overtaken[number] = now
            self._deliver(worker, number, on_drivers_clock(answer, call.sent_at, time.time()))

    def _released(self, number: int) -> None:
        """One actor fewer holds this job."""
        self._n_holding[number] -= 1
        if not self._n_holding[number]:
            del self._n_holding[number]
            self._overtaken.pop(number, None)

    def _deliver(self, worker: Worker, number: int, result: JobResult) -> None:
        run = self._runs.pop(number)
        job = run.jobs.pop(number)
        if worker.jobs_done == 0:
            self._roster.did_first_job()
        worker.jobs_done += 1
        worker.circuits_done += result.n_circuits
        worker.busy_seconds += result.compute_seconds
        worker.cache_hits += result.cache_hit
        run.results.append(result)
        self._accounts.delivered(result, run.asked_at, job.step)

    def _give_up(self, given_up: GivenUp) -> None:
        run = self._runs.pop(given_up.job)
        job = run.jobs.pop(given_up.job)
        told = error_for(job.job_id, given_up.n_failures, given_up.error)
        if run.tells_all or (run.goes_on and is_of_one_job(told)):
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
        self._overtaken.clear()
        self._resting.clear()
        self._jobs_retried += self._scheduler.n_retried
        self._scheduler = self._new_scheduler()
        self._n_holding = Counter(call.job for call in self._calls.values() if call.job is not None)
        in_flight = Counter(call.worker.name for call in self._calls.values() if call.job is not None)
        heard = {call.worker.name for call in self._calls.values()}
        for worker in self._roster.workers.values():
            worker.n_in_flight = in_flight[worker.name]
            if worker.state == "ready":
                self._scheduler.worker_joined(worker.name, time.monotonic())
            elif (
                worker.is_starting and worker.name not in heard
            ):  # its answer got lost; it can be asked again
                worker.state = "starting"
                self._prepare(worker)
        self._retire_idle()
        self._fill_up()

    def _new_scheduler(self) -> Scheduler:
        return Scheduler(
            self._max_in_flight, self._policy, self._jobs_at_once, may_duplicate=self._may_duplicate
        )

    def _measure_overhead(self) -> float:
        handles = [worker.handle for worker in self._roster.workers.values() if worker.state == "ready"]
        return job_overhead_seconds(handles, len(handles) * self._max_in_flight)


_SILENCE_SECONDS = 0.1
"""Between two looks at a head that does not answer."""
