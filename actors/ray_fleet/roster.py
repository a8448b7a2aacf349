"""Roster: the actors of a fleet from the moment they are asked for until they are gone. It knows no job.

::

    fill_up ──► starting ──► opening ──► ready ──resize──► leaving ──► left
                   └────────────┴──────────┴──────────────────┴──────► lost, and another is asked for in its place

An actor that the cluster has no room for stays asked for: that is what an autoscaler goes by, and it starts as soon as a node has
joined. A fleet that has some actors does not wait for the others.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import ray

from actors.circuit_actor import MAX_CIRCUITS
from actors.ray_fleet.accounts import Accounts
from actors.ray_fleet.process import Hello, Launcher, kill
from actors.ray_fleet.resources import Cluster, Needs, lack, node_for
from actors.registered_circuits import KnownCircuits
from orchestrator.protocols import WorkerStatus

OPEN_SECONDS = 300.0
"""Longest opening of a session."""
_CLOSE_SECONDS = 1.0
"""What closing sessions may take before the actors are killed."""
_PATIENCE_SECONDS, _PATIENCE_WITH_ROOM = 3.0, 15.0
"""An actor that has no place after this waits for resources; where there seem to be enough, its process may just be slow."""
_LONGEST_PAUSE = 30.0
"""Between two looks at whether what is missing has come; a second at first, then twice as long each time."""


@dataclass(eq=False)
class Worker:
    """An actor, seen from the driver. Times in seconds of the monotonic clock."""

    name: str
    handle: Any
    run: Any  # its method that runs a job
    spawned_at: float
    asked_at: float  # what it is starting with, or opening
    state: str = "starting"
    is_placed: bool = False
    hello: Hello | None = None  # None until it has been heard of
    node: str = ""  # where it is, or shall be if that matters
    n_in_flight: int = 0
    jobs_done: int = 0
    circuits_done: int = 0
    busy_seconds: float = 0.0
    cache_hits: int = 0
    failures: int = 0
    last_error: str = ""
    known: KnownCircuits = field(default_factory=lambda: KnownCircuits(MAX_CIRCUITS))

    @property
    def is_there(self) -> bool:
        """Ready, or on its way to it: not one that leaves."""
        return self.state != "leaving"

    @property
    def is_starting(self) -> bool:
        """It cannot be given jobs yet."""
        return self.state in ("starting", "opening")

    def status(self, *, is_resting: bool) -> WorkerStatus:
        """What anybody may know of it."""
        state = "starting" if self.is_starting else "resting" if is_resting and self.is_there else self.state
        return WorkerStatus(
            self.name,
            state,
            self.node if self.hello else "",
            self.hello.pid if self.hello else 0,
            self.n_in_flight,
            self.jobs_done,
            self.circuits_done,
            self.busy_seconds,
            self.cache_hits,
            self.jobs_done,
            self.failures,
            self.last_error,
        )


class Roster:
    """The actors of a fleet.

    Args:
        launcher: starts them.
        needs: what each reserves.
        n_wanted: how many there shall be.
        max_replacements: lost actors replaced in a row without one of the new ones having done a job; None: three for each actor. Where
            no more may be, one fewer is wanted.
        start_timeout_seconds: how long they may take to start.
        accounts: told what happens to them.
    """

    def __init__(
        self,
        launcher: Launcher,
        needs: Needs,
        n_wanted: int,
        max_replacements: int | None,
        start_timeout_seconds: float,
        accounts: Accounts,
        cluster: Cluster | None = None,
    ) -> None:
        self.workers: dict[str, Worker] = {}
        self.n_wanted = n_wanted
        self.last_loss = ""
        self.start_timeout_seconds = start_timeout_seconds
        self._launcher = launcher
        self._needs = needs
        self._max_replacements = max_replacements
        self._replacements_left = self._replacements_of(n_wanted)
        self._accounts = accounts
        self._cluster = cluster or Cluster()
        self._numbers = itertools.count()
        self._n_missing = 0  # actors that were waited for when this was last looked at
        self._look_at, self._pause = 0.0, 1.0

    @property
    def n_ready(self) -> int:
        """Actors that jobs can be spread over."""
        return sum(worker.state == "ready" for worker in self.workers.values())

    def statuses(self, resting: Iterable[str]) -> list[WorkerStatus]:
        """All of them, in the order in which they were asked for."""
        asleep = set(resting)
        return [worker.status(is_resting=worker.name in asleep) for worker in self.workers.values()]

    # Coming

    def heard_of(self, worker: Worker, hello: Hello) -> None:
        """Its process is there, and opens its session next."""
        worker.hello, worker.node, worker.is_placed = hello, hello.node_id, True
        worker.state, worker.asked_at = "opening", time.monotonic()

    def fill_up(self) -> list[Worker]:
        """Ask for actors until there are as many as wanted; the new ones."""
        n_there = sum(worker.is_there for worker in self.workers.values())
        return [self._spawn() for _ in range(self.n_wanted - n_there)]

    def joined(self, worker: Worker) -> None:
        """It is ready for jobs."""
        worker.state = "ready"
        self._accounts.happened("joined", worker.name)

    def did_first_job(self) -> None:
        """Those that start do well: what was lost before is no sign any more that all are bound to be lost."""
        self._replacements_left = self._replacements_of(self.n_wanted)

    def _spawn(self) -> Worker:
        name, now = f"actor-{next(self._numbers)}", time.monotonic()
        node = self._node() if self._needs.placement != "default" else None
        handle, run = self._launcher.start(name, None if node is None else self._cluster.near(node))
        worker = self.workers[name] = Worker(name, handle, run, now, now, node=node or "")
        return worker

    def _node(self) -> str | None:
        """Where the next one shall run."""
        n_there = Counter(worker.node for worker in self.workers.values())
        return node_for(self._needs, self._cluster.nodes(), n_there)

    def _replacements_of(self, n_wanted: int) -> int:
        return 3 * n_wanted if self._max_replacements is None else self._max_replacements

    # Going

    def lose(self, worker: Worker, reason: str) -> bool:
        """Take a worker out that is gone, or as good as gone. False: that had been done."""
        if self.workers.pop(worker.name, None) is None:
            return False
        self.last_loss = reason
        self._accounts.workers_lost += 1
        self._accounts.happened("lost", worker.name, reason)
        kill(worker.handle)  # out of reach is not dead: an actor that comes back must not hold CPUs
        if not worker.is_there:
            return True
        if self._replacements_left > 0:
            self._replacements_left -= 1
        else:
            self.n_wanted -= 1
        return True

    def resize(self, n_wanted: int) -> list[Worker]:
        """Want another number of actors from now on; those that leave, which may have jobs to end. `fill_up` asks for new ones."""
        self.n_wanted = n_wanted
        self._replacements_left = self._replacements_of(n_wanted)
        youngest_first = [worker for worker in reversed(self.workers.values()) if worker.is_there]
        there = sorted(
            youngest_first, key=lambda worker: not worker.is_starting
        )  # those that do nothing yet go first
        leaving = there[: max(0, len(there) - n_wanted)]
        for worker in leaving:
            worker.state = "leaving"
        return leaving

    def retire(self, workers: list[Worker]) -> None:
        """Close the sessions of workers that have left off, and end them. One that does not answer at once is not waited for."""
        if not workers:
            return
        closing = [worker.handle.close.remote() for worker in workers if worker.hello]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_SECONDS)
        for worker in workers:
            self.workers.pop(worker.name, None)
            kill(worker.handle)
            self._accounts.happened("left", worker.name)

    def close(self) -> None:
        """End all of them."""
        handles = [worker.handle for worker in self.workers.values()]
        closing = [worker.handle for worker in self.workers.values() if worker.hello]
        self.workers.clear()
        try:
            if closing and ray.is_initialized():
                # An actor in the middle of a job won't answer in time; it is not waited for.
                calls = [handle.close.remote() for handle in closing]
                ray.wait(calls, num_returns=len(calls), timeout=_CLOSE_SECONDS)
        finally:
            for handle in handles:
                kill(handle)

    # Waiting

    def notice_waiting(self, now: float) -> None:
        """Say it when actors wait for resources that the cluster has not got, and when their number changes. Seldom looks."""
        if now < self._look_at:
            return
        n_missing = self._n_without_place(now)
        self._pause = 1.0 if n_missing != self._n_missing else min(2 * self._pause, _LONGEST_PAUSE)
        self._look_at = now + self._pause
        if n_missing and n_missing != self._n_missing:
            self._accounts.happened("waiting", text=self._lack(n_missing))
        self._n_missing = n_missing

    def _n_without_place(self, now: float) -> int:
        waiting = [worker for worker in self.workers.values() if worker.is_starting and not worker.is_placed]
        for worker in waiting:
            worker.is_placed = self._cluster.is_placed(worker.handle)
        since = min((worker.spawned_at for worker in waiting if not worker.is_placed), default=now)
        if now - since <= _PATIENCE_SECONDS:
            return 0
        patience = _PATIENCE_WITH_ROOM if self._has_room() else _PATIENCE_SECONDS
        return sum(not worker.is_placed and now - worker.spawned_at > patience for worker in waiting)

    def _has_room(self) -> bool:
        """Whether the cluster has free what one actor needs, be it on several nodes."""
        free = self._cluster.free()
        return all(free.get(name, 0.0) >= amount for name, amount in self._needs.amounts.items())

    def _lack(self, n_missing: int) -> str:
        return lack(n_missing, self._needs, self._cluster.total(), self._cluster.free())

    def overdue(self, now: float) -> list[Worker]:
        """Those that have taken too long to start, or to open their sessions."""
        longest = {"starting": self.start_timeout_seconds, "opening": OPEN_SECONDS}
        return [w for w in self.workers.values() if now - w.asked_at > longest.get(w.state, float("inf"))]

    def problem(self, n_needed: int, now: float) -> str | None:
        """Why there will not be `n_needed` actors, however long one waits; None: there are, or will be."""
        there = [worker for worker in self.workers.values() if worker.is_there]
        late = self.overdue(now)
        if len(there) - len(late) >= n_needed:
            return None
        lost = f"; the last loss: {self.last_loss}" if self.last_loss else ""
        if not late:
            which = "every actor is" if not there else f"all but {len(there)} of {n_needed} actors are"
            return (
                f"{which} lost ({self._accounts.workers_lost} in all) and none may be replaced any more{lost}"
            )
        if any(worker.state == "opening" for worker in late):
            return f"the backend's sessions were not open after {OPEN_SECONDS:g} s{lost}"
        n_late = len(late)
        return (
            f"{n_late} of {self.n_wanted} actors did not start within {self.start_timeout_seconds:g} s, "
            f"{self._lack(n_late)}{lost}"
        )
