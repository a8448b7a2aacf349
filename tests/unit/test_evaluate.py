"""``qfleet evaluate``: what it is asked for, what it refuses, and what it leaves behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from sklearn import datasets

from orchestrator.config import TrainingConfig
from orchestrator.errors import CapabilityError, ConfigError, DataError, InputError
from pipelines import cli
from pipelines.evaluate import Evaluation, evaluate
from pipelines.evaluate.records import next_step
from pipelines.run_folder import RunFolder
from pipelines.saved_run import open_run
from pipelines.spending import SpendingNotAllowedError
from pipelines.tracking.journal import MetricJournal
from pipelines.trainer import Trainer

IRIS = datasets.load_iris()
NAMES = [str(name) for name in IRIS.feature_names]
CLASSES = [str(name) for name in IRIS.target_names]
SMALL = [
    "data.name=iris", "data.n_components=none", "data.test_fraction=0.4", "model.n_qubits=4", "model.n_layers=1", "model.head=linear",
    "model.observables=each", "loss.name=cross_entropy", "run.epochs=4", "fleet.dispatcher=serial", "tracking.enabled=false",
]  # fmt: skip
PAID = ["backend.target=qpu.aria-1", "backend.host=http://127.0.0.1:9"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: ``one``; ``other`` with another split and classes in another order; ``values``, a regression."""
    folder = tmp_path_factory.mktemp("runs")
    two_classes = ["data.classes=[2, 1]", "loss.name=binary_cross_entropy"]
    for name, overrides in (
        ("one", []),
        ("other", ["run.seed=8", "data.classes=['virginica', 'setosa', 'versicolor']"]),
        ("few", ["run.epochs=1"]),
        ("two", two_classes),
        ("values", ["loss.name=mse"]),
    ):
        config = TrainingConfig().with_overrides(
            [*SMALL, *overrides, f"run.name={name}", f"run.directory='{folder}'"]
        )
        Trainer(config, progress=False).fit()
    return folder


def evaluated(runs: Path, name: str = "one", **options: Any) -> Evaluation:
    return evaluate(name, directory=str(runs), **options)


def write_csv(path: Path, columns: dict[str, Any]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """The whole of iris as a file: columns in another order, one more, and classes by name."""
    order = [2, 0, 3, 1]
    columns = {NAMES[i]: IRIS.data[:, i] for i in order} | {
        "grower": ["someone"] * 150,
        "kind": [CLASSES[label] for label in IRIS.target],
    }
    return write_csv(tmp_path / "flowers.csv", columns)


# --- The split of a run ------------------------------


def test_the_test_score_of_training_again(runs: Path) -> None:
    found = evaluated(runs)
    recorded = RunFolder.find("one", str(runs)).read_json("result.json")
    for key in ("test/loss", "test/accuracy"):
        assert found.metrics[key] == recorded["metrics"][key]
    assert found.figures["accuracy"].value == found.metrics["test/accuracy"]
    assert found.figures["log_loss"].value == pytest.approx(found.metrics["test/loss"], abs=1e-12)
    assert found.run_id is None
    assert found.shot_noise is None


def test_the_table_of_samples(runs: Path) -> None:
    found = evaluated(runs, shots=200)
    saved = open_run("one", str(runs))
    columns = parquet.read_table(found.folder / "artifacts" / "predictions.parquet").to_pydict()
    assert columns["row"] == saved.prepared.data.rows.test.tolist()
    assert columns["actual"] == [CLASSES[IRIS.target[row]] for row in columns["row"]]
    probability = np.array([columns[f"probability_{name}"] for name in CLASSES]).T
    assert columns["predicted"] == [CLASSES[k] for k in probability.argmax(axis=1)]
    assert np.allclose(probability.sum(axis=1), 1)
    outputs = np.array([columns[f"output_{c}"] for c in range(3)]).T
    assert np.allclose(np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True), probability)
    assert all(min(columns[f"standard_error_{c}"]) > 0 for c in range(3))
    assert 0 <= min(columns["flip_probability"]) <= max(columns["flip_probability"]) <= 1


