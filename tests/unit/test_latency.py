"""The latency report: a stopwatch without gaps, list scheduling against closed forms, and figures from spans."""

from __future__ import annotations

import csv
import heapq
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from actors.ionq.job_phases import JobStopwatch, waited
from actors.ionq.submission import Latency
from orchestrator.jobs import JobPhases
from orchestrator.protocols import JobSpan
from pipelines.latency import PHASES, latency_report, write_spans
from pipelines.schedule import JobTimes, makespan


class HandClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class TestStopwatch:
    def test_every_moment_belongs_to_one_phase(self) -> None:
        clock = HandClock()
        processor = iter([1.0, 1.25, 1.75, 2.0])
        watch = JobStopwatch(clock, lambda: next(processor))
        clock.sleep(0.5)
        watch.serialised()
        clock.sleep(0.25)  # looked up, reserved

        def write(token: str) -> str:
            clock.sleep(0.125)
            return token.upper()

        assert watch.timed(write)("ab") == "AB"
        clock.sleep(1 + 8 + 2)
        watch.delivered(Latency(submit=1.375, wait=8.0, fetch=2.0, queue=5.0, execution=2.0))
        clock.sleep(4.0)
        watch.delivered(None)  # the second part was in the book
        clock.sleep(0.0625)
        phases = watch.decoded()
        assert phases[:6] == (0.625, 1.25 + 4.0, 5.0, 2.0, 1.0 + 2.0, 0.0625)
        assert sum(phases[:6]) == clock.time - 100.0
        assert (phases.processor_before, phases.processor_after, phases.is_served) == (0.75, 0.25, False)

    def test_an_attempt_that_failed_counts_as_submitting(self) -> None:
        clock = HandClock()
        watch = JobStopwatch(clock)
        watch.serialised()
        write = watch.timed(lambda token: clock.sleep(1.0))
        write("a")
        clock.sleep(30.0)
        write("b")
        clock.sleep(3.0)
        watch.delivered(Latency(submit=1.0, wait=2.0, fetch=0.0, queue=None, execution=None))
        assert watch.decoded()[:6] == (2.0, 31.0, 2.0, 0.0, 0.0, 0.0)

    def test_a_job_from_the_book_was_served(self) -> None:
        clock = HandClock()
        watch = JobStopwatch(clock)
        watch.serialised()
        clock.sleep(0.5)
        watch.delivered(None)
        phases = watch.decoded()
        assert phases.is_served
        assert phases[:6] == (0.0, 0.5, 0.0, 0.0, 0.0, 0.0)

    @pytest.mark.parametrize(
        ("queue", "execution", "expected"),
        [
            (3.0, 4.0, (3.0, 4.0)),
            (3.0, 9.0, (1.0, 9.0)),  # its queue began before the answer to the POST was here
            (900.0, 2.0, (8.0, 2.0)),  # another process sent it
            (3.0, 50.0, (0.0, 10.0)),
            (None, 4.0, (6.0, 4.0)),
            (None, None, (10.0, 0.0)),
            (-1.0, -1.0, (0.0, 0.0)),  # a clock that was set back
        ],
    )
    def test_the_services_times_are_parts_of_the_wait(
        self, queue: float | None, execution: float | None, expected: tuple[float, float]
    ) -> None:
        assert waited(Latency(1.0, 10.0, 1.0, queue, execution)) == expected


class TestSchedule:
    @pytest.mark.parametrize("n_jobs", [1, 9, 10, 11, 32])
    @pytest.mark.parametrize(("n_workers", "n_slots"), [(1, 10), (2, 5), (3, 1)])
    def test_equal_waits_come_in_rounds(self, n_jobs: int, n_workers: int, n_slots: int) -> None:
        jobs = [JobTimes(0.0, 0.25, 0.0)] * n_jobs
        assert makespan(jobs, n_workers, n_slots) == 0.25 * math.ceil(n_jobs / (n_workers * n_slots))

    @pytest.mark.parametrize("n_slots", [1, 2, 10])
    def test_slots_do_not_help_what_is_computed(self, n_slots: int) -> None:
        jobs = [JobTimes(0.25, 0.0, 0.5)] * 12
        assert makespan(jobs, 1, n_slots) == 9.0
        assert makespan(jobs, 3, n_slots) == 3.0

    def test_threads_of_a_worker_compute_in_turn_and_wait_together(self) -> None:
        jobs = [JobTimes(1.0, 10.0, 0.5)] * 3
        assert makespan(jobs, 1, 3) == 3 + 10 + 0.5
        assert makespan(jobs, 3, 1) == 11.5
        assert makespan(jobs, 1, 1) == 3 * 11.5

    def test_the_list_is_kept(self) -> None:
        waits = [3.0, 2.0, 2.0]
        assert makespan([JobTimes(0.0, wait, 0.0) for wait in waits], 1, 2) == 4.0
        assert makespan([JobTimes(0.0, wait, 0.0) for wait in (2.0, 2.0, 3.0)], 1, 2) == 5.0
        assert makespan([], 4, 2) == 0.0

    def test_waits_alone_are_grahams_list_schedule(self) -> None:
        rng = np.random.default_rng(5)
        for n_slots in (1, 3, 8):
            waits = rng.exponential(size=200)
            free_at = [0.0] * n_slots
            for wait in waits:
                heapq.heapreplace(free_at, free_at[0] + wait)
            found = makespan([JobTimes(0.0, float(wait), 0.0) for wait in waits], 1, n_slots)
            assert found == pytest.approx(max(free_at), rel=1e-12)


