"""Several targets at once, and what follows jobs that fail for good: real runs against the emulator, everything paid once."""

from __future__ import annotations

import json
import multiprocessing.dummy
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.backends.ionq import IonQBackend
from actors.backends.pooled import PooledBackend
from actors.backends.sharing import FAILURES
from actors.ionq.book import SubmissionBook
from actors.ionq.emulator import Emulator, EmulatorSettings, FaultPlan
from actors.serial import SerialDispatcher
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import ModelConfig
from orchestrator.errors import QfleetError
from orchestrator.jobs import JobResult
from orchestrator.models.model import Model
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from pipelines.replay import replay
from pipelines.result import TrainingResult, params_sha256
from tests.command import forking
from tests.integration.paid_driver import RUN, continue_or_begin, drive

ARIA, FORTE = "qpu.aria-1", "qpu.forte-1"
POOL = ["backend.target=simulator", f"backend.targets=['{ARIA}', '{FORTE}']"]
MODEL = Model.from_config(ModelConfig(n_qubits=2, n_layers=1))
N_JOBS, IN_FLIGHT = 48, 2


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IONQ_API_KEY", "key-of-the-emulator")


def faults(*rules: dict[str, Any]) -> FaultPlan:
    return FaultPlan.from_mapping({"seed": 1, "fault": list(rules)})


def pool_of(url: str, book: Any, share_by: str = "speed") -> PooledBackend:
    members = tuple(
        IonQBackend(target=target, circuits_per_job=1, jobs_in_flight=IN_FLIGHT, lookup_seconds=0.3, host=url)
        for target in (ARIA, FORTE)
    )
    return PooledBackend(members, share_by, book)  # type: ignore[arg-type]


def plan_of(n_samples: int, step: int = 0) -> EvaluationPlan:
    measured: MeasuredCircuit = MODEL.measured
    features = np.linspace(-1, 1, n_samples * MODEL.n_features).reshape(n_samples, -1)
    angles = MODEL.angles(MODEL.initial_params(1), features)
    return EvaluationPlan(measured, angles, shots=600, step=step, noise_keys=noise_keys(1, "t", measured))


def run_jobs(backend: PooledBackend, n_jobs: int = N_JOBS) -> list[JobResult]:
    """One circuit a job, over a session of `backend`."""
    plan = plan_of(n_jobs)
    dispatcher = SerialDispatcher(backend)
    try:
        dispatcher.register(plan.circuit)
        return list(dispatcher.run([plan.job().part(slice(i, i + 1), slice(0, 1)) for i in range(n_jobs)]))
    finally:
        dispatcher.close()


def shares(results: list[JobResult]) -> Counter[str]:
    return Counter(result.backend.removeprefix("ionq:") for result in results)


def bill_of(entries: list[dict[str, Any]]) -> Counter[str]:
    return Counter(entry["backend"] for entry in entries if entry["status"] == "completed")


@pytest.mark.alone
@pytest.mark.parametrize(("fast", "slow"), [(ARIA, FORTE), (FORTE, ARIA)])
def test_shares_follow_measured_speed(tmp_path: Path, fast: str, slow: str) -> None:
    """One machine answers in 0.1 s, the other in 0.3 s: each gets what its speed, as it was seen here, makes its share of the queue.

    Up to the jobs that it holds at the same time at either end, before anything is measured and when the queue runs out.
    """
    settings = EmulatorSettings(queues={fast: 0.1, slow: 0.3})
    with Emulator(settings) as emulator, SubmissionBook(tmp_path) as book:
        results = run_jobs(pool_of(emulator.url, book))
        ledger, entries, spent = emulator.totals(), emulator.entries(), book.totals().spent
    found = shares(results)
    assert sum(found.values()) == N_JOBS
    seconds = {
        target: np.mean([one.compute_seconds for one in results if one.backend == f"ionq:{target}"])
        for target in (fast, slow)
    }
    wanted = N_JOBS / (1 + seconds[slow] / seconds[fast])
    assert abs(found[slow] - wanted) <= 2 * IN_FLIGHT
    assert found[fast] - found[slow] > 4 * IN_FLIGHT, "or even shares would do"
    assert found == bill_of(entries), "every result says who answered it"
    assert ledger["duplicates"] == 0
    assert ledger["billed_micro_usd"] == spent
    assert sum(result.cost_usd for result in results) * 1e6 == pytest.approx(spent, abs=0.5)


