"""Studies: members are trained once, stand below their parent at MLflow, and go on after an interrupt."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from orchestrator.config import TrainingConfig
from orchestrator.errors import CheckpointError, InputError
from pipelines import Callback
from pipelines.run_folder import RunFolder
from pipelines.studies import folder as folders
from pipelines.studies.apart import apart
from pipelines.studies.folder import StudyFolder
from pipelines.studies.study import Study, StudyInterrupted
from pipelines.tracking.journal import PARENT_TAG


def config(tmp_path: Path, *overrides: str) -> TrainingConfig:
    return TrainingConfig().with_overrides([
        "data.name=iris", "data.max_samples=40", "data.n_components=2", "model.n_qubits=2", "model.n_layers=1", "loss.name=mse",
        "run.batch_size=8", "run.epochs=2", "fleet.dispatcher=serial", "tracking.log_model=false",
        f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}", *overrides,
    ])  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
    monkeypatch.setitem(folders.KINDS, "probe", "tests.unit.test_studies")


def study_of(tmp_path: Path, **overrides: Any) -> StudyFolder:
    made = {"directory": tmp_path / "runs", "name": "s", **overrides}
    return StudyFolder.create("probe", config(tmp_path), {"seeds": [0, 1]}, **made)


class Stop(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, report: Any, state: Any) -> None:
        if report.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_members_stand_below_their_parent_and_the_report_is_its_description(tmp_path: Path) -> None:
    folder = study_of(tmp_path)
    said: list[str] = []
    with Study(folder, params={"seeds": 2}, description="two seeds", say=said.append) as study:
        for seed in folder.asks["seeds"]:
            member = study.train(
                f"seed-{seed}", study.config.with_overrides([f"run.seed={seed}"]), tags={"seed": str(seed)}
            )
            study.told(member, seed + 1, 2)
        outcome = study.finish("# Which seed?\nNone.", {"best": 0}, {"best/accuracy": 0.5})
    assert said[0].startswith("[1/2] seed-0: test/")
    client = mlflow.MlflowClient(tracking_uri=outcome["tracking_uri"])
    parent = client.get_run(outcome["run_id"])
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "s")
    assert parent.data.tags["mlflow.note.content"].startswith("# Which seed?")
    below = client.search_runs([parent.info.experiment_id], f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'")
    assert {run.info.run_name: run.data.tags["seed"] for run in below} == {"s/seed-0": "0", "s/seed-1": "1"}
    assert folder.report() == outcome
    assert StudyFolder.find("s", tmp_path / "runs").kind == "probe"  # type: ignore[union-attr]


def test_an_interrupted_study_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = study_of(tmp_path)
    calm = study_of(tmp_path, name="calm")
    with Study(folder, params={}, description="") as study:
        first = study.train("a", study.config)
    with (
        pytest.raises(StudyInterrupted, match="qfleet resume"),
        Study(folder, params={}, description="") as study,
    ):
        study.train("b", study.config.with_overrides(["run.seed=1"]), callbacks=[Stop(3)])
    with Study(folder, params={}, description="") as study:
        again = study.train("a", study.config)
        other = study.train("b", study.config)  # what it is was written when it began
        assert [member.name for member in study.members] == ["a", "b"]
    assert again.result == first.result
    with Study(calm, params={}, description="") as study:
        undisturbed = study.train("b", study.config.with_overrides(["run.seed=1"]))
    assert other.result["best_params_sha256"] == undisturbed.result["best_params_sha256"]
    assert (other.n_circuits, other.metrics) == (undisturbed.n_circuits, undisturbed.metrics)
    assert np.isfinite(other.result["final_loss"])


def test_a_member_that_mlflow_got_before_its_parent_finds_it_later(tmp_path: Path) -> None:
    folder = study_of(tmp_path)
    with Study(folder, params={}, description="") as study:
        study.tracker.finish(None)  # as if MLflow were away for the parent alone
        study.tracker.spool.state.run_id = None
        study.tracker.spool.save()
        member = study.train("a", study.config)
        client = mlflow.MlflowClient(tracking_uri=study.config.tracking.uri)
        assert PARENT_TAG not in client.get_run(member.result["run_id"]).data.tags
    with Study(folder, params={}, description="") as study:
        study.train("a", study.config)
        outcome = study.finish("", {}, {})
    assert client.get_run(member.result["run_id"]).data.tags[PARENT_TAG] == outcome["run_id"]


def test_what_cannot_be_a_study_is_refused(tmp_path: Path) -> None:
    folder = study_of(tmp_path)
    with pytest.raises(InputError, match="qfleet resume s"):
        study_of(tmp_path)
    with pytest.raises(InputError, match="letters, digits"):
        study_of(tmp_path, name="../s")
    folder.write_json("study.json", {"format": 1, "kind": "prob", "asks": {}, "config": {}})
    with pytest.raises(CheckpointError, match="'prob' is not known here; nearest: 'probe'"):
        _ = folder.kind
    folder.write_json("study.json", {"format": 2})
    with pytest.raises(CheckpointError, match="format 2, this version of qfleet reads 1"):
        _ = folder.kind
    assert StudyFolder.find("t", tmp_path / "runs") is None
    assert RunFolder(folder.members / "a").study == folder.path


def test_credentials_of_a_tracking_uri_are_used_and_not_written(tmp_path: Path) -> None:
    uri = "https://ada:secret@mlflow.example"
    of = config(tmp_path).model_copy(
        update={"tracking": config(tmp_path).tracking.model_copy(update={"uri": uri})}
    )
    folder = StudyFolder.create("probe", of, {}, directory=tmp_path / "runs", name="s")
    assert folder.config.tracking.uri == uri
    assert "secret" not in (folder.path / "study.json").read_text()
    found = StudyFolder.find("s", tmp_path / "runs")
    assert found is not None
    assert found.config.tracking.uri == "https://***@mlflow.example"


def test_of_two_that_begin_at_once_only_one_gets_the_folder(tmp_path: Path) -> None:
    """The other holds the lock, or has just written, after this one looked."""
    other = StudyFolder(tmp_path / "runs" / "s")
    (other.path / "members").mkdir(parents=True)
    other.lock()
    with pytest.raises(InputError, match="exists"):
        study_of(tmp_path)
    assert not (other.path / "study.json").exists()
    other.unlock()
    assert not study_of(tmp_path)._is_claimed("probe", config(tmp_path), {"seeds": [9]})
    found = StudyFolder.find("s", tmp_path / "runs")
    assert found is not None
    assert found.asks == {"seeds": [0, 1]}


def test_a_training_for_another_process_knows_where_it_is_and_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    of = config(tmp_path, "fleet.dispatcher=ray", "run.directory=runs")
    sent = apart(
        of.model_copy(update={"tracking": of.tracking.model_copy(update={"uri": None})}), Path("runs/s/a")
    )
    assert sent.config.tracking.uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert (sent.path, sent.config.run.directory) == (str(tmp_path / "runs/s/a"), str(tmp_path / "runs"))
    assert sent.config.fleet.dispatcher == "serial"
