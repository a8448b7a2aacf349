"""Training runs of ``qfleet benchmark tables`` in processes of this machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from pipelines.benchmark.tables_runs import Run, longest_first, train
from pipelines.benchmark.tables_training import Fit


def fits(runs: Sequence[Run], n_processes: int) -> Iterator[tuple[Run, Fit]]:
    """Each run with what came of it, as they are done; one process is this one."""
    if n_processes == 1:
        yield from ((run, train(run)) for run in runs)
        return
    # spawned, not forked: MLflow's thread may run in this process
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, mp_context=context) as pool:
        futures = {pool.submit(train, run): run for run in longest_first(runs)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
