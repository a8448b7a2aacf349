"""An actor's process, and the driver's side of a call to it: waiting, fetching, and what an error means."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import threading
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import ray
from ray import cloudpickle
from ray.exceptions import (
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from actors.circuit_actor import CircuitActor
from actors.json_log import JsonLog, log_context, log_fields
from actors.ray_fleet.head import HeadWatch
from actors.ray_fleet.resources import Needs
from actors.ray_fleet.versions import source_digest, versions
from actors.retry import WorkerLostError
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import ExecutionError, QfleetError
from orchestrator.jobs import Job
from orchestrator.protocols import Backend

POLL_SECONDS = 1.0
"""Longest single wait; between two, the loop sees that nothing is left to wait for."""
FETCH_SECONDS = 30.0
"""Longest transfer of a finished result from another node."""
_LOST = (
    RayActorError,
    NodeDiedError,
    WorkerCrashedError,
    OutOfMemoryError,
    ObjectLostError,
    GetTimeoutError,
)
"""Errors after which nothing is known of a worker; it is replaced, even if it should still live."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


JOBS = "jobs"
"""Name of the threads that run jobs, in an actor with several of them."""


class Hello(NamedTuple):
    """How an actor introduces itself: its process and node, what it runs, and a digest of the qfleet that it runs."""

    pid: int
    node_id: str
    versions: dict[str, str]
    source: str


def n_threads_for(cpus: float) -> int:
    """Threads that numerical libraries may use in an actor with `cpus` CPUs reserved: its share of the node, at least one."""
    return max(1, int(cpus))


def thread_options(n_threads: int) -> dict[str, Any]:
    """Actor options that keep numpy's BLAS to `n_threads`, where this process's environment says otherwise.

    BLAS reads its variables when it is loaded, before an actor's own code runs, and Ray sets one of them only where none is inherited. A
    `runtime_env` comes first of all, but costs 0.4 s an actor, so it is used only where it is needed.
    """
    wanted = dict.fromkeys(THREAD_VARIABLES, str(n_threads))
    is_right = all(os.environ.get(name, value) == value for name, value in wanted.items())
    return {} if is_right else {"runtime_env": {"env_vars": wanted}}


class ActorProcess:
    """What lives in an actor's process: a CircuitActor. With several jobs in flight its methods are called from several threads.

    Jobs and results cross as bytes pickled by C code: Ray's own serializer costs the driver twice as much per job.
    """

    def __init__(
        self, backend: bytes, worker: str, n_threads: int, labels: Mapping[str, Any] | None = None
    ) -> None:
        # Before the backend is unpickled, which imports numba; numpy is loaded already, see `thread_options`.
        for name in THREAD_VARIABLES:
            os.environ[name] = str(n_threads)
        self._payload = backend
        self._worker = worker
        self._loading = threading.Lock()
        self._actor: CircuitActor | None = None
        # Ray keeps what a worker writes to stderr in a file of its session, see docs/watching.md.
        JsonLog(sys.stderr, {**(labels or {}), "worker": worker}, is_beside=False)

    def prepare(self) -> Hello:
        """Import the backend. Here and not in __init__, so that an error reaches the driver as itself."""
        self._circuit_actor()
        return Hello(os.getpid(), ray.get_runtime_context().get_node_id(), versions(), source_digest())

    def open(self) -> None:
        """Open the session."""
        self._circuit_actor().open()

    def run(self, job: bytes, circuit: MeasuredCircuit | None = None) -> bytes:
        """Pickled JobResult of the pickled `job`; `circuit` comes along when the driver thinks it is not known here."""
        actor = self._circuit_actor()
        if circuit is not None:
            actor.register(circuit)
        asked: Job = pickle.loads(job)
        with log_context(job=asked.job_id, step=asked.step):
            return pickle.dumps(actor.run(asked), protocol=pickle.HIGHEST_PROTOCOL)

    def echo(self, job: bytes) -> bytes:
        """A job that computes nothing, to measure what sending one costs."""
        return pickle.dumps(pickle.loads(job), protocol=pickle.HIGHEST_PROTOCOL)

    def close(self) -> None:
        """Close the session."""
        if self._actor is not None:
            self._actor.close()

    def _circuit_actor(self) -> CircuitActor:
        with self._loading:
            if self._actor is None:
                self._actor = self._loaded()
            return self._actor

    def _loaded(self) -> CircuitActor:
        try:
            backend = cloudpickle.loads(self._payload)
        except Exception as error:
            raise ExecutionError(
                f"{self._worker} cannot load the backend: {type(error).__name__}: {error}; is its package installed there?"
            ) from error
        return CircuitActor(backend, self._worker)


