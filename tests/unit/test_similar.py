"""Similar models: a retraining is nearer than another architecture, and behaviour is that of the model's outputs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config import TrainingConfig
from orchestrator.errors import InputError
from pipelines import cli
from pipelines.launch.arguments import split
from pipelines.launch.request import plan_of
from pipelines.predictor import Predictor
from pipelines.run_folder import RunFolder
from pipelines.similarity import kept, parts
from pipelines.similarity.embedding import BLOCKS, block_weights, overall
from pipelines.similarity.known import known_runs, of_folder
from pipelines.similarity.probe import behaviour, cube, features

SETTINGS: Mapping[str, list[str]] = {
    "first": [],
    "again": ["run.seed=11"],
    "other-ansatz": ["model.ansatz=strongly_entangling", "model.n_layers=4", "model.entanglement=linear"],
    "other-data": ["data.name=wine", "data.classes=[0, 1, 2]"],
    "two-classes": ["data.classes=[0, 1]", "data.max_samples=60"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs, as far as is looked at: trained, and their model written."""
    from pipelines.trainer import Trainer

    directory = tmp_path_factory.mktemp("similar") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
        for name, settings in SETTINGS.items():
            config = TrainingConfig().with_overrides([
                f"run.name={name}", f"run.directory={directory}", "data.name=iris", "data.n_components=3", "model.n_qubits=3",
                "model.n_layers=1", "model.head=linear", "loss.name=cross_entropy", "run.epochs=25", "checkpoint.every_epochs=25",
                "optimizer.learning_rate=0.1", "fleet.dispatcher=serial",
                "tracking.enabled=false", *settings,
            ])  # fmt: skip
            Trainer(config, progress=False).fit()
    return directory


