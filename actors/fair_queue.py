"""FairQueue: jobs of several clients wait, and the clients take turns by the size of what they were given.

Start-time fair queueing (Goyal, Vin, Cheng 1997): a job starts at the virtual time at which its client's last one ended, or now if the
client had nothing waiting, and the least start is next. Over any time in which two clients both have jobs waiting, what they are given
differs by at most two jobs. Within a client jobs keep their order.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

_N_REMEMBERED = 64
"""Clients without jobs that are remembered for the turn they had."""


@dataclass(slots=True)
class _Client:
    order: int
    start: float  # virtual time of its next turn
    jobs: OrderedDict[int, float] = field(default_factory=OrderedDict)  # size by job
    has_turn: bool = False  # it stands in the heap of turns


class FairQueue:
    """Jobs in waiting; adding, removing and taking one takes logarithmic time in the number of clients."""

    def __init__(self) -> None:
        self._clients: dict[str, _Client] = {}
        self._turns: list[tuple[float, int, str]] = []
        self._virtual_time = 0.0
        self._n_clients = 0
        self._n_jobs = 0
        self._size = 0.0

    def __len__(self) -> int:
        return self._n_jobs

    def __iter__(self) -> Iterator[int]:
        """The jobs, client by client."""
        return (job for client in self._clients.values() for job in client.jobs)

    @property
    def size(self) -> float:
        """Of all jobs together."""
        return self._size

    def add(self, job: int, size: float, client: str) -> None:
        """`job` goes to the end of its client's jobs."""
        known = self._clients.get(client)
        if known is None:
            self._forget()
            known = self._clients[client] = _Client(self._n_clients, self._virtual_time)
            self._n_clients += 1
        known.jobs[job] = size
        self._n_jobs += 1
        self._size += size
        if not known.has_turn:
            known.start = max(known.start, self._virtual_time)
            known.has_turn = True
            heapq.heappush(self._turns, (known.start, known.order, client))

    def remove(self, job: int, client: str) -> None:
        """`job` is not wanted any more; nothing happens if it does not wait."""
        known = self._clients.get(client)
        size = known.jobs.pop(job, None) if known is not None else None
        if size is not None:
            self._took(size)

    def take(self) -> int | None:
        """The next job, None if none waits."""
        while self._turns:
            start, order, name = self._turns[0]
            client = self._clients[name]
            if not client.jobs:  # they were removed
                heapq.heappop(self._turns)
                client.has_turn = False
                continue
            job, size = client.jobs.popitem(last=False)
            self._virtual_time = start
            client.start = start + size
            if client.jobs:
                heapq.heapreplace(self._turns, (client.start, order, name))
            else:
                heapq.heappop(self._turns)
                client.has_turn = False
            self._took(size)
            return job
        return None

    def _took(self, size: float) -> None:
        self._n_jobs -= 1
        self._size = self._size - size if self._n_jobs else 0.0

    def _forget(self) -> None:
        """Drop clients that have nothing waiting, when they have become many."""
        if len(self._clients) < 2 * (len(self._turns) + _N_REMEMBERED):
            return
        idle = [name for name, client in self._clients.items() if not client.has_turn]
        for name in idle[:-_N_REMEMBERED]:
            del self._clients[name]
