"""``qfleet benchmark tables``: the protocol it trains by, the table it writes, its runs in MLflow, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from orchestrator.errors import ExecutionError
from orchestrator.training.reports import Samples
from pipelines import cli
from pipelines.benchmark import tables_report as report
from pipelines.benchmark.tables_models import problem, standardised, within_half_pi
from pipelines.benchmark.tables_pool import fits
from pipelines.benchmark.tables_runs import Run, samples_of
from pipelines.benchmark.tables_search import search
from pipelines.benchmark.tables_settings import (
    DATA_SETS,
    GRIDS,
    PUBLISHED,
    SETTINGS,
    TITLES,
    DataSet,
    Setting,
)
from pipelines.benchmark.tables_tracking import TablesTracking
from pipelines.benchmark.tables_training import WINDOW, Fit, batch_rows, fit, has_settled
from pipelines.data.benchmarks import generate
from pipelines.plots.tables import published_accuracies

CURVES = DataSet("two_curves", 2)
EASY = Setting(1, 0.05)


# --- Settings ------------------------------


def test_every_model_has_a_published_figure_and_a_setting_of_its_grid_for_every_data_set() -> None:
    assert set(SETTINGS) <= set(PUBLISHED) == set(TITLES) == set(GRIDS)
    for model, of_data in SETTINGS.items():
        assert tuple(of_data) == tuple(PUBLISHED[model]) == DATA_SETS
        assert set(of_data.values()) <= set(GRIDS[model])


# --- Samples ------------------------------


def test_folds_part_the_training_split_and_leave_the_test_split_alone() -> None:
    made = generate(*CURVES)
    train, test = samples_of(CURVES)
    assert np.array_equal(train.features, made.features[:-60])
    assert np.array_equal(test.features, made.features[-60:])
    assert np.array_equal(2 * test.targets - 1, made.labels[-60:])
    seen = []
    for which in range(5):
        learnt, scored = samples_of(CURVES, (which, 5))
        seen += scored.features.tolist()
        everything = np.concatenate([learnt.features, scored.features])
        assert np.array_equal(np.unique(everything, axis=0), np.unique(train.features, axis=0))
        assert (len(learnt.targets), len(scored.targets)) == (192, 48)
    assert sorted(seen) == sorted(train.features.tolist())


def test_scalings_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    reference, other = rng.normal(2, 3, (20, 4)), rng.normal(2, 3, (7, 4))
    expected = MinMaxScaler((-math.pi / 2, math.pi / 2)).fit(reference).transform(other)
    np.testing.assert_allclose(within_half_pi(other, reference), expected, atol=1e-14)
    expected = StandardScaler().fit(reference).transform(other)
    np.testing.assert_allclose(standardised(other, reference), expected, atol=1e-14)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("n_features", [2, 6])
def test_models_take_the_samples_as_they_are_scaled(name: str, n_features: int) -> None:
    train, test = samples_of(DataSet("hidden_manifold", n_features))
    made = problem(name, Setting(1, 0.01, repeats=2), train, test)
    assert made.train.features.shape == (240, made.model.n_features)
    assert made.test.features.shape == (60, made.model.n_features)
    assert made.model.n_outputs == (2 * made.model.template.n_qubits if name == "reuploading" else 1)


# --- Protocol ------------------------------


def test_training_ends_when_two_means_differ_by_half_a_standard_error() -> None:
    noise = np.tile([1.0, -1.0], WINDOW // 2)  # deviation 1 within a window
    limit = 1 / (2 * math.sqrt(WINDOW))
    for difference, expected in (
        (0.99 * limit, True),
        (-0.99 * limit, True),
        (1.01 * limit, False),
        (-1.01 * limit, False),
    ):
        losses = [*(7 + noise), *(7 + difference + noise)]
        assert has_settled(losses) is expected
        assert has_settled([100.0, *losses]) is expected, "older losses do not count"
    assert not has_settled([7.0] * (2 * WINDOW - 1))
    assert has_settled([7.0] * (2 * WINDOW))


def test_batches_are_drawn_with_replacement_from_all_rows() -> None:
    rows = np.array([batch_rows(3, step, 40) for step in range(500)])
    assert rows.shape == (500, 32)
    # 16000 draws of 40 rows: 400 of each, deviation sqrt(400 * 39/40)
    counts = np.bincount(rows.ravel(), minlength=40)
    assert np.abs(counts - 400).max() < 5 * math.sqrt(390)
    # 40 * (1 - (39/40)**32) different rows in a batch on average, 22.2 with a deviation below 2.4
    assert np.mean([len(np.unique(batch)) for batch in rows]) == pytest.approx(
        40 * (1 - (39 / 40) ** 32), abs=5 * 2.4 / 22
    )
    assert np.array_equal(rows[7], batch_rows(3, 7, 40))
    assert not np.array_equal(rows[7], batch_rows(4, 7, 40))


def figures(found: Fit) -> tuple[Any, ...]:
    """All but the time."""
    return (
        found.seed,
        found.train_accuracy,
        found.test_accuracy,
        found.losses,
        found.n_steps,
        found.n_circuits,
    )


def test_same_seed_same_bits_in_whatever_process() -> None:
    here = fit(problem("reuploading", EASY, *samples_of(CURVES)), EASY.learning_rate, 5)
    again = dict(fits([Run("reuploading", CURVES, EASY, 5), Run("reuploading", CURVES, EASY, 6)], 2))
    assert figures(again[Run("reuploading", CURVES, EASY, 5)]) == figures(here)
    assert figures(again[Run("reuploading", CURVES, EASY, 6)])[1:] != figures(here)[1:]
    assert here.is_settled
    assert len(here.losses) == here.n_steps // WINDOW
    assert here.losses[-1] < here.losses[0]


def test_a_limit_of_steps_is_kept_and_told() -> None:
    found = fit(problem("separable", EASY, *samples_of(CURVES)), EASY.learning_rate, 0, max_steps=7)
    assert (found.n_steps, found.is_settled, found.losses) == (7, False, ())
    assert found.n_circuits >= 7 * 32 + 300


def test_a_plane_is_learnt() -> None:
    """One feature decides, with a margin: any angle between the classes is right, so no sample is lost."""
    rng = np.random.default_rng(8)
    targets = np.arange(80) % 2
    features = np.stack([rng.uniform(0.5, 1.0, 80) * (2 * targets - 1), rng.uniform(-1, 1, 80)], axis=1)
    made = problem(
        "separable", EASY, Samples(features[:60], targets[:60]), Samples(features[60:], targets[60:])
    )
    found = fit(made, EASY.learning_rate, 1)
    assert (found.train_accuracy, found.test_accuracy) == (1.0, 1.0)


def test_a_loss_that_is_no_number_ends_training(monkeypatch: pytest.MonkeyPatch) -> None:
    made = problem("separable", EASY, *samples_of(CURVES))
    monkeypatch.setattr(
        type(made.loss), "value_and_gradient", lambda self, outputs, targets: (math.nan, 0 * outputs)
    )
    with pytest.raises(ExecutionError, match="step 1: the loss is nan"):
        fit(made, 0.05, 0)


# --- Search ------------------------------


def test_search_ranks_the_grid_of_every_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = (Setting(1, 0.05, 0.3), Setting(1, 1e-9, 0.3))
    monkeypatch.setitem(GRIDS, "separable", grid)
    monkeypatch.setattr("pipelines.benchmark.tables_search.N_FOLDS", 2)
    lines: list[str] = []
    data = DataSet("linearly_separable", 2)
    rows = search(["separable"], [data], partial(fits, n_processes=1), lines.append)
    assert len(rows) == len(lines) == 2
    # hardly anything is learnt at a rate of 1e-9, and a plane is learnt at 0.05
    assert [row["learning_rate"] for row in rows] == [0.05, 1e-9]
    assert rows[0]["accuracy"] > 0.9


# --- The table ------------------------------


def made_fit(seed: int, accuracy: float) -> Fit:
    return Fit(seed, 0.9, accuracy, (0.5, 0.25), 400, True, 1000, 2.0, 1, 10)


def made_row(model: str, data: DataSet, *accuracies: float) -> dict[str, Any]:
    return report.row(
        model, data, EASY, [made_fit(seed, a) for seed, a in reversed(list(enumerate(accuracies)))]
    )


@pytest.mark.parametrize(
    ("right", "difference", "is_reached"),
    [(60, 17.4, True), (43, 0.4, True), (41, -1.6, True), (40, -2.6, False)],
)
def test_difference_is_in_test_samples(right: int, difference: float, is_reached: bool) -> None:
    row = made_row("reuploading", CURVES, right / 60, right / 60)  # published: 0.71 of 60, 42.6 samples
    assert row["difference"] == pytest.approx(difference)
    assert row["reached"] is is_reached


def test_two_samples_below_is_reached() -> None:
    row = made_row("reuploading", DataSet("linearly_separable", 2), 58 / 60)  # published: 60
    assert row["difference"] == pytest.approx(-2)
    assert row["reached"]


def test_row_sums_work_and_averages_results() -> None:
    row = made_row("reuploading", CURVES, 0.7, 0.8, 0.9)
    assert (row["ours"], row["deviation"]) == (pytest.approx(0.8), pytest.approx(0.1 * math.sqrt(2 / 3)))
    assert (row["seconds"], row["circuits"], row["steps"], row["seeds"]) == (6.0, 3000, 400, 3)
    assert row["accuracies"] == [0.7, 0.8, 0.9], "in the order of the seeds"


def test_table_as_markdown_and_csv() -> None:
    rows = [made_row("reuploading", CURVES, 0.7, 0.8), made_row("iqp", DATA_SETS[3], 0.5, 0.5)]
    lines = report.markdown(rows).splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert "| data re-uploading | two_curves | 2 | 0.750 ± 0.050 | 0.71 | +2.4 | 4.0 s | 2.00 k |" in lines[2]
    assert "**missed**" in lines[3]
    assert lines[5].endswith("on 1 of 1 data sets")
    assert lines[6].endswith("on 0 of 1 data sets")
    read = list(csv.DictReader(io.StringIO(report.as_csv(rows))))
    assert [float(r["ours"]) for r in read] == [r["ours"] for r in rows]
    assert read[0]["accuracies"] == "0.700000 0.800000"


def test_plot_holds_every_figure(tmp_path: Path) -> None:
    rows = [made_row(model, data, 0.6, 0.9) for model in ("reuploading", "iqp") for data in DATA_SETS]
    figure = published_accuracies(rows, tmp_path / "tables.png", titles=TITLES)
    assert (tmp_path / "tables.png").stat().st_size > 10_000
    assert [axes.get_title() for axes in figure.axes] == ["data re-uploading", "IQP"]
    for axes, model in zip(figure.axes, ("reuploading", "iqp"), strict=True):
        lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
        assert lines["published"] == list(PUBLISHED[model].values())
        assert lines["ours, mean"] == pytest.approx([0.75] * 6)
        for label in axes.get_xticklabels():
            box = label.get_window_extent()
            assert min(box.x0, box.y0) > 0, "cut off"
            assert box.x1 < figure.bbox.x1, "cut off"
        low, high = axes.get_ylim()
        assert low < min(lines["published"])
        assert high > 1


# --- The command ------------------------------


def test_quick_table_is_written_and_tracked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert cli.main(["benchmark", "tables", "--quick", "--json", "--processes", "1", "--output", "out"]) == 0
    printed = capsys.readouterr()
    outcome = json.loads(printed.out)
    small = [data for data in DATA_SETS if data.n_features == 2]
    rows = {(row["model"], row["data"], row["features"]): row for row in outcome["rows"]}
    assert list(rows) == [(model, *data) for model in SETTINGS for data in small]
    # the published accuracy belongs to the mean of five seeds, of which this is one: three binomial deviations of 60 samples
    for data in small:
        row = rows["reuploading", *data]
        p = row["published"]
        assert row["ours"] >= p - 3 * math.sqrt(max(p * (1 - p), 0.05 * 0.95) / 60)
    assert f"[{len(rows)}/{len(rows)}] " in printed.err
    assert "left" in printed.err
    for file in outcome["files"]:
        assert Path(file).stat().st_size > 0
    client = mlflow.MlflowClient(tracking_uri=uri)
    [experiment] = client.search_experiments(filter_string="name = 'qfleet-tables'")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(children) == len(runs) - 1 == len(rows)
    assert {run.data.metrics["test/ours"] for run in children} == {row["ours"] for row in outcome["rows"]}
    names = {file.path for file in client.list_artifacts(parents[0].info.run_id)}
    assert names >= {"tables.md", "tables.csv", "tables.json", "tables.png"}


def test_rows_are_not_waited_for_where_mlflow_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the discard port, where nobody listens
    tracking = TablesTracking(tmp_path, "some-tables", is_enabled=True)
    for seed in range(3):
        tracking.log_row(made_row("iqp", CURVES, 0.5), Run("iqp", CURVES, EASY, seed), [made_fit(seed, 0.5)])
    assert tracking.finish([], {"rows": 3.0}).endswith("the rows were not logged")
    tracking.close()
    assert [path.name for path in tmp_path.iterdir()] == ["some-tables"]


def test_nothing_is_said_of_tracking_where_it_is_off(tmp_path: Path) -> None:
    tracking = TablesTracking(tmp_path, "some-tables", is_enabled=False)
    tracking.log_row(made_row("iqp", CURVES, 0.5), Run("iqp", CURVES, EASY, 0), [made_fit(0, 0.5)])
    assert tracking.finish([], {}) == ""
    tracking.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "reuploadin"], "did you mean 'reuploading'"),
        (["--seeds", "0"], "--seeds = 0: should be greater than or equal to 1"),
        (["--processes", "0"], "--processes = 0: should be greater than or equal to 1"),
        (["--actors", "0"], "--actors = 0: should be greater than or equal to 1"),
        (["--actors", "2", "--processes", "2"], "--processes = 2: trainings run on processes or on --actors"),
        (["--address", "10.0.0.5:6379"], "is where Ray actors run; say how many: --actors 2"),
    ],
)
def test_refusals_come_before_any_training(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["benchmark", "tables", "--json", *arguments]) == 2
    assert message in json.loads(capsys.readouterr().out)["error"]["message"]
