"""Replay: a run that was paid for, through the real client and the emulator, trained again with nothing that could send."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from actors.ionq.emulator import Emulator, EmulatorSettings
from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError, InputError
from pipelines.cli import main
from pipelines.quote import quote
from pipelines.replay import along, export, replay
from pipelines.result import TrainingResult
from pipelines.run_folder import RunFolder
from pipelines.run_setup import prepare_run
from pipelines.trainer import Trainer

TARGET = "qpu.aria-1"
SHOTS = 600
STEPS = 3


class Paid(NamedTuple):
    """A run that is over, its emulator gone."""

    folder: RunFolder
    config: TrainingConfig
    result: TrainingResult
    bill: dict[str, Any]


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Paid:
    directory = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch, Emulator(EmulatorSettings()) as emulator:
        patch.setenv("IONQ_API_KEY", "key-of-the-emulator")
        patch.setenv("NO_PROXY", "127.0.0.1")
        config = TrainingConfig().with_overrides(
            [
                "data.name=iris", "data.n_components=2", "data.max_samples=20", "data.validation_fraction=0.2", "model.n_qubits=2",
                "model.n_layers=1", "model.ansatz=hardware_efficient", "model.observables=['Z0 + 0.5*X0*X1']", "loss.name=mse",
                "run.epochs=2", "run.batch_size=6", f"run.max_steps={STEPS}", "run.name=paid", f"run.directory={directory}",
                "backend.name=ionq", f"backend.target={TARGET}", f"backend.shots={SHOTS}", "backend.error_mitigation=false",
                "backend.circuits_per_job=7", f"backend.host={emulator.url}", "fleet.dispatcher=serial", "tracking.enabled=false",
            ]
        )  # fmt: skip
        result = Trainer(config, progress=False, yes_spend_usd=1e6).fit()
        bill = emulator.totals()
    return Paid(RunFolder.find("paid", str(directory)), config, result, bill)


def made(paid: Paid, figures: dict[str, Any]) -> RunFolder:
    folder = RunFolder.find(figures["run_name"], str(paid.folder.path.parent))
    assert not (folder.path / "submissions.jsonl").exists()
    assert figures["cost_usd"] == 0.0
    return folder


def test_the_same_run_ends_on_the_same_bits_with_nothing_that_could_send(paid: Paid) -> None:
    """In a process of its own, without a key and with the server gone; the client is not even imported."""
    code = (
        "import sys; from pipelines.cli import main; "
        f"code = main(['replay', {str(paid.folder.path)!r}, '--json']); "
        "assert not {'cirq_ionq', 'actors.ionq.client'} & sys.modules.keys(); sys.exit(code)"
    )
    environment = {name: value for name, value in os.environ.items() if "IONQ" not in name}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    before = paid.result.to_json()
    for name in (
        "params_sha256",
        "best_params_sha256",
        "metrics",
        "circuits",
        "shots",
        "steps",
        "stop_reason",
    ):
        assert figures[name] == before[name], name
    about = figures["replay"]
    assert about["same_parameters"]
    assert about["replay_of"] == "paid"
    assert about["recorded_usd"] == paid.bill["billed_usd"] == pytest.approx(before["cost_usd"])
    made(paid, figures)


def test_another_optimizer_goes_on_until_the_record_ends(paid: Paid) -> None:
    """The first step is recorded; the second is at points of its own, whose price is that of a step."""
    figures = replay(paid.folder, ["optimizer.learning_rate=0.3"], progress=False)
    assert figures["steps"] == 1
    assert figures["replay"]["same_parameters"] is False
    (row,) = quote(prepare_run(paid.config), [TARGET], ["parameter_shift"])["targets"][0]["rules"]
    step = row["step"]
    assert (
        f"{step['circuits']} of the {step['circuits']} circuits asked for next are not in the record"
        in figures["stop_reason"].replace(",", "")
    )
    assert figures["stop_reason"].startswith("the record ends after step 1:")
    price = float(figures["stop_reason"].rpartition("$")[2].replace(",", ""))
    assert price == pytest.approx(step["usd"], abs=1e-6)
    made(paid, figures)


def test_a_simulator_takes_over_where_it_is_named(paid: Paid) -> None:
    figures = replay(paid.folder, ["optimizer.learning_rate=0.3"], then="noisy", progress=False)
    assert figures["steps"] == STEPS
    assert figures["stop_reason"] == "max_steps reached"
    assert figures["replay"]["then"] == "noisy"
    assert {"test/loss", "val/loss"} <= figures["metrics"].keys()
    config = made(paid, figures).read_config()
    assert (config.backend.name, config.backend.then) == ("recorded", "noisy")
    again = replay(paid.folder, ["optimizer.learning_rate=0.3"], then="noisy", progress=False)
    assert again["params_sha256"] == figures["params_sha256"]


def test_fewer_shots_along_the_recorded_steps(paid: Paid) -> None:
    """At every step; noise grows as the root of the shots, and estimates stay within it."""
    found = along(paid.folder, shots=150)
    assert found["ended"] is None
    assert [step["step"] for step in found["steps"]] == list(range(1, STEPS + 1))
    for step in found["steps"]:
        assert step["gradient_noise"] == pytest.approx(2 * step["recorded_noise"], rel=0.15)
        # given the record, the variance is that of 150 shots less that of 600; four standard errors, by the largest component
        assert 0 < step["distance"] < 4 * step["gradient_noise"]
    whole = along(paid.folder)
    assert all(step["distance"] == 0 for step in whole["steps"])
    first = replay(paid.folder, shots=150, progress=False)
    assert first["steps"] == 1
    ended = along(paid.folder, ["gradient.rule=spsa"])
    assert ended["steps"] == []
    assert ended["ended"].startswith("the record ends after step 0:")


def test_the_log_holds_every_circuit_and_every_dollar(paid: Paid, tmp_path: Path) -> None:
    path = tmp_path / "circuits.parquet"
    assert export(paid.folder, path)["circuits"] == paid.bill["circuits"]
    table = pq.read_table(path)
    assert table.equals(pq.read_table(paid.folder.artifacts / "circuits.parquet"))
    rows = table.to_pylist()
    assert sum(row["micro_dollars"] for row in rows) == paid.bill["billed_micro_usd"]
    assert {row["purpose"] for row in rows} == {"train", "val", "test"}
    assert {row["step"] for row in rows if row["purpose"] == "train"} == set(range(STEPS))
    for row in rows:
        assert (row["target"], row["shots"], row["gateset"]) == (TARGET, SHOTS, "qis")
        counts = np.array(row["probabilities"]) * SHOTS
        assert np.allclose(counts, np.rint(counts), atol=1e-6)
        assert counts.sum() == pytest.approx(SHOTS)
        assert row["reserved_at"] <= row["completed_at"]
    # The loss of the validation split from the log alone, by hand: values of Z0 and X0 X1 of each sample, then the head.
    model = paid.result.run.task.model
    last = max(row["step"] for row in rows if row["purpose"] == "val")
    features = paid.result.run.data.validation.features
    values = np.empty((len(features), 2))
    for row in rows:
        if row["purpose"] == "val" and row["step"] == last:
            read = (0,) if row["basis"] == "ZI" else (0, 1)
            signs = [(-1) ** sum(outcome >> (1 - q) & 1 for q in read) for outcome in row["outcomes"]]
            values[row["sample"], row["group"]] = np.dot(signs, row["probabilities"])
    outputs = model.outputs(paid.result.params, values)
    loss = paid.result.run.task.loss.metrics(outputs, paid.result.run.data.validation.targets)["loss"]
    assert loss == pytest.approx(paid.result.history[-1].metrics["val/loss"], abs=1e-12)


def test_what_cannot_be_replayed_is_refused(
    paid: Paid, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    n_before = len(list(paid.folder.path.parent.iterdir()))
    for key, overrides, shots in (
        ("backend.shots", [], SHOTS + 1),
        ("backend.name", ["backend.name=ideal"], None),
        ("model", ["model.n_layers=2"], None),
        ("gradient.rule", ["gradient.rule=adjoint"], None),
    ):
        with pytest.raises(InputError, match=key):
            replay(paid.folder, overrides, shots, progress=False)
    with pytest.raises(ConfigError, match=r"backend\.then"):
        replay(paid.folder, then="ionq", progress=False)
    with pytest.raises(ConfigError, match="run"):
        along(paid.folder, ["run.seed=3"])
    assert len(list(paid.folder.path.parent.iterdir())) == n_before
    assert main(["replay", str(paid.folder.path), "--export", str(tmp_path / "x.csv")]) == 2
    assert "nearest valid: " in capsys.readouterr().err
    free = paid.folder.path.parent / "free"
    free.mkdir()
    (free / "config.toml").write_bytes((paid.folder.path / "config.toml").read_bytes())
    assert main(["replay", "free", "--directory", str(free.parent)]) == 2
    assert "only circuits that cost money are recorded" in capsys.readouterr().err
