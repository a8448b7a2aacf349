"""Paid trainings as wholes, against the emulator: whatever breaks on the way, the same bits for the same dollars, each paid once."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from actors.backends.ionq import IonQBackend
from actors.ionq.book import SubmissionBook
from actors.ionq.emulator import Emulator, EmulatorSettings, FaultPlan, VirtualClock
from actors.ionq.templates import gate_counts
from orchestrator.config import TrainingConfig
from orchestrator.costs.bill import job_price
from orchestrator.costs.catalogue import Catalogue
from orchestrator.errors import BudgetError
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from pipelines.quote import quote
from pipelines.result import TrainingResult, params_sha256
from pipelines.run_setup import prepare_run
from tests.command import forking, start_command
from tests.integration.paid_driver import RUN, config_in, continue_or_begin, drive

KEY = "ionq-key-of-the-storm-4711"
NOISE = ["backend.target=simulator", "backend.noise=aria-1"]
STORM = [
    {"endpoint": "submit", "kind": "status", "status": 502, "when": "after", "probability": 0.15},
    {"endpoint": "submit", "kind": "drop", "when": "after", "probability": 0.15},
    {"endpoint": "submit", "kind": "stall", "seconds": 1.0, "when": "after", "probability": 0.05},
    {"endpoint": "submit", "kind": "not_json", "when": "after", "probability": 0.05},
    {"endpoint": "submit", "kind": "status", "status": 503, "retry_after": 0, "probability": 0.1},
    {"endpoint": "submit", "kind": "status", "status": 429, "retry_after": 0, "probability": 0.1},
    {"endpoint": "submit", "kind": "drop", "probability": 0.1},
    {"endpoint": "submit", "kind": "fail", "code": "QuantumComputerError", "probability": 0.2},
    {"endpoint": "submit", "kind": "fail", "probability": 0.1},
    {"endpoint": "submit", "kind": "child_fail", "code": "InternalError", "probability": 0.2},
    {"endpoint": "results", "kind": "shuffle", "probability": 0.5},
    {"endpoint": "results", "kind": "status", "status": 404, "probability": 0.2},
    {"endpoint": "results", "kind": "empty", "probability": 0.2},
    {"endpoint": "any", "kind": "status", "status": 500, "probability": 0.05},
    {"endpoint": "any", "kind": "drop", "probability": 0.05},
    {"endpoint": "any", "kind": "stall", "seconds": 1.0, "probability": 0.01},
    {"endpoint": "any", "kind": "not_json", "probability": 0.05},
]  # fmt: skip


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IONQ_API_KEY", KEY)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainingResult]:
    """The runs that nothing disturbs, by what they run on."""
    found = {}
    with pytest.MonkeyPatch.context() as patch, Emulator() as emulator:
        patch.setenv("IONQ_API_KEY", KEY)
        patch.setenv("IONQ_REMOTE_HOST", emulator.url)
        for name, overrides in (("qpu", []), ("noise", NOISE)):
            folder = tmp_path_factory.mktemp(name)
            found[name] = continue_or_begin(folder, *overrides).fit()
    return found


def quoted(folder: Path) -> dict[str, Any]:
    """What the run was said to cost before."""
    return dict(row_of_the_quote(folder)["run"])


def row_of_the_quote(folder: Path) -> dict[str, Any]:
    """The quote of the run, for its target and rule."""
    [target] = quote(prepare_run(config_in(folder)), ["qpu.aria-1"], ["parameter_shift"])["targets"]
    [row] = target["rules"]
    return dict(row)


def check_paid_once(folder: Path, ledger: dict[str, Any], is_paid: bool = True) -> None:
    """No job twice, and what was paid is the quote, to the micro-dollar, at IonQ and in the book."""
    assert ledger["duplicates"] == 0
    if not is_paid:
        assert ledger["billed_micro_usd"] == 0
        return
    assert ledger["billed_micro_usd"] == quoted(folder)["micro"] > 0
    with SubmissionBook(folder / "runs" / RUN) as book:
        totals = book.totals()
        assert book.unfinished() == []
    assert (totals.spent, totals.reserved) == (ledger["billed_micro_usd"], 0)


@pytest.mark.parametrize(("name", "overrides", "seed"), [("qpu", [], 1), ("noise", NOISE, 2)])
def test_a_storm_changes_nothing_but_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: dict[str, TrainingResult], name: str, overrides: list[str], seed: int
) -> None:  # fmt: skip
    plan = FaultPlan.from_mapping({"seed": seed, "fault": STORM})
    with Emulator(EmulatorSettings(faults=plan, queue_seconds=0.05, rate=200, burst=50)) as emulator:
        monkeypatch.setenv("IONQ_REMOTE_HOST", emulator.url)
        result = continue_or_begin(tmp_path, *overrides).fit()
        ledger = emulator.totals()
    assert ledger["jobs_accepted"] > ledger["jobs"]["completed"]  # some failed and were submitted anew
    assert params_sha256(result.params) == params_sha256(calm[name].params)
    assert result.metrics == calm[name].metrics
    assert result.totals == calm[name].totals
    assert result.totals.cost_usd * 1e6 == pytest.approx(ledger["billed_micro_usd"], abs=0.5)
    check_paid_once(tmp_path, ledger, name == "qpu")


def test_twenty_kills_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: dict[str, TrainingResult]
) -> None:
    rng = random.Random(5)
    start = forking()
    book = tmp_path / "runs" / RUN / "submissions.jsonl"
    with Emulator(EmulatorSettings(queue_seconds=0.1)) as emulator:
        monkeypatch.setenv("IONQ_REMOTE_HOST", emulator.url)
        environment = {"IONQ_API_KEY": KEY, "IONQ_REMOTE_HOST": emulator.url}
        for number in range(20):
            process = start.Process(target=drive, args=(tmp_path, environment, "backend.jobs_in_flight=2"))
            process.start()
            if number == 0:
                wait_for(book.exists)
            size = book.stat().st_size
            wait_for(lambda before=size: book.stat().st_size > before)  # at work again
            time.sleep(0.12 * rng.random() ** 2)  # often in the middle of sending
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        assert not (book.parent / "result.json").exists(), "the last kill came too late"
        result = continue_or_begin(tmp_path).fit()
        ledger = emulator.totals()
    assert params_sha256(result.params) == params_sha256(calm["qpu"].params)
    assert result.metrics == calm["qpu"].metrics
    assert result.totals == calm["qpu"].totals
    check_paid_once(tmp_path, ledger)


def test_the_budget_ends_a_run_cleanly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: dict[str, TrainingResult]
) -> None:
    cap = 0.45 * quoted(tmp_path)["usd"]  # reached in the middle of the second step
    with Emulator(EmulatorSettings(queue_seconds=0.05)) as emulator:
        monkeypatch.setenv("IONQ_REMOTE_HOST", emulator.url)
        stopped = continue_or_begin(tmp_path, f"budget.max_usd={cap}").fit()
        within = emulator.totals()["billed_usd"]
        assert str(stopped.stop_reason).startswith("the budget is reached")
        assert 0 < stopped.n_steps < 3
        assert stopped.spending is not None
        assert stopped.spending.spent + stopped.spending.reserved <= cap
        assert within <= cap
        assert (stopped.spending.n_under_way > 0) == (stopped.spending.reserved > 0)
        assert stopped.folder.model.exists()
        assert not stopped.folder.is_finished
        again = continue_or_begin(tmp_path).fit()  # the configured cap still holds
        assert str(again.stop_reason).startswith("the budget is reached")
        assert again.spending is not None
        assert again.spending.n_under_way == 0  # what was under way has been collected
        raise_the_cap(tmp_path)
        result = continue_or_begin(tmp_path).fit()
        ledger = emulator.totals()
    assert result.stop_reason == calm["qpu"].stop_reason
    assert params_sha256(result.params) == params_sha256(calm["qpu"].params)
    assert (result.metrics, result.totals) == (calm["qpu"].metrics, calm["qpu"].totals)
    check_paid_once(tmp_path, ledger)


def raise_the_cap(folder: Path) -> None:
    """Take ``budget.max_usd`` out of a run's configuration, as its owner does with an editor."""
    path = folder / "runs" / RUN / "config.toml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("max_usd")), encoding="utf-8")


