"""Pace: how many jobs the next plan is cut into, learned from what earlier ones took."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.planning.pace import Pace

N_CIRCUITS = 1000


def chosen(n_steps: int, wall: Callable[[int], float], *, compute: float, n_workers: int = 4) -> list[int]:
    """Jobs of `n_steps` plans of `compute` seconds that take ``wall(jobs)``; sending a job costs 1 ms."""
    pace, made = Pace(job_seconds=0.06), []
    for _ in range(n_steps):
        made.append(pace.n_jobs(N_CIRCUITS, n_workers, 1e-3))
        pace.note(N_CIRCUITS, made[-1], compute, wall(made[-1]))
    return made


def test_first_plan_is_one_job() -> None:
    assert Pace(0.06).n_jobs(10**9, 16, 1e-3) == 1


def test_small_steps_stay_on_one_worker() -> None:
    assert set(chosen(50, lambda n: 1e-3, compute=1e-3)) == {1}


@pytest.mark.parametrize("slower", [1.1, 3.0])
def test_workers_that_do_not_help_are_not_used(slower: float) -> None:
    """16 ms of work over 4 workers should take 8 ms; here it takes longer than the 17 ms that one needs."""
    made = chosen(1000, lambda n: 0.017 if n == 1 else 0.017 * slower, compute=0.016)
    assert set(made) == {1, 4}
    assert made[20:].count(4) <= (1000 / 64 + 1 if slower < 1.5 else 0)


def test_workers_that_help_are_used() -> None:
    made = chosen(1000, lambda n: 0.016 / n + 1e-3 * n, compute=0.016)
    assert made[20:].count(4) == len(made[20:])


def test_close_choices_are_looked_at_again() -> None:
    """A machine that was busy while the run began is free later."""
    steps = iter(range(10**6))
    made = chosen(2000, lambda n: 0.012 if n == 1 else (0.014 if next(steps) < 10 else 0.008), compute=0.016)
    assert made[10:50].count(1) == 40
    assert made[-100:] == [4] * 100


def test_large_steps_use_all_workers_untried() -> None:
    made = chosen(50, lambda n: 1.0, compute=0.1)
    assert made[1:] == [4] * 49
    assert chosen(5, lambda n: 1.0, compute=0.6)[-1] == 8, "whole rounds of jobs of 60 ms"


def test_a_slow_first_evaluation_does_not_decide() -> None:
    """The first evaluation compiles: 2 s."""
    first = iter([2.0])
    made = chosen(200, lambda n: next(first, 0.017 if n == 1 else 0.03), compute=0.016)
    assert set(made[20:]) == {1}


@pytest.mark.parametrize(
    ("compute", "n_workers", "overhead", "n_tapered"),
    [
        (0.48, 8, 1e-3, 8),  # one round of 60 ms each
        (4.8, 8, 1e-3, 8),  # ten rounds: the last one
        (0.2, 8, 1e-3, 0),  # less than a round
        (0.48, 8, 1e-2, 0),  # the driver would not keep up
        (4.8, 1, 1e-3, 0),  # nobody to wait for
    ],
)
def test_the_last_round_is_cut_once_more(
    compute: float, n_workers: int, overhead: float, n_tapered: int
) -> None:
    pace = Pace(job_seconds=0.06)
    assert pace.n_tapered(N_CIRCUITS, 1, n_workers, overhead) == 0, "nothing is known yet"
    pace.note(N_CIRCUITS, 1, compute * (1 + 1e-9), compute)
    n_jobs = pace.n_jobs(N_CIRCUITS, n_workers, overhead)
    assert pace.n_tapered(N_CIRCUITS, n_jobs, n_workers, overhead) == n_tapered


@pytest.mark.parametrize("n_workers", [1, 2, 8])
def test_jobs_that_take_their_time_whatever_they_hold_do_not_become_more_and_more(n_workers: int) -> None:
    """A service of 0.15 s a job: more jobs are no more work, only more waiting."""
    pace, made = Pace(job_seconds=0.06), []
    for _ in range(300):
        made.append(pace.n_jobs(N_CIRCUITS, n_workers, 1e-3))
        pace.note(N_CIRCUITS, made[-1], 0.15 * made[-1], 0.15 * -(-made[-1] // n_workers))
    assert max(made) <= max(n_workers, 0.15 / 0.06)


def test_the_compilation_in_the_first_plan_is_forgotten() -> None:
    pace, made = Pace(job_seconds=0.06), []
    for step in range(12):
        made.append(pace.n_jobs(N_CIRCUITS, 4, 1e-3))
        pace.note(N_CIRCUITS, made[-1], 0.5 + 2.0 * (step == 0), 0.5 / min(made[-1], 4))
    assert made[-1] == 8, "0.5 s of work in jobs of 60 ms, as many for each of four workers"
