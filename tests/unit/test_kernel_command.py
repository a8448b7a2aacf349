"""``qfleet kernel``: what it prints, what it compares with, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.svm import SVC

from orchestrator.config import TrainingConfig
from orchestrator.kernels.matrix import kernel_matrix
from orchestrator.registry import resolve
from pipelines import cli
from pipelines.compose import build_backend, build_coordinator
from pipelines.data.datasets import prepare
from pipelines.kernel import alignment, spread

CONFIG = """
[data]
name = "iris"
classes = [1, 2]
test_fraction = 0.4
n_components = 2
[model]
n_qubits = 2
feature_map = "zz"
"""


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    path = tmp_path / "kernel.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert cli.main(["kernel", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("kernel", ["fidelity", "projected"])
def test_accuracy_is_that_of_a_machine_on_the_kernel(
    kernel: str, config_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, config_file, "--kernel", kernel)
    config = TrainingConfig.from_toml(config_file, ["fleet.dispatcher=serial"])
    data = prepare(config.data, task="binary", seed=config.run.seed, n_features=2)
    made = resolve("kernel", kernel)(config.model)
    coordinator = build_coordinator(config.fleet, build_backend(config))
    own = kernel_matrix(made, data.train.features, coordinator=coordinator).values
    cross = kernel_matrix(made, data.test.features, data.train.features, coordinator=coordinator).values
    machine = SVC(kernel="precomputed", C=found["penalty"]).fit(own, data.train.targets)
    assert found["accuracy"] == machine.score(cross, data.test.targets)
    assert found["against"]["difference"] == pytest.approx(found["accuracy"] - found["against"]["score"])
    n, m = len(data.train.targets), len(data.test.targets)
    assert found["samples"] == {"train": n, "test": m}
    if kernel == "fidelity":
        assert found["circuits"] == n * (n - 1) // 2 + n * m
    assert found["alignment"] == pytest.approx(alignment(own, data.train.targets))


def test_with_shots_and_in_words(config_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, config_file, "--set", "backend.shots=50")
    assert found["shots"] == 50 * found["circuits"]
    assert run(capsys, config_file, "--set", "backend.shots=50")["alignment"] == found["alignment"]
    assert cli.main(["kernel", config_file]) == 0
    shown = capsys.readouterr().out
    assert "RBF kernel, same split" in shown
    assert "fidelity kernel, zz feature map" in shown


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["loss.name=mse", "data.classes=none"], "needs classes"),
        (["data.test_fraction=0"], "nothing is left to score on"),
        (["model.n_qubits=3"], "takes 3 features"),
        (["model.feature_map=reuploading", "model.n_features=2"], "trainable parameters"),
    ],
)
def test_refused(
    overrides: list[str], what: str, config_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(["kernel", config_file, *(part for o in overrides for part in ("--set", o))])
    assert code == 2
    assert what in capsys.readouterr().err


def test_alignment_and_spread() -> None:
    targets = np.array([0, 0, 1, 1])
    ideal = np.where(targets[:, None] == targets, 1.0, -1.0)
    assert alignment(ideal, targets) == pytest.approx(1.0)
    assert alignment(np.ones((4, 4)), targets) == pytest.approx(0.0)
    assert spread(ideal) == pytest.approx({"mean": -1 / 3, "std": np.sqrt(8) / 3})
