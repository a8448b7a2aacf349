"""A search by Ray Tune on real actors, killed once: it ends as the same search does in one process, and MLflow has all of it."""

from __future__ import annotations

import time
from pathlib import Path

import mlflow
import pytest
import ray
import tomli_w

from orchestrator.config import TrainingConfig
from pipelines.studies.folder import StudyFolder
from pipelines.tracking.journal import PARENT_TAG
from pipelines.tune.direct import search_directly
from pipelines.tune.settings import Settings, checked
from pipelines.tune.study import base_of, carry_on
from tests.command import start_command
from tests.integration.mlflow_server import MlflowServer

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(280)]

SPACE = {
    "optimizer": {"learning_rate": {"low": 0.01, "high": 0.5, "log": True}},
    "model": {"n_layers": {"low": 1, "high": 2}},
}
ASKED = Settings(SPACE, n_trials=3, at_once=2, seed=1, first_rung=60)


def config(tmp_path: Path, uri: str) -> TrainingConfig:
    return TrainingConfig().with_overrides([
        "data.name=iris", "data.classes=[1,2]", "data.max_samples=40", "data.n_components=2", "model.n_qubits=2",
        "run.batch_size=8", "run.epochs=3", f"run.directory={tmp_path / 'runs'}", f"tracking.uri={uri}", "tracking.experiment=tune",
        "fleet.cpus_per_actor=0.5",
    ])  # fmt: skip


def test_a_search_that_was_killed_ends_as_in_one_process(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    made = config(tmp_path, mlflow_server.uri)
    (tmp_path / "c.toml").write_text(tomli_w.dumps(made.to_dict()))
    (tmp_path / "s.toml").write_text(tomli_w.dumps(SPACE))
    address = ray.get_runtime_context().gcs_address
    line = [
        "tune", "c.toml", "--space", "s.toml", "--trials", "3", "--at-once", "2", "--seed", "1", "--rungs", "60", "--name", "t",
        "--actors", "1", "--address", address,
    ]  # fmt: skip
    journal = tmp_path / "runs" / "t" / "search.jsonl"
    with start_command(tmp_path, *line) as command:
        deadline = time.monotonic() + 200
        while not journal.is_file() or '"told"' not in journal.read_text():
            assert command.poll() is None, command.errors
            assert time.monotonic() < deadline
            time.sleep(0.02)
    folder = StudyFolder.find("t", tmp_path / "runs")
    assert folder is not None
    found = carry_on(folder, say=lambda line: None)
    base = base_of(made, Settings(SPACE))
    settings, space = checked(ASKED, base)
    direct = search_directly(base, space, settings.terms(), settings.metric)
    assert direct is not None
    assert [(row["values"], row["state"], row["value"], row["spent"]) for row in found["trials"]] == [
        (one.values, one.outcome.kind, one.outcome.value, one.outcome.spent)
        for one in direct.trials
        if one.outcome
    ]
    client = mlflow.MlflowClient(tracking_uri=mlflow_server.uri)
    parent = client.get_run(found["run_id"])
    below = client.search_runs([parent.info.experiment_id], f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'")
    assert sorted(run.data.tags["trial"] for run in below) == ["0", "1", "2"]
    assert {run.info.status for run in below} == {"FINISHED"}
    assert parent.data.tags["mlflow.note.content"].startswith("# t\n\nBest of 3 trials")
