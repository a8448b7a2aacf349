"""Desk: the clients of a shared fleet, what each waits for, and which of it has to be run. Events in, work for the fleet out."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from actors.registered_circuits import MAX_CIRCUITS
from actors.shared_fleet.answers import AnswerCache
from actors.shared_fleet.flights import Flights, Seat
from actors.shared_fleet.leases import Leases
from actors.shared_fleet.outbox import Answer, Outbox, Parcel
from orchestrator.errors import FleetError
from orchestrator.jobs import Job

PARCEL_BYTES = 4 * 2**20
"""Of the answers that are sent at once."""


class UnknownClientError(FleetError):
    """The fleet has not heard of a client for so long that it has forgotten it: join again, and ask again."""

    def __init__(self, client: str) -> None:
        super().__init__(client)
        self.client = client

    def __str__(self) -> str:
        return f"the fleet does not know client {self.client}: it was silent for too long, or has left"


@dataclass
class ClientCounts:
    """What one client has had so far.

    Attributes:
        jobs_done: answered, failed ones included: run for it, joined or cached.
        joined: run for another client, and under way when this one asked. cached: answered before.
        failed: jobs that were given up.
    """

    jobs_done: int = 0
    joined: int = 0
    cached: int = 0
    failed: int = 0


class Released(NamedTuple):
    """What nobody wants any more: flights to call off, by job id, and circuits to forget, by key."""

    flights: list[str]
    circuits: list[str]


@dataclass(eq=False)
class _Client:
    title: str
    joined_at: float
    outbox: Outbox
    batches: dict[int, dict[int, str]] = field(default_factory=dict)  # open jobs: batch -> place -> job id
    last_batch: int = -1
    circuits: OrderedDict[str, None] = field(default_factory=OrderedDict)  # the least recently used first
    counts: ClientCounts = field(default_factory=ClientCounts)


class Desk:
    """Who waits for what. Times are seconds of one steady clock.

    Args:
        lease_seconds: how long a client may be silent before it is forgotten.
        cache_bytes: of answers that are kept for those who ask later.
        max_circuits: of each client that are remembered.
    """

    def __init__(self, lease_seconds: float, cache_bytes: int, max_circuits: int = MAX_CIRCUITS) -> None:
        self._max_circuits = max_circuits
        self._clients: dict[str, _Client] = {}
        self._leases = Leases(lease_seconds)
        self._flights = Flights()
        self._cache = AnswerCache(cache_bytes)
        self._circuit_users: dict[str, set[str]] = {}
        self.gone = ClientCounts()  # of clients that have left
        self.n_left = self.n_expired = 0

    @property
    def lease_seconds(self) -> float:
        """How long a client may be silent."""
        return self._leases.seconds

    @property
    def n_in_flight(self) -> int:
        """Distinct jobs that are not answered."""
        return len(self._flights)

    @property
    def cache(self) -> AnswerCache:
        """Answers kept for those who ask later."""
        return self._cache

    @property
    def clients(self) -> tuple[str, ...]:
        """In the order in which they joined."""
        return tuple(self._clients)

    # Clients

    def join(self, client: str, title: str, now: float) -> None:
        """A new client, or one that joins again: what it asked for before is asked for no more."""
        if client in self._clients:
            raise ValueError(f"client {client} is here already")
        self._clients[client] = _Client(title, now, Outbox(PARCEL_BYTES))
        self._leases.renew(client, now)

    def renew(self, client: str, now: float) -> None:
        """`client` lives.

        Raises:
            UnknownClientError: it has been forgotten.
        """
        self._known(client)
        self._leases.renew(client, now)

    def leave(self, client: str) -> Released:
        """`client` asks for nothing more; no error if it is not here."""
        found = self._clients.get(client)
        if found is None:
            return Released([], [])
        flights = [job_id for batch in list(found.batches) for job_id in self.withdraw(client, batch)]
        del self._clients[client]
        self._leases.end(client)
        self.n_left += 1
        for name, count in vars(found.counts).items():
            setattr(self.gone, name, getattr(self.gone, name) + count)
        return Released(flights, [key for key in found.circuits if self._is_last_user(client, key)])

    def expire(self, now: float) -> list[tuple[str, Released]]:
        """Forget the clients that have been silent for too long."""
        forgotten = [(client, self.leave(client)) for client in self._leases.expired(now)]
        self.n_expired += len(forgotten)
        return forgotten

    def _is_last_user(self, client: str, key: str) -> bool:
        users = self._circuit_users[key]
        users.discard(client)
        if users:
            return False
        del self._circuit_users[key]
        return True

    # Work

    def uses(self, client: str, circuit_key: str) -> None:
        """`client` asks for jobs of this circuit."""
        circuits = self._known(client).circuits
        circuits[circuit_key] = None
        circuits.move_to_end(circuit_key)
        self._circuit_users.setdefault(circuit_key, set()).add(client)

    def outdated_circuits(self, client: str) -> list[str]:
        """Take away what `client` has not used for longest, beyond what is remembered of it: `KnownCircuits` is its side of this.

        Returns the circuits that nobody uses any more. Jobs under way have theirs.
        """
        circuits = self._known(client).circuits
        oldest = list(itertools.islice(circuits, max(0, len(circuits) - self._max_circuits)))
        for key in oldest:
            del circuits[key]
        return [key for key in oldest if self._is_last_user(client, key)]

    def submit(self, client: str, batch: int, jobs: Sequence[Job]) -> list[Job]:
        """`client` asks for the jobs of a batch, of numbers that rise. Returns those that must be begun, in their order.

        A batch that is submitted again, because the first time was thought lost, or was withdrawn before it came, changes nothing.

        Raises:
            UnknownClientError: the client has been forgotten.
        """
        asking = self._known(client)
        if batch <= asking.last_batch:
            return []
        asking.last_batch = batch
        asking.batches[batch] = {place: job.job_id for place, job in enumerate(jobs)}
        begun = []
        for place, job in enumerate(jobs):
            seat = Seat(client, batch, place)
            known = self._cache.find(job.job_id)
            if known is not None:
                self._deliver(seat, known, "cached", is_failure=False)
            elif self._flights.board(job, seat):
                begun.append(job)
        if not jobs:
            del asking.batches[batch]
        return begun

    def answered(self, job_id: str, payload: bytes, *, is_failure: bool) -> dict[str, bool]:
        """The fleet has answered; a failure is told to all who wait, and not kept.

        Returns the clients that have something to read, each with whether it is urgent: the last answer of a batch, or a failure. What is
        not may wait a moment for company, because a parcel costs as much as a small job.
        """
        told: dict[str, bool] = {}
        seats = self._flights.land(job_id)
        for n_before, seat in enumerate(seats):
            is_last = self._deliver(seat, payload, "joined" if n_before else "run", is_failure=is_failure)
            told[seat.client] = told.get(seat.client, False) or is_last or is_failure
        if seats and not is_failure:
            self._cache.keep(job_id, payload)
        return told

    def withdraw(self, client: str, batch: int) -> list[str]:
        """`client` does not wait for this batch any more. Returns the job ids that nobody waits for now."""
        asking = self._clients.get(client)
        if asking is None:
            return []
        asking.last_batch = max(asking.last_batch, batch)  # should it come after this, nobody reads it
        seats_of: dict[str, list[Seat]] = {}
        for place, job_id in asking.batches.pop(batch, {}).items():
            seats_of.setdefault(job_id, []).append(Seat(client, batch, place))
        asking.outbox.drop(batch)
        return [job_id for job_id, seats in seats_of.items() if self._flights.leave(job_id, seats)]

    def take(self, client: str, acknowledged: int) -> Parcel:
        """What `client` may read now, see `Outbox.take`.

        Raises:
            UnknownClientError: the client has been forgotten.
        """
        return self._known(client).outbox.take(acknowledged)

    def _deliver(self, seat: Seat, payload: bytes, source: str, *, is_failure: bool) -> bool:
        """Put an answer into its client's outbox; True if it was the last of its batch."""
        client = self._clients[seat.client]
        open_jobs = client.batches[seat.batch]
        del open_jobs[seat.place]
        is_last = not open_jobs
        if is_last:
            del client.batches[seat.batch]
        client.outbox.put(Answer(seat.batch, seat.place, payload, source))
        counts = client.counts
        counts.jobs_done += 1
        counts.joined += source == "joined"
        counts.cached += source == "cached"
        counts.failed += is_failure
        return is_last

    # Looking

    def clients_table(self, now: float) -> list[dict[str, object]]:
        """One row for each client, plain values; times in seconds."""
        return [
            {
                "client": name,
                "title": client.title,
                "since_seconds": now - client.joined_at,
                "silent_seconds": self._leases.silent_for(name, now),
                "jobs_waiting": sum(map(len, client.batches.values())),
                **vars(client.counts),
            }
            for name, client in self._clients.items()
        ]

    def totals(self) -> ClientCounts:
        """Of all clients, those that have left included."""
        total = ClientCounts(**vars(self.gone))
        for client in self._clients.values():
            for name, count in vars(client.counts).items():
                setattr(total, name, getattr(total, name) + count)
        return total

    def _known(self, client: str) -> _Client:
        found = self._clients.get(client)
        if found is None:
            raise UnknownClientError(client)
        return found
