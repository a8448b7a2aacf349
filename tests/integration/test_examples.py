"""Similar models and the study of chosen training data, with a real MLflow server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import pytest

from orchestrator.config import TrainingConfig
from pipelines import Trainer, cli
from pipelines.example_store import study
from pipelines.run_folder import RunFolder
from pipelines.similarity.known import known_runs, of_folder
from tests.integration.mlflow_server import MlflowServer

pytestmark = pytest.mark.alone


def test_runs_at_mlflow_are_found_by_their_models(
    tmp_path: Path, mlflow_server: MlflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run whose folder is gone is compared by what it logged, and is exactly the model that it was."""
    directory = tmp_path / "runs"
    for name, epochs in (("here", 3), ("gone", 2)):
        config = TrainingConfig().with_overrides([
            f"run.name={name}", f"run.directory={directory}", f"run.epochs={epochs}", "fleet.dispatcher=serial",
            "data.name=iris", "data.classes=[0, 1]", "data.n_components=2", "model.n_qubits=2", "model.n_layers=1",
            f"tracking.uri={mlflow_server.uri}", "tracking.experiment=similar",
        ])  # fmt: skip
        Trainer(config, progress=False).fit()
    at_work = of_folder(RunFolder(directory / "gone")).embed(64)
    shutil.rmtree(directory / "gone")
    asked = ["similar", "here", "--directory", str(directory), "--tracking-uri", mlflow_server.uri, "--json"]
    assert cli.main([*asked, "--experiment", "similar"]) == 0
    found = json.loads(capsys.readouterr().out)["similar"]
    assert len(found) == 1
    assert "gone" in found[0]["run"]
    assert found[0]["architecture"] == 1
    assert 0 < found[0]["behaviour"] < 1
    assert found[0]["differs"] == {"run.epochs": [3, 2]}
    assert found[0]["metrics"]["test/accuracy"] >= 0
    logged = known_runs(str(tmp_path / "none"), mlflow_server.uri, "similar", tmp_path / "kept", print)
    fetched = next(one for one in logged if "gone" in one.name).embed(64)
    alike = at_work.similarities(fetched)
    assert (alike["architecture"], alike["behaviour"]) == (1, 1)
    assert alike["data"] == pytest.approx(1, abs=1e-12)
    assert cli.main([*asked, "--experiment", "simila"]) == 2
    assert "did you mean 'similar'" in capsys.readouterr().out


def test_the_study_stands_at_mlflow(
    tmp_path: Path,
    mlflow_server: MlflowServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    monkeypatch.setattr(study, "PAIRS", ((0, 1),))
    monkeypatch.setattr(study, "STEPS", 3)
    monkeypatch.setattr(
        study, "_bytes", lambda: [{"tasks": "t", "n_tasks": 2, "one": 1, "copies": 2, "ratio": 0.5}]
    )
    options = ["--seeds", "2", "--examples", "8", "--directory", str(tmp_path), "--name", "choosing"]
    assert cli.main(["examples", "benchmark", *options, "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    run = mlflow.MlflowClient(tracking_uri=mlflow_server.uri).get_run(outcome["run_id"])
    assert run.info.status == "FINISHED"
    assert {"gain/weighted-8", "gain/typical-8", "gain/border-8"} <= run.data.metrics.keys()
    assert run.data.tags["mlflow.note.content"].startswith("**")