def test_eight_sessions_race_for_the_last_dollars(tmp_path: Path) -> None:
    run = prepare_run(config_in(tmp_path))
    circuit = run.task.model.measured
    keys = noise_keys(0, "race", circuit)
    angles = run.task.model.angles(run.task.model.initial_params(0), run.data.train.features[:1])
    jobs = [
        EvaluationPlan(circuit, angles, shots=600, noise_keys=keys, step=step).job() for step in range(40)
    ]
    pricer = Catalogue.default().entry("qpu.aria-1")
    price = job_price(
        pricer, [gate_counts(circuit.template, group.basis) for group in circuit.groups], 600, True
    )
    cap = 25 * price + price - 1  # a 26th lacks a millionth of a dollar
    refused = []
    with Emulator(EmulatorSettings(queue_seconds=0.01)) as emulator, SubmissionBook(tmp_path, cap) as book:
        backend = IonQBackend("qpu.aria-1", host=emulator.url, book=book, lookup_seconds=0.3)
        sessions = [backend.open_session() for _ in range(8)]
        barrier = threading.Barrier(8)

        def work(number: int) -> None:
            session, compiled = sessions[number], sessions[number].compile(circuit)
            barrier.wait()
            for job in jobs[number::8]:
                try:
                    session.run(compiled, job)
                except BudgetError as error:
                    refused.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ledger, totals = emulator.totals(), book.totals()
    assert len(refused) == 40 - 25
    assert (totals.spent, totals.reserved) == (25 * price, 0)
    assert ledger["billed_micro_usd"] == 25 * price
    assert ledger["jobs_accepted"] == 25


