"""Where the time of training goes, as metrics and in words; and how many circuits a sample takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchestrator.config import TrainingConfig
from orchestrator.phases import PHASES
from orchestrator.planning import derivative
from orchestrator.protocols import DispatcherStats
from orchestrator.training.reports import EpochReport, StepReport, Totals
from orchestrator.training.state import TrainState
from pipelines.callbacks import Metrics
from pipelines.report import summary, time_shares
from pipelines.run_setup import prepare_run

SECONDS = {"plan": 0.001, "ship": 0.002, "queue": 0.003, "compute": 0.015, "assemble": 0.002, "update": 0.001, "log": 0.001}  # fmt: skip


class Recorder:
    """A tracker and a dispatcher of two actors."""

    n_workers = 2

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics |= metrics

    def sync(self) -> None:
        pass

    def stats(self) -> DispatcherStats:
        return DispatcherStats(2, 5, 0, 0, 1.0, 4, 5)


def epoch(phases: dict[str, float]) -> EpochReport:
    return EpochReport(
        1, 2, 3, {"train/epoch_loss": 0.5}, "train/epoch_loss", True, 1, 0.5, 0.1, Totals(), sum(phases.values()),
        phases=phases,
    )  # fmt: skip


@pytest.fixture
def recorded() -> dict[str, float]:
    recorder: Any = Recorder()
    state = TrainState(np.zeros(1), {}, np.zeros(1))
    metrics = Metrics(recorder, recorder, state)
    metrics.on_step(StepReport(3, 9, 1, 3, 0.5, 1.0, 0.1, Totals(), SECONDS, 0.02), state)
    metrics.on_epoch(epoch(SECONDS), state)
    return recorder.metrics


def test_metrics_of_time(recorded: dict[str, float]) -> None:
    assert recorded["time/step_seconds"] == pytest.approx(0.025)
    assert recorded["time/compute_seconds"] == 0.02
    # two actors could have computed 2 x 20 ms while jobs were out, and computed 20 ms
    assert recorded["fleet/utilisation"] == pytest.approx(0.5)
    assert recorded["time/epoch_seconds"] == pytest.approx(0.025)
    assert {p: recorded[f"time/epoch_{p}_seconds"] for p in PHASES} == SECONDS


def test_shares_in_words() -> None:
    doubled = {phase: 2 * seconds for phase, seconds in SECONDS.items()}
    text = time_shares([epoch(SECONDS), epoch(doubled)])
    assert (
        text
        == "plan 4.0 %, ship 8.0 %, queue 12.0 %, compute 60.0 %, assemble 8.0 %, update 4.0 %, log 4.0 %"
    )
    assert time_shares([]) == time_shares([epoch({})]) == ""


def test_circuits_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adjoint: one; with the values first, two; parameter shift: 1 + 2 for each of the 12 angles that is felt.

    Of one layer with every Z measured 8 are: CNOTs carry Z back to products of Z, with which RZ commutes.
    """
    base = [
        "data.name=iris",
        "data.n_components=none",
        "data.classes=[0, 1]",
        "model.n_qubits=4",
        "model.n_layers=1",
    ]

    def count(rule: str) -> int:
        run = prepare_run(TrainingConfig().with_overrides([*base, f"gradient.rule={rule}"]))
        return int(summary(run)["circuits_per_sample"])

    assert count("adjoint") == 1
    assert count("parameter_shift") == 17
    monkeypatch.setattr(derivative, "CONTRACT_FROM", 1)
    assert count("adjoint") == 2
    assert count("parameter_shift") == 17
