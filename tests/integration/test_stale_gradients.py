"""Stale gradients on real fleets: the same bits over Ray as in this process; on a paid backend nothing is paid twice."""

from __future__ import annotations

import copy
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors.backends.ideal import IdealBackend
from actors.backends.ionq import IonQBackend
from actors.ionq.book import SubmissionBook
from actors.ionq.emulator import Emulator, EmulatorSettings
from actors.ray_fleet import RayFleet
from actors.serial import SerialDispatcher
from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import BudgetError
from orchestrator.protocols import Dispatcher
from orchestrator.training.loop import initial_state, train
from orchestrator.training.reports import StepReport
from orchestrator.training.state import TrainState
from orchestrator.training.task import TrainingTask
from pipelines.run_setup import prepare_run

PROBLEM = [
    "data.name=iris", "data.max_samples=24", "loss.name=mse", "data.n_components=2", "model.n_qubits=2", "model.n_layers=1",
    "backend.shots=600", "gradient.rule=parameter_shift", "run.epochs=2", "run.batch_size=3", "fleet.dispatcher=serial",
]  # fmt: skip
CIRCUITS_PER_JOB = 20


def task_of(max_staleness: int) -> TrainingTask:
    """6 steps an epoch."""
    return prepare_run(
        TrainingConfig().with_overrides([*PROBLEM, f"training.max_staleness={max_staleness}"])
    ).task


def bits(state: TrainState) -> tuple[Any, ...]:
    """What a run has come to."""
    return (
        state.params.tobytes(),
        state.step_losses,
        [report.metrics for report in state.history],
        state.totals,
    )


@pytest.mark.alone
def test_the_same_bits_over_ray_as_in_this_process(local_ray: None) -> None:
    backend, task = IdealBackend(), task_of(3)
    found = []
    with closing(SerialDispatcher(backend)) as serial, closing(RayFleet(backend, 2)) as fleet:
        for dispatcher in (serial, fleet):
            state = initial_state(task)
            reports = list(
                train(task, state, Coordinator(dispatcher, backend.capabilities, job_seconds=1e-4))
            )
            ages = [report.staleness for report in reports if isinstance(report, StepReport)]
            assert ages == 2 * [0, 1, 2, 3, 3, 3]
            found.append(bits(state))
        synchronous = initial_state(task_of(0))
        list(train(task_of(0), synchronous, Coordinator(serial, backend.capabilities)))
    assert found[0] == found[1] != bits(synchronous)


class PaidRun:
    """A run on the emulator, whose book outlives the driver."""

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir()
        self._folder, self._url = folder, url
        self.task = task_of(2)
        self.saved = initial_state(self.task)

    def go_on(self, n_reports: int | None = None, cap: int | None = None) -> None:
        """From what is saved: to the end, or until the driver dies after `n_reports`, with what is out left behind."""
        state = copy.deepcopy(self.saved)
        with SubmissionBook(self._folder, cap) as book:
            backend: Any = IonQBackend(
                "qpu.aria-1", host=self._url, book=book, jobs_in_flight=4, lookup_seconds=0.2, circuits_per_job=CIRCUITS_PER_JOB
            )  # fmt: skip
            dispatcher: Dispatcher = SerialDispatcher(backend)
            try:
                with closing(
                    train(self.task, state, Coordinator(dispatcher, backend.capabilities))
                ) as reports:
                    for n, _ in enumerate(reports, start=1):
                        self.saved = copy.deepcopy(state)
                        if n == n_reports:
                            return
            finally:
                dispatcher.close()


def test_what_was_out_when_a_paid_run_ended_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended by the death of the driver with steps under way, and by its budget: the same bits for the same dollars, each paid once."""
    monkeypatch.setenv("IONQ_API_KEY", "any")
    with Emulator(EmulatorSettings(queue_seconds=0.05)) as emulator:

        def billed() -> int:
            totals = emulator.totals()
            assert totals["duplicates"] == 0
            return int(totals["billed_micro_usd"])

        calm = PaidRun(tmp_path / "calm", emulator.url)
        calm.go_on()
        assert calm.saved.is_finished
        price = billed()
        assert price == pytest.approx(calm.saved.totals.cost_usd * 1e6, abs=0.5)

        dying = PaidRun(tmp_path / "dying", emulator.url)
        for n_reports in (1, 2, 4):
            dying.go_on(n_reports)
            assert len(dying.saved.past) == min(2, dying.saved.cursor)
        dying.go_on()
        assert bits(dying.saved) == bits(calm.saved)
        assert billed() == 2 * price

        short = PaidRun(tmp_path / "short", emulator.url)
        with pytest.raises(BudgetError):
            short.go_on(cap=price // 3)
        assert 0 < short.saved.step < 5
        assert billed() - 2 * price <= price // 3
        short.go_on()
        assert bits(short.saved) == bits(calm.saved)
        assert billed() == 3 * price
