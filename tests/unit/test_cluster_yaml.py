"""cluster.yaml is what Ray's own schema asks for, and its nodes get exactly the versions that the project pins."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = {
    canonicalize_name(pin.name): pin
    for pin in map(Requirement, (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
}
SETUP = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")


def load() -> dict[str, Any]:
    config = yaml.safe_load(TEXT)
    assert isinstance(config, dict)
    return config


def validate(config: dict[str, Any]) -> dict[str, Any]:
    prepared: dict[str, Any] = prepare_config(config)
    validate_config(prepared)
    return prepared


def test_accepted_by_rays_schema() -> None:
    prepared = validate(load())
    assert prepared["provider"]["type"] == "aws"
    # Setup commands common to all nodes come before those of the head
    assert prepared["head_setup_commands"][: len(prepared["setup_commands"])] == prepared["setup_commands"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("max_worker", 4),  # misspelt
        ("setup_command", ["true"]),
        ("available_node_types.worker.min_worker", 0),
        ("docker.imagee", "x"),
        ("idle_timeout_minutes", "ten"),  # wrong type
        ("initialization_commands", "make install"),
    ],
)
def test_mistakes_are_refused(path: str, value: object) -> None:
    config = load()
    *parents, key = path.split(".")
    section = config
    for parent in parents:
        section = section[parent]
    section[key] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(config)


def test_more_workers_than_the_bound_are_refused() -> None:
    config = load()
    config["available_node_types"]["worker"]["min_workers"] = config["max_workers"] + 1
    with pytest.raises(ValueError, match="max_workers"):
        validate(config)


def test_workers_come_and_go() -> None:
    prepared = validate(load())
    worker = prepared["available_node_types"]["worker"]
    assert (worker["min_workers"], worker["max_workers"], prepared["max_workers"]) == (0, 4, 4)
    assert prepared["available_node_types"][prepared["head_node_type"]]["max_workers"] == 0
    assert prepared["idle_timeout_minutes"] > 0


def test_the_switch_to_own_machines_gives_a_valid_file() -> None:
    """What the last comment of the file says to change, and nothing else."""
    steps = TEXT[TEXT.index("# Your own machines") :]
    [deleted] = re.findall(r"delete (.*?) \(that", steps, re.DOTALL)
    config = load()
    for key in re.findall(r"`(\w+)`", deleted):
        del config[key]
    example = re.search(r"#        provider:\n(?:#          .*\n)+", steps)
    assert example is not None
    config |= yaml.safe_load(example[0].replace("#        ", ""))
    config["max_workers"] = 2
    prepared = validate(config)
    assert prepared["provider"]["type"] == "local"
    assert prepared["docker"] == {}


def installs(config: dict[str, Any]) -> list[list[str]]:
    """The words after `pip install`, for each such command."""
    commands = [command for key in SETUP for command in config.get(key, [])]
    words = [shlex.split(command) for command in commands]
    assert not any("curl" in line or "wget" in line for line in words)
    return [line[line.index("install") + 1 :] for line in words if "install" in line]


def test_nodes_install_the_project_and_its_pins_only() -> None:
    found = installs(load())
    assert found
    for words in found:
        assert words[words.index("-c") + 1] == "constraints.txt"
        what = [
            word
            for before, word in zip(["", *words], words, strict=False)
            if not word.startswith("-") and before != "-c"
        ]
        project = re.fullmatch(r"\.(?:\[([\w,]+)\])?", " ".join(what))
        assert project is not None, f"installs {what}, which is more than this project"
        extras = project[1].split(",") if project[1] else []
        for requirement in sum(
            (PROJECT["optional-dependencies"][extra] for extra in extras), PROJECT["dependencies"]
        ):
            assert canonicalize_name(Requirement(requirement).name) in PINS


def test_an_install_beside_the_pins_would_be_noticed() -> None:
    config = load()
    config["setup_commands"].append("pip install -c constraints.txt requests")
    assert ["-c", "constraints.txt", "requests"] in installs(config)


def test_image_has_the_pinned_ray_and_a_python_the_project_takes() -> None:
    tag = re.fullmatch(r"rayproject/ray:(\d+\.\d+\.\d+)-py(\d)(\d+)-cpu", load()["docker"]["image"])
    assert tag is not None
    assert PINS["ray"].specifier.contains(tag[1])
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(f"{tag[2]}.{tag[3]}")


def test_the_tree_is_sent_without_results_environment_or_secrets() -> None:
    config = load()
    assert config["file_mounts"]["~/qfleet"] == "."
    assert {".git", ".venv", "runs", "mlflow.db*", ".env*", "__pycache__"} <= set(config["rsync_exclude"])
    assert not re.search(r"AKIA[0-9A-Z]{16}|[0-9a-f]{32,}|-----BEGIN", TEXT)
    # Every start is with the token that is copied from the home folder, and the dashboard is not open to the network
    starts = [
        c
        for k in ("head_start_ray_commands", "worker_start_ray_commands")
        for c in config[k]
        if "ray start" in c
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
