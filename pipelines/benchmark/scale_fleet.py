"""A fleet in virtual time: the scheduler and the driver's books are the real ones, actors are a queue of events.

An actor answers its jobs one after another, each after a time drawn from a recorded trace; nothing is computed, so whatever processor
time a run takes is the driver's, and that of the queue of events.
"""

from __future__ import annotations

import csv
import heapq
import itertools
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import cast

import numpy as np

from actors.scheduler import Scheduler
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import ConfigError
from orchestrator.jobs import FailedJob, Job, JobResult
from orchestrator.protocols import DispatcherStats, FleetEvent, JobSpan, WorkerStatus

DEFAULT_TRACE = "breast_cancer"
_N_DRAWN = 1 << 16


def job_seconds(trace: Path | None = None) -> np.ndarray:
    """What jobs took on their workers, float64 [n], in seconds; without the first of each of several workers' jobs, which compiles.

    Args:
        trace: CSV with the columns ``started_at``, ``finished_at`` and perhaps ``worker``, e.g. ``latency.csv`` of a run; None: the one
            that comes with qfleet.

    Raises:
        ConfigError: it cannot be read, or has no job that took any time.
    """
    name = str(trace or DEFAULT_TRACE)
    try:
        packaged = files("pipelines.benchmark") / "traces" / f"{DEFAULT_TRACE}.csv"
        text = (trace or packaged).read_text(encoding="utf-8")
        by_worker: dict[str | None, list[tuple[float, float]]] = {}
        for row in csv.DictReader(StringIO(text)):
            begin, end = float(row["started_at"]), float(row["finished_at"])
            by_worker.setdefault(row.get("worker"), []).append((begin, end - begin))
    except (OSError, UnicodeDecodeError, KeyError, ValueError, TypeError) as error:
        raise ConfigError(
            "--trace", name, f"is no trace ({error}): columns started_at and finished_at", DEFAULT_TRACE
        ) from None
    for worker, spans in by_worker.items():
        if worker is not None and len(spans) > 1:
            spans.remove(min(spans))
    taken = np.array([seconds for spans in by_worker.values() for _, seconds in spans])
    taken = taken[np.isfinite(taken) & (taken > 0)]
    if not len(taken):
        raise ConfigError("--trace", name, "holds no job that took any time", DEFAULT_TRACE)
    return taken


@dataclass(eq=False)
class _Run:
    """One call of `run` in progress."""

    jobs: dict[int, Job] = field(default_factory=dict)
    results: deque[JobResult] = field(default_factory=deque)