def test_price_counts_as_much_as_speed(tmp_path: Path) -> None:
    """Equally fast machines, whose jobs cost $97.50 and $168.20: the dearer one works on one job while the other works on two."""
    with Emulator(EmulatorSettings(queue_seconds=0.1)) as emulator, SubmissionBook(tmp_path) as book:
        found = shares(run_jobs(pool_of(emulator.url, book, "price"), 24))
    assert abs(found[ARIA] - 16) <= 2 * IN_FLIGHT - 1
    assert found[ARIA] > found[FORTE]


@pytest.mark.parametrize("code", ["QuantumComputerError", "CompilationError"])
def test_a_dead_target_is_left_out_and_the_others_go_on(tmp_path: Path, code: str) -> None:
    """Whether its failures may pass or not, nobody waits for them: its jobs go to the other machine, and soon it gets none."""
    dead = faults({"endpoint": "submit", "kind": "fail", "code": code, "target": FORTE})
    settings = EmulatorSettings(queue_seconds=0.05, faults=dead)
    with Emulator(settings) as emulator, SubmissionBook(tmp_path) as book:
        results = run_jobs(pool_of(emulator.url, book))
        ledger, entries, totals = emulator.totals(), emulator.entries(), book.totals()
    assert shares(results) == {ARIA: N_JOBS}
    n_failed = sum(entry["backend"] == FORTE for entry in entries)
    assert 1 <= n_failed <= FAILURES + 2, "those under way when the third failed may add to it"
    assert ledger["duplicates"] == 0
    assert ledger["billed_micro_usd"] == totals.spent
    assert totals.reserved == 0


def test_what_is_under_way_is_asked_of_nobody_else(tmp_path: Path) -> None:
    """A session ends while its jobs are at both machines; the next one waits for these, whoever is quicker now."""
    plan = plan_of(4)
    jobs = [plan.job().part(slice(i, i + 1), slice(0, 1)) for i in range(4)]
    settings = EmulatorSettings(queue_seconds=1.0)
    with Emulator(settings) as emulator, SubmissionBook(tmp_path) as book:
        backend = pool_of(emulator.url, book)
        dispatcher = SerialDispatcher(backend)
        dispatcher.register(plan.circuit)
        answers = dispatcher.run(jobs)
        waiting = multiprocessing.dummy.Pool(1).apply_async(lambda: next(answers))
        wait_for(lambda: book.totals().n_submitted == 4)
        dispatcher.close()
        with pytest.raises(QfleetError):
            waiting.get(10)
        asked = {entry.token: entry.target for entry in book.unfinished()}
        assert sorted(asked.values()) == [ARIA, ARIA, FORTE, FORTE]
        found = shares(run_jobs(backend, 4))
        assert found == {ARIA: 2, FORTE: 2}
        assert {token: book.look(token).target for token in asked} == asked  # type: ignore[union-attr]
        ledger = emulator.totals()
        assert (ledger["jobs_accepted"], ledger["duplicates"]) == (4, 0)
        assert book.totals().reserved == 0


def test_a_killed_run_pays_nothing_twice_and_keeps_what_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = forking()
    settings = EmulatorSettings(queues={ARIA: 0.1, FORTE: 0.2})
    book = tmp_path / "runs" / RUN / "submissions.jsonl"
    overrides = [*POOL, "backend.jobs_in_flight=2"]
    with Emulator(settings) as emulator:
        monkeypatch.setenv("IONQ_REMOTE_HOST", emulator.url)
        environment = {"IONQ_API_KEY": "key-of-the-emulator", "IONQ_REMOTE_HOST": emulator.url}
        for n_more in (7, 29):
            process = start.Process(target=drive, args=(tmp_path, environment, *overrides))
            process.start()
            before = n_lines(book)
            wait_for(lambda before=before, n_more=n_more: n_lines(book) > before + n_more)
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        result = continue_or_begin(tmp_path, *overrides).fit()
        check_books(tmp_path, emulator, result)
        n_accepted = emulator.totals()["jobs_accepted"]
        again = from_the_book(tmp_path)
        assert params_sha256(again.params) == params_sha256(result.params)
        assert again.totals == result.totals
        assert emulator.totals()["jobs_accepted"] == n_accepted, "everything was in the book"
    assert set(result.totals.jobs_by_target) == {f"ionq:{ARIA}", f"ionq:{FORTE}"}
    metrics = journaled(tmp_path)
    assert metrics[f"fleet/jobs.{ARIA}"] == result.totals.jobs_by_target[f"ionq:{ARIA}"]


