"""docs/kubernetes: the fields that KubeRay asks for, the project's own pins, no secret, and a command that our parser takes."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from orchestrator.config import TrainingConfig
from pipelines import cli
from pipelines.launch.working_dir import EXCLUDES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "kubernetes"
TEXT = (FOLDER / "rayjob.yaml").read_text(encoding="utf-8")
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
CLAIM, JOB = yaml.safe_load_all(TEXT)
SPEC: dict[str, Any] = JOB["spec"]
CLUSTER: dict[str, Any] = SPEC["rayClusterSpec"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CLUSTER_YAML = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
RAY = next(
    line.partition("==")[2]
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line.startswith("ray==")
)

# The fields of KubeRay's ray.io/v1 that the file uses, by path; one that is misspelt would be dropped or refused by the cluster.
FIELDS = {
    "": {
        "entrypoint", "submissionMode", "submitterConfig", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
        "activeDeadlineSeconds", "runtimeEnvYAML", "rayClusterSpec", "suspend", "jobId", "metadata", "entrypointNumCpus",
    },
    "rayClusterSpec": {
        "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs",
    },
    "headGroupSpec": {"rayStartParams", "template", "serviceType"},
    "workerGroupSpecs": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template", "numOfHosts"},
    "autoscalerOptions": {"upscalingMode", "idleTimeoutSeconds", "resources", "version", "image", "imagePullPolicy", "env"},
    "submitterConfig": {"backoffLimit"},
    "authOptions": {"mode"},
}  # fmt: skip


def pods() -> list[dict[str, Any]]:
    return [group["template"]["spec"] for group in (CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"])]


def containers() -> list[dict[str, Any]]:
    return [container for pod in pods() for container in pod["containers"]]


def test_kinds_and_fields() -> None:
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert CLAIM["kind"] == "PersistentVolumeClaim"
    parts = {
        "": SPEC,
        "rayClusterSpec": CLUSTER,
        "headGroupSpec": CLUSTER["headGroupSpec"],
        "workerGroupSpecs": CLUSTER["workerGroupSpecs"][0],
        "autoscalerOptions": CLUSTER["autoscalerOptions"],
        "submitterConfig": SPEC["submitterConfig"],
        "authOptions": CLUSTER["authOptions"],
    }
    for name, part in parts.items():
        assert part.keys() <= FIELDS[name], name
    # Kubernetes asks for texts here, and refuses numbers
    for params in (
        CLUSTER["headGroupSpec"]["rayStartParams"],
        yaml.safe_load(SPEC["runtimeEnvYAML"])["env_vars"],
    ):
        assert all(isinstance(value, str) for value in params.values())


def test_it_ends_by_itself_and_is_not_repeated_by_itself() -> None:
    assert SPEC["shutdownAfterJobFinishes"] is True
    assert SPEC["ttlSecondsAfterFinished"] > 0
    assert SPEC["backoffLimit"] == 0


def test_workers_come_and_go() -> None:
    assert CLUSTER["enableInTreeAutoscaling"] is True
    [group] = CLUSTER["workerGroupSpecs"]
    assert 0 == group["minReplicas"] <= group["replicas"] < group["maxReplicas"]
    for container in containers():
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]  # Ray takes the limit for what there is


def test_the_commands_are_ours_and_the_run_stays_on_the_volume() -> None:
    condition, resume, train = re.fullmatch(
        r"if (.*); then exec (.*); else exec (.*); fi", SPEC["entrypoint"]
    ).groups()  # type: ignore[union-attr]
    again, first = (
        cli.parsed([words[2].removeprefix("pipelines."), *words[3:]])
        for words in map(shlex.split, (resume, train))
    )
    [home] = re.findall(r"^WORKDIR (.*)$", DOCKERFILE, re.M)
    config = TrainingConfig.from_toml(first.config.replace(home, str(ROOT)), first.set)
    [mount] = pods()[0]["containers"][0]["volumeMounts"]
    assert config.run.directory == again.directory == mount["mountPath"]
    assert config.run.name == again.run
    assert condition == f"[ -f {config.run.directory}/{config.run.name}/config.toml ]"
    environment = yaml.safe_load(SPEC["runtimeEnvYAML"])["env_vars"]
    assert environment["MLFLOW_TRACKING_URI"].startswith(f"sqlite:///{mount['mountPath']}/")
    [volume] = pods()[0]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    assert volume["name"] == mount["name"]
    # It begins on the head alone, and asks for as many actors as all nodes together have CPUs
    on_head = int(CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"])
    on_workers = sum(
        group["maxReplicas"] * int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
        for group in CLUSTER["workerGroupSpecs"]
    )
    assert config.fleet.least_actors * config.fleet.cpus_per_actor <= on_head
    assert config.fleet.most_actors * config.fleet.cpus_per_actor == on_head + on_workers
    assert config.fleet.wait_for_nodes_seconds > 0


def test_a_job_that_is_stopped_may_save_its_state_before_its_pod_goes() -> None:
    wait = yaml.safe_load(SPEC["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]
    assert pods()[0]["terminationGracePeriodSeconds"] > int(wait)


def test_versions_are_those_of_the_pins() -> None:
    assert CLUSTER["rayVersion"] == RAY
    assert re.search(r"^FROM (.*)$", DOCKERFILE, re.M)[1] == CLUSTER_YAML["docker"]["image"]  # type: ignore[index]
    assert f"ray:{RAY}-" in CLUSTER_YAML["docker"]["image"]
    images = {container["image"] for container in containers()}
    assert images == {f"qfleet:{PROJECT['version']}"}
    assert f"-t qfleet:{PROJECT['version']} " in DOCKERFILE


def test_the_image_installs_the_project_and_its_pins_only() -> None:
    commands = [
        part
        for line in DOCKERFILE.replace("\\\n", " ").splitlines()
        if line.startswith("RUN ")
        for part in line.split("&&")
    ]
    installs = [shlex.split(command) for command in commands if "install" in command]
    assert [words[words.index("-c") + 1 :] for words in installs] == [["constraints.txt", "-e", "."]]
    assert not re.search(r"curl|wget|://", "".join(commands))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains("3.11")
    commands_run = [shlex.split(c.removeprefix("RUN ")) for c in commands if c.strip().startswith("qfleet ")]
    assert all(cli.parsed(words[1:]).dry_run for words in commands_run)
    assert commands_run


def test_what_stays_here_stays_out_of_the_image() -> None:
    ignored = {
        line.removeprefix("**/")
        for line in (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    }
    assert ignored >= set(EXCLUDES) - {"*.nbi", "*.nbc"}


@pytest.mark.parametrize("name", ["rayjob.yaml", "Dockerfile"])
def test_no_secret_is_in_it(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert not re.search(r"AKIA[0-9A-Z]{16}|[0-9a-f]{32,}|-----BEGIN", text)
    for container in containers():
        for variable in container["env"]:
            is_secret = re.search(r"KEY|TOKEN|PASSWORD|SECRET", variable["name"])
            assert ("value" not in variable) if is_secret else ("value" in variable), variable["name"]
            if is_secret:
                assert variable["valueFrom"]["secretKeyRef"].keys() == {"name", "key", "optional"}
    assert CLUSTER["authOptions"] == {"mode": "token"}
    assert not re.search(r"KEY|TOKEN|PASSWORD", SPEC["runtimeEnvYAML"])
