"""Comparisons and recipes with real actors and a real MLflow server: killed and resumed to the same end, on one fleet; side by side."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import mlflow
import pytest
import ray

from actors.ray_fleet.shared_start import NamedFleets
from orchestrator.config import TrainingConfig
from pipelines.cli import main
from pipelines.compare import compare, settings_of
from pipelines.finetune import finetune, stages_of
from pipelines.run_folder import RunFolder
from pipelines.tracking.journal import PARENT_TAG
from tests.command import start_command
from tests.integration.mlflow_server import MlflowServer

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(280)]

RATES = {"optimizer.learning_rate": [0.1, 0.01]}


def config(tmp_path: Path, *overrides: str) -> TrainingConfig:
    return TrainingConfig().with_overrides([
        "data.name=breast_cancer", "data.max_samples=60", "data.n_components=2", "model.n_qubits=2", "model.n_layers=1",
        "run.batch_size=4", "run.epochs=6", "fleet.n_actors=1", "fleet.cpus_per_actor=0.5", "tracking.log_model=false",
        "tracking.experiment=compare", "checkpoint.keep=1", f"run.directory={tmp_path / 'runs'}", *overrides,
    ])  # fmt: skip


def fleets() -> list[str]:
    with NamedFleets() as named:
        return [name for name in named.names() if name.startswith("s-")]


def test_a_killed_comparison_resumes_to_the_same_end(
    tmp_path: Path,
    mlflow_server: MlflowServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    RunFolder(tmp_path).write_config(config(tmp_path, f"tracking.uri={mlflow_server.uri}"), "c.toml")
    line = [
        "compare",
        "c.toml",
        "--vary",
        "optimizer.learning_rate=0.1,0.01",
        "--seeds",
        "1",
        "--name",
        "s",
        "--json",
    ]
    environment = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    second = tmp_path / "runs" / "s" / "members" / "learning_rate-0.01-seed-7"
    with start_command(tmp_path, *line, environment=environment) as command:
        end = time.monotonic() + 200
        while not (second / "checkpoints").is_dir() and command.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        command.kill()
        command.wait()
    assert "[1/2] learning_rate-0.1-seed-7" in command.errors, command.errors
    assert not RunFolder(second).is_finished
    assert len(fleets()) == 1, "it lives on in the cluster; the study that is resumed stops it"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
    monkeypatch.setenv("RAY_ADDRESS", environment["RAY_ADDRESS"])
    capsys.readouterr()
    assert main(["resume", "s", "--json"]) == 0
    printed = capsys.readouterr()
    again = json.loads(printed.out.splitlines()[-1])
    assert len(re.findall(r"^starting 1 Ray actors", printed.err, re.MULTILINE)) == 1
    assert fleets() == []

    serial = config(tmp_path, "fleet.dispatcher=serial", "tracking.enabled=false")
    calm = compare(serial, settings_of(serial, RATES), n_seeds=1, name="calm", say=lambda said: None)
    for name in ("answer", "comparisons", "best"):
        assert again[name] == calm[name]
    for ours, theirs in zip(again["members"], calm["members"], strict=True):
        assert (ours["metrics"], ours["circuits"]) == (theirs["metrics"], theirs["circuits"])
    client = mlflow.MlflowClient(tracking_uri=mlflow_server.uri)
    parent = client.get_run(again["run_id"])
    assert parent.info.status == "FINISHED"
    below = client.search_runs([parent.info.experiment_id], f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'")
    assert sorted(run.data.tags["optimizer.learning_rate"] for run in below) == ["0.01", "0.1"]
    assert {run.info.status for run in below} == {"FINISHED"}


def test_side_by_side_is_the_same_as_one_after_the_other(tmp_path: Path) -> None:
    base = config(tmp_path, "run.epochs=1", "tracking.enabled=false")
    said: list[str] = []
    both = compare(base, settings_of(base, RATES), n_seeds=1, name="both", at_once=2, say=said.append)
    assert sum(line.startswith("[") for line in said) == 2
    serial = config(tmp_path, "run.epochs=1", "fleet.dispatcher=serial", "tracking.enabled=false")
    calm = compare(serial, settings_of(serial, RATES), n_seeds=1, name="calm", say=lambda line: None)
    assert both["answer"] == calm["answer"]
    assert [one["metrics"] for one in both["members"]] == [one["metrics"] for one in calm["members"]]


def test_a_recipe_on_actors_is_that_of_one_process_and_stands_at_mlflow(
    tmp_path: Path, mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
    found = []
    for name, *overrides in (
        ("fleet", f"tracking.uri={mlflow_server.uri}"),
        ("calm", "fleet.dispatcher=serial", "tracking.enabled=false"),
    ):
        base = config(tmp_path, "run.epochs=1", *overrides)
        stages = stages_of(
            base, "noisy", ["backend.shots=100"], freeze=["layer0"], epochs=1, from_scratch=False
        )
        found.append(finetune(stages, name=name, say=lambda line: None))
    on_actors, calm = found
    assert fleets() == []
    assert on_actors["answer"] == calm["answer"]
    client = mlflow.MlflowClient(tracking_uri=mlflow_server.uri)
    parent = client.get_run(on_actors["run_id"])
    assert parent.info.status == "FINISHED"
    below = client.search_runs([parent.info.experiment_id], f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'")
    assert {run.info.run_name for run in below} == {"fleet/pretrained", "fleet/finetuned"}
