"""How long a submission is kept at: outages that last, and jobs that fail at the provider, as nights of training bring them.

A call of `actors.ionq.transport` outlasts what passes within minutes. What comes back from it as a passing error is met here with
longer and longer pauses, so that an outage of hours costs time and nothing else; the book sees to it that beginning again never pays
again. Both bounds count for one attempt of the fleet, which makes a few of them (`actors/retry.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from actors.ionq.clock import Clock
from actors.ionq.errors import (
    BadAnswerError,
    JobFailedError,
    RateLimitedError,
    SubmissionUnknownError,
    UnavailableError,
)

T = TypeVar("T")
OUTAGES = (UnavailableError, RateLimitedError, BadAnswerError, SubmissionUnknownError)
"""Errors that speak of the service and the way to it; JobFailedError speaks of one job."""


@dataclass(frozen=True)
class Persistence:
    """How long to begin again, in seconds.

    Attributes:
        first_pause, max_pause: before beginning again; each pause is twice the one before, up to the longest.
        outage: of trouble in all, pauses included.
        longest_call: what a single failing call can take; of an attempt that took longer, the rest was waiting for its job.
        failed_jobs: how many failed jobs of one submission are replaced by another.
    """

    first_pause: float = 0.25
    max_pause: float = 60.0
    outage: float = 3600.0
    longest_call: float = 190.0
    failed_jobs: int = 3


def keep_at(
    attempt: Callable[[], T],
    clock: Clock,
    persistence: Persistence,
    jitter: Callable[[], float] = random.random,
) -> T:
    """What `attempt` returns, begun again after passing failures for as long as `persistence` says.

    Args:
        attempt: may be called again after any of its errors, and then goes on where it stood.
        clock: pauses; its StoppedError ends them.
        jitter: a number in [0, 1) for each pause, which is shortened by up to half, so that sessions do not come back together.

    Raises:
        QfleetError: the last failure, or one that does not pass.
    """
    trouble, n_failed, pause = 0.0, 0, persistence.first_pause
    while True:
        began = clock.now()
        try:
            return attempt()
        except JobFailedError:
            n_failed += 1
            if n_failed > persistence.failed_jobs:
                raise
        except OUTAGES as error:
            asked = min(error.retry_after or 0.0, persistence.max_pause)
            pause = max(pause, asked)
            trouble += min(clock.now() - began, persistence.longest_call) + pause
            if trouble > persistence.outage:
                raise
        clock.sleep(pause * (1 - jitter() / 2))
        pause = min(2 * pause, persistence.max_pause)
