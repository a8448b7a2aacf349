"""What sending one more job costs the driver, measured on the actors that are there."""

from __future__ import annotations

import itertools
import pickle
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray

from actors.ray_fleet.process import FETCH_SECONDS, fetch, wait_for_all
from orchestrator.jobs import Displacements, Job

_N_JOBS, _N_ROUNDS = 32, 3


def job_overhead_seconds(handles: Sequence[Any], window: int) -> float:
    """Seconds of wall time for one more job: jobs that compute nothing, `window` of them out at once, as a run sends them.

    The least of several rounds is the least disturbed; the first warms up.
    """
    return min(_seconds_per_job(handles, window) for _ in range(_N_ROUNDS))


def _seconds_per_job(handles: Sequence[Any], window: int) -> float:
    job = Job("0" * 32, np.zeros(48), np.arange(8), np.zeros((16, 8)), Displacements.none())
    turns = itertools.cycle(handles)
    started = time.perf_counter()
    pending: list[Any] = []
    for _ in range(_N_JOBS):
        if len(pending) >= window:
            ready, pending = ray.wait(pending, num_returns=1, timeout=FETCH_SECONDS)
            for reference in ready:
                fetch(reference)
        pending.append(next(turns).echo.remote(pickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL)))
    wait_for_all(pending, FETCH_SECONDS)
    return (time.perf_counter() - started) / _N_JOBS
