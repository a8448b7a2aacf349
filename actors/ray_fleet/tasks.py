"""RayTasks: any picklable function of one argument, over a sequence of arguments, on Ray actors; each holds one task at a time.

For work much longer than a job, such as whole trainings. As in `actors.ray_fleet.fleet` Ray restarts and repeats nothing: a dead actor
is replaced and its task done again by whichever is free, so a task has to be content: the same argument, the same result. An error
of the task itself would come again, and is raised at once.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import ray
from ray import cloudpickle

from actors.ray_fleet.connection import connect, release
from actors.ray_fleet.process import (
    THREAD_VARIABLES,
    fetch,
    finished,
    kill,
    n_threads_for,
    thread_options,
)
from actors.retry import Decision, RetryPolicy, WorkerLostError
from actors.scheduler import GivenUp, Scheduler
from orchestrator.errors import ConfigError, ExecutionError, FleetError, InputError, QfleetError

_log = logging.getLogger(__name__)
_A = TypeVar("_A")
_R = TypeVar("_R")


class TaskProcess:
    """What lives in an actor's process: nothing but the function that it is sent with every task."""

    def __init__(self, n_threads: int) -> None:
        # before a task imports numba; numpy is loaded already, see `thread_options`
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(n_threads)))

    def pid(self) -> int:
        """Process id; the first answer says that the actor is ready."""
        return os.getpid()

    def run(self, task: bytes) -> bytes:
        """Pickled (result,) of a cloudpickled (function, argument).

        Raises:
            ExecutionError: the task cannot be unpickled here; or whatever the function raises.
        """
        try:
            function, argument = cloudpickle.loads(task)
        except Exception as error:
            raise ExecutionError(
                f"an actor cannot load the task: {type(error).__name__}: {error}; is its package installed there?"
            ) from error
        return pickle.dumps((function(argument),), protocol=pickle.HIGHEST_PROTOCOL)


@dataclass(frozen=True)
class _LossesOnly(RetryPolicy):
    """Tries again what a lost worker held, and nothing else."""

    def decide(self, error: BaseException, n_failures: int) -> Decision:
        return super().decide(error, n_failures) if isinstance(error, WorkerLostError) else Decision.RAISE


@dataclass(eq=False)
class _Worker:
    """An actor, seen from the driver; `pid` is None until it is ready."""

    name: str
    handle: Any
    spawned_at: float
    pid: int | None = None


class _Call(NamedTuple):
    """A call in flight: of task number `task`, or of `pid` if that is None."""

    worker: _Worker
    task: int | None