def similar(runs: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert cli.main(["similar", "first", "--directory", str(runs), "--json", *options]) == 0
    outcome: dict[str, Any] = json.loads(capsys.readouterr().out)
    return outcome


def test_the_nearest_is_the_retraining(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = similar(runs, capsys, "-k", "9")
    rows = {row["run"]: row for row in outcome["similar"]}
    assert next(iter(rows)) == "again"
    assert rows["again"]["architecture"] == 1
    assert rows["again"]["differs"] == {"run.seed": [0, 11]} or set(rows["again"]["differs"]) == {"run.seed"}
    assert rows["other-ansatz"]["architecture"] < 0.9 < rows["again"]["behaviour"]
    assert rows["other-data"]["data"] < rows["other-ansatz"]["data"] == pytest.approx(1, abs=1e-12)
    assert rows["again"]["metrics"]["test/accuracy"] > 0.3
    assert [row["similarity"] for row in outcome["similar"]] == sorted(
        (r["similarity"] for r in rows.values()), reverse=True
    )


def test_unlike_outputs_are_not_compared(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other class names are other outputs: their behaviour counts nothing, and the table says so."""
    rows = {row["run"]: row for row in similar(runs, capsys)["similar"]}
    for name in ("two-classes", "other-data"):
        assert rows[name]["behaviour"] is None
        assert rows[name]["similarity"] == pytest.approx(
            (rows[name]["architecture"] + rows[name]["data"]) / 3
        )


def test_weights_choose_what_counts(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = similar(runs, capsys, "--weights", "data=1", "-k", "2")["similar"]
    assert [row["run"] for row in rows] == ["again", "other-ansatz"] or [row["run"] for row in rows] == [
        "other-ansatz",
        "again",
    ]
    by_behaviour = similar(runs, capsys, "--weights", "behaviour=2", "-k", "1")["similar"][0]
    assert by_behaviour["similarity"] == by_behaviour["behaviour"]


def test_embeddings_are_kept_until_the_model_changes(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    known = known_runs(str(runs), None, "qfleet", tmp_path, said.append)
    first = kept.embeddings(known, 16, tmp_path / "kept", said.append)
    assert said == ["embedding 5 of 5 models"]
    again = kept.embeddings(known, 16, tmp_path / "kept", said.append)
    assert len(said) == 1
    for key, one in first.items():
        assert one.similarities(again[key]) == dict.fromkeys(BLOCKS, 1.0)
    kept.embeddings(known, 8, tmp_path / "kept", said.append)
    assert said[1:] == ["embedding 5 of 5 models"]
    monkeypatch.setitem(__import__("sys").modules, "lancedb", None)
    alone = kept.embeddings(known[:1], 16, tmp_path / "kept", said.append)
    assert "embeddings are not kept" in said[2]
    assert alone[known[0].key].similarities(first[known[0].key]) == dict.fromkeys(BLOCKS, 1.0)


def test_behaviour_is_of_the_outputs(runs: Path) -> None:
    """1 for the same model, also with its classes in another order; less for permuted outputs under the same names."""
    model = Predictor.load(RunFolder(runs / "first").model)
    mine, kind = behaviour(model, 64)
    assert parts.cosine(mine, behaviour(model, 64)[0]) == 1
    order = [2, 0, 1]
    head = model.model.head
    weights = np.array(model.params[model.model.n_circuit_params :])
    n_observables = (len(weights) - 3) // 3
    matrix, bias = weights[: 3 * n_observables].reshape(3, n_observables), weights[3 * n_observables :]
    turned = np.concatenate(
        [model.params[: model.model.n_circuit_params], matrix[order].ravel(), bias[order]]
    )
    assert head.n_outputs == 3
    permuted = replace(model, params=turned)
    assert parts.cosine(mine, behaviour(permuted, 64)[0]) < 0.9
    assert model.class_names is not None
    renamed = replace(permuted, class_names=tuple(model.class_names[i] for i in order))
    same, same_kind = behaviour(renamed, 64)
    assert same_kind == kind
    assert parts.cosine(mine, same) == pytest.approx(1, abs=1e-12)


def test_probes_fill_the_range_of_the_features(runs: Path) -> None:
    points = cube(64, 5)
    assert (points[:, :3] == cube(64, 3)).all()
    for column in points.T:  # one in each of 64 equal intervals
        assert (np.sort(np.floor((column + 1) * 32)) == np.arange(64)).all()
    model = Predictor.load(RunFolder(runs / "first").model)
    reach = np.abs(features(model, 64)).max(axis=0)
    ratio = model.preprocessing.explained_variance_ratio
    assert ratio is not None
    assert reach == pytest.approx(2 * np.sqrt(ratio / ratio[0]), rel=2 / 64)


def test_sizes_are_alike_by_their_ratio() -> None:
    for factor, alike in ((1, 1.0), (2, np.exp(-0.25)), (4, np.exp(-1.0))):
        assert parts.cosine(parts.size(1000), parts.size(1000 * factor)) == pytest.approx(alike, abs=0.01)


def test_names_are_the_same_on_every_machine() -> None:
    """BLAKE2b of the text, not Python's hash: ``b2sum -l 64`` of it ends in dd, and the slot is that modulo 128."""
    assert int(parts.name("ansatz=three_rotation").argmax()) == 0xDD % 128
    assert parts.cosine(parts.name("ansatz=a"), parts.name("ansatz=b")) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("behavior=1", "nearest valid: behaviour=1"),
        ("data=x", "nearest valid: data=1"),
        ("data=-1", "nearest valid: data=0"),
        ("data=0", "all are 0"),
    ],
)
def test_weights_that_cannot_be_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        block_weights(text)


def test_what_cannot_be_compared_counts_nothing() -> None:
    weights = block_weights("architecture=1,behaviour=3")
    assert overall({"architecture": 1.0, "data": 0.5, "behaviour": None}, weights) == 0.25


def test_a_run_that_is_not_trained_is_left_out_in_words(runs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "runs"
    for name in ("first", "again"):
        (copy / name / "model").mkdir(parents=True)
        (copy / name / "config.toml").write_text((runs / name / "config.toml").read_text())
    said: list[str] = []
    assert known_runs(str(copy), None, "qfleet", tmp_path, said.append) == []
    assert said[0] == "left out again: run again has no trained model yet"
    with pytest.raises(InputError, match="no trained model"):
        of_folder(RunFolder(copy / "first"))
    assert cli.main(["similar", "first", "--directory", str(copy)]) == 2


def test_a_damaged_run_is_left_out_in_words(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy, ignore=shutil.ignore_patterns(".similar"))
    damaged = copy / "again" / "model" / "params.npz"
    damaged.write_bytes(damaged.read_bytes()[:50])
    assert cli.main(["similar", "first", "--directory", str(copy), "--json"]) == 0
    told = capsys.readouterr()
    assert "left out again: " in told.err
    assert {row["run"] for row in json.loads(told.out)["similar"]} == set(SETTINGS) - {"first", "again"}
    assert cli.main(["similar", "again", "--directory", str(copy)]) == 1


def test_it_can_be_submitted() -> None:
    options = cli.parsed(["submit", "similar", "/shared/runs/first", "-k", "3"])
    _, line = split(options.command, options.arguments)
    assert plan_of(options, line, {}).request().entrypoint.endswith("similar /shared/runs/first -k 3")


def test_the_table_reads(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["similar", "first", "--directory", str(runs), "-k", "4"]) == 0
    printed = capsys.readouterr().out
    assert "other-ansatz" in printed
    assert "model.ansatz three_rotation → strongly_entangling" in printed.replace("\n", " ")
