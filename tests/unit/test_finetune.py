"""The two-stage recipe: what is refused, that the second stage goes on from the first, and that the report is what both say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError, ExecutionError, InputError
from pipelines.cli import main
from pipelines.finetune import finetune, stages_of
from pipelines.finetune.command import resume
from pipelines.finetune.recipe import _on_second
from pipelines.finetune.stages import Stages, place_of, quoted
from pipelines.run_folder import RunFolder
from pipelines.run_setup import best_params, load_run
from pipelines.studies.folder import StudyFolder
from pipelines.studies.predictions import read_predictions
from pipelines.studies.study import Study

ARIA = ["backend.noise=aria-1", "backend.shots=50"]


def config(tmp_path: Path, *overrides: str) -> TrainingConfig:
    return TrainingConfig().with_overrides([
        "data.name=breast_cancer", "data.max_samples=40", "data.n_components=2", "model.n_qubits=2", "model.n_layers=2",
        "run.batch_size=8", "run.epochs=3", "fleet.dispatcher=serial", "tracking.log_model=false", "tracking.enabled=false",
        "backend.threads=1", f"run.directory={tmp_path / 'runs'}", *overrides,
    ])  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)


def test_the_second_stage_is_what_was_asked_for(tmp_path: Path) -> None:
    first = config(tmp_path, "run.epochs=20", "run.max_steps=9", "model.frozen=['p1']")
    stages = stages_of(first, "noisy", ARIA, freeze=["layer0", "3"])
    assert (stages.second.run.epochs, stages.second.run.max_steps) == (4, None)
    assert stages.second.model.frozen == ("p1", "layer0", 3)
    assert (stages.second.backend.noise, stages.second.backend.shots) == ("aria-1", 50)
    assert stages.scratch is not None  # a simulator is free
    assert (stages.scratch.run.epochs, stages.scratch.run.max_steps) == (20, 9)
    assert stages.scratch.model == first.model
    assert place_of(stages.second) == "noisy (aria-1), 50 shots"
    again = Stages.from_json(first, json.loads(json.dumps(stages.to_json())))
    assert (again.second.to_dict(), again.scratch.to_dict()) == (
        stages.second.to_dict(),
        stages.scratch.to_dict(),
    )  # type: ignore[union-attr]
    assert "tracking" not in stages.to_json()["second"]
    assert stages_of(first, "noisy", ARIA, from_scratch=False).scratch is None
    assert stages_of(first, "noisy", ARIA, epochs=7).second.run.epochs == 7
    assert stages_of(first, "noisy", [*ARIA, "run.epochs=6"]).second.run.epochs == 6


def test_a_file_of_sections_is_laid_over_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "second.toml"
    path.write_text(
        '[run]\nepochs = 2\n[backend]\nname = "noisy"\nshots = 70\n[optimizer]\nlearning_rate = 0.01\n'
    )
    second = stages_of(config(tmp_path), str(path), ["backend.noise=forte-1"]).second
    assert (second.run.epochs, second.backend.shots, second.backend.noise) == (2, 70, "forte-1")
    assert (second.optimizer.learning_rate, second.run.batch_size) == (0.01, 8)


@pytest.mark.parametrize(
    ("then", "then_set", "freeze", "words"),
    [
        ("nosy", [], [], "did you mean 'noisy'"),
        ("ideal", [], [], "where the pre-training runs as well"),
        ("noisy", ["model.n_layers=3"], [], "one model on the same data"),
        ("noisy", ["data.max_samples=50"], [], "one model on the same data"),
        ("noisy", ["run.seed=8"], [], "one model on the same data"),
        ("noisy", ["backend.shotss=3"], [], "did you mean 'shots'"),
        ("second.toml", [], [], "no such file"),
        ("noisy", [], ["layer7"], "layer7"),
        ("noisy", [], ["circuit", "head"], "leaves nothing to train"),
        ("noisy", ["gradient.rule=adjoint", "backend.shots=9"], [], "differentiates exactly"),
    ],
)
def test_what_cannot_work_is_refused(
    tmp_path: Path, then: str, then_set: list[str], freeze: list[str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        quoted(stages_of(config(tmp_path), then, then_set, freeze=freeze))


def test_without_a_test_split_nothing_could_be_measured(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="measured on the test split"):
        quoted(stages_of(config(tmp_path, "data.test_fraction=0.0"), "noisy", ARIA))


def run(folder: Path, name: str) -> tuple[Any, np.ndarray]:
    home = RunFolder(folder / "members" / name)
    prepared, fingerprint = load_run(home)
    return prepared, best_params(home, prepared, fingerprint)[0]


def test_the_report_is_what_the_stages_say(tmp_path: Path) -> None:
    stages = stages_of(config(tmp_path), "noisy", ARIA, freeze=["layer0"], epochs=1)
    said: list[str] = []
    outcome = finetune(stages, name="s", say=said.append)
    folder = tmp_path / "runs" / "s"
    assert [line.split(":")[0] for line in said[1:]] == [
        "[1/4] pretrained", "[2/4] pretrained on noisy (aria-1), 50 shots", "[3/4] finetuned", "[4/4] from-scratch"
    ]  # fmt: skip
    (_, before), (second, after) = run(folder, "pretrained"), run(folder, "finetuned")
    frozen = second.task.model.frozen
    assert 0 < frozen.sum() < len(frozen)
    np.testing.assert_array_equal(after[frozen], before[frozen])
    assert (after != before).any()
    kept = {name: read_predictions(RunFolder(folder / "members" / name)) for name in outcome["scores"]}
    for name, (ahead, behind) in {
        "transfer": ("pretrained", "pretrained-moved"), "finetuning": ("finetuned", "pretrained-moved"),
        "recipe": ("finetuned", "from-scratch"),
    }.items():  # fmt: skip
        gain = kept[ahead].merit - kept[behind].merit  # type: ignore[union-attr]
        assert outcome["comparisons"][name]["difference"] == pytest.approx(gain.mean())
    quote = outcome["quote"]
    assert outcome["scores"]["pretrained-moved"]["circuits"] == quote["transferred"]["circuits"]
    assert outcome["scores"]["finetuned"]["circuits"] == quote["finetuned"]["circuits"]
    assert outcome["scores"]["from-scratch"]["circuits"] == quote["from_scratch"]["circuits"]
    saved = 1 - quote["finetuned"]["circuits"] / quote["from_scratch"]["circuits"]
    assert outcome["saved"] == {
        "circuits": pytest.approx(saved),
        "shots": pytest.approx(saved),
        "cost_usd": None,
    }
    assert (
        (folder / "report.md")
        .read_text()
        .startswith("**Moving from ideal, exact to noisy (aria-1), 50 shots cost")
    )
    assert (folder / "artifacts" / "transfer.png").stat().st_size > 10_000


class _Options:
    actors = address = yes_spend = None
    json = True


def test_an_interrupted_recipe_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = stages_of(config(tmp_path), "noisy", ARIA, freeze=["layer0"], epochs=1)
    calm = finetune(stages, name="calm", say=lambda line: None)
    train, struck = Study.train, []

    def breaking(self: Study, name: str, *arguments: Any, **named: Any) -> Any:
        if name == "finetuned" and not struck:
            struck.append(name)
            raise ExecutionError("lightning")
        return train(self, name, *arguments, **named)

    monkeypatch.setattr(Study, "train", breaking)
    with pytest.raises(ExecutionError, match="lightning") as stopped:
        finetune(stages, name="s", say=lambda line: None)
    assert "qfleet resume" in stopped.value.__notes__[-1]
    folder = StudyFolder.find("s", tmp_path / "runs")
    assert folder is not None
    first = (folder.members / "pretrained" / "result.json").read_bytes()
    again = resume(folder, _Options())  # type: ignore[arg-type]
    assert (folder.members / "pretrained" / "result.json").read_bytes() == first
    assert again["comparisons"] == calm["comparisons"]
    assert again["answer"] == calm["answer"]


def test_where_training_from_scratch_fails_the_recipe_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Study.train

    def breaking(self: Study, name: str, *arguments: Any, **named: Any) -> Any:
        if name == "from-scratch":
            raise ExecutionError("no luck")
        return train(self, name, *arguments, **named)

    monkeypatch.setattr(Study, "train", breaking)
    outcome = finetune(stages_of(config(tmp_path), "noisy", ARIA, epochs=1), name="s", say=lambda line: None)
    assert outcome["failed"] == {"from-scratch": "no luck"}
    assert set(outcome["comparisons"]) == {"transfer", "finetuning"}
    assert "no luck" in outcome["answer"]
    assert outcome["saved"] == {}


def test_a_dry_run_is_the_quote_of_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.toml"
    RunFolder(tmp_path).write_config(config(tmp_path), "c.toml")
    ionq = ["--then", "ionq", "--then-set", "backend.target=qpu.aria-1", "--then-set", "backend.shots=500"]
    local = ["--then-set", "backend.host=http://127.0.0.1:1"]
    assert main(["finetune", str(path), *ionq, *local, "--dry-run", "--json"]) == 0
    quote = json.loads(capsys.readouterr().out)["quote"]
    assert quote["pretrained"]["most_usd"] == 0
    assert (
        0
        < quote["transferred"]["most_usd"]
        < quote["finetuned"]["most_usd"]
        < quote["from_scratch"]["most_usd"]
    )
    assert main(["finetune", str(path), *ionq, *local]) == 2
    assert "--yes-spend" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_all_that_will_run_is_announced(tmp_path: Path) -> None:
    whole = stages_of(config(tmp_path), "noisy", ["backend.noise=aria-1", "backend.shots=100"])
    quote = quoted(whole)
    said = _on_second(whole, quote)
    assert f"test {quote.transferred.text}, fine-tuning {quote.finetuned.text}" in said
    assert said.endswith(f"from scratch {quote.from_scratch.text}")
    assert "from scratch" not in _on_second(Stages(whole.first, whole.second, None), quote)
