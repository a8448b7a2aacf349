"""The provider's bill beside the book: what differs, what is missing, and that nothing is waited for too long."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from actors.ionq.book import SubmissionBook
from actors.ionq.book_ledger import Entry
from actors.ionq.errors import NotFoundError
from orchestrator.config import BackendConfig, TrainingConfig
from orchestrator.costs.money import micro_nearest
from orchestrator.errors import InputError
from pipelines.cli import main
from pipelines.fleet import _backend_of_fleet
from pipelines.reconcile import HALF_A_CENT, Difference, completed_entries, reconcile, reconcile_run
from pipelines.run_folder import FLEET_CONFIG, RunFolder


def entries(*micro: int) -> list[Entry]:
    return [
        Entry(f"{i:040x}", "completed", each, 1, 100, "qpu.aria-1", provider_id=f"job-{i}")
        for i, each in enumerate(micro)
    ]


def test_a_figure_of_somebody_elses_rounding() -> None:
    assert micro_nearest(0.1 + 0.2) == 300_000  # 0.30000000000000004
    assert micro_nearest(12.4166) == 12_416_600
    assert micro_nearest(0.0000014999) == 1


def test_equal_bills() -> None:
    figures = {"job-0": 12.4166, "job-1": 0.1, "job-2": 0.3}
    outcome = reconcile(entries(12_416_600, 100_000, 300_000), figures.get, 3, 10.0)
    assert outcome.is_complete
    assert outcome.billed == outcome.billed_booked == outcome.booked == 12_816_600
    assert outcome.differences == ()
    assert outcome.text == "billed by IonQ $12.82, booked $12.82, no jobs differ"


def test_jobs_that_differ_are_named() -> None:
    booked = entries(1_000_000, 2_000_000, 3_000_000)
    figures = {"job-0": 1.0 + HALF_A_CENT / 1e6, "job-1": 2.01, "job-2": 3.0}  # the first is rounding
    outcome = reconcile(booked, figures.get, 2, 10.0)
    assert outcome.differences == (Difference("job-1", booked[1].token, 2_000_000, 2_010_000),)
    assert outcome.billed == 6_015_000
    assert outcome.text.endswith("1 job differs")
    assert outcome.to_json()["differences"][0]["job_id"] == "job-1"


def test_a_figure_that_is_not_there_yet() -> None:
    outcome = reconcile(entries(1_000_000, 2_000_000), {"job-1": 2.0}.get, 2, 10.0)
    assert not outcome.is_complete
    assert (outcome.n_billed, outcome.billed, outcome.billed_booked) == (1, 2_000_000, 2_000_000)
    assert "of the 1 of 2 jobs with a figure: IonQ has no figure yet" in outcome.text


def test_a_provider_out_of_reach_is_asked_once() -> None:
    asked = []

    def cost(job_id: str) -> float:
        asked.append(job_id)
        raise NotFoundError("nothing of that name", status=404)

    outcome = reconcile(entries(*[1_000_000] * 500), cost, 4, 10.0)
    assert asked == ["job-0"]
    assert outcome.n_billed == 0
    assert outcome.text.startswith("no figures from IonQ: NotFoundError: ")


def test_one_failure_among_many_costs_one_figure() -> None:
    def cost(job_id: str) -> float:
        if job_id == "job-7":
            raise NotFoundError("nothing of that name", status=404)
        return 1.0

    outcome = reconcile(entries(*[1_000_000] * 20), cost, 4, 10.0)
    assert outcome.n_billed == 19
    assert "NotFoundError" in outcome.note


def test_it_ends_in_time_and_asks_side_by_side() -> None:
    release, lock = threading.Event(), threading.Lock()
    at_once = most = 0

    def cost(job_id: str) -> float:
        nonlocal at_once, most
        if job_id == "job-0":
            return 1.0
        with lock:
            at_once += 1
            most = max(most, at_once)
        release.wait(60)
        return 1.0

    began = time.monotonic()
    outcome = reconcile(entries(*[1_000_000] * 100), cost, 5, 0.3)
    assert 0.3 <= time.monotonic() - began < 20
    release.set()
    assert most == 5
    assert outcome.n_billed == 1
    assert "no answer within 0.3 s" in outcome.note


def test_nothing_to_compare() -> None:
    outcome = reconcile([], lambda _: None, 2, 1.0)
    assert outcome.is_complete
    assert outcome.text == "billed by IonQ $0.00, booked $0.00, no jobs differ"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def test_only_completed_entries_and_while_the_book_is_in_use(folder: RunFolder) -> None:
    with pytest.raises(InputError, match=r"submissions\.jsonl: nothing was paid"):
        completed_entries(folder)
    with SubmissionBook(folder.path, None) as book:
        for i, token in enumerate("abc"):
            book.reserve(token, 5 + i)
        for token in "ab":
            book.submitted(token, f"job-{token}")
        book.completed("a", 4, [{"0": 1.0}])
        (entry,) = completed_entries(folder)
    assert (entry.token, entry.provider_id, entry.micro_dollars) == ("a", "job-a", 4)


def test_at_the_end_of_a_run_trouble_is_a_note(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with SubmissionBook(folder.path, None) as book:
        book.reserve("a", 5)
        book.submitted("a", "job-a")
        book.completed("a", 4, [{"0": 1.0}])
    monkeypatch.setenv("IONQ_REMOTE_HOST", "http://127.0.0.1:9")
    monkeypatch.delenv("IONQ_API_KEY", raising=False)
    outcome = reconcile_run(folder, BackendConfig(name="ionq", target="qpu.aria-1"))
    assert outcome.n_jobs == 1
    assert "IONQ_API_KEY" in outcome.note
    assert folder.read_json("reconciliation.json")["booked_micro_usd"] == 4


def test_the_book_of_a_named_fleet_is_found_without_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the fleet's server leaves in the folder is enough to ask who was paid."""
    monkeypatch.setenv("IONQ_API_KEY", "key")
    folder = RunFolder(tmp_path / "fleet-lab")
    folder.path.mkdir()
    config = TrainingConfig().with_overrides(
        [
            "backend.name=ionq", "backend.target=qpu.aria-1", "backend.shots=600", "backend.host=http://127.0.0.1:9",
            "fleet.dispatcher=serial",
        ]
    )  # fmt: skip
    with ExitStack() as stack:
        book = _backend_of_fleet(config, str(folder.path), 1.0, stack).book  # type: ignore[attr-defined]
        book.reserve("a", 5)
        book.submitted("a", "job-a")
        book.completed("a", 4, [{"0": 1.0}])
    assert (folder.path / FLEET_CONFIG).exists()
    assert not (folder.path / "config.toml").exists(), "it is no run"
    asked: list[BackendConfig] = []

    class Provider:
        def __init__(self, backend: BackendConfig) -> None:
            asked.append(backend)

        def __enter__(self) -> Provider:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def cost(self, job: str) -> float:
            return {"job-a": 4e-6}[job]

    monkeypatch.setattr("pipelines.reconcile._Provider", Provider)
    for name in (str(folder.path), "fleet-lab"):
        assert main(["reconcile", name, "--directory", str(tmp_path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["billed_micro_usd"] == 4
    assert asked[0].target == "qpu.aria-1"
    assert folder.read_json("reconciliation.json")["is_complete"]
