"""Pace: how long plans of one kind have taken lately, and what follows for the number of jobs of the next one.

The cut never changes the numbers (see `batching`), so here, and only here, measured time decides.
"""

from __future__ import annotations

import statistics
from collections import defaultdict, deque

from orchestrator.planning.batching import n_jobs_for

_SMOOTHING = 0.3
"""Weight of the newest measurement in the running estimate of the compute time."""
_N_CUTS = 4
"""Numbers of jobs of which that is remembered."""
_N_REMEMBERED = 7
"""Evaluations whose median is the wall time of a way to cut; the first on an actor compiles, which a median ignores."""
_N_TRIALS = 3
"""Evaluations before a way to cut is judged."""
_TRY_AGAIN, _CLOSE = 64, 1.5
"""Evaluations after which the slower way is tried again, and how much slower it may be for that: less than 1 % is lost by it."""


class Pace:
    """What one kind of plan costs.

    `n_jobs_for` guesses that several actors compute as fast together as one does alone, which they do not on a busy machine. So
    where it would spread less than one job's worth of work over several actors, that and a single job are both tried, and the
    faster is used.

    Args:
        job_seconds: compute time a job aims at where there is that much work.
    """

    def __init__(self, job_seconds: float) -> None:
        self._job_seconds = job_seconds
        self._by_cut: dict[
            int, float
        ] = {}  # seconds per circuit in plans of so many jobs, the newest number last
        # The least of these. Where a job takes a while whatever it holds, more jobs seem to be more work; that would call for more
        # jobs still, and so on without end.
        self._compute: float | None = None
        self._walls: defaultdict[int, deque[float]] = defaultdict(lambda: deque(maxlen=_N_REMEMBERED))
        self._n_evaluations = 0

    def n_jobs(self, n_circuits: int, n_workers: int, overhead_seconds: float) -> int:
        """How many jobs to cut the next plan into.

        Args:
            overhead_seconds: for the driver to send one more job.
        """
        compute = (self._compute or 0.0) * n_circuits
        proposed = n_jobs_for(compute, n_workers, overhead_seconds, self._job_seconds)
        if not 1 < proposed <= n_workers or compute > self._job_seconds:
            return proposed
        if len(self._walls[proposed]) < _N_TRIALS:
            return proposed
        if len(self._walls[1]) < _N_TRIALS:
            return 1
        together, alone = statistics.median(self._walls[proposed]), statistics.median(self._walls[1])
        faster, slower = (proposed, 1) if together < alone else (1, proposed)
        is_close = max(together, alone) < _CLOSE * min(together, alone)
        return slower if is_close and self._n_evaluations % _TRY_AGAIN == 0 else faster

    def n_tapered(self, n_circuits: int, n_jobs: int, n_workers: int, overhead_seconds: float) -> int:
        """How many of the jobs, the last ones, to cut once more for a short tail: those of the last round of all workers, or none.

        None where a worker is alone, where there is not one job of `job_seconds` for each, and where the driver would not keep up with
        jobs of a quarter. With eight workers and job times that differ by 10 to 30 % a plan of a few rounds takes 5 to 15 % less.

        Args:
            n_jobs: as from `n_jobs`. overhead_seconds: for the driver to send one more job.
        """
        each = (self._compute or 0.0) * n_circuits / n_jobs
        is_long = each >= self._job_seconds and each / 4 >= overhead_seconds * n_workers
        return n_workers if is_long and 1 < n_workers <= n_jobs else 0

    def note(self, n_circuits: int, n_jobs: int, compute_seconds: float, wall_seconds: float | None) -> None:
        """Learn from an evaluation: compute time summed over its jobs, and the time from sending the first to the last answer.

        Args:
            wall_seconds: None where other evaluations were under way too, and it says nothing of this one.
        """
        newest = compute_seconds / max(n_circuits, 1)
        known = self._by_cut.pop(n_jobs, newest)
        self._by_cut[n_jobs] = (1 - _SMOOTHING) * known + _SMOOTHING * newest
        if len(self._by_cut) > _N_CUTS:
            del self._by_cut[next(iter(self._by_cut))]
        self._compute = min(self._by_cut.values())
        if wall_seconds is not None:
            self._walls[n_jobs].append(wall_seconds / max(n_circuits, 1))
        self._n_evaluations += 1
