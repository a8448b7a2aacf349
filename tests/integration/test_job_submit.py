"""``qfleet submit`` and ``qfleet jobs`` against a local ``ray start --head`` that asks for a token."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ClusterError
from pipelines import cli

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef-of-this-test"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "auth_token"
    path.write_text(TOKEN)
    return path


@pytest.fixture(scope="module")
def dashboard(token_file: Path) -> Iterator[str]:
    """Address of the jobs API of a Ray head of our own, stopped by its process (never ``ray stop``: it stops every Ray)."""
    port, jobs = _free_port(), _free_port()
    temp = tempfile.mkdtemp(prefix="qfj.", dir="/tmp")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
    }
    environment.pop("RAY_TMPDIR", None)
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}", "--num-cpus=2",
        "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={jobs}", f"--temp-dir={temp}",
        # Each Ray on a machine wants these for itself; the agent takes a fixed one by default, and another Ray may have it.
        *(f"--{name}-port={_free_port()}" for name in ("dashboard-agent-listen", "dashboard-agent-grpc", "metrics-export")),
    ]  # fmt: skip
    head = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield f"http://127.0.0.1:{jobs}"
    finally:
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)


class Token:
    """How this process authenticates itself. Ray reads its settings once, so a change has to be told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def use(self, mode: str, **variables: str) -> None:
        from ray._raylet import AuthenticationTokenLoader, Config

        for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            self._monkeypatch.delenv(name, raising=False)
        for name, value in {"RAY_AUTH_MODE": mode, **variables}.items():
            self._monkeypatch.setenv(name, value)
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> Iterator[Token]:
    token = Token(monkeypatch)
    yield token
    token.use("disabled")


class Shell:
    """``qfleet ... --json`` in this process."""

    def __init__(self, address: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.address = address
        self._capsys = capsys

    def __call__(self, line: str) -> tuple[int, dict[str, Any], str]:
        """(exit code, the JSON object, what was printed for people)."""
        self._capsys.readouterr()
        code = cli.main([*shlex.split(line), "--address", self.address, "--json"])
        printed = self._capsys.readouterr()
        return code, json.loads(printed.out), printed.err

    def wait_for(self, job: str, words: str) -> None:
        """Until the job's log has these words."""
        deadline = time.monotonic() + 200
        while words not in (answer := self(f"jobs logs {job}")[1])["logs"]:
            assert answer["status"] in ("PENDING", "RUNNING"), answer
            assert time.monotonic() < deadline, answer
            time.sleep(0.5)


def _wait_until_up(address: str) -> None:
    from actors.ray_fleet.jobs import RayJobs

    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            RayJobs(address)
        except ClusterError as error:
            if "token" in str(error):
                return
            time.sleep(0.5)


def _new_store(runs: Path) -> Any:
    """MLflow where a submitted run is tracked unless it is told otherwise."""
    from mlflow import MlflowClient

    runs.mkdir()
    return MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")


@pytest.mark.timeout(400)
def test_a_run_is_submitted_once_stopped_resumed_and_tracked(
    dashboard: str,
    token: Token,
    token_file: Path,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MY_KEY", "a-key-that-nobody-prints")
    shell = Shell(dashboard, capsys)
    runs = tmp_path / "runs"
    store = _new_store(runs)  # while Ray starts
    _wait_until_up(dashboard)
    # Without the token, and with a wrong one
    code, answer, _ = shell("jobs list")
    assert (code, answer["error"]["type"]) == (1, "ClusterError")
    assert "RAY_AUTH_TOKEN_PATH=FILE" in answer["error"]["message"]
    token.use("token", RAY_AUTH_TOKEN="wrong-token-of-this-test")
    assert "refuses the token of RAY_AUTH_TOKEN:" in shell("jobs list")[1]["error"]["message"]
    # With the right one
    token.use("token", RAY_AUTH_TOKEN_PATH=str(token_file))
    assert shell("jobs list")[1]["jobs"] == []
    train = (
        f"submit train pipelines/configs/breast_cancer.toml --set run.epochs=40 --set run.name=submitted "
        f"--set run.directory={runs} --set fleet.n_actors=1 --env MY_KEY"
    )
    code, answer, printed = shell(train)
    assert (code, answer["is_new"]) == (0, True), printed
    job = answer["job"]
    # Once more, as by a client that lost the answer
    code, answer, _ = shell(train)
    assert (code, answer["is_new"], answer["job"]) == (0, False, job)
    shell.wait_for(job, "epoch  2/40")
    code, answer, _ = shell("jobs stop submitted")
    assert (code, answer["status"]) == (0, "STOPPED")
    log = shell(f"jobs logs {job}")[1]["logs"]
    assert "the state is saved" in log
    assert "other versions" not in log
    assert "a-key" not in log
    code, answer, _ = shell(train)
    assert code == 2
    assert f"submit resume submitted --directory {runs}" in answer["error"]["message"]
    # Resumed by another job, which the client leaves and comes back to
    code, answer, printed = shell(f"submit resume submitted --directory {runs}")
    assert (code, answer["is_new"]) == (0, True), printed
    code, answer, printed = shell("jobs attach submitted")
    assert (code, answer["status"], answer["exit_code"]) == (0, "SUCCEEDED", 0), printed
    assert "continuing after step" in printed
    assert "epoch 40/40" in printed
    assert json.loads((runs / "submitted" / "result.json").read_text())
    assert [each["status"] for each in shell("jobs list")[1]["jobs"]] == ["STOPPED", "SUCCEEDED"]
    [run] = store.search_runs([store.get_experiment_by_name("qfleet").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["ray.job_id"].startswith("qfleet-resume-submitted-")
