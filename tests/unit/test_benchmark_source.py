"""``qfleet benchmark source``: sizes as the documents name them, honest times, and figures that come from the trainings."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from orchestrator.config import TrainingConfig
from pipelines import cli
from pipelines.benchmark import source_configs
from pipelines.benchmark.source_configs_claims import DOCUMENTS, SOURCE_CONFIGURATIONS
from pipelines.benchmark.source_configs_data import (
    BEST_POSSIBLE,
    BUILT_IN,
    GENERATED,
    N_TEST,
    configuration,
    generated,
)
from pipelines.benchmark.source_configs_operations import operations
from pipelines.benchmark.source_configs_runs import Timings
from pipelines.plots.workloads import engine_workloads
from pipelines.run_setup import prepare_run
from pipelines.studies.folder import StudyFolder

BASE = TrainingConfig().with_overrides(["data.name=breast_cancer", "tracking.enabled=false"])


def test_the_configurations_are_those_of_the_issue() -> None:
    """4 and 8 qubits; 2, 3 and 4 layers; 50, 100 and 500 samples; every claim says where it stands."""
    every = SOURCE_CONFIGURATIONS.values()
    assert {one.n_qubits for one in every} == {4, 8}
    assert {one.n_layers for one in every} == {2, 3, 4}
    assert {one.n_samples for one in every} == {50, 100, 500}
    claims = [claim for one in every for claim in (*one.times, *one.dollars)]
    assert all(
        claim.document in DOCUMENTS and claim.line > 0 and 0 < claim.low <= claim.high for claim in claims
    )
    assert (192, "0:349") in [(claim.low, claim.place) for claim in SOURCE_CONFIGURATIONS["8q-3l"].times]


@pytest.mark.parametrize("name", SOURCE_CONFIGURATIONS)
def test_training_splits_are_exactly_as_large_as_named(name: str, tmp_path: Path) -> None:
    one = SOURCE_CONFIGURATIONS[name]
    for data in (GENERATED, BUILT_IN):
        run = prepare_run(configuration(one, data, tmp_path, BASE))
        assert len(run.data.train.targets) == one.n_samples
        assert len(run.data.test.targets) == N_TEST[data]
        assert len(run.data.validation.targets) == 0
        rotations = 3 if one.ansatz == "three_rotation" else 2
        assert run.task.model.n_circuit_params == rotations * one.n_qubits * one.n_layers
        assert run.task.rule.name == one.rule
        assert run.task.n_steps == one.epochs * one.n_samples // one.batch_size


def test_the_generated_data_are_learnable_as_far_as_is_said() -> None:
    """The plane that made the labels is right as often as theory says, within four standard errors."""
    features, labels = generated(40_000, 4)
    assert np.bincount(labels).tolist() == [20_000, 20_000]
    again, _ = generated(40_000, 4)
    assert np.array_equal(features, again)
    weights, *_ = np.linalg.lstsq(features, labels - 0.5, rcond=None)  # of a plane through Gaussian noise
    right = np.mean((features @ weights > 0) == labels)
    error = np.sqrt(BEST_POSSIBLE * (1 - BEST_POSSIBLE) / 40_000)
    assert abs(right - BEST_POSSIBLE) < 4 * error
    assert abs(BEST_POSSIBLE - 0.852) < 5e-4


def benchmark(folder: Path, *more: str) -> dict[str, Any]:
    """A small benchmark that ended well, as its JSON."""
    options = [
        "--configuration", "after", "--no-cold", "--directory", str(folder), "--name", "small", "--set",
        "tracking.enabled=false", "--set", "tracking.log_model=false",
    ]  # fmt: skip
    assert cli.main(["benchmark", "source", *options, *more]) == 0
    found: dict[str, Any] = json.loads((folder / "small" / "report.json").read_text())
    return found


def test_a_benchmark_and_its_resumption(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = benchmark(tmp_path, "--output", str(tmp_path / "out"))
    (row,) = outcome["rows"]
    found = row["runs"][GENERATED]
    assert row["claimed_times"][0] == {"text": "8 minutes", "place": "4:270", "low": 480, "high": 480}
    # two circuits a sample and step of SPSA, and the test split
    assert found["circuits"] == 2 * 100 * 5 + 200
    assert row["charge"]["circuits"] == 1000
    assert 0 <= found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"] <= 1
    assert 0 < found["training_seconds"] < found["fit_seconds"]
    assert found["command_seconds"] is None
    assert row["charge"]["usd"] > 1000 * 12.4166
    result = json.loads((tmp_path / "small/members/after-generated-warm/result.json").read_text())
    assert found["accuracy"] == result["metrics"]["test/accuracy"]
    text = (tmp_path / "out" / "source-benchmark.md").read_text()
    assert "8 minutes (4:270)<br>50-100 seconds (4:508)" in text
    assert "no like-for-like comparison" in text
    assert (tmp_path / "out" / "source-benchmark.png").stat().st_size > 10_000
    capsys.readouterr()
    (tmp_path / "out" / "source-benchmark.md").unlink()  # as if it had been killed before it wrote there
    assert cli.main(["resume", "small", "--directory", str(tmp_path)]) == 0
    assert (tmp_path / "out" / "source-benchmark.md").is_file()
    again = json.loads((tmp_path / "small" / "report.json").read_text())
    assert again["rows"] == outcome["rows"]  # nothing was trained or timed again


def test_a_training_that_was_interrupted_has_no_time(tmp_path: Path) -> None:
    folder = StudyFolder.create("benchmark-source", BASE, {}, directory=tmp_path, name="s")
    timings = Timings(folder)
    assert timings.begin("a")
    timings.end("a", 2.5)
    assert timings.begin("b")
    later = Timings(folder)  # another process
    assert later.seconds("a") == 2.5
    assert not later.begin("b")
    assert later.seconds("b") is None
    later.forget("b")
    assert Timings(folder).begin("b")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--configuration", "8q-31"], "8q-3l"),
        (["--emulator-latency", "0"], "greater than 0"),
        (["--output", __file__], "is a file"),
        (["--set", "run.epochs=3"], "run.seed"),
        (["--set", "tracking.enable=false"], "enabled"),
    ],
)
def test_bad_options_are_refused_before_anything_starts(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["benchmark", "source", "--directory", str(tmp_path / "runs"), *options]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_operations_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.benchmark.source_configs_operations._REPEATS", 3)
    found = operations(configuration(SOURCE_CONFIGURATIONS["4q-2l"], GENERATED, tmp_path, BASE))
    assert all(0 < each["seconds"] < 10 for each in found.values())
    assert [each["place"] for each in found.values()] == ["2:210", "2:211"]


def test_a_command_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.errors import ExecutionError
    from pipelines.benchmark import source_configs_runs as runs

    failed = SimpleNamespace(returncode=1, stderr="some\nqfleet: the disk is full\n")
    monkeypatch.setattr("subprocess.run", lambda *args, **kwargs: failed)
    with pytest.raises(ExecutionError, match="the disk is full"):
        runs._command(BASE, tmp_path)
    monkeypatch.setattr("subprocess.run", lambda *args, **kwargs: SimpleNamespace(returncode=130))
    with pytest.raises(KeyboardInterrupt):
        runs._command(BASE, tmp_path)


def test_workloads_are_drawn_with_and_without_peers(tmp_path: Path) -> None:
    ours: list[dict[str, Any]] = [
        {"workload": "W1", "us_per_circuit_cpu": 0.06},
        {"workload": "W9", "error": "too large"},
    ]
    peers: list[dict[str, Any]] = [
        {"workload": "W1", "peer": "cirq", "us_per_circuit_cpu": 5000.0},
        {"workload": "W1", "peer": "qulacs", "missing": "qulacs"},
    ]
    axes = engine_workloads(ours, peers, tmp_path / "a.png").axes[0]
    drawn = {line.get_label(): np.asarray(line.get_xdata()).tolist() for line in axes.lines}
    assert drawn == {"cirq": [5000.0], "qfleet": [0.06]}
    assert engine_workloads(ours, [], tmp_path / "b.png").axes[0].lines[0].get_label() == "qfleet"


def test_the_module_is_the_one_that_resumes() -> None:
    from pipelines.studies.folder import KINDS

    assert KINDS[source_configs.KIND] == source_configs.__name__