class VirtualFleet:
    """A `Dispatcher` whose actors exist in virtual time only; every value it answers is 0.

    Args:
        n_actors: how many.
        seconds: float64 [n], what jobs take; each job draws one of them.
        slowness: by how much longer each actor takes than that; None: they are alike.
        job_overhead_seconds: what it says that sending one more job costs.
        seed: of the draw.
        scheduler: None: as a RayFleet of a free backend has it.

    Attributes:
        now: virtual seconds since the beginning.
        busy_seconds: that actors have worked for, all together.
        most_open: jobs that were queued or in flight at the same time, at most.
    """

    def __init__(
        self,
        n_actors: int,
        seconds: np.ndarray,
        *,
        slowness: Sequence[float] | None = None,
        job_overhead_seconds: float = 1e-3,
        seed: int = 0,
        scheduler: Scheduler | None = None,
    ) -> None:
        self.now = 0.0
        self.busy_seconds = 0.0
        self.most_open = 0
        self.job_overhead_seconds = job_overhead_seconds
        self._scheduler = scheduler or Scheduler(may_duplicate=True)
        self._slowness = {f"actor-{i}": s for i, s in enumerate(slowness or itertools.repeat(1.0, n_actors))}
        self._free_at = dict.fromkeys(self._slowness, 0.0)
        self._drawn = array("d", np.random.default_rng(seed).choice(seconds, _N_DRAWN))
        self._n_draws = 0  # itertools.cycle would make a list of them, and look like a leak until it is full
        self._events: list[tuple[float, int, str, float]] = []  # end of a job, its number, worker, seconds
        self._numbers = itertools.count()
        self._runs: dict[int, _Run] = {}
        self._zeros: dict[tuple[int, int, int], np.ndarray] = {}
        self._n_paulis: dict[str, int] = {}
        for worker in self._slowness:
            self._scheduler.worker_joined(worker, self.now)

    @property
    def n_workers(self) -> int:
        """Actors."""
        return len(self._slowness)

    def register(self, circuit: MeasuredCircuit) -> None:
        """Make `circuit` known: the number of its values is."""
        self._n_paulis[circuit.key] = len(circuit.paulis)

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Send the jobs; answers come in the order of virtual time."""
        run = _Run()
        for job in jobs:
            number = next(self._numbers)
            run.jobs[number] = job
            self._runs[number] = run
            self._scheduler.job_added(number, job.n_samples * job.n_displacements)
        self.most_open = max(self.most_open, self._scheduler.n_open)
        self._send()
        return self._answers(run)

    def run_all(self, jobs: Sequence[Job]) -> Iterator[JobResult | FailedJob]:
        """As `run`: no job fails."""
        return cast(Iterator[JobResult | FailedJob], self.run(jobs))

    def stats(self) -> DispatcherStats:
        """Totals so far."""
        return DispatcherStats(
            self.n_workers, self._scheduler.n_done, self._scheduler.n_retried, 0, self.busy_seconds, 0, 0
        )

    def timeline(self) -> Sequence[JobSpan]:
        """Nothing is kept."""
        return ()

    def workers(self) -> Sequence[WorkerStatus]:
        """The actors, all of them ready."""
        return [WorkerStatus(worker, "ready") for worker in self._slowness]

    def events(self) -> Sequence[FleetEvent]:
        """Nothing happens to them."""
        return ()

    def close(self) -> None:
        """Nothing is open."""

    def _answers(self, run: _Run) -> Iterator[JobResult]:
        while run.jobs or run.results:
            while run.results:
                yield run.results.popleft()
            if run.jobs:
                self._turn()

    def _turn(self) -> None:
        """Take in what happens next: an answer, or a time at which the scheduler wants to be asked."""
        wakes_at = self._scheduler.wakes_at()
        if wakes_at is not None and (not self._events or wakes_at < self._events[0][0]):
            self.now = max(self.now, wakes_at)
        else:
            self.now, number, worker, seconds = heapq.heappop(self._events)
            if self._scheduler.job_done(worker, number, self.now, seconds):
                run = self._runs.pop(number)
                run.results.append(self._answer(run.jobs.pop(number), worker, seconds))
        self._send()

    def _send(self) -> None:
        for worker, number, _ in self._scheduler.assignments(self.now):
            seconds = self._drawn[self._n_draws % _N_DRAWN] * self._slowness[worker]
            self._n_draws += 1
            ends_at = self._free_at[worker] = max(self.now, self._free_at[worker]) + seconds
            self.busy_seconds += seconds
            heapq.heappush(self._events, (ends_at, number, worker, seconds))

    def _answer(self, job: Job, worker: str, seconds: float) -> JobResult:
        shape = (job.n_samples, job.n_displacements, self._n_paulis[job.circuit_key])
        zeros = self._zeros.get(shape)
        if zeros is None:
            zeros = self._zeros[shape] = np.zeros(shape)
        n_circuits = shape[0] * shape[1]
        began_at = self.now - seconds
        return JobResult(
            job_id=job.job_id,
            values=zeros,
            variances=None if job.shots is None else zeros,
            jacobian=None,
            n_circuits=n_circuits,
            n_shots=n_circuits * (job.shots or 0),
            cost_usd=0.0,
            cache_hit=True,
            compute_seconds=seconds,
            started_at=began_at,
            finished_at=self.now,
            worker=worker,
            backend="virtual",
            sent_at=began_at,
        )
