"""``qfleet benchmark source`` killed in the middle and resumed: the same figures, one parent run at MLflow with the trainings below it."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import mlflow
import pytest

from pipelines import cli
from tests.command import start_command
from tests.integration.mlflow_server import MlflowServer

pytestmark = pytest.mark.alone


def test_a_benchmark_that_is_killed_goes_on(
    tmp_path: Path, mlflow_server: MlflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "benchmark", "source", "--configuration", "after", "--name", "killed", "--set", f"tracking.uri={mlflow_server.uri}",
        "--set", "tracking.experiment=source", "--set", "tracking.log_model=false",
    ]  # fmt: skip
    members = tmp_path / "runs" / "killed" / "members"
    with start_command(tmp_path, *options) as command:
        first = members / "after-generated-warm" / "result.json"
        deadline = time.monotonic() + 200
        while not first.exists():
            assert command.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(command.pid, signal.SIGKILL)
        command.wait()
    before = json.loads(first.read_text())
    capsys.readouterr()
    assert cli.main(["resume", "killed", "--directory", str(tmp_path / "runs"), "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads(first.read_text()) == before
    (row,) = outcome["rows"]
    generated, built_in = row["runs"]["generated"], row["runs"]["breast_cancer"]
    assert generated["accuracy"] == before["metrics"]["test/accuracy"]
    cold = json.loads((members / "after-generated-cold" / "result.json").read_text())
    assert cold["params_sha256"] == before["params_sha256"]  # the command and this process train the same
    took, trained = generated["command_seconds"], generated["command_training_seconds"]
    assert (took, trained) == (None, None) or 0 < trained < took  # one that was begun has no time
    assert built_in["test_samples"] == 69
    client = mlflow.MlflowClient(mlflow_server.uri)
    experiment = client.get_experiment_by_name("source")
    found = client.search_runs([experiment.experiment_id])
    below = [each for each in found if each.data.tags.get("mlflow.parentRunId") == outcome["run_id"]]
    assert {each.info.run_name for each in below} == {
        f"killed/after-{name}" for name in ("generated-warm", "generated-cold", "breast_cancer-warm")
    }
    assert len(found) == 4
    parent = client.get_run(outcome["run_id"])
    assert parent.info.status == "FINISHED"
    assert "no like-for-like comparison" in parent.data.tags["mlflow.note.content"]
