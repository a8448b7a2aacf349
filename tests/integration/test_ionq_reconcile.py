"""A paid run's bill and its latency: through the real client, against an emulator whose prices, queue and faults are known."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from actors.ionq.emulator import Emulator, EmulatorSettings
from actors.ionq.emulator.faults import FaultPlan
from orchestrator.config import TrainingConfig
from orchestrator.costs.catalogue import Catalogue
from pipelines import Trainer
from pipelines.cli import main
from pipelines.latency import PHASES
from pipelines.result import TrainingResult

TARGET = "qpu.aria-1"
DEARER = (
    f'[targets."{TARGET}"]\ndate = 2026-01-01\nsource = "test"\nlike = "{TARGET}"\nprice_2q_usd = 0.00123\n'
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IONQ_API_KEY", "key-of-the-emulator")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def trained(emulator: Emulator, directory: Path) -> TrainingResult:
    config = TrainingConfig().with_overrides(
        [
            "data.name=iris", "data.n_components=2", "data.max_samples=20", "model.n_qubits=2", "model.n_layers=1",
            "model.ansatz=hardware_efficient", "loss.name=mse", "model.observables=['Z0 + 0.5*X0*X1']", "run.epochs=1",
            "run.batch_size=4", "run.max_steps=1", "run.name=paid", f"run.directory={directory}", "backend.name=ionq",
            f"backend.target={TARGET}", "backend.shots=100", "backend.error_mitigation=false", "backend.circuits_per_job=8",
            "backend.jobs_in_flight=3", f"backend.host={emulator.url}", "fleet.dispatcher=serial", "tracking.enabled=false",
        ]
    )  # fmt: skip
    return Trainer(config, progress=False, yes_spend_usd=1e6).fit()


def test_another_price_list_shows_and_every_phase_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dearer.toml").write_text(DEARER, encoding="utf-8")
    prices = Catalogue.load(str(tmp_path / "dearer.toml"))
    with Emulator(EmulatorSettings(prices=prices, queue_seconds=0.2)) as emulator:
        result = trained(emulator, tmp_path)
        ledger = emulator.totals()
        outcome = result.reconciliation
        assert outcome is not None
        assert outcome.is_complete
        assert outcome.billed == ledger["billed_micro_usd"]
        assert outcome.booked == round(result.totals.cost_usd * 1e6) < outcome.billed
        assert (
            len(outcome.differences) == outcome.n_jobs == ledger["jobs_accepted"] == ledger["calls"]["cost"]
        )
        assert all(each.billed > each.booked for each in outcome.differences)

        assert main(["reconcile", str(result.folder.path), "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed == {"run_name": "paid", **outcome.to_json()}
        assert emulator.totals()["billed_micro_usd"] == outcome.billed  # asking is free
    assert result.folder.read_json("reconciliation.json") == outcome.to_json()
    points = [json.loads(line) for line in (result.folder.path / "metrics.jsonl").read_text().splitlines()]
    assert f'"cost/billed_usd": {outcome.billed / 1e6}' in json.dumps(points)
    check_latency(result, ledger["jobs_accepted"])


def check_latency(result: TrainingResult, n_jobs: int) -> None:
    """Every job's phases add up to its time, and the emulator's dwell is found in them."""
    report = result.latency
    assert report is not None
    assert (report.n_jobs, report.n_served) == (n_jobs, 0)
    assert report.phases["queue"].median == pytest.approx(0.15, abs=0.02)
    assert report.phases["execution"].median == pytest.approx(0.05, abs=0.02)
    assert report.replayed_seconds == pytest.approx(report.measured_seconds, rel=0.3)
    assert report.what_if["both"] <= report.what_if["latency x 0"] < report.replayed_seconds
    assert report.what_if["concurrency x 2"] < report.replayed_seconds
    with (result.folder.artifacts / "latency.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == n_jobs
    for row in rows:
        lasted = float(row["finished_at"]) - float(row["started_at"])
        assert sum(float(row[name]) for name in PHASES) == pytest.approx(lasted, abs=5e-3)
    assert (result.folder.artifacts / "latency.png").stat().st_size > 10_000


def test_a_bill_that_cannot_be_had_is_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "faults.toml").write_text(
        'seed = 1\n[[fault]]\nendpoint = "cost"\nkind = "status"\nstatus = 404\n', encoding="utf-8"
    )
    with Emulator(EmulatorSettings(faults=FaultPlan.load(tmp_path / "faults.toml"))) as emulator:
        result = trained(emulator, tmp_path)
        assert emulator.totals()["calls"]["cost"] == 1
        assert main(["reconcile", str(result.folder.path)]) == 1
    assert "no figures from IonQ" in capsys.readouterr().err
    assert result.stop_reason == "max_steps reached"
    assert result.reconciliation is not None
    assert (result.reconciliation.n_billed, result.reconciliation.differences) == (0, ())
    assert result.reconciliation.text.startswith("no figures from IonQ: NotFoundError")
    assert result.to_json()["reconciliation"]["booked_micro_usd"] == round(result.totals.cost_usd * 1e6)