@pytest.mark.parametrize("on_failure", ["skip_samples", "simulate"])
def test_a_run_goes_on_without_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_failure: str
) -> None:
    """The third submission and the fourteenth, one a step, fail for good; redone from its book, the run ends on the same bits."""
    broken = faults({"endpoint": "submit", "kind": "fail", "code": "CompilationError", "calls": [3, 14]})
    overrides = [f"backend.on_failure={on_failure}", "backend.circuits_per_job=9", "run.max_steps=2"]
    with Emulator(EmulatorSettings(faults=broken)) as emulator:
        monkeypatch.setenv("IONQ_REMOTE_HOST", emulator.url)
        result = continue_or_begin(tmp_path, *overrides).fit()
        check_books(tmp_path, emulator, result)
        n_accepted = emulator.totals()["jobs_accepted"]
        again = from_the_book(tmp_path)
        assert params_sha256(again.params) == params_sha256(result.params)
        assert again.totals == result.totals
        assert emulator.totals()["jobs_accepted"] == n_accepted
    repeated = replay(result.folder, progress=False)
    assert repeated["params_sha256"] == params_sha256(result.params), "a replay decides alike"
    folder = tmp_path / "runs" / RUN
    lines = [json.loads(line) for line in (folder / "given_up.jsonl").read_text().splitlines()]
    assert [line["action"] for line in lines] == [on_failure] * 2
    assert all("CompilationError" in line["error"] for line in lines)
    figures, metrics = json.loads((folder / "result.json").read_text()), journaled(tmp_path)
    tags = json.loads((folder / "tracking.json").read_text())["tags"]
    if on_failure == "skip_samples":
        assert figures["samples_skipped"] == result.totals.samples_skipped >= 2
        assert metrics["fleet/samples_skipped"] >= 1
        assert "fallback" not in tags
    else:
        assert figures["jobs_by_target"]["fallback:noisy:aria-1"] == result.totals.jobs_simulated == 2
        assert result.totals.samples_skipped == 0
        assert tags["fallback"] == "true"


def test_stop_is_what_happens_unless_asked_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = faults({"endpoint": "submit", "kind": "fail", "code": "CompilationError", "calls": [5]})
    with Emulator(EmulatorSettings(faults=broken)) as emulator:
        monkeypatch.setenv("IONQ_REMOTE_HOST", emulator.url)
        with pytest.raises(Exception, match="CompilationError"):
            continue_or_begin(tmp_path).fit()


def check_books(folder: Path, emulator: Emulator, result: TrainingResult) -> None:
    """No job twice, and what was answered is what was paid: at IonQ, in the book and in the result."""
    ledger = emulator.totals()
    with SubmissionBook(folder / "runs" / RUN) as book:
        totals = book.totals()
        assert book.unfinished() == []
    assert ledger["duplicates"] == 0
    assert ledger["billed_micro_usd"] == totals.spent > 0
    assert totals.reserved == 0
    assert result.totals.cost_usd * 1e6 == pytest.approx(totals.spent, abs=0.5)
    n_jobs = Counter(entry["backend"] for entry in emulator.entries() if entry["status"] == "completed")
    told = {
        k.removeprefix("ionq:"): n for k, n in result.totals.jobs_by_target.items() if "fallback" not in k
    }
    assert told == n_jobs


def from_the_book(folder: Path) -> TrainingResult:
    """The run once more from its first step, as if its checkpoints and its result had been lost."""
    path = folder / "runs" / RUN
    shutil.rmtree(path / "checkpoints")
    (path / "result.json").unlink()
    return continue_or_begin(folder).fit()


def journaled(folder: Path) -> dict[str, float]:
    """The last value of every metric of the run."""
    found: dict[str, float] = {}
    for line in (folder / "runs" / RUN / "metrics.jsonl").read_text().splitlines():
        found |= _points(json.loads(line))
    return found


def _points(line: Any) -> dict[str, float]:
    if isinstance(line, dict):
        flat = {key: value for key, value in line.items() if isinstance(value, (int, float))}
        for value in line.values():
            flat |= _points(value)
        return flat
    return {}


def n_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
