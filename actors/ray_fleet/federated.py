"""RayClients: objects that keep what they hold on their actors, and answer questions about it.

Unlike jobs and tasks, clients cannot be moved to whichever actor is free: each has its host, which makes it from its number. A host that
dies takes its clients' answers of this question with it and is replaced; its clients are made anew there and hear again what all were
introduced to, and answer from then on. As in `actors.ray_fleet.fleet`, Ray itself restarts and repeats nothing.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle

from actors.ray_fleet.connection import connect, release
from actors.ray_fleet.head import HeadWatch
from actors.ray_fleet.process import (
    POLL_SECONDS,
    THREAD_VARIABLES,
    fetch,
    finished,
    kill,
    n_threads_for,
    thread_options,
)
from actors.retry import WorkerLostError
from orchestrator.errors import ConfigError, ExecutionError, FleetError

Message = dict[str, Any]
_log = logging.getLogger(__name__)
_MAX_ATTEMPTS = 4


class ClientHost:
    """What lives in an actor's process: its clients, made when they are first asked.

    Args:
        make: pickled function of a client's number. introductions: (method, message) that each client hears first.
    """

    def __init__(self, make: bytes, introductions: Sequence[tuple[str, Message]], n_threads: int) -> None:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(n_threads)))  # before a client imports numba
        self._make, self._introductions = make, introductions
        self._clients: dict[int, Any] = {}

    def pid(self) -> int:
        """Process id; the first answer says that the host is ready."""
        return os.getpid()

    def answer(self, client: int, method: str, message: bytes) -> bytes:
        """Pickled answer of a client to a pickled message.

        Raises:
            ExecutionError: the client cannot be made here; or whatever it raises.
        """
        if client not in self._clients:
            self._clients[client] = self._made(client)
        answer = getattr(self._clients[client], method)(pickle.loads(message))
        return pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)

    def _made(self, number: int) -> Any:
        try:
            make: Callable[[int], Any] = cloudpickle.loads(self._make)
        except Exception as error:
            raise ExecutionError(
                f"an actor cannot load its clients: {type(error).__name__}: {error}; is qfleet installed there?"
            ) from error
        client = make(number)
        for method, message in self._introductions:
            getattr(client, method)(message)
        return client


@dataclass(eq=False)
class _Host:
    """A host, seen from the driver; `pid` is None until it is ready."""

    handle: Any
    ready: Any
    pid: int | None = None


class RayClients:
    """Clients 0 to `n_clients` - 1 on `n_hosts` actors: client k on host k modulo `n_hosts`.

    Args:
        make: picklable; a client from its number, with methods of one message.
        cpus_per_actor: reserved for a host, and the threads that numerical libraries may use in it.
        address: Ray cluster to join, as of `RayTasks`.
        max_replacements: dead hosts replaced in all; None: three for each.
        start_timeout_seconds: how long to wait for a host that is needed.

    Attributes:
        n_lost: hosts lost so far.

    Raises:
        ConfigError: no host. FleetError: Ray cannot be reached, or has not the CPUs.
    """

    def __init__(
        self,
        make: Callable[[int], Any],
        n_clients: int,
        n_hosts: int,
        *,
        cpus_per_actor: float = 1.0,
        address: str | None = None,
        max_replacements: int | None = None,
        start_timeout_seconds: float = 120.0,
    ) -> None:
        if not 1 <= n_hosts <= n_clients:
            near = str(min(max(n_hosts, 1), n_clients))
            raise ConfigError("n_hosts", n_hosts, f"should be 1 to the {n_clients} clients", near)
        self.n_lost = 0
        self._n_clients, self._cpus_per_actor = n_clients, cpus_per_actor
        self._start_timeout_seconds = start_timeout_seconds
        self._replacements_left = 3 * n_hosts if max_replacements is None else max_replacements
        self._make = cloudpickle.dumps(make)
        self._introductions: list[tuple[str, Message]] = []
        self._hosts: dict[int, _Host] = {}
        self._n_hosts = n_hosts
        self._is_closed = False
        n_threads = n_threads_for(cpus_per_actor)
        self._class = ray.remote(ClientHost).options(
            num_cpus=cpus_per_actor, max_restarts=0, max_task_retries=0, **thread_options(n_threads)
        )
        self._connection = connect(address)
        try:
            self._check_capacity()
            for place in range(n_hosts):
                self._spawn(place)
        except BaseException:
            self.close()
            raise

    def host_pids(self) -> list[int]:
        """Process ids of the hosts that are ready (on their own machines)."""
        return [host.pid for host in self._hosts.values() if host.pid is not None]

    def introduce(self, method: str, message: Message) -> Mapping[int, Message]:
        """Ask all clients, and have those on later hosts hear it first. All have to answer; see `ask`."""
        self._introductions.append((method, message))  # first: a host may be replaced while others answer
        return self.ask(method, dict.fromkeys(range(self._n_clients), message), least=self._n_clients)

    def ask(self, method: str, messages: Mapping[int, Message], *, least: int) -> dict[int, Message]:
        """Answers by client, in their order; whose host is lost meanwhile, or has not been replaced yet, is left out.

        Args:
            method: of the client. messages: by client. least: so many have to answer; until then the others are asked again.

        Raises:
            FleetError: fewer answer, or the cluster is gone; QfleetError: what a client raised.
        """
        answers: dict[int, Message] = {}
        for _ in range(_MAX_ATTEMPTS):
            missing = [client for client in messages if client not in answers]
            reachable = self._reachable(missing, least - len(answers))
            answers |= self._asked(method, {client: messages[client] for client in reachable})
            if len(answers) >= least:
                return {client: answers[client] for client in sorted(answers)}
        raise FleetError(
            f"{len(answers)} of the {least} clients that are needed answered; {self.n_lost} hosts were lost in all"
        )

    def close(self) -> None:
        """Kill the hosts, and stop Ray if this started it and is the last to use it."""
        if self._is_closed:
            return
        self._is_closed = True
        for host in self._hosts.values():
            kill(host.handle)
        self._hosts.clear()
        release(self._connection)

    def _reachable(self, clients: Sequence[int], least: int) -> list[int]:
        """Those of `clients` whose hosts are ready; hosts are waited for until there are `least` of them."""
        deadline = time.monotonic() + self._start_timeout_seconds
        while True:
            self._welcome()
            ready = [client for client in clients if self._is_ready(client)]
            if len(ready) >= min(least, len(clients)):
                return ready
            is_hopeless = not any(host.pid is None for host in self._hosts.values())
            if is_hopeless or time.monotonic() > deadline:
                why = (
                    "and none may be replaced any more"
                    if is_hopeless
                    else f"and no new one was ready within {self._start_timeout_seconds:g} s"
                )
                raise FleetError(
                    f"{len(ready)} of the {least} clients that are needed can be reached: {self.n_lost} hosts are lost, {why}"
                )
            coming = [host.ready for host in self._hosts.values() if host.pid is None]
            if not finished(coming, POLL_SECONDS):
                HeadWatch.of_this_cluster().answers()

    def _welcome(self) -> None:
        """Note which hosts have become ready."""
        coming = {host.ready: place for place, host in self._hosts.items() if host.pid is None}
        for reference in finished(list(coming), 0.0):
            answer = fetch(reference)
            if isinstance(answer, BaseException):
                self._lose(coming[reference], answer)
            else:
                self._hosts[coming[reference]].pid = answer

    def _is_ready(self, client: int) -> bool:
        host = self._hosts.get(client % self._n_hosts)
        return host is not None and host.pid is not None

    def _asked(self, method: str, messages: Mapping[int, Message]) -> dict[int, Message]:
        """One question to clients that are reachable; answers of hosts that are lost meanwhile are missing."""
        calls: dict[Any, int] = {}
        for client in sorted(messages):
            handle = self._hosts[client % self._n_hosts].handle
            content = pickle.dumps(messages[client], protocol=pickle.HIGHEST_PROTOCOL)
            calls[handle.answer.remote(client, method, content)] = client
        answers: dict[int, Message] = {}
        while calls:
            done = finished(calls)
            if not done:
                HeadWatch.of_this_cluster().answers()
            for reference in done:
                if reference not in calls:  # dropped together with its host, a moment ago
                    continue
                client = calls.pop(reference)
                answer = fetch(reference)
                if isinstance(answer, WorkerLostError):
                    place = client % self._n_hosts
                    self._lose(place, answer)
                    calls = {call: other for call, other in calls.items() if other % self._n_hosts != place}
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    answers[client] = answer
        return answers

    def _lose(self, place: int, error: BaseException) -> None:
        """Take a host out, and start another in its place while replacements are left."""
        host = self._hosts.pop(place)
        self.n_lost += 1
        _log.info("the host of clients %d, %d ... is lost: %s", place, place + self._n_hosts, error)
        kill(host.handle)  # out of reach is not dead
        if self._replacements_left > 0:
            self._replacements_left -= 1
            self._spawn(place)

    def _spawn(self, place: int) -> None:
        handle = self._class.remote(self._make, self._introductions, n_threads_for(self._cpus_per_actor))
        self._hosts[place] = _Host(handle, handle.pid.remote())

    def _check_capacity(self) -> None:
        needed, total = self._n_hosts * self._cpus_per_actor, ray.cluster_resources().get("CPU", 0.0)
        if needed > total:
            raise FleetError(
                f"{self._n_hosts} hosts with {self._cpus_per_actor:g} CPUs each need {needed:g} CPUs, and this Ray cluster has {total:g}: "
                f"use at most --actors {int(total // self._cpus_per_actor)}"
            )