class Launcher:
    """Starts actors of one backend.

    Args:
        backend: pickled here, once; needs: what each actor reserves.
    """

    def __init__(self, backend: Backend, needs: Needs) -> None:
        self._payload = cloudpickle.dumps(backend)
        self._n_threads = n_threads_for(needs.cpus)
        self._has_threads = backend.capabilities.jobs_in_flight > 1
        remote = ray.remote
        if self._has_threads:
            # Jobs on threads of their own: what else an actor is asked is answered while all of them wait.
            remote = ray.remote(concurrency_groups={JOBS: backend.capabilities.jobs_in_flight})
        self._class = remote(ActorProcess)
        self._options = {
            "max_restarts": 0,
            "max_task_retries": 0,
            "enable_task_events": False,  # Ray's log of every call, for its dashboard: a third of a round trip
            **needs.options(),
            **thread_options(self._n_threads),
        }

    def start(self, name: str, strategy: Any = None) -> tuple[Any, Any]:
        """Ask for an actor: its handle, at once, and its method that runs a job. `strategy`: Ray's, where it shall run."""
        where = {} if strategy is None else {"scheduling_strategy": strategy}
        made = self._class.options(**self._options, **where)
        handle = made.remote(self._payload, name, self._n_threads, log_fields())
        return handle, handle.run.options(concurrency_group=JOBS) if self._has_threads else handle.run


def finished(calls: Collection[Any], seconds: float = POLL_SECONDS) -> list[Any]:
    """Those of `calls` that have ended, by their references; waits for the first of them, `seconds` at most."""
    if not calls:
        return []
    ready, rest = ray.wait(list(calls), num_returns=1, timeout=seconds)
    if ready and rest:
        ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
    return list(ready)


def fetch(reference: Any) -> Any:
    """What a finished call answered: its value, or the error it ended with (returned, not raised)."""
    try:
        answer = ray.get(reference, timeout=FETCH_SECONDS)
    except RayTaskError as error:  # first: Ray makes it an instance of its cause's class as well
        if isinstance(error.cause, QfleetError):
            return error.cause
        return ExecutionError(f"an actor failed: {type(error.cause).__name__}: {error.cause}")
    except _LOST as error:
        return WorkerLostError(_reason(error))
    except RayError as error:
        return ExecutionError(f"an actor's answer cannot be read: {type(error).__name__}: {error}")
    try:
        return pickle.loads(answer) if isinstance(answer, bytes) else answer
    except Exception as error:  # what its classes do when they are unpickled here
        return ExecutionError(f"an actor's answer cannot be read: {type(error).__name__}: {error}")


def wait_for(reference: Any, seconds: float) -> None:
    """Return when a call has ended, or has taken `seconds`.

    Raises:
        FleetError: the cluster's head is gone, and nothing may ever be answered.
    """
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if ray.wait([reference], timeout=min(left, POLL_SECONDS))[0]:
            return
        HeadWatch.of_this_cluster().answers()


def wait_for_all(references: list[Any], seconds: float) -> int:
    """Wait until all calls have ended; returns how many had not after `seconds`."""
    deadline = time.monotonic() + seconds
    waiting = references
    while waiting and (left := deadline - time.monotonic()) > 0:
        _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=min(left, POLL_SECONDS))
    return len(waiting)


def _reason(error: BaseException) -> str:
    """Ray's multi-line report of a death on one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line) or type(error).__name__


def kill(handle: Any) -> None:
    """Kill an actor; one that is dead, or whose Ray or cluster has ended, is no error."""
    with contextlib.suppress(Exception):
        # Ray would be started anew to be asked, and a head that is not there waited for.
        if ray.is_initialized() and HeadWatch.of_this_cluster().may_be_asked():
            ray.kill(handle, no_restart=True)
