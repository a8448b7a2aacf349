"""One cluster of several nodes, one IonQ emulator and at most one MLflow server for all chaos tests; and the runs that nothing disturbs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.ionq.emulator import Emulator, EmulatorSettings
from tests.chaos.nodes import Nodes
from tests.chaos.stage import Driver
from tests.chaos.workloads import Workload
from tests.integration.mlflow_server import MlflowServer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    with Emulator(EmulatorSettings(queue_seconds=0.05)) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def nodes(emulator: Emulator) -> Iterator[Nodes]:
    """Its processes have the emulator for IonQ, and can import the tests' own backend."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IONQ_REMOTE_HOST", emulator.url)
        patch.setenv("IONQ_API_KEY", "key-of-the-emulator")
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        with Nodes() as nodes:
            yield nodes


@pytest.fixture(scope="session")
def environment(emulator: Emulator) -> dict[str, str]:
    """Of drivers."""
    return {"IONQ_REMOTE_HOST": emulator.url, "IONQ_API_KEY": "key-of-the-emulator", "RAY_ADDRESS": ""}


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], MlflowServer]]:
    """Started when it is first asked for."""
    made: list[MlflowServer] = []

    def server() -> MlflowServer:
        if not made:
            made.append(MlflowServer(tmp_path_factory.mktemp("mlflow")))
            made[0].start()
        return made[0]

    yield server
    for each in made:
        each.kill()


@pytest.fixture(scope="session")
def calm(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]
) -> Callable[[Workload], dict[str, Any]]:
    """The outcome of a workload that nothing disturbs, in one process; found once."""
    found: dict[str, dict[str, Any]] = {}

    def outcome(workload: Workload) -> dict[str, Any]:
        if workload.name not in found:
            folder = tmp_path_factory.mktemp(f"calm-{workload.name}")
            (folder / "config.toml").write_text("")
            arguments = ["train", "config.toml", *workload.arguments("fleet.dispatcher=serial"), "--json"]
            driver = Driver(folder, environment, arguments, 0)
            assert driver.wait() == 0, driver.errors[-3000:]
            found[workload.name] = json.loads(driver.output.strip().splitlines()[-1])
            assert found[workload.name]["steps"] == workload.n_steps
        return found[workload.name]

    return outcome
