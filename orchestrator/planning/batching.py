"""Cutting a plan into jobs: as few as pay, as many as keep every worker fed. The cut never changes the numbers."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise

from orchestrator.jobs import Job
from orchestrator.planning.plan import EvaluationPlan

_QUARTERS = 4
"""Of a job: the shortest piece that `jobs_for` makes of it."""


def n_jobs_for(compute_seconds: float, n_workers: int, overhead_seconds: float, job_seconds: float) -> int:
    """How many jobs to cut `compute_seconds` of work into.

    With c seconds of work and o seconds for the driver to send one more job, j <= n_workers jobs in parallel take
    about ``c / j + o · j``, least at ``j = sqrt(c / o)``: a step of small circuits goes to few workers. Where there
    is work for more than one job of `job_seconds` on every worker, it is cut into such jobs, a whole number for each
    worker, which shortens the tail.
    """
    if compute_seconds <= 0:
        return 1
    parallel = min(n_workers, max(1, round(math.sqrt(compute_seconds / max(overhead_seconds, 1e-9)))))
    rounds = int(compute_seconds / (job_seconds * n_workers))
    return max(parallel, n_workers * rounds)


def jobs_for(plan: EvaluationPlan, n_jobs: int, n_tapered: int = 0) -> list[Job]:
    """About `n_jobs` jobs (fewer than twice as many), cut along the samples first, then along the displacements.

    Args:
        n_tapered: the last so many jobs of `n_jobs` are cut into as many halves and then twice as many quarters, where there are samples
            enough for it: workers then end at nearly the same time (factoring; Hummel, Schonberg, Flynn 1992).
    """
    whole = plan.job()
    if n_tapered and plan.n_samples >= _QUARTERS * n_jobs:
        return whole.parts(
            _tapered_cuts(plan.n_samples, n_jobs, n_tapered), [slice(0, len(whole.displacements))]
        )
    sample_cuts = _cuts(plan.n_samples, min(n_jobs, plan.n_samples))
    per_sample = 1 if whole.jacobian_angles is not None else math.ceil(n_jobs / max(len(sample_cuts), 1))
    row_cuts = _cuts(len(whole.displacements), min(per_sample, len(whole.displacements)))
    if len(sample_cuts) == len(row_cuts) == 1:
        return [whole]
    return whole.parts(sample_cuts, row_cuts)


def jobs_of_at_most(plan: EvaluationPlan, n_circuits: int, *, by_sample: bool = False) -> list[Job]:
    """Jobs of at most `n_circuits` circuits each, as few as possible: for backends that take or charge so many at once.

    The cut depends on the plan alone, never on the workers, so that a resumed run makes the same jobs. A point (a sample with a
    displacement) takes one circuit for each measurement group, whether or not shots are drawn, and all of them are in one job; where they
    are more than `n_circuits`, a job is one point, and its circuits go out in `cuts_of_at_most`.

    Args:
        by_sample: as few samples in a job as fill it with all of their displacements, or else one, where a failed job takes its samples
            along; that may be more jobs.

    Raises:
        ValueError: `n_circuits` is not positive.
    """
    if n_circuits < 1:
        raise ValueError(f"n_circuits = {n_circuits}: nearest valid 1")
    whole = plan.job()
    n_points = max(n_circuits // len(plan.circuit.groups), 1)
    n_samples, n_rows = whole.n_samples, whole.n_displacements

    def with_samples(samples: int) -> tuple[int, int, int]:
        """Number of jobs of so many samples each, minus the rows in one, samples: fewest jobs, then whole samples come first."""
        rows = min(n_points // samples, n_rows)
        return -(-n_samples // samples) * -(-n_rows // rows), -rows, samples

    if not n_samples:
        return []
    if by_sample:
        n_jobs, minus_rows, samples = with_samples(min(max(n_points // n_rows, 1), n_samples))
    else:
        n_jobs, minus_rows, samples = min(map(with_samples, range(1, min(n_samples, n_points) + 1)))
    if n_jobs == 1:
        return [whole]
    row_cuts = cuts_of_at_most(n_rows, -minus_rows)
    return whole.parts(cuts_of_at_most(n_samples, samples), row_cuts)


def cuts_of_at_most(length: int, most: int) -> list[slice]:
    """As few consecutive slices as hold at most `most` each, of nearly equal length."""
    return _cuts(length, -(-length // most))


def _tapered_cuts(length: int, n_jobs: int, n_tapered: int) -> list[slice]:
    """Consecutive slices for `n_jobs` jobs, the last `n_tapered` of which are cut into halves and quarters."""
    quarters = [_QUARTERS] * (n_jobs - n_tapered) + [_QUARTERS // 2] * n_tapered + [1] * (2 * n_tapered)
    bounds = [length * n // (_QUARTERS * n_jobs) for n in accumulate(quarters, initial=0)]
    return [slice(a, b) for a, b in pairwise(bounds)]


def _cuts(length: int, pieces: int) -> list[slice]:
    """`pieces` consecutive slices of nearly equal length; none of an empty range."""
    pieces = max(pieces, 1)
    bounds = [length * i // pieces for i in range(pieces + 1)]
    return [slice(a, b) for a, b in pairwise(bounds) if b > a]
