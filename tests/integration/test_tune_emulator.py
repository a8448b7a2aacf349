"""A search on a target that costs money, through the real client: bill, journal and cap agree, and what is killed pays nothing twice."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from actors.ionq.book import SubmissionBook
from actors.ionq.emulator import Emulator
from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError, InputError
from pipelines.studies.folder import StudyFolder
from pipelines.tune.settings import Settings
from pipelines.tune.study import carry_on, tune
from tests.command import start_command

SPACE = {"optimizer": {"learning_rate": {"low": 0.01, "high": 0.5, "log": True}}}
BUDGET = 3200.0
"""Dollars; the trials of the test cost up to 1,300 each, and the last of them is cut."""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IONQ_API_KEY", "key-of-the-emulator")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)


def config(tmp_path: Path, url: str) -> TrainingConfig:
    return TrainingConfig().with_overrides([
        "data.name=iris", "data.classes=[1,2]", "data.max_samples=20", "data.n_components=2", "model.n_qubits=2", "model.n_layers=1",
        "run.epochs=3", "run.batch_size=7", "gradient.rule=spsa", "tracking.enabled=false", f"run.directory={tmp_path / 'runs'}",
        "backend.name=ionq", "backend.target=qpu.aria-1", "backend.shots=500", "backend.error_mitigation=false",
        "backend.circuits_per_job=20", f"backend.host={url}",
    ])  # fmt: skip


def booked(folder: StudyFolder) -> int:
    """Micro-dollars by the books of all trials."""
    total = 0
    for member in folder.members.iterdir():
        with SubmissionBook(member) as book:
            assert book.totals().reserved == 0
            total += book.totals().spent
    return total


def same(found: dict[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in ("trials", "spent", "history", "rungs", "ended_because")}


def test_the_bill_is_what_the_journal_says_and_a_kill_pays_nothing_twice(tmp_path: Path) -> None:
    asked = Settings(SPACE, max_usd=BUDGET, seed=1)
    with Emulator() as emulator:
        made = config(tmp_path, emulator.url)
        calm = tune(made, asked, name="calm", yes_spend_usd=1e4, say=lambda line: None)
        bill = emulator.totals()["billed_micro_usd"]
        folder = StudyFolder.find("calm", tmp_path / "runs")
        assert folder is not None
        assert calm["spent"] == bill == booked(folder)
        assert BUDGET * 1e6 * 0.7 < bill <= BUDGET * 1e6
        assert calm["counts"]["stopped"] + calm["counts"]["cut"] > 0

        (tmp_path / "c.toml").write_text(tomli_w.dumps(made.to_dict()))
        (tmp_path / "s.toml").write_text(tomli_w.dumps(SPACE))
        line = ["tune", "c.toml", "--space", "s.toml", "--max-usd", str(BUDGET), "--seed", "1", "--name", "s"]
        with start_command(tmp_path, *line, "--yes-spend", "1e4") as command:
            journal, deadline = tmp_path / "runs" / "s" / "search.jsonl", time.monotonic() + 100
            while not journal.is_file() or '"epoch": 2' not in journal.read_text():
                assert command.poll() is None, command.errors
                assert time.monotonic() < deadline
                time.sleep(0.005)
        folder = StudyFolder.find("s", tmp_path / "runs")
        assert folder is not None
        before = emulator.totals()["billed_micro_usd"]
        with pytest.raises(InputError, match="--yes-spend"):
            carry_on(folder)
        with pytest.raises(ConfigError, match=r"budget of \$3,200.00.*did you mean '3200'"):
            carry_on(folder, yes_spend_usd=100)
        assert emulator.totals()["billed_micro_usd"] == before, "refused before anything is sent"
        found = carry_on(folder, yes_spend_usd=BUDGET, say=lambda line: None)
        assert emulator.totals()["billed_micro_usd"] - bill == found["spent"] == booked(folder)
        assert emulator.totals()["duplicates"] == 0
    assert json.dumps(same(found)) == json.dumps(same(calm))
