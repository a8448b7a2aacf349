"""Federated and continual training as users start them: real Ray, a real MLflow server, hosts and drivers that are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest

from actors.ray_fleet.federated import RayClients
from orchestrator.errors import DataError, FleetError
from pipelines import cli
from pipelines.tracking.journal import PARENT_TAG, Spool
from tests.command import start_command
from tests.integration.mlflow_server import MlflowServer

pytestmark = [pytest.mark.alone, pytest.mark.timeout(200)]

CONFIG = """
[run]
batch_size = 8
name = "s"
[data]
name = "iris"
classes = [0, 1]
n_components = 2
[model]
n_qubits = 2
n_layers = 1
[backend]
shots = 20
[fleet]
dispatcher = "serial"
n_actors = 2
cpus_per_actor = 0.5
[tracking]
enabled = false
log_model = false
"""
FEDERATED = ["federated", "c.toml", "--clients", "3", "--rounds", "4", "--split", "dirichlet:1", "--json"]
CONTINUAL = ["continual", "c.toml", "--chunk", "12", "--passes", "1", "--tasks", "2", "--json"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "c.toml").write_text(CONFIG)
    return tmp_path


def outcome(printed: str) -> dict[str, Any]:
    return dict(json.loads(printed.strip().splitlines()[-1]))


# --- Clients on actors


class Keeper:
    """Remembers what it was introduced to; its process dies once, where the file says so."""

    def __init__(self, number: int, marker: str) -> None:
        if number == 99:
            raise DataError("client 99 has no data")
        self.number, self.marker, self.told = number, marker, 0

    def tell(self, message: dict[str, int]) -> dict[str, int]:
        self.told += message["by"]
        return {"pid": os.getpid()}

    def ask(self, message: dict[str, int]) -> dict[str, int]:
        if self.number == message["victim"] and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"told": self.told, "number": self.number, "pid": os.getpid()}


def test_a_lost_host_is_left_out_once_and_its_clients_come_back(local_ray: None, tmp_path: Path) -> None:
    marker = str(tmp_path / "died")
    clients = RayClients(lambda number: Keeper(number, marker), 5, 2, cpus_per_actor=0.5)
    try:
        before = clients.introduce("tell", {"by": 3})
        assert len({one["pid"] for one in before.values()}) == 2
        everyone = {client: {"victim": 0} for client in range(5)}
        found = clients.ask("ask", everyone, least=2)
        assert sorted(found) == [1, 3]  # of the other host; 0, 2 and 4 share the one that died
        assert clients.n_lost == 1
        again = clients.ask("ask", everyone, least=5)  # waits for the new host
        assert [one["number"] for one in again.values()] == [0, 1, 2, 3, 4]
        assert {one["told"] for one in again.values()} == {3}
        assert again[0]["pid"] != before[0]["pid"]
        assert again[1]["pid"] == before[1]["pid"]
    finally:
        clients.close()


def test_what_a_client_refuses_is_said_and_too_few_answers_are_an_end(
    local_ray: None, tmp_path: Path
) -> None:
    clients = RayClients(lambda number: Keeper(99, ""), 1, 1, cpus_per_actor=0.5)
    try:
        with pytest.raises(DataError, match="client 99"):
            clients.ask("tell", {0: {"by": 1}}, least=1)
    finally:
        clients.close()
    marker = str(tmp_path / "died")
    clients = RayClients(lambda number: Keeper(number, marker), 2, 1, cpus_per_actor=0.5, max_replacements=0)
    try:
        with pytest.raises(FleetError, match=r"0 of the 2 clients .* none may be replaced"):
            clients.ask("ask", {client: {"victim": 0} for client in range(2)}, least=2)
    finally:
        clients.close()
    with pytest.raises(FleetError, match="use at most --actors 2"):
        RayClients(lambda number: Keeper(number, ""), 3, 3)


# --- The commands


def test_federated_over_ray_is_federated_in_process_and_one_run_at_mlflow(
    local_ray: None,
    mlflow_server: MlflowServer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    tracked = ["--set", "tracking.enabled=true", "--set", f"tracking.uri={mlflow_server.uri}"]
    over_ray = [*FEDERATED, "--set", "fleet.dispatcher=ray", "--set", "run.name=over-ray", *tracked]
    assert cli.main([*over_ray, "--no-compare"]) == 0
    found = outcome(capsys.readouterr().out)
    assert cli.main([*FEDERATED, "--no-compare"]) == 0
    here = outcome(capsys.readouterr().out)
    assert found["params_sha256"] == here["params_sha256"]
    assert found["rounds"] == here["rounds"]
    assert found["test"]["accuracy"]["federated"] == here["test"]["accuracy"]["federated"]
    client = mlflow.MlflowClient(tracking_uri=mlflow_server.uri)
    parent = client.get_run(found["run_id"])
    assert (parent.info.run_name, parent.info.status) == ("over-ray", "FINISHED")
    assert parent.data.metrics["test/accuracy"] == found["test"]["accuracy"]["federated"]
    history = client.get_metric_history(found["run_id"], "val/accuracy")
    assert [(one.step, one.value) for one in sorted(history, key=lambda one: one.step)] == [
        (one["round"], one["val_score"]) for one in found["rounds"]
    ]
    files = {file.path for file in client.list_artifacts(found["run_id"])}
    assert {"federated.png", "report.md", "model"} <= files


def test_continual_logs_both_ways_of_learning_to_mlflow(
    mlflow_server: MlflowServer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    tracked = ["--set", "tracking.enabled=true", "--set", f"tracking.uri={mlflow_server.uri}"]
    assert cli.main([*CONTINUAL, "--set", "run.name=stream", *tracked]) == 0
    found = outcome(capsys.readouterr().out)
    client = mlflow.MlflowClient(tracking_uri=mlflow_server.uri)
    for way, arm in found["arms"].items():
        history = client.get_metric_history(found["run_id"], f"{way}/task_1")
        assert [one.value for one in sorted(history, key=lambda one: one.step)] == [
            row[0] for row in arm["matrix"]
        ]
    parent = client.get_run(found["run_id"])
    expected = {"replay": found["arms"]["replay"]["average"], "central": found["central"]["average"]}
    for way, average in expected.items():
        assert parent.data.metrics[f"final/{way}_average"] == pytest.approx(average, rel=1e-12)
    below = f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'"
    [central] = client.search_runs([parent.info.experiment_id], below)
    assert central.info.run_name == "stream/central"
    client.set_terminated(found["run_id"], "RUNNING")  # as if the server had been away when the study ended
    spool = Spool(folder / "runs" / "stream")
    spool.state.shipped_status = None
    spool.save()
    assert cli.main(["resume", "stream", "--json"]) == 0
    assert client.get_run(found["run_id"]).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("arguments", "sign", "same"),
    [
        (FEDERATED, r"round 2/4", ("params_sha256", "rounds", "test", "clients")),
        (CONTINUAL, r"with replay: task 2/2", ("arms", "gain_of_replay")),
    ],
    ids=["federated", "continual"],
)
def test_a_killed_study_resumes_to_the_same_end(
    folder: Path,
    arguments: list[str],
    sign: str,
    same: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert cli.main([*arguments, "--no-compare", "--set", "run.name=calm"]) == 0
    calm = outcome(capsys.readouterr().out)
    with start_command(folder, *arguments, "--no-compare") as command:
        end = time.monotonic() + 100
        while not re.search(sign, command.errors) and command.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        command.kill()
        assert command.wait() == -signal.SIGKILL, command.errors
    assert cli.main(["resume", "s", "--json"]) == 0
    again = outcome(capsys.readouterr().out)
    for name in same:
        assert again[name] == calm[name], name
    assert cli.main(["resume", "s"]) == 0  # it has ended: only printed again
    assert arguments[0] in capsys.readouterr().out
