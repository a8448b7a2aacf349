"""What each failure code of IonQ's API v0.4 means for us: worth another submission, or the user's to mend."""

from __future__ import annotations

from typing import NamedTuple

from actors.ionq.errors import IonQError, JobCanceledError, JobFailedError, JobRejectedError

_CIRCUIT = "the circuit does not suit this backend: change the model, the gate set or backend.target"
_ACCOUNT = "IonQ's billing stands in the way: settle it with IonQ or use another target"
_PASSING = JobFailedError.advice


class Failure(NamedTuple):
    """Whether another submission may succeed, and what to tell the user."""

    is_passing: bool
    advice: str


FAILURES = {
    # the machine's or the service's own trouble
    "InternalError": Failure(True, _PASSING),
    "QuantumComputerError": Failure(True, _PASSING),
    "SimulationError": Failure(True, _PASSING),
    "SimulationTimeout": Failure(True, _PASSING),
    "SystemCancel": Failure(True, _PASSING),
    "UnknownBillingError": Failure(True, _PASSING),
    # the circuit's or its settings'
    "CompilationError": Failure(False, _CIRCUIT),
    "DebiasingError": Failure(False, "turn backend.error_mitigation off, or take at least 500 shots"),
    "InvalidInput": Failure(False, _CIRCUIT),
    "NotEnoughQubits": Failure(False, "use fewer qubits, or a larger backend.target"),
    "OptimizationError": Failure(False, _CIRCUIT),
    "PreflightError": Failure(False, _CIRCUIT),
    "QuantumCircuitComplexityError": Failure(False, _CIRCUIT),
    "TooLongPredictedExecutionTime": Failure(False, "use fewer shots, or fewer circuits in a job"),
    "TooManyControls": Failure(False, _CIRCUIT),
    "TooManyGates": Failure(False, _CIRCUIT),
    "TooManyShots": Failure(False, "use fewer shots"),
    "UnsupportedGate": Failure(False, _CIRCUIT),
    # the account's
    "ContractExpiredError": Failure(False, _ACCOUNT),
    "QuotaExhaustedError": Failure(False, _ACCOUNT),
}

# Without a code, or with one that is newer than this table: failed jobs are not charged and tries are bounded, so one more is cheap.
UNKNOWN_FAILURE = Failure(True, _PASSING)


def unsuccessful(job_id: str, status: str, code: str | None, message: str | None) -> IonQError:
    """The error for a job that ended as `status` ("failed" or "canceled") with the provider's `code` and `message`, if any."""
    if status == "canceled" and code != "SystemCancel":
        return JobCanceledError("the job was canceled at IonQ", code, message, None, job_id)
    failure = UNKNOWN_FAILURE if code is None else FAILURES.get(code, UNKNOWN_FAILURE)
    if failure.is_passing:
        return JobFailedError("the job failed at IonQ", code, message, None, job_id)
    return JobRejectedError(f"the job failed at IonQ: {failure.advice}", code, message, None, job_id)
