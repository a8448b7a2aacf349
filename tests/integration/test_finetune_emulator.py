"""The recipe on a target that costs money, through the real client: the quote is the bill, and a crash pays nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.ionq.book import SubmissionBook
from actors.ionq.emulator import Emulator
from orchestrator.config import TrainingConfig
from orchestrator.errors import ExecutionError
from pipelines.finetune import recipe
from pipelines.finetune.stages import Stages, quoted, stages_of
from pipelines.studies.folder import StudyFolder


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IONQ_API_KEY", "key-of-the-emulator")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)


def stages_at(url: str, tmp_path: Path) -> Stages:
    first = TrainingConfig().with_overrides([
        "data.name=iris", "data.n_components=2", "data.max_samples=20", "model.n_qubits=2", "model.n_layers=1",
        "model.ansatz=hardware_efficient", "loss.name=mse", "run.epochs=2", "run.batch_size=6", "fleet.dispatcher=serial",
        "tracking.enabled=false", f"run.directory={tmp_path / 'runs'}",
    ])  # fmt: skip
    there = [
        "backend.target=qpu.aria-1", "backend.shots=600", "backend.error_mitigation=false", "backend.circuits_per_job=20",
        f"backend.host={url}",
    ]  # fmt: skip
    return stages_of(first, "ionq", there, freeze=["p0"], epochs=1)


def test_the_quote_of_a_recipe_is_its_bill_and_a_crash_pays_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*arguments: object) -> None:
        raise ExecutionError("after the test was paid, and before that was written down")

    with Emulator() as emulator:
        stages = stages_at(emulator.url, tmp_path)
        assert stages.scratch is None  # it costs money
        quote = quoted(stages)
        with monkeypatch.context() as patch:
            patch.setattr(recipe, "write_predictions", crash)
            with pytest.raises(ExecutionError, match="was paid"):
                recipe.finetune(stages, name="s", yes_spend_usd=1e4, say=lambda line: None)
        once = emulator.totals()["billed_micro_usd"]
        folder = StudyFolder.find("s", tmp_path / "runs")
        assert folder is not None
        outcome = recipe.carry_out(
            folder,
            Stages.from_json(folder.config, folder.asks),
            quote,
            yes_spend_usd=1e4,
            say=lambda line: None,
        )
        bill = emulator.totals()
    assert once == pytest.approx(1e6 * (quote.transferred.most_usd or 0.0), abs=1)
    whole = (quote.transferred.most_usd or 0.0) + (quote.finetuned.most_usd or 0.0)
    assert bill["billed_micro_usd"] == pytest.approx(1e6 * whole, abs=1)
    assert bill["duplicates"] == 0
    assert outcome["scores"]["pretrained-moved"]["cost_usd"] + outcome["scores"]["finetuned"][
        "cost_usd"
    ] == pytest.approx(whole)
    assert "was not tried; by the quote the recipe takes" in outcome["answer"]
    with SubmissionBook(folder.members / "pretrained-moved") as book:
        assert book.totals().reserved == 0
