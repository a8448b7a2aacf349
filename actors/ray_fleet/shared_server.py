"""The server of a fleet that several runs share: a detached actor that owns a RayFleet, and hands its answers to many clients.

::

    clients ──submit, collect, renew──►  FleetServer: calls of clients, on an event loop
                                           │ Desk, under a lock          ▲
                                           ▼ what has to be begun        │ answers, as bytes
                                         the fleet's thread: RayFleet.begin, turn, call_off
                                           ▲ waits for Ray; woken by `bell`, a call of the server to itself

The RayFleet is touched by its thread alone. Ray restarts and repeats nothing; a client repeats a call whose outcome is unknown, and every
call may be repeated. With the server end its actors.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any

import ray
from ray import cloudpickle

from actors.ray_fleet.fleet import Begun, RayFleet
from actors.ray_fleet.shared_names import Collected, FleetTotals, Welcome
from actors.ray_fleet.versions import SOURCE, source_digest, versions
from actors.shared_fleet.description import describe
from actors.shared_fleet.desk import Desk, Released, UnknownClientError
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import ExecutionError, FleetError, QfleetError
from orchestrator.jobs import FailedJob, Job, JobResult
from orchestrator.protocols import Backend, FleetEvent, WorkerStatus

_log = logging.getLogger(__name__)
_COMPANY_SECONDS = 0.01
"""How long an answer that is not the last of its batch may wait for others."""
MakeBackend = Callable[[ExitStack], Backend]
"""Makes the fleet's backend in the server's process; what has to be closed with the fleet goes onto the stack."""


class FleetServer:
    """What lives in the server's process.

    Args:
        name: of the fleet.
        make_backend: cloudpickled `MakeBackend`.
        options: of the RayFleet.
        lease_seconds: how long a client may be silent before its jobs are called off.
        cache_bytes: of answers kept for those who ask later.
    """

    def __init__(
        self,
        name: str,
        make_backend: bytes,
        options: dict[str, Any],
        lease_seconds: float,
        cache_bytes: int,
    ) -> None:
        self._name = name
        self._started_at = time.time()
        # Now: what is edited later on is not what has been imported here.
        self._versions = versions() | {SOURCE: source_digest()}
        self._desk = Desk(lease_seconds, cache_bytes)
        self._lock = threading.Lock()  # of the desk
        self._circuits: dict[str, MeasuredCircuit] = {}  # that clients ask for
        self._begun: dict[str, Begun] = {}  # by job id; of the fleet's thread
        self._answers: deque[JobResult | FailedJob] = deque()
        self._orders: deque[Callable[[RayFleet], None]] = deque()  # for the fleet's thread
        self._totals = FleetTotals(0, 0, 0)
        self._description: dict[str, str] = {}
        self._overhead = 0.0
        self._error: QfleetError | None = None  # why nothing goes on
        self._is_ending = False
        self._clients_wait: dict[str, asyncio.Event] = {}
        self._wake_soon: set[str] = set()
        self._ringing = asyncio.Event()
        self._has_rung = True
        self._is_ready = asyncio.Event()
        self._is_over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._start = (make_backend, options)

    # Calls of clients, on the event loop

    async def ready(self) -> Welcome:
        """Start the fleet, or wait until it has started.

        Raises:
            QfleetError: it could not be.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            me = ray.get_runtime_context().current_actor
            threading.Thread(target=self._work, args=(me,), name="qfleet-fleet", daemon=True).start()
        await self._is_ready.wait()
        self._check()
        return self._welcome()

    async def versions(self) -> dict[str, str]:
        """What this process and its actors run, see `actors.ray_fleet.versions`; asked before anything else."""
        return self._versions

    async def join(self, client: str, title: str) -> Welcome:
        """A new client; or one that joins again, because this call's outcome was unknown to it."""
        await self._is_ready.wait()
        self._check()
        with self._lock:
            if client not in self._desk.clients:
                self._desk.join(client, title, time.monotonic())
        self._clients_wait.setdefault(client, asyncio.Event())
        return self._welcome()

    async def submit(
        self, client: str, batch: int, jobs: bytes, circuits: list[MeasuredCircuit], withdrawn: list[int]
    ) -> None:
        """`client` asks for pickled jobs; and no more for other batches. Circuits that it has not asked for lately come along."""
        self._check()
        self._withdraw(client, withdrawn)
        wanted: list[Job] = pickle.loads(jobs)
        with self._lock:
            self._desk.renew(client, time.monotonic())
            self._take_in_circuits(client, wanted, circuits)
            begun = self._desk.submit(client, batch, wanted)
            known = {job.circuit_key: self._circuits[job.circuit_key] for job in begun}
            outdated = self._released(Released([], self._desk.outdated_circuits(client)))
        self._wake([client])  # there may be answers already
        if begun:
            self._order(lambda fleet: self._begin(fleet, client, begun, known))
        if outdated.circuits:
            self._order(lambda fleet: self._call_off(fleet, outdated))

    async def collect(self, client: str, acknowledged: int, seconds: float) -> Collected:
        """Answers for `client`; waits `seconds` at most for the first."""
        deadline = time.monotonic() + seconds
        while True:
            self._check()
            waits = self._clients_wait.get(client)
            if waits is not None:
                waits.clear()
            with self._lock:
                self._desk.renew(client, time.monotonic())
                parcel = self._desk.take(client, acknowledged)
            left = deadline - time.monotonic()
            if parcel.answers or left <= 0 or waits is None:
                return Collected(parcel, self._totals)
            try:
                await asyncio.wait_for(waits.wait(), left)
            except TimeoutError:
                continue

    async def renew(self, client: str, withdrawn: list[int]) -> None:
        """`client` lives, and does not wait for some batches any more."""
        with self._lock:
            self._desk.renew(client, time.monotonic())
        self._withdraw(client, withdrawn)

    async def leave(self, client: str) -> None:
        """`client` asks for nothing more."""
        with self._lock:
            released = self._released(self._desk.leave(client))
        self._stop_waiting(client)
        if released.flights or released.circuits:
            self._order(lambda fleet: self._call_off(fleet, released))

    async def workers(self) -> list[WorkerStatus]:
        """The fleet's actors."""
        found: list[WorkerStatus] = await self._asked(lambda fleet: fleet.workers())
        return found

    async def events(self) -> list[FleetEvent]:
        """What happened to them."""
        found: list[FleetEvent] = await self._asked(lambda fleet: fleet.events())
        return found

    async def status(self) -> dict[str, Any]:
        """The whole of it as plain values; times in seconds, sizes in bytes."""
        is_ready = self._is_ready.is_set()
        state = "failed" if self._error else "ready" if is_ready else "starting"
        workers = await self.workers() if state == "ready" else []
        with self._lock:
            counts, table = self._desk.totals(), self._desk.clients_table(time.monotonic())
            cache = self._desk.cache
            clients = {
                "jobs_in_flight": self._desk.n_in_flight,
                "clients": table,
                "clients_left": self._desk.n_left,
                "clients_expired": self._desk.n_expired,
                "cached_answers": len(cache),
                "cached_bytes": cache.n_bytes,
                "circuits": len(self._circuits),
            }
        return {
            "name": self._name,
            "state": state,
            "error": str(self._error) if self._error else None,
            "backend": self._description.get("backend.name"),
            "pid": os.getpid(),
            "node": ray.get_runtime_context().get_node_id(),
            "up_seconds": time.time() - self._started_at,
            "lease_seconds": self._desk.lease_seconds,
            **vars(counts),
            "jobs_retried": self._totals.jobs_retried,
            "workers_lost": self._totals.workers_lost,
            **clients,
            "actors": [worker._asdict() for worker in workers],
        }

    async def stop(self) -> None:
        """Close the fleet; clients that wait are told."""
        self._error = self._error or FleetError(
            f"the fleet {self._name!r} was stopped: start it again with `qfleet fleet start {self._name} CONFIG`, then resume the run"
        )
        self._wake_clients()
        self._is_ending = True
        if self._loop is not None:
            self._ringing.set()
            await self._is_over.wait()

    async def bell(self) -> None:
        """Returns when the fleet's thread has something new to do; it waits for this call among those to its actors."""
        await self._ringing.wait()
        self._ringing.clear()
        self._has_rung = True

    def _welcome(self) -> Welcome:
        return Welcome(self._description, self._totals.n_workers, self._overhead, self._desk.lease_seconds)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _withdraw(self, client: str, batches: list[int]) -> None:
        with self._lock:
            called_off = [job_id for batch in batches for job_id in self._desk.withdraw(client, batch)]
        if called_off:
            self._order(lambda fleet: self._call_off(fleet, Released(called_off, [])))

    def _take_in_circuits(self, client: str, jobs: list[Job], circuits: list[MeasuredCircuit]) -> None:
        """Note which circuits `client` asks for, and keep those that are new here; under the lock.

        Raises:
            UnknownClientError: it thinks that one is known here which is not: it is to say everything anew.
        """
        coming = {circuit.key: circuit for circuit in circuits}
        keys = dict.fromkeys(job.circuit_key for job in jobs)
        if any(key not in coming and key not in self._circuits for key in keys):
            raise UnknownClientError(client)
        for key in keys:
            self._desk.uses(client, key)
            if key in coming:
                self._circuits[key] = coming[key]

    def _released(self, released: Released) -> Released:
        """Drop the circuits that are released; under the same lock, or one who comes for them meanwhile would lose them."""
        for key in released.circuits:
            self._circuits.pop(key, None)
        return released

    def _order(self, order: Callable[[RayFleet], None]) -> None:
        """Have the fleet's thread do something, in the order of asking."""
        self._orders.append(order)
        self._ringing.set()

    async def _asked(self, ask: Callable[[RayFleet], Any]) -> Any:
        """What the fleet's thread answers.

        Raises:
            FleetError: the thread has ended, or ends before it gets to this.
        """
        answer: Future[Any] = Future()

        def order(fleet: RayFleet) -> None:
            answer.set_result(ask(fleet))

        self._check()
        self._order(order)
        answered = asyncio.wrap_future(answer)
        over = asyncio.ensure_future(self._is_over.wait())
        await asyncio.wait({answered, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if not answered.done():
            self._check()
            raise FleetError(f"the fleet {self._name!r} has ended")
        return answered.result()

    def _stop_waiting(self, client: str) -> None:
        """`client` is gone: a call of it that waits is told so."""
        waits = self._clients_wait.pop(client, None)
        if waits is not None:
            waits.set()

    def _wake_clients(self) -> None:
        for waits in self._clients_wait.values():
            waits.set()

    # The fleet's thread

    def _work(self, me: Any) -> None:
        assert self._loop is not None
        try:
            with ExitStack() as stack:
                fleet = self._started(stack)
                self._loop.call_soon_threadsafe(self._is_ready.set)
                self._serve(fleet, me)
        except QfleetError as error:
            self._error = self._error or error
        except Exception as error:
            _log.exception("the fleet %s has failed", self._name)
            self._error = self._error or FleetError(
                f"the fleet {self._name!r} has failed: {type(error).__name__}: {error}"
            )
        for event in (self._is_ready, self._is_over):
            self._loop.call_soon_threadsafe(event.set)
        self._loop.call_soon_threadsafe(self._wake_clients)

    def _started(self, stack: ExitStack) -> RayFleet:
        make_backend, options = self._start
        try:
            backend: Backend = cloudpickle.loads(make_backend)(stack)
        except QfleetError:
            raise
        except Exception as error:
            raise ExecutionError(
                f"the fleet's server cannot load the backend: {type(error).__name__}: {error}; is its package installed there?"
            ) from error
        fleet = stack.enter_context(RayFleet(backend, **options))
        self._description = describe(backend)
        self._overhead = fleet.job_overhead_seconds
        self._note_totals(fleet)
        return fleet

    def _serve(self, fleet: RayFleet, me: Any) -> None:
        bell = None
        while not self._is_ending:
            if self._has_rung:
                self._has_rung = False
                bell = me.bell.remote()
            while self._orders:
                self._orders.popleft()(fleet)
            fleet.turn(bell)
            self._note_totals(fleet)
            self._deliver()
            self._expire(fleet)

    def _begin(
        self, fleet: RayFleet, client: str, jobs: list[Job], circuits: dict[str, MeasuredCircuit]
    ) -> None:
        for circuit in circuits.values():
            fleet.register(circuit)
        for job in jobs:
            self._begun[job.job_id] = fleet.begin(job, self._answers, client)

    def _call_off(self, fleet: RayFleet, released: Released) -> None:
        for job_id in released.flights:
            begun = self._begun.pop(job_id, None)
            if begun is not None:
                fleet.call_off(begun)
        for key in released.circuits:
            if key not in self._circuits:  # nobody has come for it since
                fleet.forget(key)

    def _deliver(self) -> None:
        """Hand out what the fleet has answered."""
        assert self._loop is not None
        told: dict[str, bool] = {}
        while self._answers:
            answer = self._answers.popleft()
            if self._begun.pop(answer.job_id, None) is None:
                continue  # called off, a moment ago
            payload = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
            is_failure = isinstance(answer, FailedJob)
            with self._lock:
                clients = self._desk.answered(answer.job_id, payload, is_failure=is_failure)
            for client, is_urgent in clients.items():
                told[client] = told.get(client, False) or is_urgent
        urgent = [client for client, is_urgent in told.items() if is_urgent]
        if urgent:
            self._loop.call_soon_threadsafe(self._wake, urgent)
        # who is to be woken soon will see these answers, too: waking the event loop for each costs as much as handing it out
        others = [client for client in told if client not in urgent and client not in self._wake_soon]
        if others:
            self._loop.call_soon_threadsafe(self._wake_later, others)

    def _wake(self, clients: Iterable[str]) -> None:
        for client in clients:
            self._wake_soon.discard(client)
            waits = self._clients_wait.get(client)
            if waits is not None:
                waits.set()

    def _wake_later(self, clients: Iterable[str]) -> None:
        assert self._loop is not None
        new = set(clients) - self._wake_soon
        if new:
            self._wake_soon |= new
            self._loop.call_later(_COMPANY_SECONDS, self._wake, new)

    def _expire(self, fleet: RayFleet) -> None:
        """Forget who has been silent for too long; here and now, before anything is begun for who comes after."""
        assert self._loop is not None
        with self._lock:
            forgotten = [
                (client, self._released(left)) for client, left in self._desk.expire(time.monotonic())
            ]
        for client, released in forgotten:
            _log.info("client %s was silent for too long: %d jobs called off", client, len(released.flights))
            self._call_off(fleet, released)
            self._loop.call_soon_threadsafe(self._stop_waiting, client)

    def _note_totals(self, fleet: RayFleet) -> None:
        stats = fleet.stats()
        self._totals = FleetTotals(stats.n_workers, stats.jobs_retried, stats.workers_lost)
