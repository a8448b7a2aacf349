"""A search as a study, in this process: it ends alike after an interrupt, its best configuration trains to the same bits, and what a
comparison of methods repeats is the same search."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError, ExecutionError, InputError
from pipelines import Trainer, cli
from pipelines.studies.folder import StudyFolder
from pipelines.studies.study import StudyInterrupted
from pipelines.tracking.journal import PARENT_TAG
from pipelines.tune.comparison import Pair, Repeat, compare, in_words
from pipelines.tune.direct import search_directly
from pipelines.tune.following import Following
from pipelines.tune.search import MAX_FAILURES
from pipelines.tune.settings import Settings, checked
from pipelines.tune.study import base_of, begin, carry_on, tune

SPACE = {
    "optimizer": {"learning_rate": {"low": 0.003, "high": 0.5, "log": True}},
    "model": {"n_layers": {"low": 1, "high": 2}, "n_qubits": {"choices": [2, 3]}},
}
"""With three qubits the two features do not fit."""
ASKED = Settings(SPACE, max_circuits=700, seed=2)


def config(tmp_path: Path, *overrides: str) -> TrainingConfig:
    return TrainingConfig().with_overrides([
        "data.name=iris", "data.classes=[1,2]", "data.max_samples=40", "data.n_components=2", "model.n_qubits=2", "model.n_layers=1",
        "run.batch_size=8", "run.epochs=4", "tracking.log_model=false", f"run.directory={tmp_path / 'runs'}",
        f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}", *overrides,
    ])  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a study that nothing disturbs comes to, without tracking."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
        made = config(tmp_path_factory.mktemp("calm"), "tracking.enabled=false")
        return tune(made, ASKED, name="s", say=quiet)


def same(found: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on interrupts."""
    return {
        key: found[key]
        for key in ("trials", "spent", "history", "rungs", "ended_because", "refused", "importance")
    }


def quiet(line: str) -> None:
    """Said to nobody."""


