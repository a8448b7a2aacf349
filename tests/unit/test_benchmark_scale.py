"""``qfleet benchmark scale``: the fleet in virtual time answers every job once, and its clock is that of its actors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.scheduler import Scheduler
from orchestrator.coordinator import Coordinator
from orchestrator.protocols import Capabilities
from pipelines import cli
from pipelines.benchmark import scale
from pipelines.benchmark.scale_fleet import VirtualFleet, job_seconds
from pipelines.plots.driver_scale import driver_scale

CAN = Capabilities(is_exact=True, has_shots=True, has_jacobian=False, max_qubits=4, circuits_per_job=9)


def test_a_plan_of_n_jobs_is_n_jobs_of_nine_circuits() -> None:
    evaluation = Coordinator(VirtualFleet(3, np.ones(1)), CAN).evaluate(scale.plan_of(20))
    assert (evaluation.n_jobs, evaluation.n_circuits) == (20, 180)


@pytest.mark.parametrize(("n_actors", "n_jobs", "seconds"), [(1, 7, 7.0), (4, 20, 5.0), (5, 21, 5.0)])
def test_virtual_time_is_that_of_the_actors(n_actors: int, n_jobs: int, seconds: float) -> None:
    """Jobs of 1 s, dealt out evenly; the jobs of one actor follow each other. No duplicate cuts a tail short."""
    fleet = VirtualFleet(n_actors, np.ones(1), scheduler=Scheduler())
    Coordinator(fleet, CAN).evaluate(scale.plan_of(n_jobs))
    assert fleet.now == seconds
    assert fleet.busy_seconds == n_jobs
    assert fleet.stats().jobs_done == n_jobs
    assert fleet.most_open == n_jobs


def test_stragglers_end_with_their_duplicates() -> None:
    """One job in a hundred takes a hundred times as long: without duplicates every plan waits for it."""
    seconds = np.array([0.1] * 99 + [10.0])
    walls = []
    for may_duplicate in (False, True):
        fleet = VirtualFleet(50, seconds, scheduler=Scheduler(may_duplicate=may_duplicate))
        coordinator, plan = Coordinator(fleet, CAN), scale.plan_of(200)
        for step in range(10):
            coordinator.evaluate(replace(plan, step=step))
        walls.append(fleet.now)
    assert walls[1] < 0.5 * walls[0]


def test_memory_does_not_grow_with_the_jobs_done() -> None:
    size = scale.measure(20, 2000, np.array([0.02, 0.03]))
    assert size.n_jobs == 2000
    assert size.most_open == 100
    assert abs(size.growth_bytes_per_job) < 8, "a list that keeps one number of each job grows by more"


def test_the_trace_that_comes_along_is_used_and_another_can_be_given(tmp_path: Path) -> None:
    assert 1e-4 < np.median(job_seconds()) < 1
    trace = tmp_path / "latency.csv"
    rows = "a,2.0,2.5\na,1.0,9.0\na,3.0,3.0\nb,3.0,4.0\n"
    trace.write_text(f"worker,started_at,finished_at\n{rows}", encoding="utf-8")
    assert job_seconds(trace).tolist() == [0.5, 1.0], "a's first job compiles, and its last took no time"


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "started_at,finished_at\nx,1\n", "started_at,finished_at\n1\n"]
)
def test_what_is_no_trace_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(text, encoding="utf-8")
    assert cli.main(["benchmark", "scale", "--no-ray", "--trace", str(trace)]) == 2
    assert "--trace" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--actors", "4", "0"], ["--jobs", "-1"], ["--plot", "x.txt"]])
def test_options_that_cannot_be_are_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["benchmark", "scale", "--no-ray", *options]) == 2
    assert options[0] in capsys.readouterr().err


def test_the_command_prints_and_draws_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--no-ray", "--actors", "1", "20", "--jobs", "1000", "--json", "--plot", str(tmp_path)]
    assert cli.main(["benchmark", "scale", *options]) == 0
    assert (tmp_path / "scale.png").stat().st_size > 10_000
    outcome = json.loads(capsys.readouterr().out)
    assert [(s["n_actors"], s["n_jobs"]) for s in outcome["sizes"]] == [(1, 100), (20, 1000)]
    assert all(s["jobs_per_second"] > 500 for s in outcome["sizes"])
    assert outcome["job_seconds"]["p10"] <= outcome["job_seconds"]["p90"]


def test_the_picture_shows_how_many_actors_take_all_of_the_drivers_time(tmp_path: Path) -> None:
    """25 µs a job and jobs of 100 ms: 4,000 actors; with Ray's 500 µs 200."""
    sizes = [{"n_actors": n, "jobs_per_second": 40_000.0, "microseconds_per_job": 25.0} for n in (200, 4_000)]
    outcome = {
        "sizes": sizes,
        "job_seconds": {"mean": 0.1},
        "ray": [{"n_actors": 1, "microseconds_per_job": 500.0}],
        "machine": {"cpu": "some processor"},
    }
    figure = driver_scale(outcome, tmp_path / "x.svg", 20_000.0)
    lines = {line.get_label(): line for line in reversed(figure.axes[1].get_lines())}
    assert np.allclose(lines["jobs of 100 ms"].get_ydata(), [5, 100])
    assert np.allclose(lines["  with Ray's calls"].get_ydata(), [100, 2000])
