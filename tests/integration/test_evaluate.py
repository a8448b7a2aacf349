"""Evaluations as wholes: paid ones that are killed, registered models at a real server, and real actors."""

from __future__ import annotations

import time
from pathlib import Path

import mlflow
import numpy as np
import pytest

from actors.ionq.book import SubmissionBook
from actors.ionq.emulator import Emulator, EmulatorSettings
from orchestrator.config import TrainingConfig
from orchestrator.errors import InputError
from pipelines.evaluate import evaluate
from pipelines.evaluate.pipeline import prepare, run_evaluation
from pipelines.run_folder import RunFolder
from pipelines.saved_run import Request
from pipelines.trainer import Trainer
from tests.command import start_command
from tests.integration.mlflow_server import MlflowServer

SMALL = [
    "data.name=iris", "data.n_components=none", "data.test_fraction=0.4", "model.n_qubits=4", "model.n_layers=1", "model.head=linear",
    "model.observables=each", "loss.name=cross_entropy", "run.epochs=2", "fleet.dispatcher=serial", "run.name=one",
]  # fmt: skip


def trained(folder: Path, *overrides: str) -> RunFolder:
    config = TrainingConfig().with_overrides([*SMALL, f"run.directory='{folder / 'runs'}'", *overrides])
    return Trainer(config, progress=False).fit().folder


def test_a_paid_evaluation_that_is_killed_pays_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 circuits in 12 jobs; killed once some of them are paid, then run again, and once more."""
    monkeypatch.setenv("IONQ_API_KEY", "key-of-the-emulator")
    run = trained(tmp_path, "tracking.enabled=false")
    with Emulator(EmulatorSettings(queue_seconds=0.15)) as emulator:
        monkeypatch.setenv("IONQ_REMOTE_HOST", emulator.url)
        command = [
            "evaluate", "one", "--backend", "ionq", "--set", "backend.target=qpu.aria-1", "--set", "backend.circuits_per_job=5",
            "--shots", "600", "--json",
        ]  # fmt: skip
        with start_command(tmp_path, *command, "--yes-spend", "1e6") as process:
            end = time.monotonic() + 60
            while emulator.totals()["jobs"].get("completed", 0) < 3:
                assert time.monotonic() < end, process.errors
                assert process.poll() is None, process.errors
                time.sleep(0.02)
            process.kill()
            process.wait(10)
        assert not list(run.path.rglob("evaluation.json"))
        asked = Request("ionq", ("backend.target=qpu.aria-1", "backend.circuits_per_job=5"), 600)
        prepared = prepare("one", asked, directory=str(tmp_path / "runs"))
        forecast = prepared.expected
        first = run_evaluation(prepared, 1e6)
        ledger = emulator.totals()
        again = run_evaluation(prepared, 1e6)
        assert emulator.totals()["jobs_accepted"] == ledger["jobs_accepted"]
    assert ledger["duplicates"] == 0
    assert ledger["jobs_accepted"] == 12
    assert ledger["billed_micro_usd"] == round(forecast.usd * 1e6) > 0
    assert ledger["circuits"] == forecast.circuits == first.used.n_circuits
    with SubmissionBook(run.path) as book:
        assert (book.totals().spent, book.unfinished()) == (ledger["billed_micro_usd"], [])
    assert again.figures == first.figures
    assert again.folder == first.folder
    assert first.outputs.correlations == "left out"
    assert first.folder is not None
    assert first.folder.name == "evaluate-test-ionq-qpu.aria-1-600"


@pytest.mark.alone
def test_at_mlflow_and_on_actors(tmp_path: Path, mlflow_server: MlflowServer, local_ray: None) -> None:
    """Runs below the evaluated one, a repeated one updated; the same model from the registry; the same bits on two actors."""
    server = mlflow_server
    run = trained(tmp_path, f"tracking.uri={server.uri}", "tracking.experiment=evaluations")
    directory = str(tmp_path / "runs")
    test = evaluate("one", directory=directory)
    noisy = evaluate("one", directory=directory, backend="noisy", shots=200)
    again = evaluate("one", directory=directory, backend="noisy", shots=200, actors=2)
    assert np.array_equal(noisy.outputs.values, again.outputs.values)
    assert np.array_equal(noisy.outputs.covariance, again.outputs.covariance)
    assert again.run_id == noisy.run_id != test.run_id
    client = mlflow.MlflowClient(tracking_uri=server.uri)
    parent = client.get_run(run.mlflow_run_id)
    below = {
        each.info.run_name: each
        for each in client.search_runs([parent.info.experiment_id])
        if each.data.tags.get("mlflow.parentRunId") == run.mlflow_run_id
    }
    assert set(below) == {"evaluate-test-ideal-exact", "evaluate-test-noisy-aria-1-200"}
    logged = below["evaluate-test-noisy-aria-1-200"]
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["eval/accuracy"] == noisy.figures["accuracy"].value
    assert logged.data.metrics["eval/log_loss_shot_error"] == noisy.figures["log_loss"].shot_error
    assert len(client.get_metric_history(logged.info.run_id, "eval/accuracy")) == 1
    assert "predictions in doubt" in logged.data.tags["mlflow.note.content"]
    files = {each.path for each in client.list_artifacts(logged.info.run_id)}
    assert files >= {"confusion.png", "reliability.png", "predictions.parquet", "report.md"}
    _check_model(tmp_path, server, client, parent, test.metrics)


def _check_model(
    folder: Path,
    server: MlflowServer,
    client: mlflow.MlflowClient,
    parent: mlflow.entities.Run,
    scores: dict[str, float],
) -> None:
    model_id = parent.outputs.model_outputs[0].model_id
    client.create_registered_model("flowers")
    version = client.create_model_version(
        "flowers", f"models:/{model_id}", model_id=model_id, run_id=parent.info.run_id
    )
    client.set_registered_model_alias("flowers", "champion", version.version)
    elsewhere = folder / "elsewhere"
    found = evaluate(
        "models:/flowers@champion", data="iris", tracking_uri=server.uri, directory=str(elsewhere / "runs")
    )
    assert (found.subject.uri, len(found.choice.features)) == ("models:/flowers/1", 150)
    whole = evaluate("one", directory=str(folder / "runs"), data="iris", track=False)
    assert found.metrics == whole.metrics
    logged = client.get_run(found.run_id)
    assert logged.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert logged.info.experiment_id == parent.info.experiment_id
    by_run = evaluate(
        f"runs:/{parent.info.run_id}/model",
        directory=str(elsewhere / "runs"),
        data="iris",
        tracking_uri=server.uri,
        track=False,
    )
    assert by_run.metrics == whole.metrics
    assert not [path for path in elsewhere.rglob("*") if path.suffix in (".pkl", ".pickle")]
    for wrong, words in (
        ("models:/flowers@champio", "did you mean 'champion'"),
        ("models:/flower", "did you mean 'flowers'"),
        ("models:/flowers/9", "the newest of 'flowers' is 1"),
        (f"runs:/{parent.info.run_id}/modell", "there are: model"),
    ):
        with pytest.raises(InputError, match=words):
            evaluate(wrong, directory=str(elsewhere / "runs"), data="iris", tracking_uri=server.uri)
