"""Whole trainings rehearsed: virtual time against closed forms, the bill against the quote, and the same bits for the same seed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.ionq.emulator import Fault, FaultPlan
from actors.ionq.emulator.timing import GateTimes, Lognormal
from actors.ionq.polling import Polling
from actors.ionq.rehearsal import Stage
from actors.ionq.submission import Patience
from orchestrator.config import TrainingConfig
from orchestrator.errors import CapabilityError, ConfigError
from pipelines import cli
from pipelines.quote import quote
from pipelines.rehearsal_run import Conditions, Rehearsed, rehearse_once, rehearsed_backend
from pipelines.rehearse import rehearse
from pipelines.run_setup import PreparedRun, prepare_run

SETTINGS = [
    "data.name=iris", "data.classes=['setosa', 'versicolor']", "data.n_components=2", "data.max_samples=20", "model.n_qubits=2",
    "model.n_layers=1", "run.epochs=2", "run.batch_size=6", "run.max_steps=3", "backend.name=ionq", "backend.target=qpu.aria-1",
    "backend.shots=500", "backend.circuits_per_job=10", "backend.jobs_in_flight=3", "fleet.dispatcher=serial",
]  # fmt: skip
STORM = FaultPlan(
    3,
    (
        Fault("any", "status", status=503, probability=0.03),
        Fault("submit", "stall", when="after", probability=0.1),
        Fault("submit", "drop", when="after", probability=0.1),
        Fault("results", "status", status=429, retry_after=7, probability=0.2),
    ),
)


def prepared(*overrides: str) -> PreparedRun:
    return prepare_run(TrainingConfig().with_overrides([*SETTINGS, *overrides]))


def once(run: PreparedRun, conditions: Conditions, seed: int = 1) -> Rehearsed:
    return rehearse_once(run, rehearsed_backend(run), conditions, seed)


def quoted_target(run: PreparedRun) -> dict[str, Any]:
    """What ``qfleet quote`` says of the target."""
    found: dict[str, Any] = quote(run, ["qpu.aria-1"], ["parameter_shift"])["targets"][0]
    return found


def quoted(run: PreparedRun) -> dict[str, Any]:
    """The same, of the rule in use."""
    [row] = quoted_target(run)["rules"]
    return dict(row)


def noticed_after(seconds: float, latency: float, *, is_first: bool) -> float:
    """When the looks, from the one right after its acceptance, notice a job that ends after `seconds`; `is_first`: none like it before."""
    patience = Patience()
    polling = Polling(patience.first_poll, patience.max_poll, patience.growth)
    polling.ended(None if is_first else seconds)
    at, looks = 0.0, polling.looks()
    while at + latency < seconds:
        answered = at + latency
        at = next(look for look in looks if look > answered)
    return at + latency


@pytest.mark.parametrize(("queue", "latency"), [(3600.0, 0.0), (90.0, 0.5), (0.0, 0.2)])
def test_time_is_the_closed_form_of_waves(queue: float, latency: float) -> None:
    run = prepared("data.test_fraction=0", "data.validation_fraction=0")
    row = quoted(run)
    found = once(run, Conditions(queue=queue, execution=0.0, latency_seconds=latency))
    n_jobs = row["step"]["jobs"]
    assert found.jobs == row["run"]["jobs"] == 3 * n_jobs
    assert n_jobs > 3  # more than are in flight
    waves = math.ceil(n_jobs / 3)
    # A job is posted, waited for, and its answer fetched.
    first, later = (2 * latency + noticed_after(queue, latency, is_first=each) for each in (True, False))
    ends = [first + later * (waves * (k + 1) - 1) for k in range(3)]
    rounding = 0.001 * waves * 3  # the emulator tells times in whole milliseconds, and looks go by them
    np.testing.assert_allclose(found.step_ends, ends, rtol=0, atol=rounding)
    assert (
        waves * queue <= found.step_ends[0] <= waves * (queue + 2.0 + 4 * latency)
    )  # looks are 2 s apart at most
    assert found.seconds == found.step_ends[-1]


def test_a_machine_that_runs_one_job_at_a_time_is_what_a_step_waits_for() -> None:
    run = prepared("data.test_fraction=0", "data.validation_fraction=0", "backend.jobs_in_flight=50")
    n_jobs = quoted(run)["step"]["jobs"]
    found = once(run, Conditions(queue=600.0, execution=45.0, latency_seconds=0.0))
    steps = np.diff((0.0, *found.step_ends))
    assert (steps >= 600.0 + 45.0 * n_jobs).all()
    assert (steps <= 600.0 + 45.0 * n_jobs + 2.0).all()


def test_gate_times_are_those_of_the_circuits_sent() -> None:
    run = prepared(
        "data.test_fraction=0", "data.validation_fraction=0", "run.max_steps=1", "backend.jobs_in_flight=50"
    )
    row = quoted(run)
    found = once(run, Conditions(latency_seconds=0.0, execution=GateTimes(1e-3, 2e-3, 5e-3)))
    [gates] = quoted_target(run)["gates_by_measurement_group"]
    of_shot = 1e-3 * gates["n_1q"] + 2e-3 * gates["n_2q"] + 5e-3
    wanted = 500 * row["step"]["circuits"] * of_shot
    assert wanted <= found.seconds <= wanted + 2.0


def test_same_seed_same_bits_through_a_storm_and_another_seed_another_night() -> None:
    run = prepared("run.max_steps=2")
    conditions = Conditions(Lognormal(15.0, 60.0), 2.0, 0.1, 0.2, STORM)
    first, again, other = (once(run, conditions, seed) for seed in (5, 5, 6))
    assert first == again
    assert first.ended_by is None
    assert other.seconds != first.seconds
    whole = quoted(run)["run"]
    for found in (first, other):
        assert found.billed_micro == whole["micro"]  # failed jobs are free, nothing is paid twice
        assert found.duplicates == 0
        assert found.failed == found.resent == found.jobs - whole["jobs"] > 0


def test_looks_that_are_not_requests_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepared("run.max_steps=1")
    conditions = Conditions(Lognormal(20.0, 60.0), 3.0, 0.1, 0.2)
    quick = once(run, conditions)
    begin = Stage.__init__

    def always_asking(self: Stage, *arguments: Any) -> None:
        begin(self, *arguments)
        self._asks_always = True

    monkeypatch.setattr(Stage, "__init__", always_asking)
    full = once(run, conditions)
    np.testing.assert_allclose(full.step_ends, quick.step_ends, rtol=1e-12)
    assert replace(full, seconds=0.0, step_ends=()) == replace(quick, seconds=0.0, step_ends=())
    assert full.seconds == pytest.approx(quick.seconds, rel=1e-12)


def test_a_budget_ends_it_and_is_kept() -> None:
    run = prepared()
    step = quoted(run)["step"]["usd"]
    run = prepared(f"budget.max_usd={1.5 * step:.2f}")
    outcome = rehearse(run, Conditions(Lognormal(60.0, 300.0)), 2, seed=4)
    assert outcome["endings"] == {"budget": 2}
    assert outcome["budget_steps"]["median"] == 1
    assert 0 < outcome["usd"]["most"] <= outcome["budget_usd"] < outcome["quote"]["least"]
    assert outcome == rehearse(run, Conditions(Lognormal(60.0, 300.0)), 2, seed=4)


def test_a_machine_that_always_fails_ends_the_run() -> None:
    found = once(prepared(), Conditions(failures=0.99))
    assert found.ended_by == "failure"
    assert "QuantumComputerError" in (found.reason or "")
    assert found.step_ends == ()
    assert found.failed > 0


def test_samples_of_jobs_that_are_given_up_are_left_out() -> None:
    run = prepared("backend.on_failure=skip_samples", "backend.max_skipped=0.9", "run.max_steps=1")
    found, again = (once(run, Conditions(failures=0.9), seed=3) for _ in range(2))
    assert found == again
    assert found.skipped > 0
    assert 0 < found.billed_micro < quoted(run)["run"]["micro"]


def test_what_cannot_be_rehearsed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"backend\.name"):
        rehearsed_backend(prepare_run(TrainingConfig()))
    with pytest.raises(CapabilityError, match="up to 10 qubits"):
        rehearsed_backend(
            prepared(
                "data.name=breast_cancer", "data.classes=none", "model.n_qubits=11", "data.n_components=11"
            )
        )
    with pytest.raises(ConfigError, match=r"backend\.targets"):
        rehearsed_backend(prepared("backend.target=none", "backend.targets=['qpu.aria-1', 'qpu.forte-1']"))
    with pytest.raises(ConfigError, match=r"backend\.noise_scales"):
        rehearsed_backend(prepared("backend.noise_scales=[1, 3]", "backend.extrapolation=none"))
    with pytest.raises(ConfigError, match="runs"):
        rehearse(prepared(), Conditions(), 0)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(
        "IONQ_REMOTE_HOST", "https://api.ionq.co"
    )  # the emulator is asked all the same, and no key
    config = tmp_path / "night.toml"
    config.write_text("", encoding="utf-8")
    overrides = [*SETTINGS, "run.max_steps=1", f"run.directory='{tmp_path}'"]
    options = [f"--set={override}" for override in overrides]
    code = cli.main(["rehearse", str(config), *options, "--runs", "2", "--queue", "120,900", "--json"])
    told = capsys.readouterr()
    assert code == 0, told.err
    outcome = json.loads(told.out)
    assert outcome["usd"]["least"] == outcome["usd"]["most"] == outcome["quote"]["most"] > 0
    assert outcome["seconds"]["least"] < outcome["seconds"]["most"]
    assert outcome["metrics"]["test/accuracy"]["median"] <= 1.0
    assert "gates as billed" in outcome["assumed"]["execution"]
    assert "rehearsal 2 of 2" in told.err
    folder = tmp_path / "night-rehearsal"
    assert json.loads((folder / "rehearsal.json").read_text())["runs"] == outcome["runs"]
    assert (folder / "rehearsal.png").stat().st_size > 10_000