def test_more_shots_leave_less_in_doubt(runs: Path) -> None:
    few, many = (
        evaluated(runs, backend="noisy", settings=["backend.noise=aria-1"], shots=n) for n in (100, 10_000)
    )
    errors = [np.sqrt(np.mean(one.outputs.standard_errors**2)) for one in (few, many)]
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.1)
    assert few.shot_noise.flips[0] > many.shot_noise.flips[0]
    assert few.figures["log_loss"].shot_error / many.figures["log_loss"].shot_error == pytest.approx(
        10, rel=0.3
    )
    assert few.folder.name == "evaluate-test-noisy-aria-1-100"


def test_of_values(runs: Path) -> None:
    found = evaluated(runs, "values", shots=300)
    assert set(found.figures) == {"rmse", "mae", "r2"}
    assert found.figures["rmse"].value == pytest.approx(found.metrics["test/rmse"], abs=1e-12)
    assert found.confusion is None
    assert found.calibration is None
    assert {path.name for path in found.files} >= {"predictions.png", "residuals.png", "predictions.parquet"}
    json.dumps(found.to_json(), allow_nan=False)


# --- Other data ------------------------------


def test_a_file_has_its_columns_found_by_name(runs: Path, flowers: Path) -> None:
    found = evaluated(runs, data=flowers, target_column="kind")
    whole = evaluated(runs, data="iris")
    arrays = evaluated(runs, data=(IRIS.data, np.array(CLASSES)[IRIS.target]))
    assert np.array_equal(found.outputs.values, whole.outputs.values)
    assert np.array_equal(found.outputs.values, arrays.outputs.values)
    assert found.metrics == whole.metrics == arrays.metrics
    trained = open_run("one", str(runs)).prepared.data
    split = evaluated(runs, split="train")
    assert np.array_equal(whole.outputs.values[trained.rows.train], split.outputs.values)
    assert whole.choice.n_seen == len(trained.rows.train) + len(set(map(bytes, trained.train.features)) & set(map(bytes, trained.test.features)))  # fmt: skip # noqa: E501
    assert split.choice.n_seen == len(split.choice.features)
    assert found.to_json()["split"] is None


def test_without_a_target_there_are_predictions_only(runs: Path, flowers: Path, tmp_path: Path) -> None:
    output = tmp_path / "told.csv"
    found = evaluated(runs, data=flowers, output=output)
    assert (found.metrics, found.figures, found.confusion) == ({}, {}, None)
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 150
    assert "actual" not in rows[0]
    assert [row["predicted"] for row in rows] == evaluated(runs, data="iris").columns()["predicted"].tolist()
    with pytest.raises(DataError, match=r"no target column 'target'.*--target-column.*--output"):
        evaluated(runs, data=flowers)


def test_what_does_not_fit_is_refused_in_words(runs: Path, tmp_path: Path) -> None:
    labels = [CLASSES[label] for label in IRIS.target]
    columns = {name: IRIS.data[:, i] for i, name in enumerate(NAMES)}
    lacking = {name: values for name, values in columns.items() if name != NAMES[3]} | {
        "petal with (cm)": IRIS.data[:, 3],
        "target": labels,
    }
    file = write_csv(tmp_path / "lacking.csv", lacking)
    with pytest.raises(DataError, match=r"column 'petal width \(cm\)'.*did you mean 'petal with \(cm\)'"):
        evaluated(runs, data=file)
    file = write_csv(tmp_path / "unknown.csv", columns | {"target": ["setose", *labels[1:]]})
    with pytest.raises(DataError, match=r"holds 'setose' \(data row 1, 1 in all\).*did you mean 'setosa'"):
        evaluated(runs, data=file)
    file = write_csv(tmp_path / "numbers.csv", columns | {"target": IRIS.target})
    with pytest.raises(DataError, match=r"holds '0' .*no class of the model: 'setosa'"):
        evaluated(runs, data=file)
    with pytest.raises(DataError, match="predicts a number"):
        evaluated(runs, "values", data=write_csv(tmp_path / "text.csv", columns | {"target": labels}))
    with pytest.raises(ConfigError, match=r"--data = 'irsi'.*did you mean 'iris'"):
        evaluated(runs, data="irsi")
    with pytest.raises(DataError, match="the model takes"):
        evaluated(runs, data="wine")
    with pytest.raises(DataError, match="3 feature columns, the model takes 4"):
        evaluated(runs, data=(IRIS.data[:, :3], None))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "train", "data": "iris"}, "leave one of the two out"),
        ({"target_column": "kind"}, "is for --data"),
        ({"settings": ["run.seed=3"]}, r"run\.seed.*only keys of the backend section"),
        ({"settings": ["backend.nois=x"]}, "did you mean 'noise'"),
        ({"output": "table.xlsx"}, r"did you mean 'table.parquet'"),
        ({"output": "/nowhere/table.csv"}, "no such folder"),
        ({"backend": "nosy"}, "did you mean 'noisy'"),
        ({"baselines": True, "data": "iris"}, "--baselines"),
        ({"against": "values"}, "do not predict the same"),
        ({"against": "two"}, "do not predict the same"),
        ({"against": "nobody"}, "no run 'nobody'"),
        ({"shots": 0}, "shots"),
    ],
)
def test_refused_before_anything_runs(runs: Path, options: dict[str, Any], words: str) -> None:
    before = sorted(runs.rglob("evaluation.json"))
    with pytest.raises(InputError, match=words):
        evaluated(runs, **options)
    assert sorted(runs.rglob("evaluation.json")) == before


