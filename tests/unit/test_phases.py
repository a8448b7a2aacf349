"""Phases: every moment belongs to one of them, and the time that jobs are out is divided without rest, whatever the clocks say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.jobs import JobResult
from orchestrator.phases import PHASES, PhaseClock, added, divided

RESULT = JobResult(
    "id", np.zeros((1, 1, 1)), None, None, 1, 0, 0.0, True, 0.0, 0.0, 0.0, "w", "backend"
)  # fmt: skip


def result(worker: str, sent_at: float, started_at: float, compute: float, finished_at: float) -> JobResult:
    return replace(
        RESULT, worker=worker, sent_at=sent_at, started_at=started_at, compute_seconds=compute,
        finished_at=finished_at,
    )  # fmt: skip


def ticking(*times: float) -> Iterator[float]:
    return iter(times)


def test_laps_leave_no_gap() -> None:
    times = ticking(10.0, 11.0, 13.0, 13.5, 20.0, 21.0)
    clock = PhaseClock(lambda: next(times))
    for phase in ("plan", "assemble", "plan"):
        clock.lap(phase)
    taken = clock.take()
    assert set(taken) == set(PHASES)
    assert taken["plan"] == 1.5
    assert taken["assemble"] == 2.0
    assert sum(taken.values()) == 3.5
    clock.lap("log")  # begins where the last lap ended, not where it was taken
    assert clock.take()["log"] == 6.5
    assert sum(clock.take().values()) == 0


def test_one_job() -> None:
    """Out at 100, handed over at 101, computes from 103 to 107 (of which 3.5 s in the backend), back at 108.5."""
    parts = divided(8.5, 100.0, 108.5, [result("a", 101.0, 103.0, 3.5, 107.0)])
    assert parts == {"ship": 1.0 + 1.5, "compute": 3.5, "queue": 2.5}


def test_the_worker_that_answers_last_is_the_critical_path() -> None:
    """a computes twice 2 s, one job after the other; b 3 s, and is not waited for."""
    results = [
        result("a", 100.5, 101.0, 2.0, 103.0),
        result("b", 100.75, 101.0, 3.0, 104.0),
        result("a", 100.625, 103.25, 2.0, 105.25),
    ]
    parts = divided(6.0, 100.0, 106.0, results)
    assert parts["compute"] == 4.0
    assert parts["ship"] == 0.5 + 0.75
    assert parts["queue"] == 0.75


@pytest.mark.parametrize("skew", [-1e6, -3.0, -0.1, 0.0, 0.1, 3.0, 1e6])
def test_clocks_that_differ_move_time_between_ship_and_queue_only(skew: float) -> None:
    parts = divided(8.5, 100.0, 108.5, [result("a", 101.0, 103.0 + skew, 3.5, 107.0 + skew)])
    assert parts["compute"] == 3.5
    assert min(parts.values()) >= 0
    assert sum(parts.values()) == pytest.approx(8.5, rel=1e-15)


def test_any_times_add_up_to_the_wall_time() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        wall, began_at = rng.uniform(0, 5), rng.uniform(0, 10)
        results = [result(str(rng.integers(3)), *rng.uniform(-5, 15, 4)) for _ in range(rng.integers(5))]
        parts = divided(wall, began_at, began_at + wall, results)
        assert min(parts.values()) >= -1e-15
        assert sum(parts.values()) == pytest.approx(wall, rel=1e-14)


def test_no_jobs_and_no_time_of_sending() -> None:
    assert divided(2.0, 0.0, 2.0, []) == {"ship": 2.0, "queue": 0.0, "compute": 0.0}
    unknown = divided(8.5, 100.0, 108.5, [result("a", 0.0, 103.0, 3.5, 107.0)])
    assert unknown == {"ship": 1.5, "compute": 3.5, "queue": 3.5}


def test_sums_by_phase() -> None:
    total = added(added({}, {"plan": 1.0}), {"plan": 2.0, "log": 0.5})
    assert total == dict.fromkeys(PHASES, 0.0) | {"plan": 3.0, "log": 0.5}
