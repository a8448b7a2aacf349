"""Continual learning: the reservoir, `ContinualTrainer`, streams, measures, resuming, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.config import TrainingConfig
from orchestrator.errors import CheckpointError, ConfigError, DataError
from orchestrator.models.model import Model
from orchestrator.training.loop import initial_state, train
from pipelines.compose import build_backend, build_coordinator, build_loss
from pipelines.continual import ContinualTrainer, Replay
from pipelines.continual.command import continual
from pipelines.continual.measures import average_score, by_row, forgetting
from pipelines.continual.reservoir import Reservoir
from pipelines.continual.settings import ContinualSettings
from pipelines.continual.state import StreamState
from pipelines.continual.streams import read_stream
from pipelines.continual.study import ContinualStudy, Outcome
from pipelines.data.datasets import prepare
from pipelines.predictor import Predictor
from pipelines.run_setup import assemble
from pipelines.studies.folder import StudyFolder
from pipelines.studies.study import Study, StudyInterrupted

TWO = ["setosa", "versicolor"]


def config(tmp_path: Path, *overrides: str) -> TrainingConfig:
    return TrainingConfig().with_overrides([
        "data.name=iris", "data.classes=[0, 1]", "data.n_components=2", "model.n_qubits=2", "model.n_layers=1", "run.batch_size=8",
        "fleet.dispatcher=serial", "tracking.enabled=false", f"run.directory={tmp_path / 'runs'}", *overrides,
    ])  # fmt: skip


MANY = ["data.classes=none", "loss.name=cross_entropy", "model.observables=each", "model.head=linear"]


def flowers(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of four columns, and two classes that the first two tell apart."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, n)
    features = rng.normal(size=(n, 4)) + 2.5 * targets[:, None] * np.array([1, -1, 0.5, 0])
    return features, np.array(TWO)[targets]


# --- The reservoir


def test_every_row_is_kept_with_the_same_probability() -> None:
    """Of 40 rows each is kept by 8/40 of the seeds: a chi-squared sum of 40 terms, 39 degrees of freedom, standard deviation 8.8."""
    n_seeds, kept = 4000, np.zeros(40)
    for seed in range(n_seeds):
        one = Reservoir(8, seed)
        one.add(np.arange(40.0)[:, None], np.arange(40))
        kept[one.targets] += 1
    share = 8 / 40
    chi_squared = ((kept - n_seeds * share) ** 2 / (n_seeds * share * (1 - share))).sum() * 39 / 40
    assert abs(chi_squared - 39) < 5 * np.sqrt(2 * 39)


def test_the_sample_does_not_depend_on_the_chunks() -> None:
    rows, whole = np.arange(90.0).reshape(45, 2), Reservoir(7, 3)
    whole.add(rows, np.arange(45))
    for cuts in ([1, 2, 3], [10, 11, 31], list(range(1, 45))):
        parts = Reservoir(7, 3)
        for part, targets in zip(np.split(rows, cuts), np.split(np.arange(45), cuts), strict=True):
            parts.add(part, targets)
        np.testing.assert_array_equal(parts.targets, whole.targets)
        np.testing.assert_array_equal(parts.features, rows[whole.targets])
    assert len(set(whole.targets)) == 7


def test_draws_are_of_different_rows_and_follow_the_step() -> None:
    one = Reservoir(20, 0)
    one.add(np.zeros((20, 1)), np.arange(20))
    draws = [tuple(one.draw(5, step)) for step in range(50)]
    assert all(len(set(drawn)) == 5 for drawn in draws)
    assert len(set(draws)) > 45
    assert len(one.draw(99, 0)) == 20
    none = Reservoir(0, 0)
    none.add(np.zeros((3, 1)), np.zeros(3))
    assert (len(none), none.n_seen, len(none.draw(5, 0))) == (0, 3, 0)


# --- The trainer


def test_a_chunk_without_replay_is_plain_training_bit_for_bit(tmp_path: Path) -> None:
    of = config(
        tmp_path, "data.test_fraction=0.0", "data.validation_fraction=0.0", "backend.shots=50", "run.epochs=3"
    )
    data = prepare(of.data, task="binary", seed=of.run.seed)
    task = assemble(of, Model.from_config(of.model, build_loss(of).n_outputs(2)), data).task
    state, coordinator = initial_state(task), build_coordinator(of.fleet, build_backend(of))
    for _ in train(task, state, coordinator):
        pass
    stream = read_stream(config(tmp_path), "time", 2)
    raw = np.concatenate([part for one in stream.tasks for part in (one.features, one.test_features)])
    rows = np.lexsort(raw.T)
    from pipelines.data.table import load

    table = load(of.data)
    wanted = table.features[data.rows.train]
    np.testing.assert_array_equal(raw[rows], wanted[np.lexsort(wanted.T)])
    with ContinualTrainer(of, classes=data.class_names, replay=Replay(capacity=0, passes=3)) as trainer:
        trainer.partial_fit(wanted, np.array(data.class_names)[data.train.targets])
    np.testing.assert_array_equal(trainer.state.params, state.params)
    assert trainer.state.n_steps == state.step


def test_replayed_rows_are_in_every_batch_after_the_first_chunk(tmp_path: Path) -> None:
    features, targets = flowers(32)
    sizes: list[int] = []

    class Watched(ContinualTrainer):
        def _with_replayed(self, *arguments: Any) -> Any:
            batch = super()._with_replayed(*arguments)
            sizes.append(len(batch.targets))
            return batch

    with Watched(config(tmp_path), classes=TWO, replay=Replay(capacity=10, n_per_batch=3)) as trainer:
        trainer.partial_fit(features[:16], targets[:16]).partial_fit(features[16:], targets[16:])
    assert sizes == [8, 8, 11, 11]
    assert trainer.state.totals.n_circuits == sum(sizes)
    assert (len(trainer.reservoir), trainer.reservoir.n_seen, trainer.state.n_chunks) == (10, 32, 2)
    held = [row.tolist() in features.tolist() for row in trainer.reservoir.features]
    assert all(held)


def test_it_learns_predicts_and_goes_on_after_load_to_the_same_bits(tmp_path: Path) -> None:
    features, targets = flowers(96)
    of, replay = config(tmp_path, "optimizer.learning_rate=0.2"), Replay(capacity=12, passes=4)
    with ContinualTrainer(of, classes=TWO, replay=replay) as trainer:
        for first in range(0, 96, 24):
            trainer.partial_fit(features[first : first + 24], targets[first : first + 24])
        accuracy = np.mean(trainer.predict(features) == targets)
        merits, used = trainer.merits(features, targets)
    # At chance 48 of 96 are right, standard deviation 4.9
    assert accuracy > 0.5 + 5 * 4.9 / 96
    assert merits.mean() == accuracy
    assert used.n_circuits == 96
    other = ContinualTrainer(of, classes=TWO, replay=replay)
    for first in range(0, 96, 24):
        other.partial_fit(features[first : first + 24], targets[first : first + 24])
        other.save(tmp_path / "model")
        other.close()
        other = ContinualTrainer.load(tmp_path / "model")
    np.testing.assert_array_equal(other.state.params, trainer.state.params)
    np.testing.assert_array_equal(other.reservoir.features, trainer.reservoir.features)
    np.testing.assert_array_equal(other.predict(features), trainer.predict(features))
    assert other.state.totals == trainer.state.totals
    assert not list((tmp_path / "model").rglob("*.pkl"))
    for file in (tmp_path / "model").rglob("*.npz"):
        with np.load(file, allow_pickle=False) as arrays:
            assert all(arrays[name].dtype != object for name in arrays.files)


def test_regression_and_data_frames(tmp_path: Path) -> None:
    features, _ = flowers(24)
    frame = pd.DataFrame(features, columns=list("abcd"))
    with ContinualTrainer(config(tmp_path, "loss.name=mse")) as trainer:
        trainer.partial_fit(frame, features[:, 0]).partial_fit(frame, features[:, 0])
        merits, _ = trainer.merits(features, features[:, 0])
        np.testing.assert_allclose(-merits, (trainer.predict(features) - features[:, 0]) ** 2)
    assert trainer.feature_names == ("a", "b", "c", "d")


def test_bad_chunks_are_refused_and_leave_the_trainer_as_it_was(tmp_path: Path) -> None:
    features, targets = flowers(16)
    trainer = ContinualTrainer(config(tmp_path), classes=TWO)
    with pytest.raises(DataError, match="call partial_fit first"):
        trainer.predict(features)
    with pytest.raises(DataError, match=r"'versicolour' in row 1 .*did you mean 'versicolor'"):
        trainer.partial_fit(features, np.full(16, "versicolour"))
    with pytest.raises(ConfigError, match="the model takes 2"):
        ContinualTrainer(config(tmp_path, "data.n_components=3")).partial_fit(features, targets)
    with pytest.raises(DataError, match="constant"):
        trainer.partial_fit(np.ones((8, 5)), targets[:8])
    trainer.partial_fit(features, targets)
    fresh = ContinualTrainer(config(tmp_path), classes=TWO).partial_fit(features, targets)
    np.testing.assert_array_equal(trainer.state.params, fresh.state.params)
    before = trainer.state.params.copy()
    with pytest.raises(DataError, match="3 columns; the first chunk had 4"):
        trainer.partial_fit(features[:, :3], targets)
    with pytest.raises(DataError, match="nan"):
        trainer.partial_fit(np.full((2, 4), np.nan), targets[:2])
    np.testing.assert_array_equal(trainer.state.params, before)
    assert (trainer.state.n_chunks, trainer.reservoir.n_seen) == (1, 16)
    trainer.save(tmp_path / "m")
    with pytest.raises(CheckpointError, match="another trainer"):
        ContinualTrainer(config(tmp_path), classes=TWO, replay=Replay(3)).partial_fit(features, targets).save(
            tmp_path / "m"
        )
    state = tmp_path / "m" / "state.npz"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        ContinualTrainer.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("optimizer.schedule=cosine", "optimizer.schedule"),
        ("run.max_steps=3", "run.max_steps"),
        ("training.max_staleness=1", "training.max_staleness"),
        ("model.initial_run=a", "model.initial_run"),
    ],
)
def test_configurations_that_a_stream_has_no_use_for_are_refused(
    tmp_path: Path, override: str, key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ContinualTrainer(config(tmp_path, override))
    assert caught.value.key == key
    with pytest.raises(ConfigError, match="passes = 0"):
        Replay(passes=0)


# --- Streams


def test_classes_come_in_turn_and_no_test_row_is_trained_on(tmp_path: Path) -> None:
    stream = read_stream(config(tmp_path, *MANY), "classes:2", 99)
    assert [task.name for task in stream.tasks] == ["setosa, versicolor", "virginica"]
    assert [sorted(set(task.targets)) for task in stream.tasks] == [[0, 1], [2]]
    assert sum(len(task.targets) + len(task.test_targets) for task in stream.tasks) == 150
    chunks = list(stream.chunks(30))
    assert [task for task, _, _ in chunks] == [0, 0, 0, 1, 1]
    np.testing.assert_array_equal(
        np.concatenate([part for _, part, _ in chunks[:3]]), stream.tasks[0].features
    )


def test_a_turn_keeps_lengths_and_a_shift_keeps_differences(tmp_path: Path) -> None:
    of = config(tmp_path)
    turned, shifted = (read_stream(of, stream, 3).tasks for stream in ("rotated:90", "shifted:2"))
    train = np.concatenate([task.features for task in read_stream(of, "rotated:0", 3).tasks])
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    first, second, third = ((task.test_features - mean) / deviation for task in turned)
    np.testing.assert_allclose(second[:, 0], -first[:, 1], atol=1e-12)
    np.testing.assert_allclose(second[:, 1], first[:, 0], atol=1e-12)
    np.testing.assert_allclose(third, -first, atol=1e-12)
    moved = (shifted[1].test_features - shifted[0].test_features) / deviation
    np.testing.assert_allclose(moved, 2.0, atol=1e-12)
    for task in turned:
        np.testing.assert_array_equal(task.test_rows, turned[0].test_rows)


def test_time_is_the_order_of_rows(tmp_path: Path) -> None:
    tasks = read_stream(config(tmp_path), "time", 4).tasks
    starts = [task.test_rows[0] for task in tasks]
    assert starts == sorted(starts)
    assert all((np.diff(task.test_rows) > 0).all() for task in tasks)
    assert [int(task.name.split()[1].partition("–")[0]) for task in tasks] == sorted(
        int(task.name.split()[1].partition("–")[0]) for task in tasks
    )


@pytest.mark.parametrize(
    ("stream", "tasks", "text"),
    [
        ("clases:2", 3, "did you mean 'classes'"),
        ("rotated:x", 3, "did you mean 'rotated:45'"),
        ("classes:0.5", 3, "did you mean 'classes:2'"),
        ("classes:2", 3, "did you mean 'rotated:45'"),  # two classes, a binary loss
        ("time:3", 3, "--stream"),
        ("shifted:1", 1, "--tasks = 1: .*did you mean '2'"),
    ],
)
def test_streams_that_cannot_be_are_refused(tmp_path: Path, stream: str, tasks: int, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        read_stream(config(tmp_path), stream, tasks)


def test_a_task_without_rows_to_test_on_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(
        "a,b,y\n"
        + "".join(f"{row},{row % 7},{'rare' if row == 5 else 'uvw'[row % 3]}\n" for row in range(60))
    )
    file = ["data.name=none", f"data.path={tmp_path / 'd.csv'}", "data.target=y", "data.classes=none"]
    with pytest.raises((ConfigError, DataError), match="rare"):
        read_stream(config(tmp_path, *MANY, *file), "classes:1", 3)


# --- Measures


def test_forgetting_is_that_of_the_paper() -> None:
    nan = np.nan
    scores = np.array([
        [0.5, nan, nan], [0.9, nan, nan],
        [0.6, 0.7, nan], [0.7, 0.8, nan],
        [0.8, 0.5, 0.6], [0.75, 0.6, 0.9],
    ])  # fmt: skip
    # after tasks: [.9], [.7, .8], [.75, .6, .9]: max(.9, .7) - .75 and .8 - .6
    np.testing.assert_allclose(forgetting(scores, np.array([1, 3, 5])), [0.15, 0.2])
    assert average_score(scores) == pytest.approx(0.75)
    assert average_score(scores[:3]) == pytest.approx(0.65)


def test_rows_count_so_that_their_mean_is_the_average_over_tasks() -> None:
    rng = np.random.default_rng(2)
    rows = [np.array([3, 8, 9]), np.array([1, 5]), np.array([3, 8, 9, 20])]
    merits = [rng.random(len(own)) for own in rows]
    total = by_row(merits, rows)
    assert len(total) == 6
    assert total.mean() == pytest.approx(np.mean([own.mean() for own in merits]), rel=1e-13)


# --- The study


def ran(
    tmp_path: Path,
    name: str,
    chosen: ContinualSettings,
    say: Any = None,
    overrides: Sequence[str] = ("backend.shots=20",),
) -> Outcome:
    of = config(tmp_path, *overrides)
    folder = StudyFolder.find(name, tmp_path / "runs") or StudyFolder.create(
        "continual", of, chosen.to_json(), directory=of.run.directory, name=name
    )
    with Study(folder, params={}, description="", say=say or (lambda line: None)) as study:
        return ContinualStudy(study, chosen).run()


def test_an_interrupted_study_ends_on_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ContinualSettings(tasks=2, chunk=12, passes=2, capacity=9, compare=False)
    calm = ran(tmp_path, "calm", chosen)
    # Once between a saved chunk and its test, once in the middle of a chunk of the second arm
    tested, n_tested = ContinualStudy._tested, 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal n_tested
        n_tested += 1
        if n_tested == 3:
            raise KeyboardInterrupt
        return tested(*arguments)

    monkeypatch.setattr(ContinualStudy, "_tested", interrupted)
    with pytest.raises(StudyInterrupted):
        ran(tmp_path, "broken", chosen)
    learn, n_learnt = ContinualTrainer._learn, 0

    def torn(self: ContinualTrainer, chunk: Any) -> Any:
        nonlocal n_learnt
        n_learnt += 1
        if self.replay.capacity == 0 and self.state.n_chunks == 2:
            monkeypatch.setattr(ContinualTrainer, "_learn", learn)
            raise KeyboardInterrupt
        return learn(self, chunk)

    monkeypatch.setattr(ContinualTrainer, "_learn", torn)
    with pytest.raises(StudyInterrupted):
        ran(tmp_path, "broken", chosen)
    said: list[str] = []
    again = ran(tmp_path, "broken", chosen, said.append)
    assert "without replay: continuing after chunk 2" in said
    for name, arm in calm.arms.items():
        np.testing.assert_array_equal(again.arms[name].scores, arm.scores)
        assert (again.arms[name].circuits, again.arms[name].test_circuits) == (
            arm.circuits,
            arm.test_circuits,
        )
        for one, other in zip(again.arms[name].merits, arm.merits, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("stream", "overrides"),
    [
        ("classes:1", MANY),
        ("time", ["loss.name=mse", "data.classes=none", "model.output_scale=2.0"]),
    ],
)
def test_the_command_compares_with_central_training(
    tmp_path: Path, stream: str, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
    of = config(tmp_path, "run.name=s", *overrides)
    found = continual(of, ContinualSettings(stream=stream, chunk=30, passes=2, capacity=20))
    json.dumps(found, allow_nan=False)
    folder = StudyFolder.find("s", tmp_path / "runs")
    assert folder is not None
    assert json.loads((folder.members / "central" / "result.json").read_text())["epochs"] == 2
    assert len(found["central"]["scores"]) == len(found["tasks"]) == 3
    sign = 1 if found["score"] == "accuracy" else -1
    if sign == 1:
        difference = found["arms"]["replay"]["average"] - found["central"]["average"]
        assert found["gain_over_central"]["difference"] == pytest.approx(difference, abs=1e-12)
    assert found["arms"]["replay"]["circuits"] > found["arms"]["no_replay"]["circuits"]
    assert found["arms"]["replay"]["steps"] == found["arms"]["no_replay"]["steps"]
    assert (folder.artifacts / "continual.png").stat().st_size > 10_000
    loaded = ContinualTrainer.load(folder.path / "replay")
    assert loaded.state.n_chunks == found["chunks"]


def test_central_training_is_tested_as_the_arms_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the backend's shots: what the trainer says of the central parameters, to the bit."""
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
    chosen = ContinualSettings(tasks=2, chunk=48, passes=1, capacity=9)
    outcome = ran(tmp_path, "s", chosen, overrides=["backend.shots=1"])
    assert outcome.central is not None
    assert outcome.central_member is not None
    predictor = Predictor.load(outcome.central_member.folder.model)
    of = config(tmp_path, "backend.shots=1")
    task = outcome.stream.tasks[1]
    labels = outcome.stream.labels(task.test_targets)
    with ContinualTrainer(
        of, classes=outcome.stream.class_names, preprocessing=predictor.preprocessing
    ) as trainer:
        trainer.partial_fit(task.features, outcome.stream.labels(task.targets))
        trainer.state = StreamState(params=predictor.params)
        merits, _ = trainer.merits(task.test_features, labels, purpose="test1")
    np.testing.assert_array_equal(outcome.central[1], merits)
    exact = (predictor.predict(task.test_features) == labels).astype(float)
    assert (merits != exact).any()  # one shot is no expectation value
