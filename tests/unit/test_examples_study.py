"""``qfleet examples``: its commands, and the study of what choosing gains, which goes on where it was killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config import TrainingConfig
from pipelines import cli
from pipelines.example_store import study

CSV = "name,x,y,w,site,label\na,1,2,0.5,n,0\nb,2,1,0.1,s,1\nc,3,1.5,0,n,1\nd,0.1,2,0.9,s,0\n"
ADD = [
    "--target",
    "label",
    "--id",
    "name",
    "--context",
    "fraud=w",
    "--context",
    "audit=0.2",
    "--metadata",
    "site",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ex.csv").write_text(CSV)
    return tmp_path


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = cli.main(["examples", *arguments, "--json"])
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed | {"code": code}


def test_a_store_from_the_command_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    added = asked(capsys, "add", "st", "ex.csv", *ADD)
    assert (added["inserted"], added["contexts"]) == (4, ["audit", "fraud"])
    assert asked(capsys, "add", "st", "ex.csv", *ADD)["unchanged"] == 4
    assert asked(capsys, "contexts", "st")["contexts"]["fraud"]["examples"] == 3
    assert asked(capsys, "weights", "st")["contexts"]["fraud"]["effective_examples"] == pytest.approx(
        1.5**2 / 1.07
    )
    near = asked(capsys, "select", "st", "--context", "audit", "--near", "id:a", "-k", "1", "--ranked")
    assert near["ids"] == ["a"]
    values = ["--near", "0.1,2.1", "--metric", "l2", "--ranked", "-k", "1", "--output", "out/chosen.parquet"]
    chosen = asked(capsys, "select", "st", "--context", "fraud", "--where", "site = 's'", *values)
    assert (chosen["ids"], chosen["candidates"]) == (["d"], 2)
    assert chosen["distances"] == pytest.approx([0.1], abs=1e-6)
    (here / "like.csv").write_text("y,x\n2,1\n2,1\n")
    assert asked(capsys, "select", "st", "--context", "audit", "--near", "like.csv", "-k", "1", "--ranked")[
        "ids"
    ] == ["a"]
    version = asked(capsys, "set-weight", "st", "--context", "audit", "--weight", "0", "--id", "a", "b")[
        "version"
    ]
    assert asked(capsys, "remove", "st", "--id", "c")["version"] == version + 1
    shown = asked(capsys, "show", "st")
    assert (shown["examples"], shown["target"], list(shown["contexts"])) == (3, "label", ["audit", "fraud"])
    assert asked(capsys, "show", "st", "--as-of", "1")["examples"] == 4
    assert asked(capsys, "compact", "st", "--keep-days", "0")["bytes"] > 0


def test_what_is_chosen_is_a_file_to_train_on(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked(capsys, "add", "st", "ex.csv", *ADD)
    asked(capsys, "select", "st", "--context", "audit", "--output", "chosen.parquet")
    config = TrainingConfig().with_overrides(
        ["data.name=none", "data.path=chosen.parquet", "data.target=label"]
    )
    from pipelines.data.table import load

    table = load(config.data)
    assert table.feature_names == ("x", "y")
    assert table.ignored == ("id",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "st", "ex.csv", "--target", "labl"], "did you mean 'label'"),
        (["add", "st", "ex.csv", "--target", "label", "--context", "fraud"], "nearest valid: fraud=1"),
        (["add", "st", "ex.csv", "--target", "label", "--context", "fraud=site"], "weights are numbers"),
        (["add", "st", "ex.csv", "--target", "label", "--metadata", "sit"], "did you mean 'site'"),
        (
            ["add", "st", "ex.csv", "--target", "label", "--features", "x", "w", "--context", "a=w"],
            "named for something else",
        ),
        (["select", "st", "--context", "fraud"], "no examples have been added yet"),
        (["benchmark", "--seeds", "1"], "nearest valid: 2"),
        (["benchmark", "--examples", "9"], "nearest valid: 10"),
    ],
)
def test_bad_input_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert cli.main(["examples", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_near_must_be_something(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked(capsys, "add", "st", "ex.csv", *ADD)
    for near, said in (
        ("zebra", "neither numbers"),
        ("1,2,3", "3 features are given"),
        ("id:e", "no example 'e'"),
    ):
        assert cli.main(["examples", "select", "st", "--context", "fraud", "--near", near]) == 2
        assert said in capsys.readouterr().err


def test_weights_fall_with_the_distance_from_the_class(here: Path) -> None:
    """A Gaussian as wide as the median distance, of the pool alone."""
    features = np.array([[0.0], [2.0], [4.0], [10.0], [100.0]])
    targets, is_pool = np.array([1, 1, 1, 2, 1]), np.array([True, True, True, True, False])
    weights = study._typicality(
        features, targets, is_pool
    )  # class 1: mean 2, distances 2 0 2; class 2: 0; median 1
    assert weights == pytest.approx([np.exp(-2), 1, np.exp(-2), 1, 0])


def test_the_study_ends_the_same_after_a_kill(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """The journal cut in the middle of a line, as a kill leaves it: the rest is done again, to the same figures."""
    monkeypatch.setattr(study, "PAIRS", ((0, 1),))
    monkeypatch.setattr(study, "STEPS", 4)
    sizes = [{"tasks": "two", "n_tasks": 2, "one": 10, "copies": 20, "ratio": 0.5}]
    monkeypatch.setattr(study, "_bytes", lambda: sizes)
    options = ["--seeds", "2", "--examples", "8", "--no-tracking"]
    calm = asked(capsys, "benchmark", *options, "--name", "calm")
    assert {row["way"] for row in calm["gains"]} == {"weighted", "typical", "border"}
    assert calm["trainings"] == 8
    for row in calm["gains"]:
        own, random = (
            next(r["mean"] for r in calm["accuracies"] if r["way"] == way) for way in (row["way"], "random")
        )
        assert row["mean"] == pytest.approx(own - random)
        assert row["low"] <= row["mean"] <= row["high"]
    journal = here / "runs" / "calm" / "results.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:3]) + lines[3][:20])
    (here / "runs" / "calm" / "report.json").unlink()
    (here / "runs" / "calm" / "artifacts" / "choosing.png").unlink()
    assert cli.main(["resume", "calm", "--json"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (again["gains"], again["accuracies"]) == (calm["gains"], calm["accuracies"])
    assert len(journal.read_text().splitlines()) >= 8
    assert (here / "runs" / "calm" / "artifacts" / "choosing.png").stat().st_size > 10_000
    assert "| 8 | typical |" in (here / "runs" / "calm" / "report.md").read_text()


def test_one_table_takes_less_than_copies_of_what_they_share(here: Path) -> None:
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(300, 32)), np.arange(300) % 2
    shared = {f"t{i}": np.arange(300) for i in range(4)}
    one, copies = study._one_and_copies(features, targets, shared)
    assert 0.2 < one / copies < 0.5
    apart = {f"t{i}": np.arange(75 * i, 75 * (i + 1)) for i in range(4)}
    one, copies = study._one_and_copies(features, targets, apart)
    assert 0.7 < one / copies < 1.2
