"""An actor's process, and the driver's side of a call to it: waiting, fetching, and what an error means."""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
import time
from collections.abc import Collection
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
from actors.retry import WorkerLostError
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import ExecutionError, FleetError, QfleetError

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


class Hello(NamedTuple):
    """How an actor introduces itself."""

    pid: int
    node_id: str


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

    def __init__(self, backend: bytes, worker: str, n_threads: int) -> None:
        # Before the backend is unpickled, which imports numba; numpy is loaded already, see `thread_options`.
        for name in THREAD_VARIABLES:
            os.environ[name] = str(n_threads)
        self._payload = backend
        self._worker = worker
        self._loading = threading.Lock()
        self._actor: CircuitActor | None = None

    def prepare(self) -> Hello:
        """Import the backend. Here and not in __init__, so that an error reaches the driver as itself."""
        self._circuit_actor()
        return Hello(os.getpid(), ray.get_runtime_context().get_node_id())

    def open(self) -> Hello:
        """Open the session."""
        self._circuit_actor().open()
        return self.prepare()

    def run(self, job: bytes, circuit: MeasuredCircuit | None = None) -> bytes:
        """Pickled JobResult of the pickled `job`; `circuit` comes along when the driver thinks it is not known here."""
        actor = self._circuit_actor()
        if circuit is not None:
            actor.register(circuit)
        return pickle.dumps(actor.run(pickle.loads(job)), protocol=pickle.HIGHEST_PROTOCOL)

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


def finished(calls: Collection[Any]) -> list[Any]:
    """Those of `calls` that have ended, by their references; waits for the first of them, `POLL_SECONDS` at most."""
    if not calls:
        return []
    ready, rest = ray.wait(list(calls), num_returns=1, timeout=POLL_SECONDS)
    if ready and rest:
        ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
    return list(ready)


def fetch(reference: Any) -> Any:
    """What a finished call answered: its value, or the error it ended with (returned, not raised)."""
    try:
        answer = ray.get(reference, timeout=FETCH_SECONDS)
        return pickle.loads(answer) if isinstance(answer, bytes) else answer
    except RayTaskError as error:  # first: Ray makes it an instance of its cause's class as well
        if isinstance(error.cause, QfleetError):
            return error.cause
        return ExecutionError(f"an actor failed: {type(error.cause).__name__}: {error.cause}")
    except _LOST as error:
        return WorkerLostError(_reason(error))
    except (RayError, pickle.UnpicklingError, ImportError, AttributeError) as error:
        return ExecutionError(f"an actor's answer cannot be read: {type(error).__name__}: {error}")


def wait_for_all(references: list[Any], seconds: float) -> int:
    """Wait until all calls have ended; returns how many had not after `seconds`."""
    deadline = time.monotonic() + seconds
    waiting = references
    while waiting and (left := deadline - time.monotonic()) > 0:
        _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=min(left, POLL_SECONDS))
    return len(waiting)


def started(references: list[Any]) -> list[Hello]:
    """The answers of actors that were started.

    Raises:
        FleetError: one died; QfleetError: the backend could not be opened.
    """
    answers = [fetch(reference) for reference in references]
    for answer in answers:
        if isinstance(answer, WorkerLostError):
            raise FleetError(f"an actor died while it started: {answer}")
        if isinstance(answer, BaseException):
            raise answer
    return answers


def _reason(error: BaseException) -> str:
    """Ray's multi-line report of a death on one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line) or type(error).__name__


def kill(handle: Any) -> None:
    """Kill an actor; one that is dead or whose Ray has ended is no error."""
    with contextlib.suppress(Exception):
        ray.kill(handle, no_restart=True)
