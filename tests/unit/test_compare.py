"""Comparisons: what is refused at the door, and that the report is what the trainings say."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError, ExecutionError, InputError
from pipelines.cli import main
from pipelines.compare import compare, settings_of
from pipelines.compare.command import resume
from pipelines.compare.figures import figures_of
from pipelines.compare.report import answer
from pipelines.compare.settings import read_named, read_vary, seeds_of, split_values
from pipelines.compare.sweep import Plan, planned
from pipelines.run_folder import RunFolder
from pipelines.spending import SpendingNotAllowedError
from pipelines.studies.folder import StudyFolder
from pipelines.studies.predictions import read_predictions
from pipelines.studies.study import Study
from pipelines.tracking.journal import PARENT_TAG
from pipelines.trainer import Trainer


def config(tmp_path: Path, *overrides: str) -> TrainingConfig:
    return TrainingConfig().with_overrides([
        "data.name=breast_cancer", "data.max_samples=40", "data.n_components=2", "model.n_qubits=2", "model.n_layers=1",
        "run.batch_size=8", "run.epochs=2", "fleet.dispatcher=serial", "tracking.log_model=false", "tracking.enabled=false",
        f"run.directory={tmp_path / 'runs'}", *overrides,
    ])  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)


RATES = {"optimizer.learning_rate": ["0.1", "0.01"], "model.ansatz": ["three_rotation", "hardware_efficient"]}


def test_commas_within_brackets_and_quotes_belong_to_a_value() -> None:
    assert split_values("['Z0','Z1'], first ,\"a,b\",{x = 1, y = 2}") == ["['Z0','Z1']", "first", '"a,b"', "{x = 1, y = 2}"]  # fmt: skip
    assert read_vary(["model.entanglement=linear,[[0,1],[1,2]]"]) == {"model.entanglement": ["linear", "[[0,1],[1,2]]"]}  # fmt: skip


def test_settings_are_all_combinations_with_names_that_say_what_differs(tmp_path: Path) -> None:
    found = settings_of(config(tmp_path), RATES)
    assert [setting.name for setting in found] == [
        "learning_rate-0.1-ansatz-three_rotation", "learning_rate-0.1-ansatz-hardware_efficient",
        "learning_rate-0.01-ansatz-three_rotation", "learning_rate-0.01-ansatz-hardware_efficient",
    ]  # fmt: skip
    assert found[1].label == "learning_rate 0.1, hardware_efficient"
    assert found[1].member(7) == "learning_rate-0.1-ansatz-hardware_efficient-seed-7"
    assert (found[2].config.optimizer.learning_rate, found[2].config.model.ansatz) == (0.01, "three_rotation")
    two_names = settings_of(
        config(tmp_path), {"backend.name": ["ideal", "cirq"], "optimizer.name": ["adam", "sgd"]}
    )
    assert two_names[3].name == "backend-cirq-optimizer-sgd"


def test_another_backend_gets_the_settings_that_it_has(tmp_path: Path) -> None:
    base = config(
        tmp_path, "backend.name=noisy", "backend.noise=forte-1", "backend.shots=100", "gradient.rule=spsa"
    )
    ideal, noisy = settings_of(base, {"backend.name": ["ideal", "noisy"]})
    assert (ideal.config.backend.noise, ideal.config.backend.shots) == (None, 100)
    assert (noisy.config.backend.noise, noisy.config.backend.shots) == ("forte-1", 100)
    named = read_named([["clean"], ["aria", "backend.name=noisy", "backend.noise=aria-1"]])
    clean, aria = settings_of(config(tmp_path), {}, named)
    assert (clean.name, clean.config.backend.name) == ("clean", "ideal")
    assert (aria.label, aria.config.backend.noise) == ("aria", "aria-1")


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        (["model.ansatzz=a,b"], "no such key; did you mean 'model.ansatz'"),
        (["ansatz=a,b"], "no such key; did you mean 'model.ansatz'"),
        (["model.ansatz"], "expected two values"),
        (["model.ansatz=three_rotation"], "one value is set by --set"),
        (["model.n_layers=1,2", "model.n_layers=3,4"], "varies already"),
        (["tracking.uri=a,b"], "nothing to compare"),
        (["model.ansatz=three_rotation,hardware_eficient"], "did you mean 'hardware_efficient'"),
        (["model.n_layers=1,0"], "greater than or equal to 1"),
        (["model.n_layers=1,2,1"], "one and the same training"),
        ([f"model.n_layers={','.join(map(str, range(1, 402)))}", "run.epochs=1,2,3"], "1,203 trainings"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, vary: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        settings_of(config(tmp_path), read_vary(vary))


def test_settings_in_python_are_checked_as_those_of_the_command(tmp_path: Path) -> None:
    for vary, words in (
        ({"run.seed": [1, 2]}, "same seeds"),
        ({"model.ansatz": []}, "has no value"),
        ({"model.ansatzz": ["a", "b"]}, "did you mean 'model.ansatz'"),
    ):
        with pytest.raises(ConfigError, match=words):
            settings_of(config(tmp_path), vary)


def test_what_costs_money_is_asked_for_again_by_a_resume_that_has_something_to_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IONQ_API_KEY", "a-key")
    paid = [
        "backend.name=ionq",
        "backend.target=qpu.aria-1",
        "backend.shots=500",
        "backend.host=http://127.0.0.1:1",
    ]
    base = config(tmp_path, *paid)
    settings = settings_of(base, {"optimizer.learning_rate": [0.1]})
    plan = Plan(base, tuple(settings), (7,), "best", ())
    folder = tmp_path / "members" / settings[0].member(7)
    folder.mkdir(parents=True)
    with pytest.raises(SpendingNotAllowedError, match="--yes-spend"):
        plan.check_allowed(None, folder.parent)
    result = {"metrics": {}, "circuits": 1, "shots": 1, "cost_usd": 1.0}
    RunFolder(folder).write_json("result.json", result)
    plan.check_allowed(None, folder.parent)
    with pytest.raises(SpendingNotAllowedError):
        plan.check_allowed(None)


def test_plans_that_cannot_work_are_refused_before_anything_starts(tmp_path: Path) -> None:
    base = config(tmp_path)
    settings = settings_of(base, {"gradient.rule": ["adjoint", "spsa"]})
    with pytest.raises(InputError, match="nearest valid: --seeds 500"):
        planned(base, settings, range(501))
    with pytest.raises(ConfigError, match="did you mean 'rule-spsa'"):
        planned(base, settings, [7], against="rule-sps")
    bare = config(tmp_path, "data.test_fraction=0.0")
    with pytest.raises(ConfigError, match="compared on the test split"):
        planned(bare, settings_of(bare, {"gradient.rule": ["adjoint", "spsa"]}), [7])
    noisy = settings_of(
        config(tmp_path, "backend.name=noisy", "backend.shots=10"), {"gradient.rule": ["spsa", "adjoint"]}
    )
    with pytest.raises(InputError, match="differentiates exactly") as refused:
        planned(base, noisy, [7])
    assert "setting 'adjoint'" in refused.value.__notes__[0]
    with pytest.raises(ConfigError, match="leave one of the two out"):
        seeds_of(base, 3, ["1", "2"], 5)
    assert seeds_of(base, None, ["4", "2"], 5) == [4, 2]
    assert not (tmp_path / "runs").exists()


def test_the_report_is_what_the_trainings_say(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    base = config(tmp_path, "tracking.enabled=true", f"tracking.uri={store}")
    rates = settings_of(base, {"optimizer.learning_rate": [0.2, 0.001]})
    said: list[str] = []
    outcome = compare(base, rates, n_seeds=2, name="s", say=said.append)
    assert said[0] == f"s: 4 trainings, {outcome['expected']['circuits']} circuits"
    members = tmp_path / "runs" / "s" / "members"
    assert outcome["expected"]["circuits"] == sum(one["circuits"] for one in outcome["members"])
    for row, rate in zip(outcome["settings"], (0.2, 0.001), strict=True):
        results = [
            json.loads((members / f"learning_rate-{rate}-seed-{seed}" / "result.json").read_text())
            for seed in (7, 8)
        ]
        accuracies = [result["metrics"]["test/accuracy"] for result in results]
        assert row["merit"]["mean"] == pytest.approx(np.mean(accuracies))
        assert row["merit"]["error"] == pytest.approx(np.std(accuracies, ddof=1) / math.sqrt(2))
        assert row["circuits"]["values"] == [result["circuits"] for result in results]
    kept = [read_predictions(RunFolder(members / f"learning_rate-{rate}-seed-8")) for rate in (0.2, 0.001)]
    assert kept[0] is not None
    assert kept[1] is not None
    assert kept[0].is_of_the_samples_of(kept[1])
    assert kept[0].merit.mean() == pytest.approx(outcome["settings"][0]["merit"]["values"][1])
    [pair] = outcome["comparisons"]
    gap = outcome["settings"][0]["merit"]["mean"] - outcome["settings"][1]["merit"]["mean"]
    assert abs(pair["difference"]) == pytest.approx(abs(gap))
    folder = StudyFolder.find("s", tmp_path / "runs")
    assert folder is not None
    with (folder.artifacts / "settings.csv").open() as file:
        assert [row["optimizer.learning_rate"] for row in csv.DictReader(file)] == ["0.2", "0.001"]
    client = mlflow.MlflowClient(tracking_uri=store)
    parent = client.get_run(outcome["run_id"])
    assert outcome["answer"].split(": ")[0] in parent.data.tags["mlflow.note.content"].splitlines()[0]
    assert parent.data.tags["compare.best"] == outcome["best"]
    best = next(row for row in outcome["settings"] if row["name"] == outcome["best"])
    assert parent.data.metrics["best/test/accuracy"] == pytest.approx(best["merit"]["mean"])
    below = client.search_runs([parent.info.experiment_id], f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'")
    assert sorted(run.data.tags["optimizer.learning_rate"] for run in below) == [
        "0.001",
        "0.001",
        "0.2",
        "0.2",
    ]
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"score_and_cost.png", "curves.png", "settings.csv", "members.csv", "report.md"} <= files


class _Options:
    actors = address = yes_spend = None
    json = True


def test_a_failed_training_leaves_the_others_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = config(tmp_path)
    settings = settings_of(base, {"optimizer.learning_rate": [0.1, 0.01]})
    train, broken = Study.train, {"learning_rate-0.1-seed-8"}

    def breaking(self: Study, name: str, *arguments: Any, **named: Any) -> Any:
        if name in broken:
            raise ExecutionError("the cat sat on the keyboard")
        return train(self, name, *arguments, **named)

    monkeypatch.setattr(Study, "train", breaking)
    outcome = compare(base, settings, n_seeds=2, name="s", say=lambda line: None)
    assert outcome["failed"] == {"learning_rate-0.1-seed-8": "the cat sat on the keyboard"}
    assert [row["trained"] for row in outcome["settings"]] == [1, 2]
    assert "1 training failed." in outcome["answer"]
    assert outcome["comparisons"][0]["method"] == "McNemar's exact test"  # of the seed that both have
    folder = StudyFolder.find("s", tmp_path / "runs")
    assert folder is not None
    assert "the cat sat" in (folder.path / "report.md").read_text()
    broken.clear()
    again = resume(folder, _Options())  # type: ignore[arg-type]
    assert again["failed"] == {}
    assert [row["trained"] for row in again["settings"]] == [2, 2]
    assert again["comparisons"][0]["n_seeds"] == 2
    untouched = [one for one in again["members"] if one["name"] != "learning_rate-0.1-seed-8"]
    assert untouched == outcome["members"]


def test_a_setting_of_which_nothing_was_trained_is_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = config(tmp_path)
    train = Study.train

    def breaking(self: Study, name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("learning_rate-0.01"):
            raise ExecutionError("no luck")
        return train(self, name, *arguments, **named)

    monkeypatch.setattr(Study, "train", breaking)
    rates = settings_of(base, {"optimizer.learning_rate": [0.1, 0.01]})
    outcome = compare(base, rates, n_seeds=1, name="s", say=lambda line: None)
    assert [row["trained"] for row in outcome["settings"]] == [1, 0]
    assert (outcome["comparisons"], outcome["best"]) == ([], "learning_rate-0.1")
    assert "nothing can be said of chance. 1 training failed." in outcome["answer"]
    assert "| learning_rate 0.01 |" in (tmp_path / "runs" / "s" / "report.md").read_text()


def test_where_all_fail_the_report_is_written_and_the_study_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*arguments: Any, **named: Any) -> Any:
        raise ExecutionError("out of milk")

    path = tmp_path / "c.toml"
    RunFolder(tmp_path).write_config(config(tmp_path), "c.toml")
    monkeypatch.setattr(Trainer, "fit", fails)
    assert (
        main(["compare", str(path), "--vary", "model.n_layers=1,2", "--seeds", "1", "--name", "s", "--json"])
        == 1
    )
    assert (
        "all 2 trainings failed; the first: out of milk"
        in json.loads(capsys.readouterr().out)["error"]["message"]
    )
    assert "out of milk" in (tmp_path / "runs" / "s" / "report.md").read_text()


def test_the_command_says_beforehand_what_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.toml"
    RunFolder(tmp_path).write_config(config(tmp_path), "c.toml")
    line = [
        "compare",
        str(path),
        "--vary",
        "model.n_layers=1,2",
        "--vary",
        "run.seed=3,5",
        "--dry-run",
        "--json",
    ]
    assert main(line) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert (outcome["trainings"], outcome["seeds"]) == (4, [3, 5])
    assert outcome["all"]["circuits"] == 2 * sum(row["circuits"] for row in outcome["settings"])
    assert not (tmp_path / "runs").exists()
    assert main(["compare", str(path), "--seeds", "1"]) == 2
    assert "nothing to compare" in capsys.readouterr().err
    paid = ["--set", "backend.name=ionq", "--set", "backend.target=qpu.aria-1", "--set", "backend.shots=500"]
    cloud = [*paid, "--set", "backend.host=http://127.0.0.1:1"]
    assert main(["compare", str(path), "--vary", "model.n_layers=1,2", *cloud, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["all"]["most_usd"] > 100
    assert main(["compare", str(path), "--vary", "model.n_layers=1,2", *cloud]) == 2
    assert "--yes-spend" in capsys.readouterr().err


def test_trainings_that_predict_different_things_are_not_compared(tmp_path: Path) -> None:
    base = config(tmp_path)
    losses = settings_of(base, {"loss.name": ["binary_cross_entropy", "mse"]})
    with pytest.raises(InputError, match="'binary_cross_entropy' predicts classes and 'mse' values"):
        planned(base, losses, [7])


def test_values_are_ranked_by_their_error(tmp_path: Path) -> None:
    base = config(tmp_path, "loss.name=mse")
    outcome = compare(
        base,
        settings_of(base, {"optimizer.learning_rate": [0.2, 0.0001]}),
        n_seeds=2,
        name="s",
        say=lambda line: None,
    )
    errors = {row["name"]: row["merit"]["mean"] for row in outcome["settings"]}
    assert outcome["merit"] == "test/rmse"
    assert errors[outcome["best"]] == min(errors.values())
    [pair] = outcome["comparisons"]
    squares = []
    for rate in (0.2, 0.0001):
        kept = [
            read_predictions(
                RunFolder(tmp_path / "runs" / "s" / "members" / f"learning_rate-{rate}-seed-{seed}")
            )
            for seed in (7, 8)
        ]
        squares.append(
            np.mean([((each.predicted - each.actual) ** 2).mean() for each in kept if each is not None])
        )
    assert pair["difference"] == pytest.approx(abs(squares[0] - squares[1]))


def test_the_words_follow_the_figures(tmp_path: Path) -> None:
    settings = settings_of(config(tmp_path), {"model.n_layers": [1, 2]})
    nothing = figures_of(settings, [], {"a": "x", "b": "y"}, "best")
    assert answer(nothing) == "Nothing to compare: all 2 trainings failed."