def test_a_backend_that_only_samples_is_asked_for_shots(runs: Path) -> None:
    with pytest.raises(CapabilityError, match="draws shots"):
        evaluated(runs, backend="ionq", settings=PAID)


# --- Money ------------------------------


def test_an_output_that_cannot_be_written_is_refused_before_anything_runs(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "told.csv").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        evaluated(runs, output=tmp_path / "told.csv")


def test_what_it_would_cost_is_said_beforehand(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "one", "--directory", str(runs), "--backend", "ionq", "--shots", "600"]
    command += [f"--set={setting}" for setting in PAID]
    assert cli.main([*command, "--dry-run", "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert expected["circuits"] == 60
    assert expected["shots"] == 36_000
    assert expected["usd"] > 100
    with pytest.raises(SpendingNotAllowedError):
        evaluated(runs, backend="ionq", settings=PAID, shots=600)
    assert cli.main(command) == 2
    assert f"would cost ${expected['usd']:,.2f}" in capsys.readouterr().err


# --- Against another ------------------------------


def test_against_a_run_with_other_splits_and_classes_in_another_order(runs: Path) -> None:
    found = evaluated(runs, against="other")
    other = open_run("other", str(runs))
    seen = set(other.prepared.data.rows.train) & set(found.choice.rows)
    assert found.comparison.n_seen == len(seen) > 0
    predictor = other.prepared.predictor(other.params)
    told = predictor.predict(IRIS.data[found.choice.rows])
    actual = np.array(CLASSES)[IRIS.target[found.choice.rows]]
    own = np.array(CLASSES)[found.predictions.predicted]
    assert found.comparison.only_own_right == np.sum((own == actual) & (told != actual))
    assert found.comparison.only_other_right == np.sum((own != actual) & (told == actual))
    assert found.comparison.scores["accuracy"] == pytest.approx(np.mean(told == actual))
    assert found.folder.name == "evaluate-test-ideal-exact-against-other"
    assert found.used.n_circuits == 2 * len(actual)


def test_against_on_data_that_are_read_in_pieces(runs: Path, flowers: Path, tmp_path: Path) -> None:
    """As with the same data in memory, whose digest is another; a file that has changed since is noticed."""
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    head, *rows = flowers.read_text().splitlines()
    for i in range(3):
        (pieces / f"{i}.csv").write_text("\n".join([head, *rows[50 * i : 50 * i + 50]]) + "\n")
    source = ["data.name=none", f"data.path='{pieces}'", "data.target=kind"]
    found = {}
    for streaming in ("true", "false"):
        folder = tmp_path / streaming
        for name, own in (
            ("all", [f"data.features={NAMES}"]),
            ("half", [f"data.features={NAMES[2:]}", "model.n_qubits=2", "run.seed=9"]),
        ):
            config = TrainingConfig().with_overrides([
                *SMALL, *source, *own, "run.epochs=1", f"data.streaming={streaming}", f"run.name={name}", f"run.directory='{folder}'",
            ])  # fmt: skip
            Trainer(config, progress=False).fit()
        found[streaming] = evaluated(folder, "all", against="half").comparison
    streamed, whole = found["true"], found["false"]
    assert streamed.scores == pytest.approx(whole.scores, abs=1e-9)  # moments of pieces are merged: rounding
    assert streamed.n_seen == whole.n_seen > 0
    (pieces / "1.csv").write_text((pieces / "1.csv").read_text().replace("5.0", "5.1"))
    with pytest.raises(InputError, match="has changed since"):
        evaluated(tmp_path / "true", "all", against="half")


def test_against_on_other_data_and_of_values(runs: Path, flowers: Path) -> None:
    found = evaluated(runs, against="few", data=flowers, target_column="kind")
    on_split = evaluated(runs, "few", data=flowers, target_column="kind")
    assert found.comparison.scores["accuracy"] == on_split.figures["accuracy"].value
    gain = found.figures["accuracy"].value - on_split.figures["accuracy"].value
    assert found.comparison.differences[0].value == pytest.approx(gain, abs=1e-12)
    itself = evaluated(runs, "values", against="values").comparison
    assert itself.differences[0] == ("squared error", 0, 0, 0) or itself.differences[0].value == 0
    assert itself.p_value is None
    assert itself.verdict == "no difference seen"


# --- What it leaves ------------------------------


def test_the_same_again_is_the_same_folder_and_anything_else_another(runs: Path) -> None:
    first, again = (evaluated(runs, backend="noisy", shots=150) for _ in range(2))
    assert first.folder == again.folder
    assert first.to_json()["figures"] == again.to_json()["figures"]
    mitigated = evaluated(
        runs,
        backend="noisy",
        shots=150,
        settings=["backend.readout_mitigation=true", "backend.calibration_shots=500"],
    )
    assert mitigated.folder != first.folder
    assert mitigated.folder.name.startswith(first.folder.name + "-")
    repeated = evaluated(
        runs,
        backend="noisy",
        shots=150,
        settings=["backend.readout_mitigation=true", "backend.calibration_shots=500"],
    )
    assert repeated.folder == mitigated.folder
    assert mitigated.outputs.correlations == "left out"


def test_from_the_command_line(runs: Path, flowers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "evaluate",
        "one",
        "--directory",
        str(runs),
        "--backend",
        "noisy",
        "--noise",
        "forte-1",
        "--shots",
        "100",
    ]
    assert cli.main([*command, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["backend"] == "noisy-forte-1"
    assert figures["by_class"][0]["name"] == "setosa"
    assert np.sum(figures["confusion"]) == figures["samples"] == 60
    low, high = figures["figures"]["accuracy"]["low"], figures["figures"]["accuracy"]["high"]
    assert low < figures["metrics"]["test/accuracy"] < high
    assert Path(figures["evaluation_folder"], "artifacts", "report.md").is_file()
    assert cli.main([*command, "--data", str(flowers), "--target-column", "kind", "--against", "other"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "one on flowers: accuracy", "± by shots", "predictions in doubt", "bins of equal mass", "Against other, same samples",
        "McNemar's exact test", "verdict", "of these samples are among those that one was trained on", "reliability.png",
    ):  # fmt: skip
        assert words in shown, words


def test_a_model_needs_data_and_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="there is no MLflow store"):
        evaluate("models:/nothing@champion", data="iris")
    with pytest.raises(InputError, match="is no model: models:/NAME"):
        evaluate("models:/a/b/c", data="iris")


def test_other_figures_under_the_same_name_are_a_step_of_their_own(tmp_path: Path) -> None:
    """MLflow keeps the first value of a step: what a service answered anew would otherwise be lost without a word."""
    folder = RunFolder(tmp_path)
    for figures, step in (
        ({"eval/a": 0.5}, 0),
        ({"eval/a": 0.5}, 0),
        ({"eval/a": 0.6}, 1),
        ({"eval/a": 0.6, "eval/b": 1.0}, 2),
    ):
        assert next_step(folder, figures) == step
        with MetricJournal(tmp_path / "metrics.jsonl") as journal:
            journal.log(figures, step)


def test_submitted_with_other_settings_it_is_another_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = []
    for setting in ("backend.noise=aria-1", "backend.noise=aria-1", "backend.noise=forte-1"):
        command = ["submit", "evaluate", "one", "--directory", "/r", "--set", setting, "--dry-run", "--json"]
        assert cli.main(command) == 0
        jobs.append(json.loads(capsys.readouterr().out)["job"])
    assert jobs[0] == jobs[1] != jobs[2]
