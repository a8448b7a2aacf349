"""VirtualQueue: a paid service in virtual time, as a dispatcher: what a long queue does to a training loop, without waiting for it.

A discrete-event simulation in one thread. The driver's own work takes no time; time passes when the driver asks for an answer that is not
there. A job waits on this side for one of the slots (``backend.jobs_in_flight``), then in the provider's queue for a time drawn for it,
then for the machine, which runs one job at a time in the order in which they come out of the queue. That is how the emulator has it
(`actors.ionq.emulator.schedule`), less what a client adds: requests take no time, and an answer is noticed at once.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from actors.ionq.emulator.timing import Queue
from actors.serial import SerialDispatcher
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Job, JobResult
from orchestrator.protocols import Backend, DispatcherStats, FleetEvent, JobSpan, WorkerStatus


@dataclass(frozen=True)
class Service:
    """What is assumed of the provider.

    Attributes:
        queue: seconds in its queue. jobs_in_flight: jobs that it may have at once.
        execution: seconds of a job on the machine. price: of a job, in micro-dollars.
    """

    queue: Queue
    jobs_in_flight: int
    execution: Callable[[Job], float]
    price: Callable[[Job], int]


class VirtualQueue:
    """See the module.

    Args:
        backend: what computes the answers.
        seed: of the queue times.
        answers: by job id, those known already; new ones are added. Jobs are content, so runs that differ in nothing but time share them.

    Attributes:
        seconds: the time it is. sent_micro: price of all jobs sent so far, answered or not.
    """

    n_workers = 1
    job_overhead_seconds = 0.0

    def __init__(self, backend: Backend, service: Service, seed: int, answers: dict[str, JobResult]) -> None:
        self._inner = SerialDispatcher(backend)
        self._service, self._seed, self._answers = service, seed, answers
        self._waiting: deque[tuple[Job, deque[Job]]] = (
            deque()
        )  # for a slot; each with the answered jobs of its call
        self._events: list[
            tuple[float, int, bool]
        ] = []  # (when, number, whether it is done: else it leaves the queue)
        self._out: dict[int, tuple[Job, deque[Job]]] = {}  # sent and not done, by number
        self._machine_free_at = 0.0
        self._n_sent = self._n_done = 0
        self.seconds = 0.0
        self.sent_micro = 0

    def register(self, circuit: MeasuredCircuit) -> None:
        """Make `circuit` known."""
        self._inner.register(circuit)

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Send what there are slots for, now; the iterator lets time pass until an answer is there."""
        done: deque[Job] = deque()
        self._waiting.extend((job, done) for job in jobs)
        self._send()
        return self._answered(len(jobs), done)

    run_all = run

    def _answered(self, n_jobs: int, done: deque[Job]) -> Iterator[JobResult]:
        for _ in range(n_jobs):
            while not done:
                self._pass_time()
            yield self._answer(done.popleft())

    def _answer(self, job: Job) -> JobResult:
        if job.job_id not in self._answers:
            [self._answers[job.job_id]] = self._inner.run([job])
        return self._answers[job.job_id]

    def _send(self) -> None:
        while self._waiting and len(self._out) < self._service.jobs_in_flight:
            number, queue = self._n_sent, self._service.queue
            self._out[number] = self._waiting.popleft()
            seconds = queue if isinstance(queue, (int, float)) else queue.draw(self._seed, number)
            heapq.heappush(self._events, (self.seconds + seconds, number, False))
            self.sent_micro += self._service.price(self._out[number][0])
            self._n_sent += 1

    def _pass_time(self) -> None:
        """Until the next job leaves the queue or is done."""
        self.seconds, number, is_done = heapq.heappop(self._events)
        if is_done:
            job, done = self._out.pop(number)
            done.append(job)
            self._n_done += 1
            self._send()
            return
        starts_at = max(self.seconds, self._machine_free_at)
        self._machine_free_at = starts_at + self._service.execution(self._out[number][0])
        heapq.heappush(self._events, (self._machine_free_at, number, True))

    def stats(self) -> DispatcherStats:
        """Jobs done."""
        return DispatcherStats(1, self._n_done, 0, 0, 0.0, 0, 0)

    def timeline(self) -> list[JobSpan]:
        """None: its times are not those of this machine."""
        return []

    def workers(self) -> list[WorkerStatus]:
        """None."""
        return []

    def events(self) -> list[FleetEvent]:
        """None."""
        return []

    def close(self) -> None:
        """Close the backend's session."""
        self._inner.close()
