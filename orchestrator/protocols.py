"""The seams of the house: what a backend, a session and a dispatcher must offer, and nothing more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import InputError
from orchestrator.jobs import FailedJob, Job, JobPhases, JobResult


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do.

    Attributes:
        is_exact: answers exact expectation values when `shots` is None.
        has_shots: answers estimates from a finite number of shots.
        has_jacobian: answers exact derivatives directly (``Job.jacobian_angles``).
        max_qubits: the largest circuit it takes.
        is_paid: circuits cost money.
        jobs_in_flight: jobs that one session answers at the same time, each on a thread of its own; worth while where it mostly waits.
        circuits_per_job: the most circuits a job may hold; None: jobs are cut by measured speed.
        variance_factor: by which covariances of values from the same shots exceed those of plain means over the shots: more than 1 where a
            value is put together from several circuits, see docs/mitigation.md.
    """

    is_exact: bool
    has_shots: bool
    has_jacobian: bool
    max_qubits: int
    is_paid: bool = False
    jobs_in_flight: int = 1
    circuits_per_job: int | None = None
    variance_factor: float = 1.0

    def __post_init__(self) -> None:
        for name in ("jobs_in_flight", "circuits_per_job"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"a backend's {name} = {value}: nearest valid: 1")


class Session(Protocol):
    """One actor's open connection to a backend.

    Not shared between threads, unless ``Capabilities.jobs_in_flight`` is more than 1. Then so many threads may be inside `run` at once, and
    `compile` may be called for different circuits at once.
    """

    def compile(self, circuit: MeasuredCircuit) -> Any:
        """Expensive, once per structure: whatever `run` needs. The actor caches it by ``circuit.key``."""
        ...

    def run(self, compiled: Any, job: Job) -> JobResult:
        """Cheap, many times. `worker` and `cache_hit` of the result are filled in by the actor.

        Raises:
            ExecutionError: the backend failed; CapabilityError: it cannot do this job.
        """
        ...

    def close(self) -> None:
        """Release what the session holds.

        With several jobs in flight it may be called while others are inside `run`: what they wait for must end soon, with an
        ExecutionError, or nobody waits for their end.
        """
        ...


class Backend(Protocol):
    """Where circuits run. Cheap to build and to pickle; the work begins with `open_session`.

    The class is made with those settings of ``[backend]`` that its constructor has parameters for.

    Attributes:
        name: what results say who answered.
        capabilities: what it can do; planning and refusals go by them.
    """

    name: str
    capabilities: Capabilities

    def open_session(self) -> Session:
        """A new session, called inside the actor that will own it."""
        ...


@dataclass(frozen=True)
class DispatcherStats:
    """Running totals of a dispatcher since it started.

    Attributes:
        n_workers: workers alive now.
        jobs_done, jobs_retried, workers_lost: counts.
        busy_seconds: seconds spent inside backends, summed over workers.
        cache_hits, cache_lookups: of the workers' circuit caches.
    """

    n_workers: int
    jobs_done: int
    jobs_retried: int
    workers_lost: int
    busy_seconds: float
    cache_hits: int
    cache_lookups: int


class JobSpan(NamedTuple):
    """One job on one worker; times in Unix seconds.

    Attributes:
        started_at, finished_at: on the worker.
        asked_at: on the driver, when `Dispatcher.run` was given it: the same for all jobs of one call.
        phases: where its time went, from backends that ask a service.
        step: steps done when it was asked for.
        n_circuits: circuits that were run.
        cache_hit: its circuit was compiled already.
        backend: what answered; ``fallback:NAME`` for a simulator in place of the backend.
    """

    worker: str
    job_id: str
    started_at: float
    finished_at: float
    asked_at: float = 0.0
    phases: JobPhases | None = None
    step: int = 0
    n_circuits: int = 0
    cache_hit: bool = True
    backend: str = ""

    @classmethod
    def of(cls, result: JobResult, asked_at: float, step: int) -> JobSpan:
        """What a dispatcher remembers of a job that was answered."""
        return cls(
            result.worker, result.job_id, result.started_at, result.finished_at, asked_at, result.phases,
            step, result.n_circuits, result.cache_hit, result.backend,
        )  # fmt: skip


class WorkerStatus(NamedTuple):
    """What a dispatcher knows of one worker.

    Attributes:
        state: "starting", "ready", "resting" (it failed too often lately, and is left alone for a while) or "leaving" (it ends what it
            has and gets nothing more).
        node: where it runs; "" if that is not known yet.
        pid: of its process there; 0 if that is not known yet.
        jobs_in_flight: sent and not answered.
        circuits_done: of the jobs done.
        busy_seconds: spent inside the backend.
        failures: jobs that it failed.
        last_error: the newest of them in words; "" if there was none.
    """

    worker: str
    state: str
    node: str = ""
    pid: int = 0
    jobs_in_flight: int = 0
    jobs_done: int = 0
    circuits_done: int = 0
    busy_seconds: float = 0.0
    cache_hits: int = 0
    cache_lookups: int = 0
    failures: int = 0
    last_error: str = ""


class FleetEvent(NamedTuple):
    """Something that happened to a worker.

    Attributes:
        at: Unix seconds.
        kind: "joined", "lost", "left", "resting", "back" (from rest), "duplicated" (it got a job that is late elsewhere) or "waiting"
            (for what the cluster has not got; no worker is named).
        text: the reason, in words.
    """

    at: float
    kind: str
    worker: str = ""
    text: str = ""


class Dispatcher(Protocol):
    """Runs jobs on workers; results come in any order, each job's exactly once."""

    @property
    def n_workers(self) -> int:
        """Workers that jobs can be spread over."""
        ...

    @property
    def job_overhead_seconds(self) -> float:
        """What sending one more job costs the driver; the planner sizes jobs by it."""
        ...

    def register(self, circuit: MeasuredCircuit) -> None:
        """Make `circuit` known under its key, before the first job that names it.

        A dispatcher may forget the least recently used of some thousands; who uses many says this again before it runs jobs.
        """
        ...

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Send the jobs; the iterator yields the result of every one as it completes.

        They are sent when this is called, as far as there is room for them, and not when the first result is asked for: who has work
        of several kinds calls this for each, and then asks for the results, on one thread and in any order.

        Raises:
            ExecutionError: a job failed more often than the retry policy allows; FleetError: no worker is left.
        """
        ...

    def run_all(self, jobs: Sequence[Job]) -> Iterator[JobResult | FailedJob]:
        """As `run`, but a job that is given up for a reason of its own is yielded as a `FailedJob`, and the others go on.

        Raises:
            QfleetError: what stands in the way of every job: the budget, the book, the API key, the fleet.
        """
        ...

    def stats(self) -> DispatcherStats:
        """Totals so far."""
        ...

    def timeline(self) -> Sequence[JobSpan]:
        """The newest jobs done (some ten thousand at most), in order of completion."""
        ...

    def workers(self) -> Sequence[WorkerStatus]:
        """The workers there are, in the order in which they joined."""
        ...

    def events(self) -> Sequence[FleetEvent]:
        """What happened to workers so far (the newest ten thousand at most), oldest first."""
        ...

    def close(self) -> None:
        """Stop the workers. Jobs under way are given up, as far as they can be."""
        ...