def test_a_study_ends_with_a_configuration_that_trains_to_the_same_bits(tmp_path: Path) -> None:
    said: list[str] = []
    found = tune(config(tmp_path), ASKED, name="s", say=said.append)
    folder = StudyFolder.find("s", tmp_path / "runs")
    assert folder is not None
    assert found["spent"] <= 700
    assert found["counts"]["stopped"] > 0
    assert found["refused"], "three qubits were refused before they cost a trial"
    assert any(line.startswith("not tried: ") for line in said)
    best = TrainingConfig.from_toml(folder.path / "best.toml", ["tracking.enabled=false"])
    again = (
        Trainer(best.with_overrides([f"run.directory={tmp_path / 'again'}"]), progress=False).fit().to_json()
    )
    trial = json.loads((Path(found["best"]["run"]) / "result.json").read_text())
    assert again["best_params_sha256"] == trial["best_params_sha256"]
    assert again["metrics"] == found["best"]["metrics"]
    report = (folder.path / "report.md").read_text()
    assert report.startswith(f"# s\n\nBest of {len(found['trials'])} trials: ")
    assert {path.name for path in folder.artifacts.iterdir()} >= {
        "best.toml",
        "history.png",
        "values.png",
        "report.md",
    }
    client = mlflow.MlflowClient(tracking_uri=found["tracking_uri"])
    parent = client.get_run(found["run_id"])
    below = client.search_runs([parent.info.experiment_id], f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'")
    assert len(below) == len(found["trials"])
    assert all(run.info.status == "FINISHED" for run in below)
    stopped = {
        run.data.tags["trial"]: run.data.tags["stopped"] for run in below if "stopped" in run.data.tags
    }
    assert stopped == {
        str(row["trial"]): row["why"] for row in found["trials"] if row["state"] in ("stopped", "cut")
    }
    curve = [
        (point.step, point.value) for point in client.get_metric_history(parent.info.run_id, "best/val_loss")
    ]
    assert sorted(curve) == [tuple(point) for point in found["history"]]


def test_a_comparison_repeats_the_search_that_the_study_made(tmp_path: Path, calm: dict[str, Any]) -> None:
    base = base_of(config(tmp_path, "tracking.enabled=false"), ASKED)
    settings, space = checked(ASKED, base)
    direct = search_directly(base, space, settings.terms(), settings.metric)
    assert direct is not None
    assert [(one.values, one.outcome.value, one.outcome.spent) for one in direct.trials if one.outcome] == [
        (row["values"], row["value"], row["spent"]) for row in calm["trials"]
    ]
    assert direct.values == calm["best"]["values"]
    assert direct.test.items() <= calm["best"]["metrics"].items()


def test_the_test_score_of_a_best_trial_that_the_budget_cut_is_made_up_for(tmp_path: Path) -> None:
    """One whole trial, and a better one that the budget cuts: both ways of searching score it on the test split."""
    asked = replace(ASKED, space={"optimizer": SPACE["optimizer"]}, max_circuits=330, first_rung=0.0, seed=7)
    cfg = config(tmp_path, "tracking.enabled=false")
    found = tune(cfg, asked, name="s", say=quiet)
    assert found["trials"][found["best"]["trial"]]["state"] == "cut", "else the test shows nothing"
    base = base_of(cfg, asked)
    settings, space = checked(asked, base)
    direct = search_directly(base, space, settings.terms(), settings.metric)
    assert direct is not None
    assert {k: v for k, v in found["best"]["metrics"].items() if k.startswith("test/")} == direct.test
    assert found["best"]["test_circuits"] > 0
    assert "before its test, which took" in (tmp_path / "runs" / "s" / "report.md").read_text()
    untested = base.with_overrides(["data.test_fraction=0"])
    settings, space = checked(replace(asked, max_circuits=360), untested)
    direct = search_directly(untested, space, settings.terms(), settings.metric)
    assert direct is not None
    assert direct.test == {}


def test_a_search_whose_trials_all_fail_comes_to_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure may cost nothing, so a budget alone would never end it."""

    def fail(following: Following, state: Any) -> None:
        raise ExecutionError("nobody answers")

    monkeypatch.setattr(Following, "on_begin", fail)
    found = tune(config(tmp_path, "tracking.enabled=false"), ASKED, name="s", say=quiet)
    assert [row["state"] for row in found["trials"]] == ["failed"] * MAX_FAILURES
    assert "nobody answers" in found["ended_because"]
    assert found["best"] == {}


class Interrupt:
    """Interrupts the process at one of the steps or reports of a study."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, what: str) -> None:
        self.left = at
        before = getattr(Following, what)

        def count(following: Following, *arguments: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)
            return before(following, *arguments)

        monkeypatch.setattr(Following, what, count)


@pytest.mark.parametrize("at", [1, 11])
def test_an_interrupted_study_goes_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: dict[str, Any], at: int
) -> None:
    cfg = config(tmp_path, "tracking.enabled=false")
    folder = begin(cfg, ASKED, name="s")
    with monkeypatch.context() as patched:
        Interrupt(patched, at, "on_epoch")
        with pytest.raises(StudyInterrupted, match="qfleet resume"):
            carry_on(folder, say=quiet)
    assert folder.report() is None
    assert same(carry_on(folder, say=quiet)) == same(calm)
    assert same(carry_on(folder, say=quiet)) == same(calm), "and once more it is read"


@pytest.mark.parametrize("lost", ["ended", "told"])
def test_what_the_journal_lost_in_a_kill_is_found_in_the_runs(
    tmp_path: Path, calm: dict[str, Any], lost: str
) -> None:
    """A trial that had come to its end, or to an epoch, just before the search heard of it."""
    shutil.copytree(calm["study_folder"], tmp_path / "runs" / "s")
    folder = StudyFolder.find("s", tmp_path / "runs")
    assert folder is not None
    path = folder.path / "search.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if json.loads(line)["event"] == lost)
    for line in lines[first:]:  # the later trials were not begun yet
        event = json.loads(line)
        if event["event"] == "asked":
            for member in folder.members.glob(f"{event['trial']:03d}-*"):
                member.rename(tmp_path / member.name)
    path.write_text("".join(lines[:first]))
    (folder.path / "report.json").unlink()
    assert same(carry_on(folder, say=quiet)) == same(calm)


