"""RehearsalClient: an IonQClient that does not ask how a job stands while it cannot have ended.

A job that waits for hours is looked at every two seconds, thousands of times, and the emulator in this process knows until when every
answer is "not yet". Such a look changes nothing anywhere, so it is answered here, the time it takes included, and the schedule of looks
stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.ionq.client import IonQClient
from actors.ionq.job_status import JobStatus
from actors.ionq.rehearsal.virtual_time import VirtualTime


class RehearsalClient(IonQClient):
    """See the module.

    Args:
        host: of the emulator. time: shared with it. latency_seconds: of its every request.
        ends_at: when a job will end at the earliest; None: there is no such job. None where every look must be a request.
        options: of `IonQClient`.
    """

    def __init__(
        self,
        host: str,
        time: VirtualTime,
        latency_seconds: float,
        ends_at: Callable[[str], float | None] | None,
        **options: Any,
    ) -> None:
        super().__init__(host, clock=time, **options)
        self._time = time
        self._latency = latency_seconds
        self._ends_at = ends_at

    def job(self, job_id: str) -> JobStatus:
        """How the job stands; see `IonQClient.job`."""
        ends_at = None if self._ends_at is None else self._ends_at(job_id)
        if ends_at is not None:
            tells_at = ends_at - self._latency  # a look from then on arrives when the job may have ended
            if self._time.now() < tells_at:
                self._time.be_quiet_until(tells_at, self._latency)
                return JobStatus(job_id, "submitted")
        self._time.catch_up()
        return super().job(job_id)
