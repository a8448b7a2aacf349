"""A run on a real Ray, watched from outside while it goes on: status file, scraped metrics, logs of driver and actor."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.ray_fleet.metrics import METRICS
from orchestrator import TrainingConfig
from orchestrator.training.reports import EpochReport
from orchestrator.training.state import TrainState
from pipelines import Callback, Trainer
from pipelines.run_folder import RunFolder
from pipelines.watching.runs import run_status

pytestmark = pytest.mark.alone

CONFIGS = Path(__file__).parents[2] / "pipelines" / "configs"


class Onlooker(Callback):
    """Holds the run after its first epoch until the metrics have come out, and notes what is to be seen then."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.page = ""
        self.status: dict[str, Any] = {}

    def on_epoch(self, report: EpochReport, state: TrainState) -> None:
        if self.page:
            return
        node = ray.nodes()[0]
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            page = opener.open(url, timeout=10).read().decode()
            self.status = run_status(RunFolder(self.run))
            # Other runs on the same Ray have left metrics of their own, and the status is written once a second.
            named = (f"ray_qfleet_{name}{{" for name in ("validation_loss", "jobs_total"))
            own = [line for line in page.splitlines() if f'run="{self.run.name}"' in line]
            is_out = all(any(line.startswith(name) for line in own) for name in named)
            if is_out and self.status.get("step") == report.step:
                self.page = page
                break
            time.sleep(0.2)


def value(page: str, name: str, run: str) -> float:
    """The one sample of the metric with this run's tag, summed over workers."""
    found = re.findall(rf'^{name}{{[^}}]*\brun="{run}"[^}}]*}} (\S+)$', page, re.MULTILINE)
    assert found, name
    return sum(map(float, found))


def test_a_run_is_watched_from_outside(local_ray: None, tmp_path: Path) -> None:
    config = TrainingConfig.from_toml(CONFIGS / "breast_cancer.toml").with_overrides(
        [
            "model.n_qubits=4", "data.n_components=4", "run.epochs=2", "run.batch_size=16", "data.max_samples=160", "run.name=seen",
            "tracking.enabled=false", "fleet.n_actors=1", f"run.directory={tmp_path}",
        ]
    )  # fmt: skip
    onlooker = Onlooker(tmp_path / "seen")
    result = Trainer(config, callbacks=[onlooker], progress=False, log_file=tmp_path / "copy.log").fit()
    assert onlooker.page, "no metrics within a minute"
    assert (onlooker.status["state"], onlooker.status["step"]) == ("training", 7)
    assert onlooker.status["heartbeat_age_seconds"] < 10
    [worker] = onlooker.status["workers"]
    assert worker["state"] == "ready"
    assert worker["circuits_done"] > 0

    n_circuits = onlooker.status["circuits"]
    assert value(onlooker.page, "ray_qfleet_circuits_total", "seen") == n_circuits
    assert value(onlooker.page, "ray_qfleet_worker_circuits_total", "seen") == n_circuits
    n_jobs = value(onlooker.page, "ray_qfleet_jobs_total", "seen")
    assert (
        n_jobs == onlooker.status["jobs_done"] == value(onlooker.page, "ray_qfleet_job_seconds_count", "seen")
    )
    assert value(onlooker.page, "ray_qfleet_step", "seen") == 7
    assert value(onlooker.page, "ray_qfleet_loss", "seen") == onlooker.status["loss"]
    gauges = {metric.name for metric in METRICS if metric.kind == "gauge" and "dollars" not in metric.name}
    assert all(f"\nray_{name}{{" in onlooker.page for name in gauges)

    last = run_status(RunFolder(tmp_path / "seen"))
    assert (last["state"], last["circuits"], last["resume"]) == ("finished", result.totals.n_circuits, None)
    lines = [
        json.loads(line) for line in (tmp_path / "seen" / "run.log").read_text(encoding="utf-8").splitlines()
    ]
    assert (tmp_path / "copy.log").read_text(encoding="utf-8").count("\n") == len(lines)
    assert {line["run"] for line in lines} == {"seen"}
    assert any("joined" in line["message"] for line in lines)
    assert any(line["message"].startswith("epoch 2 of 2") and line["step"] == 14 for line in lines)
    assert lines[-1]["message"] == "finished"
    told = [
        json.loads(line)
        for line in (tmp_path / "seen" / "artifacts" / "fleet_timeline.jsonl").read_text().splitlines()
    ]
    jobs = [line for line in told if line["kind"] == "job"]
    assert sum(line["n_circuits"] for line in jobs) == result.totals.n_circuits
    assert {line["step"] for line in jobs} >= set(range(14))
    assert next(line["kind"] for line in told if line["kind"] != "job") == "joined"

    session = Path(ray._private.worker._global_node.get_session_dir_path())
    of_actor = [
        json.loads(line)
        for path in (session / "logs").glob(f"worker-*-{worker['pid']}.err")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith('{"time"')
    ]
    assert [(line["run"], line["worker"], line["message"]) for line in of_actor] == [
        ("seen", worker["worker"], f"{worker['worker']} is open")
    ]
