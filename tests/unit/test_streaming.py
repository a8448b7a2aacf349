"""Data sets larger than memory: the same splits as in memory, moments in any cut, bounded memory, files that are checked, resume."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from orchestrator.config import DataConfig, TrainingConfig
from orchestrator.errors import CheckpointError, ConfigError, DataError
from orchestrator.losses.base import Task
from orchestrator.training.reports import StepReport
from orchestrator.training.state import TrainState
from pipelines import Trainer
from pipelines.callbacks import Callback
from pipelines.data import streaming
from pipelines.data.datasets import PreparedData, prepare
from pipelines.data.pieces import pieces_of
from pipelines.data.preprocessing import Preprocessing
from pipelines.data.statistics import Moments, fit_moments
from pipelines.data.stored import SplitWriter, StoredSplits
from pipelines.run_folder import RunFolder
from pipelines.run_setup import load_run, prepare_run, save_run
from pipelines.trainer import TrainingInterrupted

SPLITS = ("train", "validation", "test")
ROOT = Path(__file__).parents[2]
N_FEATURES = 6
EPSILON = float(np.finfo(np.float64).eps)


def write_parts(folder: Path, kind: str = ".parquet", n_parts: int = 4, n_rows: int = 700) -> Path:
    """Files of correlated columns far from 0, one constant, with labels as text and a value to regress."""
    rng = np.random.default_rng(3)
    mix = rng.normal(size=(N_FEATURES, N_FEATURES)) + np.eye(N_FEATURES)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n_parts):
        x = rng.normal(size=(n_rows + 50 * number, N_FEATURES)) @ mix + 40
        columns: dict[str, Any] = {f"x{index}": x[:, index] for index in range(N_FEATURES)}
        columns |= {"same": np.full(len(x), 0.1), "kind": np.where(x[:, 0] > 40, "high", "low")}
        columns["value"] = x @ np.arange(N_FEATURES)
        columns["w"] = rng.integers(0, 10, len(x))
        table, path = pa.table(columns), folder / f"{number}{kind}"
        if kind == ".parquet":
            pq.write_table(table, path, row_group_size=130)
        elif kind == ".csv":
            pa.csv.write_csv(table, path)
        else:
            pa.feather.write_feather(table, str(path), chunksize=90)
    return folder


def both(task: Task = "binary", **keys: Any) -> tuple[PreparedData, PreparedData]:
    """In memory, and streamed."""
    whole, streamed = (
        prepare(DataConfig(**keys, streaming=is_streamed), task=task, seed=11)
        for is_streamed in (False, True)
    )
    return whole, streamed


def assert_same_samples(one: PreparedData, other: PreparedData) -> None:
    for split in SPLITS:
        assert np.array_equal(getattr(one.rows, split), getattr(other.rows, split))
        assert np.array_equal(getattr(one, split).targets, getattr(other, split).targets)
        assert getattr(one, split).targets.dtype == getattr(other, split).targets.dtype
    for name in ("class_names", "feature_names", "target_name", "source", "ignored", "task"):
        assert getattr(one, name) == getattr(other, name), name
    assert np.array_equal(one.raw_example, other.raw_example)


# ---- the same as in memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [".parquet", ".csv", ".arrow"])
@pytest.mark.parametrize(
    ("task", "keys"),
    [
        ("binary", {"target": "kind"}),
        ("binary", {"target": "kind", "filter": "w < 8 and x1 > 39", "max_samples": 300}),
        ("binary", {"target": "kind", "classes": ("low", "high"), "n_components": 3, "angle_limit": 2.0}),
        ("multiclass", {"target": "w", "classes": (3, 1, 7), "features": ("x4", "x0"), "standardize": False}),
        ("regression", {"target": "value", "n_components": 2, "test_fraction": 0.0}),
        ("autoencoder", {"features": ("x0", "x1"), "standardize": False, "n_components": 1}),
    ],
)
def test_streamed_is_as_in_memory(tmp_path: Path, kind: str, task: Task, keys: dict[str, Any]) -> None:
    folder = write_parts(tmp_path / "data", kind)
    whole, streamed = both(task, path=str(folder), **keys)
    assert_same_samples(whole, streamed)
    assert streamed.stored is not None
    assert whole.stored is None
    for split in SPLITS:
        one, other = getattr(whole, split).features, getattr(streamed, split).features
        assert type(other) is np.ndarray
        # Rounding of means and products over a few thousand rows, seen from values 40 deviations away from 0
        np.testing.assert_allclose(one, other, atol=40 * 3000 * EPSILON * 10)
    # what is fitted is all that differs: with that in common, the features are the same to the bit
    given = prepare(
        DataConfig(path=str(folder), streaming=True, **keys),
        task=task,
        seed=11,
        preprocessing=whole.preprocessing,
    )
    for split in SPLITS:
        assert np.array_equal(getattr(given, split).features, getattr(whole, split).features)


def test_who_reads_changes_no_bit(tmp_path: Path) -> None:
    """The pieces in another order of reading, as actors would finish them."""
    from pipelines.data import datasets

    config = DataConfig(
        path=str(write_parts(tmp_path / "data")), target="kind", n_components=3, streaming=True
    )
    alone = prepare(config, task="binary", seed=2)

    def backwards(function: Any, arguments: Any) -> list[Any]:
        found = {index: function(arguments[index]) for index in reversed(range(len(arguments)))}
        return [found[index] for index in range(len(arguments))]

    pieces = datasets.pieces_of(config)
    asked = datasets._Asked(config, "binary", 2, None, None, lambda n: None)
    others = datasets._prepare_pieces(pieces, asked, None, backwards)
    assert others.digest == alone.digest
    for split in SPLITS:
        assert getattr(others, split).features.tobytes() == getattr(alone, split).features.tobytes()
    assert others.stored is not None
    assert alone.stored is not None
    assert others.stored.parts == alone.stored.parts


def test_what_a_reader_answers_does_not_grow_with_its_rows(tmp_path: Path) -> None:
    sizes = []
    for n_rows in (100, 5000):
        folder = write_parts(tmp_path / str(n_rows), n_parts=1, n_rows=n_rows)
        (piece,) = pieces_of(DataConfig(path=str(folder), target="kind")).pieces
        asked = streaming._Measuring(piece, 8, np.arange(n_rows), with_products=True)
        sizes.append(len(pickle.dumps(streaming.measure(asked))))
    assert sizes[1] < sizes[0] + 16  # the count itself has more digits


def test_auto_streams_what_is_larger_than_the_limit(tmp_path: Path) -> None:
    folder = str(write_parts(tmp_path / "data"))
    keys = {"path": folder, "target": "kind"}
    raw_gb = 8 * 9 * 3100 / 2**30
    for limit, is_streamed in ((raw_gb * 1.1, False), (raw_gb * 0.9, True)):
        data = prepare(DataConfig(**keys, memory_limit_gb=limit), task="binary", seed=0)
        assert (data.stored is not None) == is_streamed


def test_the_digest_follows_the_values(tmp_path: Path) -> None:
    def digest(**keys: Any) -> str:
        config = DataConfig(path=str(tmp_path / "data"), streaming=True, **({"target": "kind"} | keys))
        return prepare(config, task="binary", seed=0).digest

    write_parts(tmp_path / "data")
    found = [digest(), digest(filter="w < 9"), digest(features=("x0", "x1"))]
    assert digest() == found[0]
    table = pq.read_table(tmp_path / "data" / "2.parquet")
    values = table["x3"].to_numpy().copy()
    values[5] = np.nextafter(values[5], 100)
    pq.write_table(table.set_column(3, "x3", pa.array(values)), tmp_path / "data" / "2.parquet")
    assert len({*found, digest()}) == 4


# ---- moments ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", range(12))
def test_moments_do_not_depend_on_the_cut_but_for_rounding(case: int) -> None:
    rng = np.random.default_rng(case)
    n, f = int(rng.integers(30, 900)), int(rng.integers(1, 6))
    offset = 10.0 ** rng.integers(0, 9)  # where a difference of large sums would lose all digits
    values = rng.normal(size=(n, f)) + offset
    cuts = np.sort(rng.integers(0, n + 1, rng.integers(0, 7)))
    merged = Moments.none(f, with_products=True)
    for part in np.split(values, cuts):
        merged = merged.merged(Moments.of(part, with_products=True))
    exact = values.astype(np.longdouble)
    centred = exact - exact.mean(axis=0)
    assert merged.n == n
    np.testing.assert_allclose(merged.mean, exact.mean(axis=0).astype(float), rtol=20 * EPSILON)
    # Chan et al.: the error of a centred sum is about n eps for centred values, whatever the offset, which enters through
    # the rounding of the values themselves: eps * offset each
    bound = n * (n * EPSILON + (EPSILON * offset) ** 2 + 8 * EPSILON * offset / np.sqrt(n))
    assert np.abs(merged.products - (centred.T @ centred).astype(float)).max() < bound
    assert np.array_equal(merged.low, values.min(axis=0))
    assert np.array_equal(merged.high, values.max(axis=0))
    squares = Moments.of(values, with_products=False)
    np.testing.assert_allclose(
        squares.products, np.diagonal(Moments.of(values, with_products=True).products), rtol=1e-14
    )


def test_fit_of_moments_refuses_what_a_fit_of_rows_refuses() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    cases: list[tuple[np.ndarray, dict[str, Any]]] = [
        (np.ones((5, 2)), {}),
        (np.full((4, 1), 1e200) * [[1.0], [2.0], [3.0], [-1.0]], {}),
        (x, {"n_components": 4}),
        (x[:2], {"n_components": 3}),
        (np.column_stack([x[:, 0], 2 * x[:, 0], x[:, 0] + 1]), {"n_components": 2}),
    ]
    for values, keys in cases:
        config = DataConfig(path="x", target="y", **keys)
        names = [f"x{index}" for index in range(values.shape[1])]
        texts = []
        for fit in (
            lambda: Preprocessing.fit(values, config, names),  # noqa: B023
            lambda: fit_moments(Moments.of(values, with_products=bool(keys)), config, names),  # noqa: B023
        ):
            with pytest.raises((ConfigError, DataError)) as caught:
                fit()
            texts.append((type(caught.value), str(caught.value)))
        assert texts[0] == texts[1]


# ---- refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "kind", "word"),
    [
        ({"target": "kindd"}, ConfigError, "did you mean 'kind'"),
        ({"target": "kind", "features": ("x0", "x9")}, ConfigError, "x9"),
        ({"target": "kind", "filter": "xx > 1"}, ConfigError, "data.filter"),
        ({"target": "kind", "filter": "w > 99"}, DataError, "keeps"),
        ({"target": "kind", "classes": ("low", "hihg")}, ConfigError, "did you mean 'high'"),
        ({"target": "kind", "classes": (0, 1)}, ConfigError, "no such class"),
        ({"target": "value"}, DataError, "no class label"),
        ({"target": "w"}, DataError, "has 10 classes"),
    ],
)
def test_streamed_data_are_refused_alike(
    tmp_path: Path, keys: dict[str, Any], kind: type[Exception], word: str
) -> None:
    folder = write_parts(tmp_path / "data", n_parts=2, n_rows=60)
    texts = []
    for is_streamed in (False, True):
        with pytest.raises(kind) as caught:
            prepare(DataConfig(path=str(folder), streaming=is_streamed, **keys), task="binary", seed=0)
        texts.append(str(caught.value))
    assert word in texts[0]
    assert texts[0] == texts[1]


def test_a_bad_value_is_named_with_its_row(tmp_path: Path) -> None:
    x = np.arange(20_000.0)
    x[12_345] = np.nan
    pq.write_table(pa.table({"x": x, "y": np.arange(20_000) % 2}), tmp_path / "f.parquet")
    config = DataConfig(path=str(tmp_path / "f.parquet"), target="y", streaming=True)
    with pytest.raises(DataError, match=r"f.parquet: column 'x' is nan in data row 12346"):
        prepare(config, task="binary", seed=0)
    names = [f"name {number}" for number in range(20_000)]
    pq.write_table(pa.table({"x": np.arange(20_000.0), "y": names}), tmp_path / "f.parquet")
    with pytest.raises(DataError, match="different texts"):
        prepare(config, task="binary", seed=0)


# ---- the files -------------------------------------------------------------------------------------------------------------


def test_stored_rows_come_back_and_damage_is_noticed(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(30, 3))
    stored = StoredSplits.create(tmp_path, {"train": 30, "validation": 0, "test": 4}, 3)
    for split, n in (("train", 30), ("validation", 0), ("test", 4)):
        parts = [values[:n][10:], values[:n][:10]] if split == "train" else [values[:n]]
        written = []
        for part, first in zip(parts, (10, 0) if split == "train" else (0,), strict=True):
            writer = SplitWriter(stored.folder / f"{split}.npy", n, 3, first)
            writer.write(part[:3])
            writer.write(part[3:])
            written.append(writer.close())
        stored.parts[split] = written[::-1]
    folder = stored.folder
    stored.move_to(tmp_path / "run")
    assert not folder.exists()
    plain = stored.to_plain()
    again = StoredSplits.open(tmp_path / "run", plain)
    assert np.array_equal(again.features("train"), values)
    assert np.array_equal(again.features("test"), values[:4])
    assert again.features("validation").shape == (0, 3)
    path = tmp_path / "run" / "train.npy"
    whole = path.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-8], whole + b"x", b""):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"train\.npy"):
            StoredSplits.open(tmp_path / "run", plain)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"train\.npy"):
        StoredSplits.open(tmp_path / "run", plain)


def test_what_is_not_kept_is_removed(tmp_path: Path) -> None:
    made = StoredSplits.create(tmp_path, {"train": 1, "validation": 0, "test": 0}, 2)
    left_over = tmp_path / ".preparing-killed"
    left_over.mkdir()
    (left_over / ".lock").touch()
    other = StoredSplits.create(tmp_path, {"train": 1, "validation": 0, "test": 0}, 2)
    assert not left_over.exists()  # of a process that is gone
    assert made.folder.exists()  # in use
    del made, other
    assert not list(tmp_path.iterdir())


# ---- runs ------------------------------------------------------------------------------------------------------------------


def run_config(tmp_path: Path, **run: Any) -> TrainingConfig:
    return TrainingConfig.from_dict(
        {
            "data": {
                "path": str(tmp_path / "data"), "target": "kind", "streaming": True, "n_components": 2, "max_samples": 90,
            },
            "model": {"n_qubits": 2, "n_layers": 1},
            "run": {"directory": str(tmp_path / "runs"), "epochs": 3, "batch_size": 16} | run,
            "fleet": {"dispatcher": "serial"},
            "tracking": {"enabled": False},
        }
    )  # fmt: skip


class InterruptAt(Callback):
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step(self, report: StepReport, state: TrainState) -> None:
        if report.step == self._step:
            raise KeyboardInterrupt


def test_a_streamed_run_trains_and_resumes_from_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.trainer.log_outcome", lambda *arguments, **named: None)
    data = write_parts(tmp_path / "data", n_parts=2)
    whole = Trainer(run_config(tmp_path, name="whole"), progress=False).fit()
    with pytest.raises(TrainingInterrupted):
        Trainer(run_config(tmp_path, name="part"), callbacks=[InterruptAt(6)], progress=False).fit()
    for file in data.iterdir():
        file.unlink()  # a run needs nothing but its folder
    run, fingerprint = load_run(whole.folder)
    assert np.array_equal(run.data.train.features, whole.run.data.train.features)
    assert run.data.stored is not None
    assert not list((tmp_path / "runs").glob(".preparing-*"))
    part = Trainer.resume("part", directory=str(tmp_path / "runs"), progress=False).fit()
    assert np.array_equal(part.params, whole.params)
    assert part.n_steps == whole.n_steps > 6
    with (whole.folder.path / "data" / "train.npy").open("r+b") as file:
        file.seek(200)
        file.write(b"\x00\x00")
    with pytest.raises(CheckpointError, match=r"train\.npy"):
        load_run(whole.folder)
    assert fingerprint


def test_inputs_of_a_streamed_run_are_copied(tmp_path: Path) -> None:
    write_parts(tmp_path / "data", n_parts=2)
    config = run_config(tmp_path)
    source = RunFolder.create(config.with_overrides(["run.name=a"]))
    save_run(source, prepare_run(config))
    target = RunFolder.create(config.with_overrides(["run.name=b"]))
    target.copy_inputs(source)
    target.write_config(config)
    assert np.array_equal(load_run(target)[0].data.train.features, load_run(source)[0].data.train.features)


MEASURED = """
import sys
from pathlib import Path
from orchestrator.config import DataConfig
from pipelines.data import pieces
from pipelines.data.datasets import prepare

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