def test_jobs_are_waited_for_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    outcome: list[TrainingResult] = []
    assert row_of_the_quote(tmp_path)["step"]["jobs"] == 9
    with Emulator(EmulatorSettings(clock=clock, queue_seconds=1.0)) as emulator:
        monkeypatch.setenv("IONQ_REMOTE_HOST", emulator.url)
        trainer = continue_or_begin(tmp_path, "run.max_steps=1", "backend.jobs_in_flight=4")
        thread = threading.Thread(target=lambda: outcome.append(trainer.fit()))
        thread.start()
        for n_accepted in (
            4,
            8,
            9,
        ):  # four at a time, all of which end within the same second of the service's
            wait_for(lambda n=n_accepted: emulator.totals()["jobs_accepted"] == n)
            time.sleep(0.2)
            assert emulator.totals()["jobs_accepted"] == n_accepted
            clock.advance(1.0)
        while thread.is_alive():  # validation and test
            clock.advance(1.0)
            thread.join(0.05)
    assert outcome[0].n_steps == 1


def test_an_interrupt_ends_a_paid_step_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: dict[str, TrainingResult]
) -> None:
    clock = VirtualClock()
    with Emulator(EmulatorSettings(clock=clock, queue_seconds=3600.0)) as emulator:
        monkeypatch.setenv("IONQ_REMOTE_HOST", emulator.url)
        config = str(written(config_in(tmp_path), tmp_path))
        process = start_command(tmp_path, "train", config, "--yes-spend", "1e6")
        wait_for(lambda: emulator.totals()["jobs_accepted"] == 9)  # all of the first step
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=10)
        assert process.returncode == 130
        assert "resume" in told
        assert "9 jobs under way" in told
        emulator.settings.clock.advance(3600.0)  # they end while nobody waits
        [folder] = (tmp_path / "runs").iterdir()
        with SubmissionBook(folder) as book:
            assert len(book.unfinished()) == 9
        outcome: list[TrainingResult] = []
        thread = threading.Thread(target=lambda: outcome.append(continue_or_begin(tmp_path).fit()))
        thread.start()
        while thread.is_alive():
            clock.advance(3600.0)
            thread.join(0.05)
        ledger = emulator.totals()
    assert params_sha256(outcome[0].params) == params_sha256(calm["qpu"].params)
    check_paid_once(tmp_path, ledger)


@pytest.mark.alone
def test_ray_in_a_storm_and_no_secret_in_any_file(tmp_path: Path, calm: dict[str, TrainingResult]) -> None:
    """The command itself, two actors, MLflow and all: then every byte that it left behind is searched for the key."""
    overrides = ["fleet.dispatcher=ray", "fleet.n_actors=2", "tracking.enabled=true"]
    path = written(config_in(tmp_path, *overrides), tmp_path)
    ray_folder = Path(tempfile.mkdtemp(prefix="qf.", dir="/tmp"))  # short: there are sockets in it
    plan = FaultPlan.from_mapping({"seed": 3, "fault": STORM})
    settings = EmulatorSettings(faults=plan, queue_seconds=0.05, ledger=tmp_path / "ledger.jsonl", key=KEY)
    try:
        with Emulator(settings) as emulator:
            environment = {
                **os.environ, "IONQ_API_KEY": KEY, "IONQ_REMOTE_HOST": emulator.url, "RAY_TMPDIR": str(ray_folder),
                "PYTHONPATH": str(Path(__file__).parents[2]),
            }  # fmt: skip
            command = [sys.executable, "-m", "pipelines.train", str(path), "--yes-spend", "1e6", "--json"]
            done = subprocess.run(
                command,
                env=environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            ledger = emulator.totals()
        assert done.returncode == 0, done.stderr[-3000:]
        outcome = json.loads(done.stdout)
        assert outcome["params_sha256"] == params_sha256(calm["qpu"].params)
        assert outcome["cost_usd"] == calm["qpu"].totals.cost_usd
        assert ledger["jobs_accepted"] > ledger["jobs"]["completed"]
        check_paid_once(tmp_path, ledger)
        assert (tmp_path / "mlflow.db").exists()
        searched = [path for folder in (tmp_path, ray_folder) for path in folder.rglob("*") if path.is_file()]
        assert len(searched) > 40
        assert any("worker-" in path.name for path in searched), "the logs of Ray's workers"
        texts = [(done.stdout + done.stderr).encode(), *(path.read_bytes() for path in searched)]
        for secret in secrets(KEY):
            assert not [
                str(path) for path, text in zip(["output", *searched], texts, strict=True) if secret in text
            ]
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)


def secrets(key: str) -> list[bytes]:
    """`key` as itself and in the forms in which it could be lying about: base64 at every offset, hexadecimal."""
    raw = key.encode()
    shifted = [base64.b64encode(b"\0" * offset + raw)[4:-4] for offset in range(3)]
    return [raw, *shifted, raw.hex().encode()]


def written(config: TrainingConfig, folder: Path) -> Path:
    """`config` as a file."""
    path = folder / "config.toml"
    path.write_text(tomli_w.dumps(config.to_dict()), encoding="utf-8")
    return path


def wait_for(is_so: Any, seconds: float = 30.0) -> None:
    """Until `is_so()`."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)
