"""The backend "torch" as a choice: what is refused before anything starts, with or without torch and CUDA."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import numpy as np
import pytest

from actors.backends.torch import TorchBackend
from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError, MissingExtraError
from pipelines import cli
from pipelines.compose import build_backend, on_backend

SERIAL = "fleet.dispatcher=serial"


def configured(*overrides: str) -> TrainingConfig:
    return TrainingConfig().with_overrides(["backend.name=torch", *overrides])


def refused(*overrides: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        build_backend(configured(*overrides))
    assert caught.value.key == "backend.device"
    return caught.value


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_is_given_its_settings() -> None:
    config = configured(
        "backend.precision=single", "backend.threads=2", "fleet.cpus_per_actor=2", "backend.device=cpu"
    )
    assert build_backend(config) == TorchBackend("single", 2, "cpu")
    ideal = on_backend(config, "ideal").backend
    assert (ideal.precision, ideal.threads, ideal.device) == ("single", 2, "auto")
    assert on_backend(config, "torch").backend.device == "cpu"


@pytest.mark.parametrize(
    ("device", "nearest"),
    [("gpu", "cuda"), ("cuda:-1", "cuda"), ("CPU", "cpu"), ("cuda:01", "cuda"), ("tpu", "cpu")],
)
def test_no_device_of_that_name(device: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"nearest valid: '{nearest}'"):
        configured(f"backend.device='{device}'")


def test_other_backends_have_no_device() -> None:
    with pytest.raises(ConfigError, match="no such setting"):
        build_backend(configured("backend.name=ideal", "backend.device=cpu"))


@pytest.mark.usefixtures("no_cuda")
def test_cuda_that_is_not_there() -> None:
    """In this process: at the door. What a cluster's nodes have is not this process's to know."""
    for device in ("cuda", "cuda:1"):
        assert refused(SERIAL, f"backend.device={device}").suggestion == "cpu"
        with pytest.raises(ConfigError, match="nearest valid: cpu"):
            TorchBackend(device=device).open_session()
    assert build_backend(configured(SERIAL)).open_session().device.type == "cpu"  # type: ignore[attr-defined]
    on_actors = configured("backend.device=cuda", "fleet.resources_per_actor={GPU = 1}")
    assert build_backend(on_actors) == TorchBackend(device="cuda")


def test_actors_without_a_gpu_of_their_own() -> None:
    assert "GPU = 1" in refused("backend.device=cuda").problem
    assert refused("backend.device=cuda:1", "fleet.resources_per_actor={GPU = 1}").suggestion == "cuda"
    assert refused("backend.device=cuda:1", "fleet.resources_per_actor={GPU = 0.5}").suggestion == "cuda"
    two = configured("backend.device=cuda:1", "fleet.resources_per_actor={GPU = 2}")
    assert build_backend(two) == TorchBackend(device="cuda:1")


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def no_torch(name: str, *rest: Any) -> Any:
        return None if name == "torch" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", no_torch)
    for attempt in (lambda: build_backend(configured(SERIAL)), lambda: TorchBackend().open_session()):
        with pytest.raises(MissingExtraError, match=r"pip install '\.\[torch\]'"):
            attempt()
    build_backend(configured())  # for actors, which may have it


@pytest.mark.usefixtures("no_cuda")
def test_the_doctor_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    settings = [
        "backend.name=torch",
        SERIAL,
        "model.n_qubits=3",
        "data.n_components=3",
        "data.max_samples=60",
    ]
    overrides = [part for one in settings for part in ("--set", one)]
    example = "pipelines/configs/breast_cancer.toml"
    assert cli.main(["doctor", example, "--no-measure", "--json", *overrides]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["torch"] == {
        "torch": torch.__version__, "cuda": torch.version.cuda, "devices": [], "device": "auto",
    }  # fmt: skip
    assert found["memory"]["actor_bytes"] >= 16 * 2**3
    assert "the processor" in found["memory"]["actor_what"]
    assert cli.main(["doctor", example, "--no-measure", *overrides]) == 0
    assert f"torch                       {torch.__version__}" in capsys.readouterr().out


def test_trains_to_the_model_that_ideal_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps by shots, drawn alike, to the last bits; by exact gradients to rounding."""
    pytest.importorskip("torch")
    from pipelines.compose import build_coordinator
    from pipelines.run_setup import prepare_run

    def params(name: str, *overrides: str) -> np.ndarray:
        from orchestrator.training.loop import initial_state, train

        small = [
            "model.n_qubits=3",
            "data.n_components=3",
            "model.n_layers=1",
            "run.max_steps=2",
            "run.batch_size=4",
        ]
        config = TrainingConfig().with_overrides([f"backend.name={name}", SERIAL, *small, *overrides])
        task = prepare_run(config).task
        coordinator = build_coordinator(config.fleet, build_backend(config))
        state = initial_state(task)
        for _ in train(task, state, coordinator):
            pass
        coordinator.dispatcher.close()
        return state.params

    for overrides in ((), ("backend.shots=200",)):
        np.testing.assert_allclose(
            params("torch", *overrides), params("ideal", *overrides), rtol=0, atol=1e-12
        )
