"""SharedFleet: the dispatcher of a run that uses a fleet which lives in the cluster, together with other runs. See `shared_server`.

Jobs go out in one call a batch and come back in parcels of as many answers as there are; a call waits at the server while there are
none. Every call may be repeated: where the connection breaks, whether a call arrived is unknown.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self, cast

import ray
from ray.exceptions import ActorUnavailableError, RayError, RayTaskError

from actors.circuit_actor import check_known
from actors.ray_fleet.connection import connect, release
from actors.ray_fleet.process import wait_for
from actors.ray_fleet.shared_names import Collected, FleetTotals, Welcome, find_server
from actors.ray_fleet.versions import SOURCE, fleet_mismatch, source_digest, versions
from actors.registered_circuits import MAX_CIRCUITS, KnownCircuits, RegisteredCircuits
from actors.retry import is_of_one_job
from actors.shared_fleet.description import check_same, describe
from actors.shared_fleet.desk import UnknownClientError
from actors.shared_fleet.outbox import Answer
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import ConfigError, FleetError, QfleetError
from orchestrator.jobs import FailedJob, Job, JobResult
from orchestrator.protocols import Backend, DispatcherStats, FleetEvent, JobSpan, WorkerStatus

_log = logging.getLogger(__name__)
_POLL_SECONDS = 5.0
"""How long the server keeps a call waiting for answers."""
_CALL_SECONDS = 60.0
"""Longest call; then the server is given up."""
_UNAVAILABLE_SECONDS = 30.0
"""How long a connection may be broken."""
_PAUSE_SECONDS = 0.2
"""Between two tries."""
_LOOK_SECONDS = 5.0
"""How long a question that no work hangs on may take."""
_MAX_SPANS = 20_000
"""Jobs that `timeline` remembers."""


@dataclass(eq=False)
class _Batch:
    """One call of `run` in progress."""

    goes_on: bool
    jobs: dict[int, Job]  # not answered yet, by their places
    asked_at: float  # Unix seconds
    circuits: dict[str, MeasuredCircuit]  # of its jobs, by key
    results: deque[JobResult | FailedJob] = field(default_factory=deque)
    error: QfleetError | None = None


@dataclass
class _Counts:
    """Of this client."""

    jobs_done: int = 0
    busy_seconds: float = 0.0
    cache_hits: int = 0


class SharedFleet:
    """Runs jobs on the fleet called `name`, which `qfleet fleet start` has started.

    Args:
        name: of the fleet. backend: the run's; it must be the fleet's.
        address: Ray cluster to join; None: ``RAY_ADDRESS``, or the Ray that this process is connected to.
        title: how the fleet's status names this client; None: host and process id.

    Raises:
        ConfigError: no cluster is named; a name that cannot be; or another backend than the fleet's: which setting, and both values.
        FleetError: the cluster cannot be reached, or has no such fleet, or that runs other versions.
    """

    def __init__(
        self, name: str, backend: Backend, *, address: str | None = None, title: str | None = None
    ) -> None:
        self._name = name
        self._title = title or f"{socket.gethostname()}:{os.getpid()}"
        self._circuits = RegisteredCircuits()
        self._sent_circuits = KnownCircuits(MAX_CIRCUITS)  # to this client's account at the server
        self._batch_numbers = itertools.count()
        self._batches: dict[int, _Batch] = {}
        self._abandoned: deque[int] = deque()  # batches that nobody reads any more
        self._submitting: list[Any] = []  # references of calls
        self._collecting: Any = None
        self._acknowledged = 0
        self._counts = _Counts()
        self._spans: deque[JobSpan] = deque(maxlen=_MAX_SPANS)
        self._seen: dict[str, Any] = {}  # what was last told of the fleet, by question
        self._is_closed = False
        self._client = ""
        self._closing = threading.Event()
        check_address(address)
        self._connection = connect(address)
        self._joined_at = time.time()
        try:
            self._server = find_server(name)
            self._check_versions()
            welcome = self._join()
            check_same(name, welcome.description, describe(backend))
        except BaseException:
            self.close()
            raise
        self._overhead = welcome.job_overhead_seconds
        self._totals = FleetTotals(welcome.n_workers, 0, 0)
        self._beating = threading.Thread(
            target=self._beat, args=(welcome.lease_seconds / 4,), name="qfleet-heartbeat", daemon=True
        )
        self._beating.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def n_workers(self) -> int:
        """Actors of the fleet, which others use as well."""
        return self._totals.n_workers

    @property
    def job_overhead_seconds(self) -> float:
        """What sending one more job costs the fleet's server."""
        return self._overhead

    def register(self, circuit: MeasuredCircuit) -> None:
        """Make `circuit` known; it is sent along with the next jobs. The newest few thousand are kept."""
        self._circuits.add(circuit)

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Send the jobs; the iterator yields the result of every one as it completes.

        Not for several threads at once.

        Raises:
            ExecutionError: a job failed more often than the retry policy allows; FleetError: the fleet has no actor left, was stopped or is
            gone.
        """
        return cast(Iterator[JobResult], self._sent(jobs, goes_on=False))

    def run_all(self, jobs: Sequence[Job]) -> Iterator[JobResult | FailedJob]:
        """As `run`, but jobs that are given up are yielded as such, and the others go on; see `Dispatcher.run_all`."""
        return self._sent(jobs, goes_on=True)

    def stats(self) -> DispatcherStats:
        """Totals of this run; retried jobs and lost workers are those of the whole fleet."""
        return DispatcherStats(
            n_workers=self.n_workers,
            jobs_done=self._counts.jobs_done,
            jobs_retried=self._totals.jobs_retried,
            workers_lost=self._totals.workers_lost,
            busy_seconds=self._counts.busy_seconds,
            cache_hits=self._counts.cache_hits,
            cache_lookups=self._counts.jobs_done,
        )

    def timeline(self) -> list[JobSpan]:
        """The last jobs of this run. A job that was run for another begins here when this run asked for it."""
        return list(self._spans)

    def workers(self) -> list[WorkerStatus]:
        """The fleet's actors, with what they have done for all; as last known where the fleet does not answer (any more)."""
        found: list[WorkerStatus] = self._look("workers")
        return found

    def events(self) -> list[FleetEvent]:
        """What happened to the fleet's actors since this run joined; as `workers`."""
        found: list[FleetEvent] = self._look("events")
        return [event for event in found if event.at >= self._joined_at]

    def close(self) -> None:
        """Leave the fleet, which lives on."""
        if self._is_closed:
            return
        self._is_closed = True
        self._closing.set()
        try:
            if self._client and ray.is_initialized():
                ray.wait([self._server.leave.remote(self._client)], timeout=1.0)
        finally:
            self._batches.clear()
            release(self._connection)

    # Sending and reading

    def _sent(self, jobs: Sequence[Job], *, goes_on: bool) -> Iterator[JobResult | FailedJob]:
        self._check_open()
        check_known(jobs, self._circuits)
        answers = self._answers(jobs, goes_on=goes_on)
        next(answers)  # sends the jobs; begun, the generator will also withdraw them if nobody reads it
        return cast(Iterator[JobResult | FailedJob], answers)

    def _answers(self, jobs: Sequence[Job], *, goes_on: bool) -> Iterator[JobResult | FailedJob | None]:
        """None when the jobs are sent, then the answers."""
        number = next(self._batch_numbers)
        circuits = self._circuits.of(jobs)
        batch = self._batches[number] = _Batch(goes_on, dict(enumerate(jobs)), time.time(), circuits)
        try:
            if batch.jobs:
                self._submit(number, batch)
            yield None
            while batch.jobs or batch.results or batch.error:
                while batch.results:
                    yield batch.results.popleft()
                if batch.error is not None:
                    raise batch.error
                if batch.jobs:
                    self._check_open()
                    self._collect()
        finally:
            # Told to the server with the next call: the garbage collector may close a generator in the middle of another call.
            self._batches.pop(number, None)
            if batch.jobs:
                self._abandoned.append(number)

    def _submit(self, number: int, batch: _Batch) -> None:
        """Send the jobs of a batch, once those before it have arrived: calls of an actor on an event loop overtake each other."""
        try:
            self._settle()
        except (UnknownClientError, ActorUnavailableError) as error:
            self._begin_anew(error)  # submits this batch, too
            return
        except RayError as error:
            raise self._gone(error) from None
        jobs = list(batch.jobs.values())
        # The server counts them in the same order.
        keys = list(dict.fromkeys(job.circuit_key for job in jobs))
        circuits = [batch.circuits[key] for key in keys if key not in self._sent_circuits]
        payload = pickle.dumps(jobs, protocol=pickle.HIGHEST_PROTOCOL)
        self._submitting.append(
            self._server.submit.remote(self._client, number, payload, circuits, self._withdrawn())
        )
        for key in keys:
            self._sent_circuits.note(key)

    def _settle(self) -> None:
        """Wait until all that was submitted has arrived; raises as `answer_of`."""
        while self._submitting:
            answer_of(self._submitting[0])
            self._submitting.pop(0)

    def _withdrawn(self) -> list[int]:
        """Batches that nobody reads any more, for the next call to tell; asked by two threads."""
        numbers = []
        with suppress(IndexError):
            while True:
                numbers.append(self._abandoned.popleft())
        return numbers

    def _collect(self) -> None:
        """Read the next answers, of whichever batch; the call after this one is on its way while they are worked on."""
        try:
            if self._collecting is None:
                self._ask_for_more()
            collected: Collected = answer_of(self._collecting)
            self._settle()
        except (UnknownClientError, ActorUnavailableError) as error:
            self._begin_anew(error)
            return
        except RayError as error:
            raise self._gone(error) from None
        for answer in collected.parcel.answers:
            self._take_in(answer)
        self._acknowledged = collected.parcel.number
        self._totals = collected.totals
        self._collecting = None
        if any(batch.jobs for batch in self._batches.values()):
            self._ask_for_more()

    def _ask_for_more(self) -> None:
        self._collecting = self._server.collect.remote(self._client, self._acknowledged, _POLL_SECONDS)

    def _take_in(self, answer: Answer) -> None:
        batch = self._batches.get(answer.batch)
        job = None if batch is None else batch.jobs.get(answer.place)
        if batch is None or job is None:  # withdrawn, or read already
            return
        result: JobResult | FailedJob = pickle.loads(answer.payload)
        if isinstance(result, FailedJob):
            if batch.goes_on and is_of_one_job(result.error):
                batch.results.append(result)
            else:
                batch.error = batch.error or result.error
        else:
            result = _for_this_run(result, answer.source, batch.asked_at, time.time())
            batch.results.append(result)
            self._count(result, job, batch.asked_at, is_own=answer.source == "run")
        del batch.jobs[answer.place]

    def _count(self, result: JobResult, job: Job, asked_at: float, *, is_own: bool) -> None:
        self._counts.jobs_done += 1
        self._counts.busy_seconds += result.compute_seconds if is_own else 0.0
        self._counts.cache_hits += result.cache_hit
        self._spans.append(JobSpan.of(result, asked_at, job.step))

    # The connection

    def _check_versions(self) -> None:
        """Refuse a fleet that computes with something else; asked in plain values, which can be read whatever differs.

        Raises:
            FleetError: what differs, and what to do.
        """
        problem = fleet_mismatch(versions() | {SOURCE: source_digest()}, self._call("versions"), self._name)
        if problem is not None:
            raise FleetError(problem)

    def _join(self) -> Welcome:
        self._client = uuid.uuid4().hex[:12]
        welcome: Welcome = self._call("join", self._client, self._title)
        return welcome

    def _begin_anew(self, reason: BaseException) -> None:
        """Join as a new client, and ask again for all that is open.

        The fleet has forgotten the old one, which was silent for too long (stopped, or cut off); or the connection broke, and what has
        arrived is unknown. Nothing is run twice for it: what is under way or was answered is found by its content.
        """
        _log.info("fleet %s: joining again: %s", self._name, " ".join(str(reason).split()))
        old = self._client
        self._submitting.clear()
        self._abandoned.clear()
        self._sent_circuits = KnownCircuits(MAX_CIRCUITS)
        self._collecting, self._acknowledged = None, 0
        self._join()
        for number, batch in sorted(self._batches.items()):
            batch.jobs = dict(enumerate(batch.jobs.values()))
            if batch.jobs:
                self._submit(number, batch)
        self._server.leave.remote(old)

    def _beat(self, every_seconds: float) -> None:
        """Tell the fleet that this process lives, whatever its main thread does."""
        while not self._closing.wait(every_seconds):
            numbers = self._withdrawn()
            try:
                answer_of(self._server.renew.remote(self._client, numbers))
            except Exception:  # what is wrong will be met, and told, by the next call that matters
                self._abandoned.extend(numbers)  # unread jobs that go on could cost money

    def _call(self, method: str, *arguments: Any) -> Any:
        """What the server answers; a broken connection is waited for.

        Raises:
            QfleetError: as the server raised it; FleetError: it is gone.
        """
        self._check_open()
        deadline = time.monotonic() + _UNAVAILABLE_SECONDS
        while True:
            try:
                return answer_of(getattr(self._server, method).remote(*arguments))
            except ActorUnavailableError as error:
                if time.monotonic() > deadline:
                    raise self._gone(error) from None
                time.sleep(_PAUSE_SECONDS)
            except RayError as error:
                raise self._gone(error) from None

    def _look(self, method: str) -> Any:
        if not self._is_closed:
            with suppress(QfleetError, RayError):
                self._seen[method] = answer_of(getattr(self._server, method).remote(), _LOOK_SECONDS)
        return self._seen.get(method, [])

    def _gone(self, error: BaseException) -> FleetError:
        return FleetError(
            f"the fleet {self._name!r} is gone or does not answer ({type(error).__name__}): start it again with "
            f"`qfleet fleet start {self._name} CONFIG`, then resume the run"
        )

    def _check_open(self) -> None:
        if self._is_closed:
            raise FleetError("this run's use of the fleet is closed: make a new SharedFleet")


