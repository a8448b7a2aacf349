"""Training runs of ``qfleet benchmark tables`` on Ray actors, of this machine or of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from actors.ray_fleet.tasks import RayTasks
from pipelines.benchmark.tables_runs import Fits, Run, longest_first, train
from pipelines.benchmark.tables_training import Fit


@contextmanager
def started(n_actors: int, address: str | None = None) -> Iterator[Fits]:
    """Actors for as long as the block lasts; what a dead one held is done again.

    Args:
        address: Ray cluster to join; None: ``RAY_ADDRESS`` if set, else a Ray of this machine's own.

    Raises:
        FleetError: Ray cannot be reached or has not the CPUs, or, in the block, every actor is lost.
        ExecutionError: in the block: a loss is no finite number, or a run lost its actor too often.
    """
    with RayTasks(n_actors, address=address) as actors:
        yield partial(_fits, actors=actors)


def _fits(runs: Sequence[Run], actors: RayTasks) -> Iterator[tuple[Run, Fit]]:
    ordered = longest_first(runs)
    for number, found in actors.run(train, ordered):
        yield ordered[number], found
