"""From the configuration to a backend: precision and threads reach those that take them, and are refused by the others."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError
from pipelines.cli import parsed
from pipelines.compose import build_backend, choose_rule, n_threads
from pipelines.run_folder import RunFolder
from pipelines.trainer import Trainer


class Both:
    def __init__(self, precision: str = "double", threads: int = 1) -> None:
        self.precision, self.threads = precision, threads


class Anything:
    def __init__(self, **settings: Any) -> None:
        self.settings = settings


class Neither:
    pass


@pytest.fixture(autouse=True)
def backends(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("my_backends")
    for made in (Both, Anything, Neither):
        setattr(module, made.__name__, made)
    monkeypatch.setitem(sys.modules, "my_backends", module)


def config(name: str, *overrides: str) -> TrainingConfig:
    return TrainingConfig().with_overrides([f"backend.name=my_backends:{name}", *overrides])


def test_settings_reach_the_backend() -> None:
    made: Any = build_backend(config("Both"))
    assert (made.precision, made.threads) == ("double", 1)
    made = build_backend(
        config("Both", "backend.precision=single", "backend.threads=2", "fleet.cpus_per_actor=2.0")
    )
    assert (made.precision, made.threads) == ("single", 2)


def test_only_what_the_constructor_names_is_given() -> None:
    made: Any = build_backend(config("Anything"))
    assert made.settings == {}
    assert isinstance(build_backend(config("Neither")), Neither)


@pytest.mark.parametrize(
    ("override", "key", "nearest"),
    [
        ("backend.precision=single", "backend.precision", "double"),
        ("backend.threads=1", "backend.threads", "auto"),
    ],
)
@pytest.mark.parametrize("name", ["Neither", "Anything"])
def test_backend_without_the_setting_refuses_it(name: str, override: str, key: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match="has no such setting") as caught:
        build_backend(config(name, override))
    assert (caught.value.key, caught.value.suggestion) == (key, nearest)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], 1),
        (["fleet.cpus_per_actor=0.25"], 1),
        (["fleet.cpus_per_actor=3.0"], 3),
        (["fleet.cpus_per_actor=3.0", "backend.threads=2"], 2),
        (["fleet.dispatcher=serial", "fleet.cpus_per_actor=3.0"], 1),
        (["fleet.dispatcher=serial", "backend.threads=6"], 6),
    ],
)
def test_threads_of_a_session(overrides: list[str], expected: int) -> None:
    assert n_threads(TrainingConfig().with_overrides(overrides)) == expected


@pytest.mark.parametrize(("cpus", "nearest"), [("0.5", "1"), ("1.0", "1"), ("3.0", "3")])
def test_more_threads_than_cpus_are_refused(cpus: str, nearest: str) -> None:
    crowded = config("Both", f"fleet.cpus_per_actor={cpus}", "backend.threads=4")
    with pytest.raises(ConfigError, match=r"backend\.threads = 4: .*fleet\.cpus_per_actor") as caught:
        build_backend(crowded)
    assert caught.value.suggestion == nearest


def test_a_budget_of_shots_needs_shots() -> None:
    """With exact values ``auto`` would take adjoint and leave the budget lying."""
    config = TrainingConfig().with_overrides(["gradient.shots_per_step=100000", "fleet.dispatcher=serial"])
    with pytest.raises(ConfigError, match=r"shots_per_step = 100000.*set backend.shots"):
        choose_rule(config, build_backend(config).capabilities)
    sampled = config.with_overrides(["backend.shots=100"])
    assert choose_rule(sampled, build_backend(sampled).capabilities).name == "parameter_shift"


def begun(tmp_path: Path, *overrides: str) -> str:
    """Path of a run's folder, as far as its configuration goes."""
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").write_config(TrainingConfig().with_overrides([*overrides]))
    return str(tmp_path / "run")


def test_a_run_pinned_to_a_cluster_that_is_gone_goes_on_in_another(tmp_path: Path) -> None:
    run = begun(tmp_path, "fleet.address=10.0.0.1:6379", "fleet.name=lab")
    moved = Trainer.resume(run, address="10.0.0.2:6379").config.fleet
    assert (moved.address, moved.name) == ("10.0.0.2:6379", "lab")
    assert Trainer.resume(run, address="none").config.fleet.address is None
    assert Trainer.resume(run).config.fleet.address == "10.0.0.1:6379"
    assert RunFolder.find(run).read_config().fleet.address == "10.0.0.1:6379"


def test_an_address_without_actors_is_refused(tmp_path: Path) -> None:
    run = begun(tmp_path, "fleet.dispatcher=serial")
    with pytest.raises(ConfigError, match=r"--address = 'h:1': .*add --actors"):
        Trainer.resume(run, address="h:1")
    assert Trainer.resume(run, address="h:1", n_actors=2).config.fleet.address == "h:1"


@pytest.mark.parametrize("command", ["resume", "evaluate", "reconstruct"])
def test_the_address_on_the_command_line(command: str) -> None:
    assert parsed([command, "run"]).address is None
    for option in ("--address", "--fleet-address"):
        assert parsed([command, "run", option, "h:1"]).address == "h:1"
    submitted = parsed(["submit", command, "/runs/run", "--fleet-address", "h:1"])
    assert submitted.arguments[-2:] == ["--fleet-address", "h:1"]
