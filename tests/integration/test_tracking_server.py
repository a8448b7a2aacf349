"""Tracking against a real MLflow server on loopback: killed and started again mid-run, and a model that loads without pickle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from orchestrator.config import TrackingConfig
from pipelines.tracking.tracker import Tracker, fetch_metrics
from tests.integration.mlflow_server import MlflowServer

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(300)]

PREDICTOR = '''
"""A stand-in for the package's predictor: prediction = first feature minus second."""
import json, pathlib
import numpy as np

class Predictor:
    def __init__(self, names, scale):
        self.feature_names, self.scale = names, scale

    @classmethod
    def load(cls, folder):
        folder = pathlib.Path(folder)
        names = tuple(json.loads((folder / "about.json").read_text())["feature_names"])
        return cls(names, np.load(folder / "params.npz", allow_pickle=False)["params"])

    def predict_table(self, features):
        value = (features[:, 0] - features[:, 1]) * self.scale[0]
        return {"prediction": np.where(value > 0, "up", "down").astype(object), "value": value}
'''


@pytest.fixture
def server(mlflow_server: MlflowServer) -> MlflowServer:
    return mlflow_server


def log_model(tracker: Tracker, folder: Path) -> None:
    """What `PREDICTOR` reads."""
    folder.mkdir(parents=True)
    (folder / "about.json").write_text(json.dumps({"feature_names": ["b", "a"]}))
    np.savez(folder / "params.npz", params=np.array([2.0]))
    tracker.log_model(
        folder,
        feature_names=("b", "a"),
        example_features=np.array([[1.0, 2.0]]),
        example_predictions={"prediction": np.array(["down"], object), "value": np.array([-2.0])},
    )


def test_a_server_killed_mid_run_loses_and_doubles_nothing(tmp_path, server):
    """Also: credentials in the URI (this server asks for none) stay out of every file, the server's included."""
    uri = server.uri.replace("http://", "http://ann:hunter2-secret@")
    warnings: list[str] = []
    tracker = Tracker(
        tmp_path / "run", TrackingConfig(uri=uri, experiment="outage"), "outage", {"tracking.uri": uri},
        on_warning=warnings.append, interval_seconds=0.1,
    )  # fmt: skip
    tracker.start()
    slowest = 0.0
    n_steps = 600
    for step in range(1, n_steps + 1):
        started = time.perf_counter()
        tracker.log_metrics({"train/loss": 1 / step, "val/loss": float("nan") if step == 5 else step}, step)
        slowest = max(slowest, time.perf_counter() - started)
        if step == 200:
            end = time.monotonic() + 60
            while not (tracker.run_id and tracker.status().n_points_pending == 0):
                assert time.monotonic() < end, tracker.status()
                time.sleep(0.05)
            server.kill()
            tracker.log_text("written during the outage", "notes/outage.txt")
            tracker.log_dataset(np.ones((4, 2)), np.arange(4), name="ones", source="made up")
            log_model(tracker, tmp_path / "run" / "model")
            tracker.register_model("outlasted", "champion")
            tracker.describe("# Written during the outage\n[notes](artifacts/notes/outage.txt)")
        if step == 400:
            end = time.monotonic() + 60
            while tracker.status().state != "unreachable":
                assert time.monotonic() < end
                time.sleep(0.05)
            server.start()
        time.sleep(0.002)
    report = tracker.finish(timeout_seconds=120)
    tracker.close()
    assert report.is_complete, report
    assert slowest < 0.5
    assert len(warnings) == 1
    assert "connection refused" in warnings[0] or "Remote" in warnings[0], warnings

    metrics = fetch_metrics(server.uri, report.run_id)
    assert [(p.step, p.value) for p in metrics["train/loss"]] == [(s, 1 / s) for s in range(1, n_steps + 1)]
    assert len(metrics["val/loss"]) == n_steps
    assert np.isnan(metrics["val/loss"][4].value)
    import mlflow

    client = mlflow.MlflowClient(server.uri)
    run = client.get_run(report.run_id)
    assert run.info.status == "FINISHED"
    assert len(client.search_runs([run.info.experiment_id])) == 1
    assert [each.path for each in client.list_artifacts(report.run_id, "notes")] == ["notes/outage.txt"]
    assert len(run.inputs.dataset_inputs) == 1
    note = run.data.tags["mlflow.note.content"]
    assert note.endswith(
        f"(#/experiments/{run.info.experiment_id}/runs/{report.run_id}/artifacts/notes/outage.txt)"
    )
    version = client.get_model_version_by_alias("outlasted", "champion")
    assert (int(version.version), version.run_id) == (1, report.run_id)
    assert client.get_registered_model("outlasted").latest_versions[0].version == version.version
    for folder in (tmp_path, server.folder):
        for path in folder.rglob("*"):
            assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_the_logged_model_predicts_elsewhere_without_pickle(tmp_path, server):
    with Tracker(
        tmp_path / "run", TrackingConfig(uri=server.uri, experiment="model"), "m", {"lr": 0.1}
    ) as tracker:
        tracker.log_metrics({"test/accuracy": 1.0}, 1)
        started = time.perf_counter()
        log_model(tracker, tmp_path / "run" / "model")
        assert time.perf_counter() - started < 0.5
        report = tracker.finish(timeout_seconds=120)
    assert report.is_complete, report

    # Another process, another folder; a stand-in for the package goes first on its path.
    package = tmp_path / "package" / "pipelines"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "predictor.py").write_text(PREDICTOR)
    script = f"""
        import sys
        import mlflow, numpy as np, pandas as pd, pytest
        mlflow.set_tracking_uri({server.uri!r})
        model = mlflow.pyfunc.load_model("runs:/{report.run_id}/model")
        assert not {{"ray", "cirq", "cirq_ionq"}} & set(sys.modules), "heavy imports at load"
        frame = pd.DataFrame({{"x": [9.0, 9.0], "a": [1.0, 5.0], "b": [3.0, 4.0]}}, index=[7, 8])
        table = model.predict(frame)
        assert list(table["prediction"]) == ["up", "down"], table
        assert list(table["value"]) == [4.0, -2.0] and list(table.index) == [7, 8], table
        array = model.unwrap_python_model().predict(np.array([[3.0, 1.0]]))
        assert list(array["value"]) == [4.0]
        try:
            model.predict(frame.drop(columns="a"))
        except mlflow.exceptions.MlflowException as error:
            assert "'a'" in str(error)
        else:
            raise SystemExit("a missing column was accepted")
        example = model.input_example
        assert list(example.columns) == ["b", "a"]
        print("predicted", [c.name for c in model.metadata.signature.outputs])
    """
    environment = os.environ | {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "PYTHONPATH": str(tmp_path / "package"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "predicted ['prediction', 'value']" in done.stdout
