"""The quote is the emulator's bill: real trainings through the real client, for both gate sets, all price models, mitigation on and off."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.backends.ionq import IonQBackend
from actors.ionq.book import SubmissionBook
from actors.ionq.emulator import Emulator, EmulatorSettings
from actors.serial import SerialDispatcher
from orchestrator.config import TrainingConfig
from orchestrator.coordinator import Coordinator
from orchestrator.training.loop import evaluate_samples, initial_state, train
from pipelines.quote import catalogue_of, quote
from pipelines.run_setup import prepare_run

TARGET = "qpu.aria-1"
HEAD = f'[targets."{TARGET}"]\ndate = 2026-01-01\nsource = "test"\n'
PRICES = {
    "list": "",
    "floor by job": HEAD + f'like = "{TARGET}"\nminimum = "floor"\nminimum_per = "job"\nminimum_usd = 0.11\n',
    "task and shot": HEAD + 'model = "task_shot"\nprice_task_usd = 0.30\nprice_shot_usd = 0.0300001\n',
    "flat": HEAD + 'model = "flat"\nprice_usd = 0.07\nper = "job"\n',
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IONQ_API_KEY", "key-of-the-emulator")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.parametrize("prices", PRICES)
@pytest.mark.parametrize("gateset", ["qis", "native"])
@pytest.mark.parametrize("mitigation", [None, False])
@pytest.mark.parametrize("rule", ["parameter_shift", "spsa"])
def test_quote_is_the_bill(
    tmp_path: Path, prices: str, gateset: str, mitigation: bool | None, rule: str
) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES[prices], encoding="utf-8")
    config = TrainingConfig().with_overrides(
        [
            "data.name=iris", "data.n_components=2", "data.max_samples=22", "model.n_qubits=2", "model.n_layers=1",
            "model.ansatz=hardware_efficient", "loss.name=mse", "model.observables=['Z0 + 0.5*X0*X1']", "run.epochs=2",
            "run.batch_size=5", "run.max_steps=4", "backend.name=ionq", "backend.shots=600", f"backend.gateset={gateset}",
            f"backend.error_mitigation={'none' if mitigation is None else 'false'}", "backend.circuits_per_job=7",
            f"gradient.rule={rule}", f"budget.prices='{path}'",
        ]
    )  # fmt: skip
    run = prepare_run(config)
    (quoted,) = quote(run, [TARGET], [rule])["targets"][0]["rules"]
    with (
        Emulator(EmulatorSettings(prices=catalogue_of(config))) as emulator,
        SubmissionBook(tmp_path / "book") as book,
    ):
        backend = IonQBackend(
            target=TARGET, gateset=gateset, error_mitigation=mitigation, circuits_per_job=7, host=emulator.url,
            prices=str(path), book=book,
        )  # fmt: skip
        dispatcher = SerialDispatcher(backend)
        try:
            coordinator = Coordinator(dispatcher, backend.capabilities)
            state = initial_state(run.task)
            for _ in train(run.task, state, coordinator):
                pass
            evaluate_samples(
                run.task.model, state.best_params, run.data.test.features, coordinator, shots=600, seed=1, purpose="test",
            )  # fmt: skip
        finally:
            dispatcher.close()
        bill, spent = emulator.totals(), book.totals().spent
    whole = quoted["run"]
    assert bill["billed_micro_usd"] == whole["micro"] == spent > 0
    assert bill["circuits"] == whole["circuits"]
    assert bill["duplicates"] == 0
    n_sent = whole["circuits"] if prices == "task and shot" else bill["jobs_accepted"]
    assert whole["jobs"] == n_sent
