"""``ray job submit --working-dir . -- python -m pipelines.train ...`` against a local ``ray start --head``."""

from __future__ import annotations

import os
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

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    """Address of the jobs API of a Ray head of our own, stopped by its process (never ``ray stop``: it stops every Ray)."""
    port, jobs = _free_port(), _free_port()
    temp = tempfile.mkdtemp(prefix="qfj.", dir="/tmp")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
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


def _submit_when_up(address: str, **job: Any) -> tuple[Any, str]:
    """Submit as soon as the head takes jobs: its API answers some seconds before its agent does."""
    from ray.job_submission import JobSubmissionClient

    deadline = time.monotonic() + 90
    while True:
        try:
            client = JobSubmissionClient(address)
            return client, client.submit_job(**job)
        except (ConnectionError, RuntimeError) as error:
            if "No available agent" not in str(error) and not isinstance(error, ConnectionError):
                raise
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


@pytest.mark.timeout(400)
def test_a_submitted_job_trains_and_tells(dashboard: str, tmp_path: Path) -> None:
    from ray.job_submission import JobStatus

    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client, job = _submit_when_up(
        dashboard,
        entrypoint="python -m pipelines.train pipelines/configs/breast_cancer.toml"
        f" --set run.epochs=3 --set run.name=submitted --set run.directory={tmp_path / 'runs'}",
        submission_id="qfleet-test",
        runtime_env={"working_dir": str(ROOT), "env_vars": {"MLFLOW_TRACKING_URI": store}},
    )
    deadline = time.monotonic() + 240
    while not client.get_job_status(job).is_terminal() and time.monotonic() < deadline:
        time.sleep(0.5)
    logs = client.get_job_logs(job)
    assert client.get_job_status(job) == JobStatus.SUCCEEDED, logs[-3000:]
    assert "epoch 3/3" in logs.replace("  ", " ")
    assert "test" in logs
    assert (tmp_path / "runs" / "submitted" / "result.json").is_file()

    from mlflow import MlflowClient

    mlflow = MlflowClient(store)
    runs = mlflow.search_runs([mlflow.get_experiment_by_name("qfleet").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert runs[0].data.tags["ray.job_id"]
    with pytest.raises(RuntimeError, match="qfleet-test"):  # the submission id is an idempotency key
        client.submit_job(entrypoint="true", submission_id="qfleet-test")
