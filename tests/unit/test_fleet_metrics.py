"""Metrics of a run: names as Prometheus wants them, totals as differences, and a dashboard that asks for nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from actors.ray_fleet import metrics
from actors.ray_fleet.metrics import JOB_SECONDS, METRICS, FleetMetrics, Metric
from orchestrator.protocols import DispatcherStats, WorkerStatus
from orchestrator.training.reports import EpochReport, StepReport, Totals
from pipelines.display.board import Board
from pipelines.spending import Spending
from pipelines.watching.live_status import Tick
from pipelines.watching.ray_metrics import gauges_of, totals_of

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana" / "qfleet.json"


def test_names_as_prometheus_wants_them() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert re.fullmatch(r"qfleet_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.description.endswith(".")
        for unit in ("second", "dollar"):  # a unit stands in the name, in full, before what a counter adds
            if f"{unit}s" in metric.description:
                assert re.search(rf"_{unit}s(_total)?$", metric.name), metric
    assert list(JOB_SECONDS) == sorted(JOB_SECONDS)


def exported() -> set[str]:
    """Names at the metrics port: see tests/integration/test_watching_over_ray.py."""
    names: set[str] = set()
    for metric in METRICS:
        parts = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        names |= {f"ray_{metric.name}{part}" for part in parts}
    return names


def test_the_dashboard_asks_for_what_there_is_and_all_of_it() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    asked: set[str] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert target["expr"].count("(") == target["expr"].count(")")
            found = set(re.findall(r"ray_\w+", target["expr"]))
            assert found, target
            asked |= found
    asked |= set(re.findall(r"ray_\w+", json.dumps(board["templating"])))
    assert asked == exported()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


class Recorder:
    """What a metric of Ray's was told."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.total: dict[str, float] = {}
        self.observed: list[float] = []

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0
        assert set(tags) == set(self.metric.tags)
        worker = tags.get("worker", "")
        self.total[worker] = self.total.get(worker, 0.0) + value

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self.metric.tags)
        self.total[tags.get("worker", "")] = value

    def observe(self, value: float, tags: dict[str, str]) -> None:
        self.observed.append(value)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorder]:
    made: dict[str, Recorder] = {}

    def make(metric: Metric) -> Any:
        made[metric.name] = Recorder(metric)
        return made[metric.name]

    monkeypatch.setattr(metrics, "_made", make)
    return made


def worker(name: str, n: int, in_flight: int = 2) -> WorkerStatus:
    return WorkerStatus(
        name, "ready", jobs_in_flight=in_flight, jobs_done=n, circuits_done=10 * n, busy_seconds=n / 4
    )


def test_counters_are_told_differences(told: dict[str, Recorder]) -> None:
    fleet = FleetMetrics("r", "ideal")
    fleet.tell({"qfleet_jobs_total": 5}, {"qfleet_loss": 0.5}, [worker("a", 3), worker("b", 2)], [0.1] * 5)
    fleet.tell({"qfleet_jobs_total": 5}, {"qfleet_loss": 0.4}, [worker("a", 3)])
    fleet.tell({"qfleet_jobs_total": 9.5}, {}, [worker("a", 7), worker("c", 1)], [0.2])
    assert told["qfleet_jobs_total"].total == {"": 9.5}
    assert told["qfleet_loss"].total == {"": 0.4}
    assert told["qfleet_worker_jobs_total"].total == {"a": 7, "b": 2, "c": 1}
    assert told["qfleet_worker_circuits_total"].total == {"a": 70, "b": 20, "c": 10}
    assert told["qfleet_worker_jobs_in_flight"].total == {"a": 2, "b": 0, "c": 2}, "who is gone holds nothing"
    assert told["qfleet_job_seconds"].observed == [0.1] * 5 + [0.2]


def test_of_very_many_jobs_the_histogram_gets_an_even_share(told: dict[str, Recorder]) -> None:
    FleetMetrics("r", "ideal").tell({}, {}, [], [float(i) for i in range(20_000)])
    observed = told["qfleet_job_seconds"].observed
    assert len(observed) == 1000
    assert observed[500] == 10_000.0


def test_every_metric_of_the_run_is_told() -> None:
    board = Board(lambda: 0.0)
    totals = Totals(100, 2000, 3.0, jobs_simulated=1)
    board.note_step(StepReport(4, 9, 1, 1, 0.5, 0.25, 0.1, totals, seconds={"compute": 0.25, "ship": 0.25}))
    board.note_epoch(EpochReport(1, 1, 4, {"val/loss": 0.75}, "val/loss", True, 1, 0.75, 0.1, totals, 1.0))
    board.spending = Spending(3.0, 1.5, 0.0, 10.0)
    tick = Tick({"utilisation": 0.5}, board, DispatcherStats(2, 7, 1, 3, 9.0, 5, 6), (), (), ())
    assert totals_of(tick, Totals(40, 500, 1.0)) == {
        "qfleet_jobs_total": 7, "qfleet_jobs_retried_total": 1, "qfleet_workers_lost_total": 3, "qfleet_cache_hits_total": 5,
        "qfleet_cache_lookups_total": 6, "qfleet_circuits_total": 60, "qfleet_shots_total": 1500, "qfleet_cost_dollars_total": 2.0,
        "qfleet_jobs_simulated_total": 1,
    }  # fmt: skip
    assert gauges_of(tick) == {
        "qfleet_workers": 2, "qfleet_utilisation_ratio": 0.5, "qfleet_step": 4, "qfleet_steps_planned": 9, "qfleet_step_seconds": 0.5,
        "qfleet_loss": 0.5, "qfleet_gradient_norm": 0.25, "qfleet_validation_loss": 0.75, "qfleet_reserved_dollars": 1.5,
        "qfleet_spending_cap_dollars": 10.0,
    }  # fmt: skip
    named = {metric.name for metric in METRICS if "worker" not in metric.tags and metric.kind != "histogram"}
    assert totals_of(tick, Totals()).keys() | gauges_of(tick).keys() == named
