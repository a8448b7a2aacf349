"""How a job stands, read from the API's raw JSON with all that may be null in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from actors.ionq.errors import BadAnswerError
from actors.ionq.failures import unsuccessful

UNSUCCESSFUL = ("failed", "canceled")


@dataclass(frozen=True)
class JobStatus:
    """One reading of a job.

    Attributes:
        job_id: the provider's id.
        status: submitted, ready, started, completed, failed or canceled; anything else counts as not yet finished.
        code, message: why it failed, where the provider says so.
        child_ids: ids of a batch's circuits, in the order of the circuits; empty if the provider lists none.
        submitted_at, started_at, completed_at: by the provider's clock, Unix seconds; None where it gives none.
    """

    job_id: str
    status: str
    code: str | None = None
    message: str | None = None
    child_ids: tuple[str, ...] = ()
    submitted_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None

    @classmethod
    def from_json(cls, raw: Any, job_id: str | None) -> JobStatus:
        """The status in a raw job object.

        Args:
            raw: the parsed body.
            job_id: the id that was asked for, which must be the answer's; None where any is right.

        Raises:
            BadAnswerError: it is no job object, or another job's.
        """
        if not isinstance(raw, Mapping):
            raise BadAnswerError("IonQ's answer is no job", job_id=job_id)
        found, status = raw.get("id"), raw.get("status")
        if not isinstance(found, str) or not isinstance(status, str) or job_id not in (None, found):
            raise BadAnswerError("IonQ's answer is no job, or another one", job_id=job_id)
        failure = raw.get("failure")
        code, message = _reason(failure if isinstance(failure, Mapping) else {})
        return cls(
            found,
            status,
            code,
            message,
            tuple(str(each) for each in raw.get("child_job_ids") or ()),
            _unix_seconds(raw.get("submitted_at")),
            _unix_seconds(raw.get("started_at")),
            _unix_seconds(raw.get("completed_at")),
        )

    @property
    def is_completed(self) -> bool:
        """Whether there are results (or soon will be)."""
        return self.status == "completed"

    def raise_if_unsuccessful(self) -> None:
        """Nothing, if the job may still succeed or has.

        Raises:
            JobFailedError, JobRejectedError, JobCanceledError: it has not.
        """
        if self.status in UNSUCCESSFUL:
            raise unsuccessful(self.job_id, self.status, self.code, self.message)


def _reason(failure: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Code and message of a failure: ``{"code", "message"}`` in v0.4, ``{"error"}`` before."""
    code = failure.get("code")
    message = failure.get("message") or failure.get("error")
    return (str(code) if code else None), (str(message) if message else None)


def _unix_seconds(moment: Any) -> float | None:
    try:
        return datetime.fromisoformat(moment).timestamp()
    except (TypeError, ValueError):
        return None
