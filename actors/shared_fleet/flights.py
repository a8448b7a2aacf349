"""Flights: distinct jobs on their way, each with all who wait for its answer. Equal jobs fly once, whoever asks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from orchestrator.jobs import Job


class Seat(NamedTuple):
    """Who waits: job number `place` of batch `batch` of `client`."""

    client: str
    batch: int
    place: int


@dataclass(eq=False)
class _Flight:
    job: Job
    client: str
    seats: dict[Seat, None] = field(default_factory=dict)  # an ordered set; whose job is flown comes first


class Flights:
    """Jobs in flight by their ids, which are equal for equal work."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def board(self, job: Job, seat: Seat) -> bool:
        """`seat` waits for the answer to `job`; True if nobody did before, so that it has to be begun."""
        flight = self._flights.get(job.job_id)
        is_new = flight is None
        if flight is None:
            flight = self._flights[job.job_id] = _Flight(job, seat.client)
        flight.seats[seat] = None
        return is_new

    def land(self, job_id: str) -> list[Seat]:
        """The flight has ended: who waits for it, first the one whose job it was; nobody if it was called off."""
        flight = self._flights.pop(job_id, None)
        return [] if flight is None else list(flight.seats)

    def leave(self, job_id: str, seats: Iterable[Seat]) -> bool:
        """These wait no more; True if nobody is left who does, so that the flight is called off."""
        flight = self._flights.get(job_id)
        if flight is None:
            return False
        for seat in seats:
            flight.seats.pop(seat, None)
        if flight.seats:
            return False
        del self._flights[job_id]
        return True