def test_a_trial_that_fails_is_told_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Following.on_epoch

    def fail(following: Following, report: Any, state: Any) -> None:
        before(following, report, state)
        if following.rule.rivals == () and report.epoch == 2:  # the first trial
            raise ExecutionError("the loss is nan")

    monkeypatch.setattr(Following, "on_epoch", fail)
    asked = replace(ASKED, max_circuits=None, n_trials=3)
    found = tune(config(tmp_path, "tracking.enabled=false"), asked, name="s", say=quiet)
    assert found["trials"][0]["state"] == "failed"
    assert found["trials"][0]["why"] == "ExecutionError: the loss is nan"
    assert found["trials"][0]["spent"] > 0
    assert found["counts"]["failed"] < 3
    assert found["best"]["trial"] > 0


@pytest.mark.parametrize(
    ("changes", "overrides", "message"),
    [
        ({"method": "tpi"}, [], "did you mean 'tpe'"),
        ({"metric": "val/acuracy"}, [], "did you mean 'val/accuracy'"),
        ({"max_circuits": 3}, [], "does not pay for one whole trial"),
        ({"max_circuits": None, "max_usd": 1.0}, [], "costs nothing"),
        ({"max_usd": 1.0}, [], "one budget"),
        ({"at_once": 0}, [], "greater than or equal to 1"),
        ({"reduction": 1}, [], "at least 2"),
        ({"against": ("rndom",)}, [], "did you mean 'random'"),
        ({"against": ("random",), "repeats": 1}, [], "an interval needs several"),
        ({}, ["data.validation_fraction=0"], "did you mean '0.15'"),
        (
            {"space": {"loss": {"name": {"choices": ["mse", "binary_cross_entropy"]}}}},
            [],
            "did you mean 'val/accuracy'",
        ),
        ({"space": {"model": {"n_qubits": {"choices": [3, 4]}}}}, ["model.n_qubits=3"], "2 features|3"),
        (
            {"space": {"backend": {"shots": {"choices": [64, 128]}}}, "n_actors": 1},
            [],
            "share its backend, and backend.shots",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_there_is_a_folder(
    tmp_path: Path, changes: dict[str, Any], overrides: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        begin(config(tmp_path, *overrides), replace(ASKED, **changes), name="s")
    assert not (tmp_path / "runs").exists()


def test_money_is_asked_for_and_is_the_budget(tmp_path: Path) -> None:
    paid = config(
        tmp_path,
        "backend.name=ionq",
        "backend.target=qpu.aria-1",
        "backend.shots=500",
        "backend.allow_cloud=true",
        "gradient.rule=spsa",
    )
    with pytest.raises(InputError, match="--yes-spend"):
        begin(paid, replace(ASKED, max_circuits=None), name="s")
    for changes, message in (
        ({}, "give the budget as --max-usd"),
        ({"max_circuits": None, "at_once": 2}, "pay for equal circuits once"),
        ({"max_circuits": None, "against": ("random",)}, "for money"),
    ):
        with pytest.raises(ConfigError, match=message):
            begin(paid, replace(ASKED, **changes), name="s", yes_spend_usd=1e6)
    folder = begin(paid, replace(ASKED, max_circuits=None), name="s", yes_spend_usd=1e5)
    asked = Settings.from_json(folder.asks)
    assert (asked.unit, asked.max_usd) == ("usd", 1e5)
    assert asked.terms().budget == 100_000_000_000


def test_a_job_keeps_what_it_does_beside_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tomli_w

    monkeypatch.setattr("pipelines.tune.command.ray_submission_id", lambda: "job")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(tomli_w.dumps(config(tmp_path).to_dict()))
    (tmp_path / "s.toml").write_text(tomli_w.dumps(SPACE))
    line = [
        "tune",
        "c.toml",
        "--space",
        "s.toml",
        "--trials",
        "1",
        "--name",
        "s",
        "--json",
        "--set",
        "tracking.uri=none",
    ]
    assert cli.main([*line, "--set", "run.directory=runs"]) == 2
    assert "absolute path on the cluster" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    begun = []
    monkeypatch.setattr("pipelines.tune.study.begin", lambda made, *rest, **named: begun.append(made))
    monkeypatch.setattr("pipelines.tune.study.carry_on", lambda *rest, **named: {})
    monkeypatch.setattr("pipelines.tune.command._printed", lambda found, options: found)
    assert cli.main(line) == 0
    assert begun[0].tracking.uri == f"sqlite:///{tmp_path / 'runs'}/mlflow.db"


def test_a_comparison_says_how_it_came_out_either_way() -> None:
    def pair(loss: float, accuracy: float) -> Pair:
        return Pair({}, loss, {"test/loss": loss, "test/accuracy": accuracy}, 100, 5, 2)

    words = []
    for shift in (0.1, -0.1, 0.0):
        found = {Repeat("tpe", s): pair(0.5 - shift, 0.8 + shift + 0.001 * (-1) ** s) for s in range(10)}
        found |= {Repeat("random", s): pair(0.5, 0.8) for s in range(10)}
        comparison = compare("tpe", "random", found, "val/loss", 10)
        gain = comparison.gains[0]
        assert gain.metric == "test/accuracy"
        assert gain.low <= gain.gain <= gain.high
        assert gain.gain == pytest.approx(shift, abs=1e-9)
        assert [one.metric for one in comparison.gains] == ["test/accuracy", "test/loss", "val/loss"]
        assert all(one.gain == pytest.approx(shift) for one in comparison.gains[1:]), "lower losses are gains"
        words.append(in_words(comparison))
    assert "found better configurations than random" in words[0]
    assert "found worse configurations than random" in words[1]
    assert words[2].startswith("No difference is seen")


def test_the_command_compares_and_is_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tomli_w

    (tmp_path / "c.toml").write_text(tomli_w.dumps(config(tmp_path, "tracking.enabled=false").to_dict()))
    (tmp_path / "s.toml").write_text(tomli_w.dumps(SPACE))
    line = [
        "tune",
        str(tmp_path / "c.toml"),
        "--space",
        str(tmp_path / "s.toml"),
        "--max-circuits",
        "500",
        "--rungs",
        "60",
    ]
    assert cli.main([*line, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["first_rung"] == 60
    assert not (tmp_path / "runs").exists()
    assert cli.main([*line, "--name", "s", "--against", "random", "random-rungs", "--repeats", "2"]) == 0
    printed = capsys.readouterr()
    assert "Against random, 95 % interval" in printed.out
    assert "[6/6] random-rungs, repeat 1: " in printed.err
    report = json.loads((tmp_path / "runs" / "s" / "report.json").read_text())
    assert [one["rival"] for one in report["comparisons"]] == ["random", "random-rungs"]
    for one in report["comparisons"]:
        assert all(pair["spent"] <= 500 for both in one["pairs"] for pair in both)
        assert all(rival["stopped"] == 0 for _, rival in one["pairs"]) == (one["rival"] == "random")
    (tmp_path / "runs" / "s" / "report.json").unlink()
    monkeypatch.setattr("pipelines.tune.study.repeat_of", None)  # all repeats are read
    assert cli.main(["resume", "s", "--directory", str(tmp_path / "runs"), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert same(again) == same(report)
    assert again["comparisons"] == report["comparisons"]
    assert cli.main([*line, "--rungs", "x"]) == 2
    assert "did you mean 'auto'" in capsys.readouterr().err
