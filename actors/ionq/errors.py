"""What can go wrong between qfleet and IonQ's API, as errors that pickle, that show no secret, and that say what to do.

The class decides what follows (`actors/retry.py`): a `PassingIonQError` is an ExecutionError, which the fleet tries again; the rest
are the user's to mend and stop the run. None of them holds a request's body or headers.
"""

from __future__ import annotations

from orchestrator.errors import ExecutionError, InputError, QfleetError, UnanswerableJobError

MAX_MESSAGE = 500  # characters of the provider's explanation that an error keeps
KEY_VARIABLES = ("CIRQ_IONQ_API_KEY", "IONQ_API_KEY")  # the first that is set counts, as in cirq_ionq


class IonQError(QfleetError):
    """IonQ's API refused something, failed, or could not be reached.

    Args:
        problem: what happened, in our words.
        code: the provider's short code or error name, where it gave one.
        message: the provider's own explanation, where it gave one.
        status: the HTTP status, where there was one.
        job_id: the provider's id of the job in question.
        retry_after: seconds the provider asked us to wait.
    """

    advice = ""

    def __init__(
        self,
        problem: str,
        code: str | None = None,
        message: str | None = None,
        status: int | None = None,
        job_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        message = message and message[:MAX_MESSAGE]
        super().__init__(problem, code, message, status, job_id, retry_after)
        self.problem = problem
        self.code = code
        self.message = message
        self.status = status
        self.job_id = job_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        facts = [
            f"HTTP {self.status}" if self.status is not None else "",
            f"job {self.job_id}" if self.job_id else "",
            self.code or "",
            repr(self.message) if self.message else "",
        ]
        told = ", ".join(fact for fact in facts if fact)
        text = f"{self.problem} ({told})" if told else self.problem
        return f"{text}; {self.advice}" if self.advice else text


class PassingIonQError(IonQError, ExecutionError):
    """Another moment may mend it; the fleet tries the job again, and the run's book keeps that from costing twice."""


class UnavailableError(PassingIonQError):
    """A call that may be repeated was repeated for as long as allowed, and IonQ never answered it properly."""

    advice = "see whether the network and IonQ's status page are well, then resume the run"


class RateLimitedError(PassingIonQError):
    """IonQ refused requests for coming too fast, for longer than a call may take. Nothing was accepted."""

    advice = "run fewer jobs at the same time"


class BadAnswerError(PassingIonQError):
    """IonQ answered with something that its API does not promise."""

    advice = "resume the run to ask again; results already computed are not paid for twice"


class SubmissionUnknownError(PassingIonQError):
    """A job was sent and its fate is unknown: IonQ may have accepted it. It must be looked up before it is sent again."""

    advice = "the job list is searched for its token before anything is sent again"


class JobFailedError(PassingIonQError):
    """A job failed at the provider for a reason that may pass. Failed jobs are not charged."""

    advice = "it is submitted anew a bounded number of times"


class StoppedError(PassingIonQError):
    """A wait ended because its session was closed. Jobs in flight stay with the provider and are taken up again by id."""


class JobTimeoutError(IonQError):
    """A job did not finish within the time allowed. It stays where it is and is taken up again by its id."""

    advice = "resume the run later: it waits for the same job"


class JobRejectedError(IonQError, UnanswerableJobError):
    """A job failed at the provider for a reason that trying again cannot mend."""


class JobCanceledError(IonQError, UnanswerableJobError):
    """Somebody canceled the job at the provider."""

    advice = "resume the run to submit its circuits anew"


class RequestRefusedError(IonQError):
    """IonQ refused a request for what it says or for who sent it."""

    advice = "correct what IonQ names"


class SubmissionRefusedError(RequestRefusedError):
    """IonQ refused to accept a job; nothing runs and nothing is charged."""


class NotFoundError(RequestRefusedError):
    """IonQ knows no such job or address."""

    advice = "see whether the job was deleted, or belongs to another account"


class AuthenticationError(RequestRefusedError):
    """IonQ does not know the API key."""

    advice = f"set {' or '.join(reversed(KEY_VARIABLES))} to a valid key of your account"


class MissingKeyError(InputError):
    """No usable API key is in the environment, which is the only place that it is read from."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.problem}; set {' or '.join(reversed(KEY_VARIABLES))} in the environment to your IonQ API key"
