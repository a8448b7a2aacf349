"""Retry policy: a failure in, RETRY or RAISE out. It knows no worker, sends nothing and never sleeps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from orchestrator.errors import ExecutionError, FleetError, QfleetError, UnanswerableJobError


class WorkerLostError(FleetError):
    """The worker that held a job is gone or out of reach. Whether the job was run is unknown; running it again is harmless."""


class UnknownCircuitError(ExecutionError):
    """A worker does not (or no longer) know the circuit of a job: send it again."""

    def __init__(self, worker: str, circuit_key: str) -> None:
        super().__init__(worker, circuit_key)
        self.worker = worker
        self.circuit_key = circuit_key

    def __str__(self) -> str:
        return f"{self.worker} does not know circuit {self.circuit_key}; call register() before the first job that names it"


class Decision(Enum):
    """What becomes of a job that failed."""

    RETRY = auto()
    RAISE = auto()


@dataclass(frozen=True)
class RetryPolicy:
    """Retry what another worker or another moment may mend, a bounded number of times.

    Attributes:
        max_attempts: how often one job is tried in all. A job that kills every worker it meets is stopped by the same bound.
    """

    max_attempts: int = 4

    def decide(self, error: BaseException, n_failures: int) -> Decision:
        """What to do after failure number `n_failures` (the first is 1) of one job, which was `error`."""
        if not is_passing(error) or n_failures >= self.max_attempts:
            return Decision.RAISE
        return Decision.RETRY


def is_passing(error: BaseException) -> bool:
    """Whether trying again may help: not where the input or the backend's abilities are at fault."""
    if isinstance(error, (WorkerLostError, ExecutionError)):
        return True
    return not isinstance(error, QfleetError)


def error_for(job_id: str, n_failures: int, error: BaseException) -> QfleetError:
    """What the caller is told about a job that is not tried again."""
    if isinstance(error, QfleetError) and not is_passing(error):
        return error
    times = "once" if n_failures == 1 else f"{n_failures} times"
    told = ExecutionError(f"job {job_id} failed {times} and is given up; the last failure: {error}")
    for note in getattr(error, "__notes__", ()):
        told.add_note(note)
    return told


def is_of_one_job(told: QfleetError) -> bool:
    """Whether the other jobs may go on after what `error_for` told of one."""
    return isinstance(told, (ExecutionError, UnanswerableJobError))
