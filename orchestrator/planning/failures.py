"""What becomes of a step whose jobs fail for good: stop, leave the samples out, or have the jobs answered by a simulator.

*Left out*: a job's samples are left out of the batch. What a step estimates is a mean over samples, of the loss, its gradient and its
variance; the mean over those that were answered has the same expectation, provided that whether a job fails does not depend on its
samples: then the answered ones are a random part of a batch that was itself drawn at random. The batch's plan and its cut into jobs stay
as they are, so that the jobs of the others keep their names, and what was paid for once is found again by whoever resumes the run.

A decision is on record before its consequence is: a resumed run takes it again, and ends on the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from orchestrator.errors import ExecutionError
from orchestrator.jobs import FailedJob, Job
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.protocols import Dispatcher

GIVEN_UP = "given_up.jsonl"
"""Where a run's folder has the jobs that failed for good, see `pipelines.given_up`."""
Action = Literal["stop", "skip_samples", "simulate"]


class GivenUpJobs(Protocol):
    """Jobs of a run that failed for good and were not the end of it."""

    def __contains__(self, job_id: object) -> bool:
        """Whether the job of this id is one of them."""
        ...

    def add(self, failed: Sequence[FailedJob], action: Action, step: int) -> None:
        """Some more, on record when this returns."""
        ...


class GivenUpInMemory:
    """Jobs given up, for as long as this object lives."""

    def __init__(self) -> None:
        self._jobs: set[str] = set()

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, failed: Sequence[FailedJob], action: Action, step: int) -> None:
        """Some more."""
        self._jobs.update(one.job_id for one in failed)


@dataclass(frozen=True)
class FailurePolicy:
    """What follows when jobs fail for good.

    Attributes:
        action: ``stop``, ``skip_samples`` or ``simulate``.
        max_skipped: the largest share of a batch that is left out.
        fallback: answers such jobs where the action is ``simulate``. fallback_name: what its results are called, ``noisy:aria-1``.
        given_up: those of this run so far.
    """

    action: Action = "stop"
    max_skipped: float = 0.5
    fallback: Dispatcher | None = None
    fallback_name: str = "simulator"
    given_up: GivenUpJobs = field(default_factory=GivenUpInMemory)

    def skip(self, lost: np.ndarray, failed: Sequence[FailedJob], step: int) -> None:
        """Leave samples out, if there are not too many; on record when this returns.

        Args:
            lost: bool [S], the samples of the batch that are left out in all.
            failed: jobs whose failure is new.

        Raises:
            ExecutionError: it is a larger share of the batch than is allowed, or all of it.
        """
        n_lost = int(np.count_nonzero(lost))
        if n_lost == len(lost) or n_lost > self.max_skipped * len(lost):
            reason = f"; the last failure: {failed[-1].error}" if failed else ""
            raise ExecutionError(
                f"{n_lost} of the {len(lost)} samples of a batch were not answered, more than backend.max_skipped = "
                f"{self.max_skipped:g} allows{reason}"
            )
        if failed:
            self.given_up.add(failed, self.action, step)


def without_lost(plan: EvaluationPlan, jobs: Iterable[Job], lost: np.ndarray) -> list[Job]:
    """The jobs that have a sample which is not lost; the others would be run for nothing. lost: bool [S] of the batch."""
    members = plan.members
    return [
        job for job in jobs if not lost[members[job.sample_start : job.sample_start + job.n_samples]].all()
    ]


def mark_lost(plan: EvaluationPlan, jobs: Iterable[Job], lost: np.ndarray) -> None:
    """Note in `lost`, bool [S] of the batch, the samples of `jobs`."""
    for job in jobs:
        lost[plan.members[job.sample_start : job.sample_start + job.n_samples]] = True