def check_address(address: str | None) -> None:
    """Refuse a shared fleet where no cluster is named: a local Ray would end with this process, and is nobody else's.

    Raises:
        ConfigError: what to set.
    """
    if ray.is_initialized():
        return
    named = address or os.environ.get("RAY_ADDRESS")
    if named is None or named == "local":
        problem = (
            "a fleet that runs share lives in a Ray cluster, and none is named: start one with `ray start --head`, and set fleet.address "
            "or RAY_ADDRESS"
        )
        raise ConfigError("fleet.address", named, problem, "auto")


def answer_of(reference: Any, seconds: float = _CALL_SECONDS) -> Any:
    """What a call of the server answered.

    Raises:
        QfleetError: as the server raised it; FleetError: the cluster's head is gone; RayError: the server is, or out of reach.
    """
    wait_for(reference, seconds)
    try:
        return ray.get(reference, timeout=0)
    except RayTaskError as error:  # first: Ray makes it an instance of its cause's class as well
        if isinstance(error.cause, QfleetError):
            raise error.cause from None
        raise FleetError(f"the fleet's server failed: {type(error.cause).__name__}: {error.cause}") from error


def _for_this_run(result: JobResult, source: str, asked_at: float, now: float) -> JobResult:
    """`result` as this run has it: told when it asked; what was run for another costs it nothing, and began when it asked."""
    if source == "run":
        return replace(result, sent_at=asked_at)
    started_at = now if source == "cached" else max(result.started_at, asked_at)
    finished_at = max(started_at, min(result.finished_at, now))
    return replace(
        result, sent_at=asked_at, started_at=started_at, finished_at=finished_at, cost_usd=0.0, phases=None
    )
