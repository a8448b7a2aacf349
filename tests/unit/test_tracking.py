"""The tracker against MLflow's SQLite store and against servers that are down or refuse: nothing lost, doubled or leaked."""

from __future__ import annotations

import hashlib
import http.server
import json
import logging
import math
import os
import pickle
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from orchestrator.config import TrackingConfig
from orchestrator.errors import InputError
from orchestrator.redaction import Redactor, redact_uri
from pipelines.tracking.mlflow_store import _array_digest
from pipelines.tracking.provenance import environment_text, git_commit, provenance_tags
from pipelines.tracking.pyfunc_model import ordered_features
from pipelines.tracking.tracker import Tracker, fetch_metrics, resolve_uri, ship_pending


@pytest.fixture(autouse=True)
def no_uri_in_the_environment(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """One store for the module: making its tables takes a second."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def client(uri):
    import mlflow

    return mlflow.MlflowClient(uri)


def runs(uri, experiment):
    found = client(uri).get_experiment_by_name(experiment)
    return client(uri).search_runs([found.experiment_id]) if found else []


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def log_model(tracker, folder, names=("b", "a")):
    """A stand-in for a saved predictor: JSON and an array."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "about.json").write_text(json.dumps({"feature_names": list(names)}))
    np.savez(folder / "params.npz", params=np.arange(3.0))
    tracker.log_model(
        folder,
        feature_names=names,
        example_features=np.array([[1.0, 2.0], [3.0, 4.0]]),
        example_predictions={"prediction": np.array(["x", "y"], object), "probability_x": np.ones(2)},
    )


def test_a_whole_run(tmp_path, uri, capfd):
    params = {
        "run.epochs": 5,
        "model.circuit": None,
        "data.standardize": True,
        "data.classes": [0, 1],
        "empty": "",
    }
    params |= {f"many.{i}": i for i in range(230)}
    params["long"] = "x" * 7000
    warnings = []
    tracker = Tracker(
        tmp_path / "run", TrackingConfig(uri=uri, experiment="whole", tags={"team": "q"}), "run-1", params,
        {"backend": "ideal", "note": "y" * 9000}, description="# Title", on_warning=warnings.append, interval_seconds=0.05,
    )  # fmt: skip
    tracker.start()
    for step in range(1, 51):
        tracker.log_metrics({"train/loss": 1 / step, "cost/usd": 0.0, "val/loss": None}, step)
    tracker.log_metrics({"odd [%]/../name": 1.0}, 1)
    rng = np.random.default_rng(0)
    for context in ("training", "test", "test"):
        tracker.log_dataset(
            rng.normal(size=(20, 2)), np.arange(20) % 2, name="toy", source="made up", context=context,
            digest="d" * 64, feature_names=["b", "a"], n_rows=100,
        )  # fmt: skip
    tracker.log_text("hello", "notes/hello.txt")
    (tmp_path / "plot.png").write_bytes(b"\x89PNG")
    tracker.log_artifact(tmp_path / "plot.png", "plots")
    (tmp_path / "plot.png").unlink()
    (tmp_path / "run" / "artifacts" / "left_there.txt").write_text("also")
    log_model(tracker, tmp_path / "run" / "model")
    report = tracker.finish()
    tracker.close()

    assert (report.state, report.is_complete, report.n_points, report.refused) == ("connected", True, 101, ())
    assert warnings == []
    out = capfd.readouterr()
    assert out.out + out.err == ""  # neither alembic nor MLflow chatter
    run = client(uri).get_run(report.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run-1")
    assert run.data.params["model.circuit"] == "none"
    assert run.data.params["data.standardize"] == "true"
    assert run.data.params["data.classes"] == "[0, 1]"
    assert run.data.params["many.229"] == "229"
    assert len(run.data.params["long"]) == 6000
    assert run.data.params["long"].endswith("[cut; 7000 characters in all]")
    assert len(run.data.params) == len(params)
    assert run.data.tags["team"] == "q"
    assert run.data.tags["backend"] == "ideal"
    assert run.data.tags["note"].endswith("[cut; 9000 characters in all]")
    assert run.data.tags["mlflow.note.content"] == "# Title"
    metrics = fetch_metrics(uri, report.run_id)
    assert [(p.step, p.value) for p in metrics["train/loss"]] == [(s, 1 / s) for s in range(1, 51)]
    assert set(metrics) == {"train/loss", "cost/usd", "odd ___/name"}
    inputs = {each.tags[0].value: each.dataset for each in run.inputs.dataset_inputs}
    assert {context: each.name for context, each in inputs.items()} == {
        "training": "toy",
        "test": "toy (test)",
    }
    assert json.loads(inputs["test"].profile)["num_rows"] == 100
    assert [c["name"] for c in json.loads(inputs["test"].schema)["mlflow_colspec"]] == ["b", "a", "target"]
    root = Path(run.info.artifact_uri)
    assert root.is_relative_to(Path(uri.removeprefix("sqlite:///")).parent)  # beside the data base
    assert (root / "notes" / "hello.txt").read_text() == "hello"
    assert (root / "plots" / "plot.png").read_bytes() == b"\x89PNG"
    assert (root / "left_there.txt").read_text() == "also"
    model = client(uri).get_logged_model(run.outputs.model_outputs[0].model_id)
    assert (model.status, model.name, model.source_run_id) == ("READY", "model", report.run_id)
    files = {p.name for p in Path(model.artifact_location).rglob("*")}
    assert {"MLmodel", "params.npz", "pyfunc_model.py", "input_example.json", "requirements.txt"} <= files
    assert not [name for name in files if name.endswith((".pkl", ".pickle"))]
    assert "qfleet==" not in (Path(model.artifact_location) / "requirements.txt").read_text()


def test_a_crashed_run_goes_on_in_the_same_mlflow_run(tmp_path, uri):
    config = TrackingConfig(uri=uri, experiment="resume")
    first = Tracker(tmp_path / "run", config, "r", {"lr": 0.1}, interval_seconds=0.02)
    first.start()
    for step in range(1, 41):
        first.log_metrics({"train/loss": 1 / step}, step)
    wait_for(lambda: first.status().n_points_pending == 0 and first.run_id)
    run_id = first.run_id
    # As SIGKILL would: the thread ends without a farewell, a line is torn, the last journal offset was not recorded.
    first._writer._is_stopped.set()
    wait_for(first._writer._is_done.is_set)
    first.journal.close()
    with (tmp_path / "run" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step":41,"time')
    state = json.loads((tmp_path / "run" / "tracking.json").read_text())
    state["shipped_bytes"] = state["shipped_bytes"] // 2
    (tmp_path / "run" / "tracking.json").write_text(json.dumps(state))
    (tmp_path / "run" / "artifacts").mkdir(exist_ok=True)
    (tmp_path / "run" / "artifacts" / "late.txt").write_text("pending")

    second = Tracker(tmp_path / "run", config, "r", {"lr": 0.2, "new": 1}, interval_seconds=0.02)
    second.start()
    for step in range(31, 61):  # the checkpoint was at step 30
        second.log_metrics({"train/loss": 1 / step}, step)
    report = second.finish()
    second.close()
    assert (report.run_id, report.is_complete) == (run_id, True)
    assert len(runs(uri, "resume")) == 1
    points = fetch_metrics(uri, run_id)["train/loss"]
    assert [(p.step, p.value) for p in points] == [(s, 1 / s) for s in range(1, 61)]
    run = client(uri).get_run(run_id)
    assert run.data.params == {"lr": "0.1", "new": "1"}
    assert run.data.tags["resumed.lr"] == "0.2"
    assert (Path(run.info.artifact_uri) / "late.txt").is_file()


def test_a_run_whose_creation_went_unanswered_is_found_again(tmp_path, uri):
    config = TrackingConfig(uri=uri, experiment="lost-answer")
    with Tracker(tmp_path / "run", config, "r", interval_seconds=0.02) as tracker:
        tracker.log_metrics({"a": 1.0}, 1)
    path = tmp_path / "run" / "tracking.json"
    state = json.loads(path.read_text())
    path.write_text(
        json.dumps({**state, "run_id": None, "shipped_bytes": 0, "files": {}, "shipped_tags": {}})
    )
    with Tracker(tmp_path / "run", config, "r", interval_seconds=0.02) as tracker:
        tracker.log_metrics({"a": 2.0}, 2)
    assert [run.info.run_id for run in runs(uri, "lost-answer")] == [state["run_id"]]
    assert [p.value for p in fetch_metrics(uri, state["run_id"])["a"]] == [1.0, 2.0]


def test_a_run_deleted_meanwhile_is_logged_anew(tmp_path, uri):
    tracker = Tracker(
        tmp_path / "run", TrackingConfig(uri=uri, experiment="deleted"), "r", {"p": 1}, interval_seconds=0.02
    )
    tracker.start()
    tracker.log_metrics({"a": 1.0}, 1)
    tracker.log_text("x", "x.txt")
    wait_for(lambda: tracker.run_id and tracker.status().is_complete)
    old = tracker.run_id
    client(uri).delete_run(old)
    tracker.log_metrics({"a": 2.0}, 2)
    report = tracker.finish()
    tracker.close()
    assert report.is_complete
    assert report.run_id != old
    assert [p.value for p in fetch_metrics(uri, report.run_id)["a"]] == [1.0, 2.0]
    assert client(uri).list_artifacts(report.run_id)[0].path == "x.txt"


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_the_runs_status(tmp_path, uri, error, status):
    tracker = Tracker(tmp_path / "run", TrackingConfig(uri=uri, experiment=f"status-{status}"), "r")
    try:
        with tracker:
            wait_for(lambda: tracker.run_id)
            if error:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert [run.info.status for run in runs(uri, f"status-{status}")] == [status]
    assert not [thread for thread in threading.enumerate() if thread.name == "qfleet-tracking"]


def test_infinities_are_sent_as_nan_with_a_tag(tmp_path, uri):
    with Tracker(tmp_path / "run", TrackingConfig(uri=uri, experiment="inf"), "r") as tracker:
        for step, value in enumerate((math.nan, math.inf, -math.inf, 1.0)):
            tracker.log_metrics({"train/loss": value}, step)
    points = fetch_metrics(uri, tracker.run_id)["train/loss"]
    assert [math.isnan(p.value) for p in points] == [True, True, True, False]
    tag = runs(uri, "inf")[0].data.tags["qfleet.nonfinite.train/loss"]
    assert tag.startswith("inf at step 1")


def test_a_server_that_is_down_for_the_whole_run(tmp_path, uri, free_port):
    warnings = []
    config = TrackingConfig(uri=f"http://127.0.0.1:{free_port}", experiment="down")
    tracker = Tracker(tmp_path / "run", config, "r", {"p": 1}, {"t": "1"}, on_warning=warnings.append)
    tracker.start()
    started = time.perf_counter()
    for step in range(100):
        tracker.log_metrics({"a": step}, step)
    tracker.log_text("kept", "kept.txt")
    tracker.log_dataset(np.ones((3, 1)), name="d", source="x")
    log_model(tracker, tmp_path / "elsewhere")
    tracker.register_model("down", "champion")
    tracker.describe("# The end\n[plot](artifacts/kept.txt)")
    assert time.perf_counter() - started < 1.0
    wait_for(lambda: tracker.status().state == "unreachable")
    report = tracker.finish(timeout_seconds=30)
    tracker.close()
    assert time.perf_counter() - started < 30
    assert (report.state, report.n_points_pending, report.is_complete) == ("unreachable", 100, False)
    assert "connection refused" in report.message
    assert "qfleet resume r" in report.message
    assert len(warnings) == 1

    shipped = ship_pending(
        tmp_path / "run", TrackingConfig(uri=uri, experiment="down")
    )  # the server has moved
    assert shipped.is_complete, shipped
    (run,) = runs(uri, "down")
    assert (run.info.status, run.data.params, run.data.tags["t"]) == ("FINISHED", {"p": "1"}, "1")
    recorded = json.loads((tmp_path / "run" / "tracking.json").read_text())
    assert run.info.end_time == recorded["ended_ms"]  # when training ended, not when it was shipped
    points = fetch_metrics(uri, run.info.run_id)["a"]
    assert [(p.step, p.value) for p in points] == [(s, s) for s in range(100)]
    assert (Path(run.info.artifact_uri) / "kept.txt").is_file()
    assert len(run.inputs.dataset_inputs) == len(run.outputs.model_outputs) == 1
    version = client(uri).get_model_version_by_alias("down", "champion")
    assert (int(version.version), version.run_id) == (1, run.info.run_id)
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("# The end\n[plot](#/experiments/")
    assert note.endswith(f"/runs/{run.info.run_id}/artifacts/kept.txt)")
    assert ship_pending(tmp_path / "run").is_complete  # again: by the recorded URI, and nothing to do
    assert len(fetch_metrics(uri, run.info.run_id)["a"]) == 100


def test_a_model_is_registered_once_whatever_happens(tmp_path, uri):
    config = TrackingConfig(uri=uri, experiment="register")

    def process(values=3.0, alias=None):
        with Tracker(
            tmp_path / "run", config, "r", interval_seconds=0.02, title="a readable name"
        ) as tracker:
            tracker.register_model("tumours", alias)  # before there is a model
            log_model(tracker, tmp_path / "run" / "model", names=("b", f"a{values}"))
        assert tracker.status().is_complete, tracker.status()
        return {int(v.version): v for v in client(uri).search_model_versions("name = 'tumours'")}

    assert list(process()) == [1]
    assert list(process()) == [1]
    path = tmp_path / "run" / "tracking.json"
    state = json.loads(path.read_text())
    for each in state["registrations"]:  # as SIGKILL leaves it between the answer and our note of it
        each.update(version=None, model_id=None)
    path.write_text(json.dumps(state))
    assert list(process(alias="champion")) == [1]
    found = client(uri).get_model_version_by_alias("tumours", "champion")
    assert (int(found.version), found.run_id) == (1, state["run_id"])
    assert set(process(values=4.0)) == {1, 2}, "another model is another version"
    assert runs(uri, "register")[0].info.run_name == "a readable name"
    import mlflow

    assert mlflow.get_tracking_uri() != uri, "nothing of MLflow's global state was needed"


def test_an_alias_that_another_version_got_comes_back_when_it_is_asked_for(tmp_path, uri):
    config = TrackingConfig(uri=uri, experiment="alias")
    for name in ("one", "two", "one"):
        with Tracker(tmp_path / name, config, name) as tracker:
            log_model(tracker, tmp_path / name / "model", names=("b", name))
            tracker.register_model("contested", "champion")
        holder = client(uri).get_model_version_by_alias("contested", "champion")
        assert holder.run_id == tracker.run_id
    with Tracker(tmp_path / "two", config, "two"):
        pass  # nobody asked again
    assert client(uri).get_model_version_by_alias("contested", "champion").run_id == holder.run_id
    assert len(client(uri).search_model_versions("name = 'contested'")) == 2


def test_a_registration_that_is_refused_is_said_and_costs_nothing_else(tmp_path, uri, monkeypatch):
    monkeypatch.setattr("pipelines.tracking.tracker.check_names", lambda name, alias: None)
    warnings = []
    config = TrackingConfig(uri=uri, experiment="refused-name")
    with Tracker(tmp_path / "run", config, "r", on_warning=warnings.append) as tracker:
        log_model(tracker, tmp_path / "run" / "model")
        tracker.register_model("no/such")
        tracker.log_metrics({"a": 1.0}, 1)
    report = tracker.status()
    assert len(warnings) == 1
    assert "MLflow refuses the registration as no/such" in warnings[0]
    assert report.n_items_pending == 0
    (run,) = runs(uri, "refused-name")
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"a": 1.0})


@pytest.mark.parametrize("n", [0, 3, 16_384, 40_000])
def test_a_data_set_is_hashed_in_parts_as_if_it_were_whole(n):
    """Digests of runs that are resumed stay what they were."""
    features = np.arange(3.0 * n).reshape(n, 3)
    for targets in (None, np.arange(n), np.linspace(0, 1, n), np.array(["a", "b's"] * n)[:n]):
        whole = hashlib.sha256(features.tobytes())
        if targets is not None:
            whole.update(str(targets.tolist()).encode())
        assert _array_digest(features, targets) == whole.hexdigest()[:36]


def test_what_was_refused_is_tried_again_when_the_rest_is_sent(tmp_path, uri):
    config = TrackingConfig(uri=uri, experiment="mended")
    with Tracker(tmp_path / "run", config, "r", interval_seconds=0.02) as tracker:
        log_model(tracker, tmp_path / "run" / "model")
    path = tmp_path / "run" / "tracking.json"
    state = json.loads(path.read_text())
    model_id, state["model_id"] = state["model_id"], None
    path.write_text(json.dumps(state | {"refused": {"model": "the server's disk is full"}}))
    report = ship_pending(tmp_path / "run", config)
    assert (report.is_complete, report.refused) == (True, ())
    assert json.loads(path.read_text())["model_id"] == model_id


def test_a_run_follows_its_parent_when_that_is_logged_anew(tmp_path, uri):
    config = TrackingConfig(uri=uri, experiment="family")

    def parent_of(run_id):
        return client(uri).get_run(run_id).data.tags.get("mlflow.parentRunId")

    def log(name, **options):
        with Tracker(tmp_path / name, config, name, interval_seconds=0.02, **options) as tracker:
            tracker.log_metrics({"a": 1.0}, 1)
        return tracker.run_id

    child = log("parent/members/child", parent=tmp_path / "parent")
    assert parent_of(child) is None  # which MLflow has not heard of
    first = log("parent")
    assert ship_pending(tmp_path / "parent/members/child", config).is_complete
    assert parent_of(child) == first
    client(uri).delete_run(first)
    second = log("parent")
    assert second != first
    assert ship_pending(tmp_path / "parent/members/child", config).is_complete
    assert parent_of(child) == second


def test_a_server_that_never_answers_does_not_hold_the_run(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = TrackingConfig(uri=f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracker = Tracker(tmp_path / "run", config, "r", on_warning=lambda sentence: None)
        tracker.start()
        wait_for(lambda: tracker._writer._server is not None)
        started = time.perf_counter()
        tracker.log_metrics({"a": 1.0}, 1)
        report = tracker.finish(timeout_seconds=0.5)
        tracker.close()
        assert time.perf_counter() - started < 3
        assert report.n_points_pending == 1


class _Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b"You are not authenticated")

    do_POST = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def refusing_server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_credentials_leave_no_trace(tmp_path, refusing_server, monkeypatch, caplog, capfd):
    """A URI with credentials, a server that refuses them: said once in words, and the password is in no file, log or output."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    secret_uri = f"http://ann:hunter2-secret@{refusing_server}"
    warnings = []
    params = {"tracking.uri": secret_uri, "other": "hunter2-secret"}
    tracker = Tracker(
        tmp_path / "run", TrackingConfig(uri=secret_uri), "r", params, {"cmd": f"--set tracking.uri={secret_uri}"},
        on_warning=warnings.append,
    )  # fmt: skip
    tracker.start()
    tracker.log_metrics({"a": 1.0}, 1)
    (tmp_path / "run" / "config").write_text(f'uri = "{secret_uri}"')
    tracker.log_artifact(tmp_path / "run" / "config")
    (tmp_path / "run" / "config").unlink()
    tracker.log_text(secret_uri, "x.txt")
    tracker.log_dataset(np.ones((2, 1)), name="d", source=secret_uri)
    wait_for(lambda: tracker.status().state == "refused")
    report = tracker.finish()
    tracker.close()
    assert report.state == "refused"
    assert len(warnings) == 1
    assert "does not accept the credentials (HTTP 401)" in warnings[0]
    assert report.tracking_uri == f"http://***@{refusing_server}"
    out = capfd.readouterr()
    for text in (repr(report), *warnings, caplog.text, out.out, out.err):
        assert "hunter2" not in text
    for path in tmp_path.rglob("*"):
        assert b"hunter2" not in path.read_bytes() if path.is_file() else True, path
    assert os.environ.get("MLFLOW_TRACKING_URI") is None


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("bogus://host/x", "no such kind of tracking URI"),
        ("postgresql://u:p4ssword@127.0.0.1:1/db", "is not installed"),
        ("file:///tmp/nowhere", "plain folders"),
    ],
)
def test_a_uri_that_cannot_work_is_said_once(tmp_path, uri, words):
    warnings = []
    tracker = Tracker(tmp_path / "run", TrackingConfig(uri=uri), "r", on_warning=warnings.append)
    tracker.start()
    wait_for(lambda: tracker.status().state == "refused")
    assert tracker.finish().state == "refused"
    tracker.close()
    assert len(warnings) == 1
    assert words in warnings[0]
    assert "p4ssword" not in warnings[0]


def test_tracking_off_still_journals(tmp_path):
    with Tracker(tmp_path / "run", TrackingConfig(enabled=False), "r") as tracker:
        tracker.log_metrics({"a": 1.0}, 1)
        tracker.log_text("x", "x.txt")
        tracker.log_dataset(np.ones((2, 1)), name="d", source="x")
        report = tracker.finish()
    assert (report.state, report.is_complete, report.n_points, tracker.run_id) == ("off", True, 1, None)
    assert (tmp_path / "run" / "artifacts" / "x.txt").is_file()


def test_two_processes_cannot_write_one_run(tmp_path):
    config = TrackingConfig(enabled=False)
    with Tracker(tmp_path / "run", config, "r"), pytest.raises(InputError, match="in use"):
        Tracker(tmp_path / "run", config, "r")
    with pytest.raises(InputError, match="nothing was logged"):
        ship_pending(tmp_path / "other")


def test_a_tracker_does_not_travel_to_an_actor(tmp_path):
    tracker = Tracker(tmp_path / "run", TrackingConfig(enabled=False), "r")
    with pytest.raises(TypeError, match="stays in the driver"):
        pickle.dumps(tracker)
    tracker.close()


def test_ctrl_c_ends_finish_at_once(tmp_path, free_port):
    config = TrackingConfig(uri=f"http://127.0.0.1:{free_port}")
    tracker = Tracker(tmp_path / "run", config, "r", on_warning=lambda sentence: None)
    tracker.start()
    tracker._writer._failed = lambda error: 1.0  # never gives up
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        tracker.finish(timeout_seconds=60)
    assert time.perf_counter() - started < 10
    tracker.close()


def test_the_uri(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_uri(None) == f"sqlite:///{tmp_path}/mlflow.db"
    assert resolve_uri("sqlite:///sub/x.db?timeout=5") == f"sqlite:///{tmp_path}/sub/x.db?timeout=5"
    assert resolve_uri("sqlite:////abs/x.db") == "sqlite:////abs/x.db"
    assert resolve_uri("http://host") == "http://host"


def test_a_masked_uri_is_completed_from_the_environment(tmp_path, monkeypatch):
    def uri_of(config_uri):
        tracker = Tracker(tmp_path / "run", TrackingConfig(uri=config_uri), "r")
        tracker.close()
        return tracker._writer._uri, tracker.spool.state.uri

    assert uri_of("http://ann:pass-word@host/x") == ("http://ann:pass-word@host/x", "http://***@host/x")
    assert uri_of("http://***@host/x") == ("http://host/x", "http://host/x")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:pass-word@host/x")
    assert uri_of("http://***@host/x") == ("http://ann:pass-word@host/x", "http://***@host/x")
    assert uri_of("http://other") == ("http://other", "http://other")


def test_redaction():
    text = "at https://ann:p@ss/word@host:5000/x and postgresql://u:pw@db/x?sslmode=on&password=zzz or http://plain/x"
    assert redact_uri(text) == (
        "at https://***@host:5000/x and postgresql://***@db/x?sslmode=on&password=*** or http://plain/x"
    )
    redact = Redactor("https://ann:p%40ssword@host")
    assert redact("ann:p@ssword p%40ssword") == "*** ***"
    assert Redactor(None)("untouched") == "untouched"


def test_provenance(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"metadata": {"job_submission_id": "raysubmit_1"}}')
    tags = provenance_tags(backend="ideal")
    assert (tags["backend"], tags["ray.job_id"], tags["mlflow.source.type"]) == (
        "ideal",
        "raysubmit_1",
        "JOB",
    )
    assert "numpy==" in environment_text()
    assert git_commit("/") is None


def test_columns_are_taken_by_name():
    import pandas as pd

    frame = pd.DataFrame({"x": [1], "b": [2], "a": [3]})
    assert ordered_features(frame, ("a", "b")).tolist() == [[3.0, 2.0]]
    assert ordered_features(np.array([3, 2]), ("a", "b")).tolist() == [[3.0, 2.0]]
    with pytest.raises(ValueError, match="'c'"):
        ordered_features(frame, ("a", "c"))
    with pytest.raises(ValueError, match="shape"):
        ordered_features(np.ones((2, 3)), ("a", "b"))
