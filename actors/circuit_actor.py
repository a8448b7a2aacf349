"""CircuitActor: one backend session and one circuit cache. A plain class; ray_fleet/ wraps it, serial.py calls it."""

from __future__ import annotations

import logging
import pickle
import threading
import traceback
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from actors.circuit_cache import CacheStats, CircuitCache
from actors.retry import UnknownCircuitError
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import ExecutionError, InputError, QfleetError
from orchestrator.jobs import Job, JobResult, check_result
from orchestrator.protocols import Backend, Session

MAX_CIRCUITS = 128
"""Size of an actor's circuit cache."""

_log = logging.getLogger(__name__)


class CircuitActor:
    """Answers jobs with one session of `backend`, opened when it is first needed.

    `run` may be called from as many threads at once as the backend has jobs in flight, the other methods from any.

    Args:
        backend: where circuits run.
        worker: the name that its results carry.
        max_circuits: size of the circuit cache.
    """

    def __init__(self, backend: Backend, worker: str, max_circuits: int = MAX_CIRCUITS) -> None:
        self.worker = worker
        self._backend = backend
        self._opening = threading.Lock()
        self._session: Session | None = None
        self._max_circuits = max_circuits
        self._cache = CircuitCache(max_circuits)

    def open(self) -> None:
        """Pay now what the first job would pay whatever its circuit: the session, with its imports."""
        with self._typed_errors("could not be opened"):
            self._open_session()
        _log.info("%s is open", self.worker, extra={"worker": self.worker})

    def register(self, circuit: MeasuredCircuit) -> None:
        """Make `circuit` known under its key."""
        self._cache.add(circuit)

    def run(self, job: Job) -> JobResult:
        """The checked answer to `job`.

        Raises:
            UnknownCircuitError: the job's circuit must be registered (again).
            QfleetError: as the backend raised it; any other exception of the backend becomes an ExecutionError with its text.
        """
        with self._typed_errors(f"failed on job {job.job_id}"):
            session = self._open_session()
            try:
                entry, is_hit = self._cache.lookup(job.circuit_key, session.compile)
            except KeyError:
                raise UnknownCircuitError(self.worker, job.circuit_key) from None
            answer = session.run(entry.program, job)
            # Checked here and not only on the driver, so that a bad answer is retried like any other failure.
            result = check_result(job, answer, len(entry.circuit.paulis))
            return replace(result, worker=self.worker, cache_hit=is_hit)

    @property
    def cache_stats(self) -> CacheStats:
        """Counts of the circuit cache."""
        return self._cache.stats

    def close(self) -> None:
        """Close the session; compiled programs belong to it and go too."""
        with self._opening:
            session, self._session = self._session, None
            self._cache = CircuitCache(self._max_circuits)
        if session is not None:
            with self._typed_errors("could not be closed"):
                session.close()

    def _open_session(self) -> Session:
        session = self._session
        if session is None:
            with self._opening:
                if self._session is None:
                    self._session = self._backend.open_session()
                session = self._session
        return session

    @contextmanager
    def _typed_errors(self, what: str) -> Iterator[None]:
        """Let only QfleetErrors out, and only such as can cross a process border."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, UnknownCircuitError):
                _log.info("%s %s", self.worker, what, exc_info=True, extra={"worker": self.worker})
            if isinstance(error, QfleetError) and _survives_pickling(error):
                raise
            name = getattr(self._backend, "name", type(self._backend).__name__)
            wrapped = ExecutionError(f"backend {name!r} {what}: {type(error).__name__}: {error}")
            # The traceback does not travel, its text does: shown by Python when nobody catches the error.
            wrapped.add_note(f"On {self.worker}:\n{traceback.format_exc()}")
            raise wrapped from error


def _survives_pickling(error: BaseException) -> bool:
    """Whether the far side would see the same error. A class from a user's backend may forget to hand on its arguments."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return type(copy) is type(error) and str(copy) == str(error)


def check_known(jobs: Sequence[Job], circuit_keys: Container[str]) -> None:
    """Refuse jobs of circuits that were never registered.

    Raises:
        InputError: the first such job.
    """
    for job in jobs:
        if job.circuit_key not in circuit_keys:
            raise InputError(
                f"job {job.job_id} names circuit {job.circuit_key}, which is not registered: call register() first"
            )