class RayTasks:
    """Runs tasks on `n_actors` Ray actors. They join as they become ready, so the first tasks need not wait for the last actor.

    Args:
        n_actors: actors to start.
        cpus_per_actor: CPUs reserved for an actor, and the threads that numerical libraries may use in it.
        address: Ray cluster to join; None: ``RAY_ADDRESS`` if set, else a local Ray that ends with this. A Ray that this process is
            connected to already is used in any case, and left running.
        max_attempts: how often a task is tried whose actor is lost.
        max_replacements: dead actors replaced in all; None: three for each actor.
        start_timeout_seconds: how long to wait where no actor is ready.

    Raises:
        ConfigError: fewer than one actor.
        FleetError: Ray cannot be reached, or has not the CPUs.
    """

    def __init__(
        self,
        n_actors: int,
        *,
        cpus_per_actor: float = 1.0,
        address: str | None = None,
        max_attempts: int = 4,
        max_replacements: int | None = None,
        start_timeout_seconds: float = 120.0,
    ) -> None:
        if n_actors < 1:
            raise ConfigError("n_actors", n_actors, "should be greater than or equal to 1", "1")
        self._n_actors = n_actors
        self._cpus_per_actor = cpus_per_actor
        self._replacements_left = 3 * n_actors if max_replacements is None else max_replacements
        self._start_timeout_seconds = start_timeout_seconds
        self._actor_class = ray.remote(TaskProcess).options(
            num_cpus=cpus_per_actor,
            max_restarts=0,
            max_task_retries=0,
            **thread_options(n_threads_for(cpus_per_actor)),
        )
        self._scheduler = Scheduler(1, _LossesOnly(max_attempts))
        self._numbers = itertools.count()  # of actors and tasks alike
        self._workers: dict[str, _Worker] = {}
        self._calls: dict[Any, _Call] = {}
        self._tasks: dict[int, bytes] = {}  # not answered yet
        self._results: deque[tuple[int, Any]] = deque()
        self._error: QfleetError | None = None
        self._n_lost = 0
        self._last_loss = ""
        self._is_running = False
        self._is_closed = False
        self._connection = connect(address)
        try:
            self._check_capacity()
            for _ in range(n_actors):
                self._spawn()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def n_lost(self) -> int:
        """Actors that have been lost."""
        return self._n_lost

    def worker_pids(self) -> dict[str, int]:
        """Process id of each ready actor (on its own machine)."""
        return {worker.name: worker.pid for worker in self._workers.values() if worker.pid is not None}

    def run(self, function: Callable[[_A], _R], arguments: Sequence[_A]) -> Iterator[tuple[int, _R]]:
        """Yield (i, function(arguments[i])) of every argument as it is done; they are begun in their order.

        Not for several threads at once. When it is left early, tasks in flight are not waited for. After an interrupt, which may have
        struck in the middle of the bookkeeping, make new actors.

        Raises:
            InputError: a task cannot be pickled; nothing has been sent.
            ExecutionError: a task raised (an error of qfleet's own is raised as it is), or lost its actor too often.
            FleetError: no actor is left; or another run has not ended.
        """
        self._check_open()
        if self._is_running:
            raise FleetError("the actors are in the middle of another run: finish it, or close its iterator")
        self._is_running = True
        indices = {next(self._numbers): i for i in range(len(arguments))}
        self._error = None
        try:
            for number, i in indices.items():
                self._tasks[number] = _pickled(function, arguments[i])
                self._scheduler.job_added(number)
            self._send()
            while True:
                while self._results:
                    number, result = self._results.popleft()
                    yield indices[number], result
                if self._error is not None:
                    raise self._error
                if not self._tasks:
                    return
                self._check_open()
                self._pump()
        finally:
            self._scheduler.withdraw(indices)
            self._tasks.clear()
            self._results.clear()
            self._is_running = False

    def close(self) -> None:
        """Kill the actors, and stop Ray if this started it and is the last to use it."""
        if self._is_closed:
            return
        self._is_closed = True
        for worker in self._workers.values():
            kill(worker.handle)
        self._workers.clear()
        self._calls.clear()
        release(self._connection)

    # Actors

    def _check_capacity(self) -> None:
        needed = self._n_actors * self._cpus_per_actor
        total = ray.cluster_resources().get("CPU", 0.0)
        if needed > total:
            raise FleetError(
                f"{self._n_actors} actors with {self._cpus_per_actor:g} CPUs each need {needed:g} CPUs, and this Ray cluster has "
                f"{total:g}: start at most {int(total // self._cpus_per_actor)} actors"
            )

    def _spawn(self) -> None:
        name = f"actor-{next(self._numbers)}"
        handle = self._actor_class.remote(n_threads_for(self._cpus_per_actor))
        worker = self._workers[name] = _Worker(name, handle, time.monotonic())
        self._calls[handle.pid.remote()] = _Call(worker, None)

    def _lose(self, worker: _Worker, error: BaseException) -> None:
        """Take a worker out, requeue its task, start another in its place while replacements are left."""
        if self._workers.pop(worker.name, None) is None:
            return
        self._n_lost += 1
        self._last_loss = str(error)
        _log.info("%s is lost: %s", worker.name, error)
        kill(worker.handle)  # out of reach is not dead: an actor that comes back must not hold CPUs
        self._calls = {
            reference: call for reference, call in self._calls.items() if call.worker is not worker
        }
        for given_up in self._scheduler.worker_lost(worker.name, error):
            self._give_up(given_up)
        if self._replacements_left > 0:
            self._replacements_left -= 1
            self._spawn()

    def _check_alive(self) -> None:
        """Raise a FleetError if waiting is of no use: no actor is ready, and none is about to be."""
        if self._scheduler.workers:
            return
        oldest = min((worker.spawned_at for worker in self._workers.values()), default=None)
        if oldest is None:
            raise FleetError(
                f"every actor is lost ({self._n_lost} in all) and none may be replaced any more; the last loss: {self._last_loss}"
            )
        if time.monotonic() - oldest > self._start_timeout_seconds:
            free = ray.available_resources().get("CPU", 0.0)
            raise FleetError(
                f"no actor was ready within {self._start_timeout_seconds:g} s; the cluster has {free:g} CPUs free: start fewer actors, "
                "or wait until other programs have ended"
            )

    def _check_open(self) -> None:
        if self._is_closed:
            raise FleetError("the actors are closed: make new ones")

    # The loop

    def _pump(self) -> None:
        """One turn: wait for something to finish, take in all that has, send what can be sent."""
        ready = finished(self._calls)
        if not ready:
            self._check_alive()
        for reference in ready:
            call = self._calls.pop(reference, None)
            if call is not None:  # else dropped together with its worker, a moment ago
                self._receive(call, fetch(reference))
        self._send()

    def _send(self) -> None:
        for assignment in self._scheduler.assignments():
            worker = self._workers[assignment.worker]
            reference = worker.handle.run.remote(self._tasks[assignment.job])
            self._calls[reference] = _Call(worker, assignment.job)

    def _receive(self, call: _Call, answer: Any) -> None:
        """Tell the scheduler what came of a call, and keep a result."""
        worker, task = call
        if isinstance(answer, WorkerLostError) or (task is None and isinstance(answer, BaseException)):
            self._lose(worker, answer)
        elif task is None:
            worker.pid = answer
            self._scheduler.worker_joined(worker.name)
        elif isinstance(answer, BaseException):
            given_up = self._scheduler.job_failed(worker.name, task, answer)
            if given_up is not None:
                self._give_up(given_up)
        elif self._scheduler.job_done(worker.name, task):
            del self._tasks[task]
            self._results.append((task, *answer))

    def _give_up(self, given_up: GivenUp) -> None:
        del self._tasks[given_up.job]
        error = given_up.error
        if isinstance(error, WorkerLostError):
            error = ExecutionError(
                f"a task lost its actor {given_up.n_failures} times and is given up; the last loss: {error}"
            )
        assert isinstance(error, QfleetError), "fetch gives no other"
        self._error = self._error or error


def _pickled(function: Callable[[_A], Any], argument: _A) -> bytes:
    try:
        return bytes(cloudpickle.dumps((function, argument)))
    except Exception as error:
        raise InputError(
            f"{function} of {argument!r:.200} cannot be sent to an actor: {type(error).__name__}: {error}"
        ) from error
