"""Error mitigation on the paid path: the quote is the bill, a calibration is paid once whoever asks, and values are as simulated here."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import cirq
import numpy as np
import pytest
import sympy

from actors.backends.ionq import IonQBackend
from actors.backends.noisy import NoisyBackend
from actors.ionq.book import SubmissionBook
from actors.ionq.emulator import Emulator
from actors.mitigation.backend import Mitigated
from actors.mitigation.settings import Mitigation
from actors.serial import SerialDispatcher
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import TrainingConfig
from orchestrator.jobs import Displacements, Job, JobResult
from pipelines.compose import mitigation_of
from pipelines.quote import quote
from pipelines.replay import along
from pipelines.run_folder import RunFolder
from pipelines.run_setup import prepare_run
from pipelines.trainer import Trainer

TARGET = "qpu.aria-1"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IONQ_API_KEY", "key-of-the-emulator")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def config_of(tmp_path: Path, *overrides: str) -> TrainingConfig:
    return TrainingConfig().with_overrides(
        [
            "data.name=iris", "data.n_components=2", "data.max_samples=20", "model.n_qubits=2", "model.n_layers=1",
            "model.ansatz=hardware_efficient", "loss.name=mse", "model.observables=['Z0*Z1 + 0.5*X0']", "run.epochs=1",
            "run.batch_size=5", "run.max_steps=2", "run.name=mitigated",
            "backend.name=ionq", f"backend.target={TARGET}", "backend.shots=600",
            "backend.circuits_per_job=7", "fleet.dispatcher=serial", f"run.directory='{tmp_path}'", "tracking.enabled=false",
            "backend.noise_scales=[1, 3]", "backend.readout_mitigation=true", "backend.calibration_shots=700", *overrides,
        ]
    )  # fmt: skip


@pytest.mark.parametrize("gateset", ["qis", "native"])
def test_the_quote_of_a_mitigated_training_is_its_bill(tmp_path: Path, gateset: str) -> None:
    with Emulator() as emulator:
        config = config_of(tmp_path, f"backend.host={emulator.url}", f"backend.gateset={gateset}")
        rule = "parameter_shift"
        (quoted,) = quote(prepare_run(config), [TARGET], [rule])["targets"][0]["rules"]
        result = Trainer(config, progress=False, yes_spend_usd=1e6).fit()
        bill = emulator.totals()
    assert bill["billed_micro_usd"] == quoted["run"]["micro"] > 0
    assert bill["circuits"] == quoted["run"]["circuits"] == result.totals.n_circuits
    assert bill["jobs_accepted"] == quoted["run"]["jobs"]
    assert quoted["calibration"]["circuits"] == 2
    assert quoted["calibration"]["shots"] == 1400
    assert result.totals.cost_usd == pytest.approx(quoted["run"]["usd"], abs=1e-9)
    assert result.totals.n_shots == quoted["run"]["shots"]
    without = [
        "backend.noise_scales=[]",
        "backend.readout_mitigation=false",
        "backend.calibration_shots=4096",
    ]
    plain = config.with_overrides(without)
    (alone,) = quote(prepare_run(plain), [TARGET], [rule])["targets"][0]["rules"]
    assert quoted["run"]["circuits"] == 2 * alone["run"]["circuits"] + 2
    _check_record(RunFolder.find("mitigated", str(tmp_path)), without)


def _check_record(folder: RunFolder, without: list[str]) -> None:
    """What was paid holds the plain circuits too, so that the run can be seen without mitigation."""
    same, plain = along(folder, to_stdout=False), along(folder, without, to_stdout=False)
    assert [step["distance"] for step in same["steps"]] == [0, 0]
    assert plain["ended"] is None
    for step in plain["steps"]:
        assert step["distance"] > 0
        # the weights 3/2 and -1/2 have the sum of squares 5/2
        assert step["recorded_noise"] / step["gradient_noise"] == pytest.approx(2.5**0.5, rel=0.1)


def small() -> tuple[MeasuredCircuit, Job]:
    """Gates that IonQ has, read in Z alone, so that both ways of simulating them meet the same noise."""
    a, b, c = qubits = cirq.LineQubit.range(3)
    angles = sympy.symbols("t0:4")
    circuit = cirq.Circuit(
        cirq.rx(angles[0])(a), cirq.ry(angles[1])(b), cirq.CNOT(a, b), cirq.ry(angles[2])(c), cirq.CNOT(b, c),
        cirq.ZZ(a, c) ** (angles[3] / sympy.pi), cirq.ry(0.4)(a), cirq.CNOT(c, a),
    )  # fmt: skip
    template, _ = template_from_circuit(circuit, qubits)
    measured = MeasuredCircuit(template, ("ZII", "IZZ", "ZZZ", "IIZ"))
    job = Job(
        circuit_key=measured.key,
        shared_angles=np.array([0.4, 0.9, -0.7, 0.3]),
        data_columns=np.array([2]),
        data_angles=np.array([[-0.7], [0.2], [1.1]]),
        displacements=Displacements.single(np.array([0, 3]), np.array([0.5, -0.5])),
        shots=4000,
        noise_keys=np.array([11], np.uint64),
    )
    return measured, job


def test_folded_circuits_meet_the_noise_that_theory_gives_them() -> None:
    circuit, job = small()
    mitigation = Mitigation((1, 3, 5), "linear", noise_folding="all")
    with Emulator() as emulator:
        paid = Mitigated(IonQBackend(noise="aria-1", host=emulator.url), mitigation)
        session = paid.open_session()
        found = session.run(session.compile(circuit), job)
        session.close()
    local = Mitigated(NoisyBackend("aria-1"), mitigation).open_session()
    exact = local.run(local.compile(circuit), replace(job, shots=None))
    assert found.variances is not None
    z = (found.values - exact.values) / np.sqrt(found.variances)
    assert np.abs(z).max() < 4.5
    assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / z.size)


def test_sessions_that_share_a_book_pay_for_one_calibration(tmp_path: Path) -> None:
    circuit, job = small()
    job = replace(job, shots=600)
    mitigation = mitigation_of(config_of(tmp_path, "backend.noise_scales=[]").backend)
    with Emulator() as emulator, SubmissionBook(tmp_path / "book") as book:
        inner = IonQBackend(target=TARGET, host=emulator.url, book=book, lookup_seconds=2.0)
        dispatchers = [SerialDispatcher(Mitigated(inner, mitigation, 3)) for _ in range(2)]
        halves = [job.part(slice(0, 2), slice(0, 3)), job.part(slice(2, 3), slice(0, 3))]
        results: dict[int, list[JobResult]] = {}

        def work(number: int) -> None:
            dispatchers[number].register(circuit)
            results[number] = list(dispatchers[number].run([halves[number]]))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        late = SerialDispatcher(Mitigated(inner, mitigation, 3))
        late.register(circuit)
        (again,) = late.run([halves[0]])
        for dispatcher in (*dispatchers, late):
            dispatcher.close()
        bill = emulator.totals()
        assert bill["billed_micro_usd"] == book.totals().spent
    assert bill["circuits"] == 9 + 2
    assert bill["duplicates"] == 0
    ((first,), (second,)) = results[0], results[1]
    assert np.array_equal(again.values, first.values)
    assert again.n_circuits == 6  # its calibration was on record
    assert {first.values.shape, second.values.shape} == {(2, 3, 4), (1, 3, 4)}