def job(
    asked_at: float, started_at: float, phases: Sequence[float], worker: str = "a", is_served: bool = False
) -> JobSpan:
    """A job that computed what serialising and decoding took."""
    told = JobPhases._make([*phases, phases[0], phases[5], is_served])
    return JobSpan(worker, f"{started_at}", started_at, started_at + sum(phases), asked_at, told)


FOUR = (0.0, 1.0, 4.0, 2.0, 1.0, 0.0)


class TestReport:
    def run(self) -> list[JobSpan]:
        """Two waves of four jobs of 8 s on two slots, 3 s apart; then one that was on record."""
        first = [job(10.0, 11.0 + 8 * (i // 2), FOUR) for i in range(4)]
        second = [job(29.5, 30.0 + 8 * (i // 2), FOUR) for i in range(4)]
        return [*second, *first, job(50.0, 50.0, (0, 0.5, 0, 0, 0, 0), is_served=True)]

    def test_shares_and_scenarios(self) -> None:
        report = latency_report(self.run(), n_workers=1, jobs_in_flight=2)
        assert report is not None
        assert (report.n_jobs, report.n_served, report.n_waves) == (8, 1, 3)
        assert [report.phases[name].share for name in PHASES] == pytest.approx(
            [0, 1 / 8, 4 / 8, 2 / 8, 1 / 8, 0]
        )
        assert report.phases["queue"][1:] == (32.0, 4.0, 4.0)
        assert report.job == (1.0, 64.0, 8.0, 8.0)
        assert report.driver_seconds == 3.0 + 4.0
        assert report.measured_seconds == report.replayed_seconds == 16 + 3 + 16 + 4 + 0.5
        assert report.what_if == {
            "latency x 0": 2 * 2 * 2.0 + 7.0,
            "concurrency x 2": 2 * 8.0 + 7.5,
            "both": 2 * 2.0 + 7.0,
        }
        assert report.shares_text().startswith("queue 50.0 %, execution 25.0 %, submit 12.5 %")
        assert report.what_if_text() == (
            "40 s as it was; latency x 0: 15 s; concurrency x 2: 24 s; both: 11 s"
        )
        assert report.to_json()["phases"]["queue"]["share"] == 0.5

    def test_computing_is_not_parallel_within_a_worker(self) -> None:
        spans = [job(1.0, 1.0, (0.5, 0.0, 0.0, 0.0, 0.0, 0.5), worker) for worker in "ab" for _ in range(4)]
        report = latency_report(spans, 2, 4)
        assert report is not None
        assert set(report.what_if.values()) == {4.0}

    def test_without_a_service_there_is_no_report(self) -> None:
        assert latency_report([JobSpan("a", "x", 1.0, 2.0, 0.5)], 1, 1) is None
        assert latency_report([], 1, 1) is None
        assert latency_report([self.run()[-1]], 1, 1) is None

    def test_jobs_as_a_table(self, tmp_path: Path) -> None:
        spans = [JobSpan("a", "x", 1.0, 2.0, 0.5), *self.run()]
        write_spans(spans, tmp_path / "latency.csv")
        with (tmp_path / "latency.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 9
        assert float(rows[0]["queue"]) == 4.0
        assert [row["is_served"] for row in rows] == ["0"] * 8 + ["1"]


def test_waves_that_overlap_are_not_counted_twice() -> None:
    """Stale gradients: the second call goes out while the first is waited for; then nothing is out for a second."""
    phases = JobPhases(0.0, 0.0, 2.0, 2.0, 0.0, 0.0)
    spans = [
        JobSpan("a", str(number), begin, begin + 4.0, asked_at=begin, phases=phases)
        for number, begin in enumerate((10.0, 12.0, 17.0))
    ]
    found = latency_report(spans, 1, 2)
    assert found is not None
    assert found.n_waves == 3
    assert found.measured_seconds == 21.0 - 10.0
    assert found.driver_seconds == 17.0 - 16.0