def prepared(folder, streaming):
    config = DataConfig(path=folder, target="y", streaming=streaming, n_components=4)
    return prepare(config, task="binary", seed=0)

pieces._BLOCK_VALUES = 1 << 15  # 256 KiB: a data set of many blocks need not be large
for streaming in (True, False):
    prepared(sys.argv[1], streaming)  # imports and buffers
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    data = prepared(sys.argv[2], streaming)
    print(status("VmHWM") - before, len(data.train.targets))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of its memory from /proc")
def test_memory_is_bounded_by_blocks(tmp_path: Path) -> None:
    """A data set several times as large as what its preparation takes; in memory it takes all of it."""
    rng = np.random.default_rng(0)
    n_rows, n_columns = 4_000, 60
    for name, n_parts in (("small", 1), ("large", 8)):
        (tmp_path / name).mkdir()
        for number in range(n_parts):
            rows = 1000 if name == "small" else n_rows
            columns: dict[str, Any] = {f"x{i}": rng.normal(size=rows) for i in range(n_columns)}
            columns["y"] = rng.integers(0, 2, rows)
            pq.write_table(
                pa.table(columns),
                tmp_path / name / f"{number}.parquet",
                row_group_size=1000,
                compression="none",
            )
    n_bytes = 8 * n_rows * n_columns * 8
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "small"), str(tmp_path / "large")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=200)
    (streamed, n_train), (whole, n_train_whole) = (
        map(int, line.split()) for line in done.stdout.splitlines()
    )
    assert n_train == n_train_whole == round(8 * n_rows * 0.8) - round(round(8 * n_rows * 0.8) * 0.15)
    assert 2 * streamed < n_bytes < whole, (streamed, n_bytes, whole)
