"""Data sets: built-ins, files, targets, splits, digests; and each refusal with the place it names."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, DataError, InputError
from pipelines.data.datasets import PreparedData, dataset_summary, prepare
from pipelines.data.splits import apportion
from pipelines.data.table import load
from pipelines.data.targets import MAX_CLASSES

Columns = dict[str, Any]


def flowers(n_rows: int = 60, seed: int = 0) -> Columns:
    rng = np.random.default_rng(seed)
    return {
        "height": rng.normal(10, 3, n_rows),
        "width": rng.normal(0.1, 0.01, n_rows),
        "n_leaves": rng.integers(3, 40, n_rows),
        "species": [("rose", "tulip", "daisy")[row % 3] for row in range(n_rows)],
    }


def write(path: Path, columns: Columns | pa.Table) -> Path:
    """The columns as a file of the kind that the extension names."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    elif path.suffix == ".feather":
        pa.feather.write_feather(table, str(path))
    else:
        make = pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream
        with make(path, table.schema) as writer:
            writer.write_table(table)
    return path


def of(path: Path, target: str = "species", **keys: Any) -> DataConfig:
    return DataConfig(path=str(path), target=target, **keys)


def refused(kind: type[InputError], *words: str, call: Callable[[], object]) -> str:
    """The text of the refusal, which holds all the words."""
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    return text


# ---- built-ins -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "first_feature", "classes"),
    [
        ("breast_cancer", (569, 30), "mean radius", ("malignant", "benign")),
        ("digits", (1797, 64), "pixel_0_0", tuple("0123456789")),
        ("iris", (150, 4), "sepal length (cm)", ("setosa", "versicolor", "virginica")),
        ("wine", (178, 13), "alcohol", ("class_0", "class_1", "class_2")),
    ],
)
def test_builtin_keeps_names(
    name: Any, shape: tuple[int, int], first_feature: str, classes: tuple[str, ...]
) -> None:
    table = load(DataConfig(name=name))
    assert table.features.shape == shape
    assert table.feature_names[0] == first_feature
    assert table.label_names == classes
    assert table.source == f"sklearn/{name}"
    assert load(DataConfig(name=name)).digest == table.digest


def test_default_job_is_prepared() -> None:
    config = DataConfig(name="breast_cancer", n_components=8)
    data = prepare(config, task="binary", seed=7, n_features=8)
    assert [len(part.targets) for part in (data.train, data.validation, data.test)] == [387, 68, 114]
    assert data.train.features.shape == (387, 8)
    assert data.train.features.dtype == np.float64
    assert data.train.targets.dtype == np.int64
    assert data.class_names == ("malignant", "benign")
    assert data.n_features == 8
    assert data.raw_example.shape == (5, 30)
    table = load(config)
    assert np.array_equal(data.preprocessing.transform(table.features[data.rows.test]), data.test.features)
    assert np.array_equal(table.target[data.rows.test], data.test.targets)


def test_split_is_the_same_on_every_machine() -> None:
    data = prepare(DataConfig(name="iris"), task="multiclass", seed=7)
    assert data.rows.test[:8].tolist() == [6, 7, 8, 19, 26, 30, 32, 33]
    assert data.rows.validation[:8].tolist() == [2, 18, 23, 34, 35, 48, 51, 62]


def test_digits_have_constant_columns_that_are_reported() -> None:
    data = prepare(DataConfig(name="digits", classes=(0, 1, 2, 3), n_components=8), task="multiclass", seed=1)
    assert data.class_names == ("0", "1", "2", "3")
    assert "pixel_0_0" in data.constant_features
    assert np.isfinite(data.test.features).all()


def test_builtin_features_can_be_chosen() -> None:
    data = prepare(
        DataConfig(name="iris", features=("petal width (cm)", "petal length (cm)")), task="multiclass", seed=1
    )
    assert data.feature_names == ("petal width (cm)", "petal length (cm)")
    call = lambda: load(DataConfig(name="iris", features=("petal",)))  # noqa: E731
    refused(ConfigError, "data.features", "'petal'", "petal width (cm)", call=call)
    refused(ConfigError, "data.target", call=lambda: load(DataConfig(name="iris", target="petal width (cm)")))


# ---- files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", [".parquet", ".csv", ".arrow", ".feather", ".ipc"])
def test_every_kind_of_file_gives_the_same_table(tmp_path: Path, extension: str) -> None:
    columns = flowers()
    table = load(of(write(tmp_path / f"flowers{extension}", columns)))
    assert table.feature_names == ("height", "width", "n_leaves")
    for index, name in enumerate(table.feature_names):
        assert np.array_equal(table.features[:, index], columns[name])
    assert table.target.tolist() == columns["species"]
    assert table.digest == load(of(write(tmp_path / "other.parquet", columns))).digest


def test_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    columns, folder = flowers(), tmp_path / "parts"
    folder.mkdir()
    for part, rows in (("b", slice(25, 60)), ("a", slice(0, 25)), ("c", slice(0, 0))):
        write(folder / f"{part}.parquet", {name: values[rows] for name, values in columns.items()})
    (folder / "_SUCCESS").write_text("")
    (folder / ".hidden.parquet").write_text("not read")
    assert load(of(folder)).digest == load(of(write(tmp_path / "whole.parquet", columns))).digest


def test_columns_can_be_chosen_and_ordered(tmp_path: Path) -> None:
    table = load(of(write(tmp_path / "f.parquet", flowers()), features=("n_leaves", "height")))
    assert table.feature_names == ("n_leaves", "height")


def test_text_and_row_indices_are_no_features(tmp_path: Path) -> None:
    frame = pa.table(flowers() | {"remark": ["fine"] * 60, "__index_level_0__": np.arange(60)})
    assert load(of(write(tmp_path / "f.parquet", frame))).ignored == ("remark", "__index_level_0__")
    table = load(of(write(tmp_path / "f.csv", frame.rename_columns([*frame.column_names[:-1], ""]))))
    assert table.feature_names == ("height", "width", "n_leaves")
    assert table.ignored == ("remark", "")
    named = frame.rename_columns([*frame.column_names[:-1], "plant"])
    named = named.replace_schema_metadata({"pandas": json.dumps({"index_columns": ["plant"], "columns": []})})
    assert "plant" in load(of(write(tmp_path / "g.parquet", named))).ignored


def test_numbers_of_every_kind_become_float64(tmp_path: Path) -> None:
    columns = {
        "small": pa.array([1, 2, 3], pa.int8()),
        "half": pa.array(np.array([0.5, 1.5, 2.5], np.float16)),
        "flag": [True, False, True],
        "price": pa.array([1, 2, 3], pa.decimal128(21, 2)),
        "coded": pa.array([4, 5, 4]).dictionary_encode(),
        "label": pa.array(["x", "y", "x"]).dictionary_encode(),
    }
    table = load(of(write(tmp_path / "f.parquet", columns), "label"))
    assert table.features.tolist() == [[1, 0.5, 1, 1, 4], [2, 1.5, 0, 2, 5], [3, 2.5, 1, 3, 4]]
    assert table.target.tolist() == ["x", "y", "x"]


def test_digest_follows_the_values_used_and_nothing_else(tmp_path: Path) -> None:
    columns = flowers()

    def digest(changed: Columns, **keys: Any) -> str:
        return load(of(write(tmp_path / "f.parquet", changed), **keys)).digest

    base = digest(columns)
    assert digest(columns | {"remark": ["x"] * 60}) == base
    nudged = columns["height"].copy()
    nudged[17] = np.nextafter(nudged[17], 100)
    swapped = [*columns["species"][:-2], *reversed(columns["species"][-2:])]
    reordered = {name: columns[name] for name in ("width", "height", "n_leaves", "species")}
    others = [digest(columns | {"height": nudged}), digest(columns | {"species": swapped}), digest(reordered)]
    others.append(digest(columns, features=("height", "width")))
    assert len({base, *others}) == 5


# ---- targets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["b", "a"] * 30, ("a", "b")),
        ([5, -1] * 30, ("-1", "5")),
        ([1.0, 0.0] * 30, ("0", "1")),
        ([True, False] * 30, ("false", "true")),
    ],
)
def test_labels_of_every_kind_become_class_indices(
    tmp_path: Path, labels: list[Any], names: tuple[str, ...]
) -> None:
    data = prepare(of(write(tmp_path / "f.parquet", flowers() | {"species": labels})), task="binary", seed=3)
    assert data.class_names == names
    first_is_upper = data.rows.train % 2 == 0
    assert np.array_equal(data.train.targets, first_is_upper.astype(np.int64))


def test_classes_are_filtered_and_ordered(tmp_path: Path) -> None:
    path = write(tmp_path / "f.parquet", flowers())
    data = prepare(of(path, classes=("tulip", "daisy")), task="binary", seed=3)
    assert data.class_names == ("tulip", "daisy")
    assert np.array_equal(data.rows.train % 3 == 2, data.train.targets == 1)
    assert (data.rows.train % 3 != 0).all()
    swapped = prepare(of(path, classes=("daisy", "tulip")), task="binary", seed=3)
    assert np.array_equal(swapped.rows.test, data.rows.test)
    assert np.array_equal(swapped.test.targets, 1 - data.test.targets)


def test_builtin_classes_by_label_or_name() -> None:
    by_label = prepare(DataConfig(name="iris", classes=(2, 0)), task="binary", seed=3)
    by_name = prepare(DataConfig(name="iris", classes=("virginica", "setosa")), task="binary", seed=3)
    assert by_label.class_names == by_name.class_names == ("virginica", "setosa")
    assert np.array_equal(by_label.test.targets, by_name.test.targets)


def test_regression_targets_stay_as_they_are(tmp_path: Path) -> None:
    columns = flowers()
    data = prepare(of(write(tmp_path / "f.csv", columns), "height"), task="regression", seed=3)
    assert data.class_names is None
    assert data.train.targets.dtype == np.float64
    assert np.array_equal(data.train.targets, columns["height"][data.rows.train])
    assert data.feature_names == ("width", "n_leaves")
    assert "class_counts" not in dataset_summary(data)


# ---- splits --------------------------------------------------------------------------------------------------------------


def labelled_file(path: Path, counts: list[int], rng: np.random.Generator) -> Path:
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return write(
        path, {"x": rng.normal(size=len(labels)), "y": rng.normal(size=len(labels)), "label": labels}
    )


@pytest.mark.parametrize("case", range(40))
def test_splits_are_disjoint_complete_and_stratified(tmp_path: Path, case: int) -> None:
    rng = np.random.default_rng(case)
    counts = rng.integers(6, 80, rng.integers(2, 7)).tolist()
    test, validation = rng.choice([0.0, 0.07, 0.2, 0.5]), rng.choice([0.0, 0.15, 0.33])
    config = of(
        labelled_file(tmp_path / "f.parquet", counts, rng),
        "label",
        test_fraction=float(test),
        validation_fraction=float(validation),
    )
    data = prepare(config, task="multiclass", seed=case)
    assert sorted(np.concatenate(data.rows).tolist()) == list(range(sum(counts)))
    labels = load(config).target
    for rows, samples in zip(data.rows, (data.train, data.validation, data.test), strict=True):
        assert (np.diff(rows) > 0).all()
        assert np.array_equal(labels[rows], samples.targets)
        assert len(rows) == 0 or len(np.unique(samples.targets)) == len(counts)
    in_test, in_validation = (
        np.bincount(part.targets, minlength=len(counts)) for part in (data.test, data.validation)
    )
    assert (np.abs(in_test - np.array(counts) * test) < 1 + 1e-9).all()
    assert (np.abs(in_validation - (counts - in_test) * validation) < 1 + 1e-9).all()
    if min(counts) * test >= 1:
        assert len(data.rows.test) == round(sum(counts) * test)
    assert len(data.rows.validation) == 0 if validation == 0 else len(data.rows.validation) > 0


@pytest.mark.parametrize("case", range(20))
def test_drawn_samples_are_stratified(tmp_path: Path, case: int) -> None:
    rng = np.random.default_rng(case)
    counts = rng.integers(20, 90, 3)
    limit = int(rng.integers(30, 60))
    config = of(labelled_file(tmp_path / "f.parquet", counts.tolist(), rng), "label", max_samples=limit)
    data = prepare(config, task="multiclass", seed=case)
    drawn = np.concatenate(data.rows)
    assert len(drawn) == len(set(drawn.tolist())) == limit
    kept = np.bincount(load(config).target[drawn])
    assert (np.abs(kept - counts * limit / counts.sum()) < 1 + 1e-9).all()


def test_regression_split_has_the_configured_sizes(tmp_path: Path) -> None:
    path = write(tmp_path / "f.parquet", flowers(100))
    data = prepare(of(path, "height", test_fraction=0.3, validation_fraction=0.1), task="regression", seed=0)
    assert [len(rows) for rows in data.rows] == [63, 7, 30]
    assert len(prepare(of(path, "height", max_samples=50), task="regression", seed=0).rows.test) == 10


def test_seed_decides_and_global_random_state_does_not() -> None:
    config = DataConfig(name="wine", n_components=4, max_samples=120)

    def fingerprint(data: PreparedData) -> bytes:
        return b"".join(part.features.tobytes() for part in (data.train, data.validation, data.test))

    np.random.seed(1)  # noqa: NPY002 - the point of the test
    random.seed(1)
    before = np.random.get_state()[1].tobytes()  # type: ignore[index]  # noqa: NPY002
    first = prepare(config, task="multiclass", seed=5)
    assert np.random.get_state()[1].tobytes() == before  # type: ignore[index]  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert fingerprint(prepare(config, task="multiclass", seed=5)) == fingerprint(first)
    assert fingerprint(prepare(config, task="multiclass", seed=6)) != fingerprint(first)


def test_test_rows_teach_nothing(tmp_path: Path) -> None:
    columns = flowers(90)
    config = of(write(tmp_path / "f.parquet", columns), n_components=2)
    before = prepare(config, task="multiclass", seed=4)
    held_out = np.concatenate([before.rows.test, before.rows.validation])
    for name in ("height", "width"):
        columns[name][held_out] = np.random.default_rng(9).normal(1e4, 1e3, len(held_out))
    write(tmp_path / "f.parquet", columns)
    after = prepare(config, task="multiclass", seed=4)
    for name, array in before.preprocessing.to_arrays().items():
        assert np.array_equal(array, after.preprocessing.to_arrays()[name]), name
    assert np.array_equal(before.train.features, after.train.features)
    assert not np.array_equal(before.test.features, after.test.features)
    assert before.digest != after.digest


def test_stored_preprocessing_is_used_as_it_is(tmp_path: Path) -> None:
    config = of(write(tmp_path / "f.parquet", flowers(90)), n_components=2)
    fitted = prepare(config, task="multiclass", seed=4).preprocessing
    again = prepare(config, task="multiclass", seed=8, preprocessing=fitted, n_features=2)
    assert again.preprocessing is fitted
    narrow = of(tmp_path / "f.parquet", features=("height", "width"))
    call = lambda: prepare(narrow, task="multiclass", seed=4, preprocessing=fitted)  # noqa: E731
    refused(DataError, "2 feature columns", "fitted to 3", call=call)


def test_apportion_adds_up_where_the_bounds_allow() -> None:
    quota = np.array([2.5, 2.5, 1.0])
    taken = apportion(quota, 6, np.floor(quota).astype(int), np.ceil(quota).astype(int))
    assert taken.tolist() == [3, 2, 1]
    assert apportion(np.array([0.2, 0.2]), 0, np.array([1, 1]), np.array([1, 1])).tolist() == [1, 1]


def test_summary_is_small_and_json_able(tmp_path: Path) -> None:
    data = prepare(DataConfig(name="iris"), task="multiclass", seed=7)
    summary = json.loads(json.dumps(dataset_summary(data)))
    assert summary["n_rows"] == {"train": 102, "validation": 18, "test": 30}
    assert summary["class_counts"]["test"] == {"setosa": 10, "versicolor": 10, "virginica": 10}
    assert summary["digest"] == data.digest
    assert summary["n_features"] == 4


# ---- refusals: files -----------------------------------------------------------------------------------------------------


def test_missing_file_and_unknown_extension(tmp_path: Path) -> None:
    write(tmp_path / "Flowers.parquet", flowers())
    refused(
        ConfigError,
        "data.path",
        "no such file",
        "Flowers.parquet",
        call=lambda: load(of(tmp_path / "flower.parquet")),
    )
    refused(ConfigError, "no folder", call=lambda: load(of(tmp_path / "nowhere" / "f.csv")))
    (tmp_path / "f.parqet").write_text("x")
    refused(ConfigError, "'.parqet'", "did you mean '.parquet'", call=lambda: load(of(tmp_path / "f.parqet")))


def test_folders_without_parquet_or_with_partitions(tmp_path: Path) -> None:
    refused(DataError, str(tmp_path), "without any .parquet", call=lambda: load(of(tmp_path)))
    (tmp_path / "species=rose").mkdir()
    write(tmp_path / "species=rose" / "a.parquet", flowers())
    refused(DataError, "a.parquet", "partitioned", call=lambda: load(of(tmp_path)))


def test_parts_of_a_folder_must_agree(tmp_path: Path) -> None:
    columns = flowers()
    write(tmp_path / "a.parquet", columns)
    write(tmp_path / "b.parquet", {name: columns[name] for name in ("height", "n_leaves", "species")})
    refused(ConfigError, "b.parquet", "'width'", call=lambda: load(of(tmp_path)))
    write(tmp_path / "b.parquet", columns | {"species": np.arange(60)})
    refused(DataError, "b.parquet", "'species'", "numbers", "text", call=lambda: load(of(tmp_path)))
    columns["height"][7] = np.inf
    write(tmp_path / "b.parquet", columns)
    refused(DataError, "b.parquet", "'height' is inf in data row 8", call=lambda: load(of(tmp_path)))


def test_unknown_columns_name_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "f.parquet", flowers())
    refused(
        ConfigError,
        "data.target",
        "'Specie'",
        "did you mean 'species'",
        call=lambda: load(of(path, "Specie")),
    )
    refused(
        ConfigError,
        "data.features",
        "did you mean 'height'",
        call=lambda: load(of(path, features=("heigth",))),
    )
    refused(ConfigError, "'width' twice", call=lambda: load(of(path, features=("width", "width"))))
    refused(
        ConfigError, "'species'", "data.target", call=lambda: load(of(path, features=("width", "species")))
    )
    refused(ConfigError, "no column", call=lambda: load(of(path, features=())))


def test_wrong_separator_and_missing_header_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("a;b;species\n1;2;x\n3;4;y\n")
    refused(ConfigError, "commas", "';'", call=lambda: load(of(tmp_path / "f.csv")))
    (tmp_path / "f.csv").write_text("1,2,0\n3,4,1\n")
    refused(ConfigError, "header line missing", call=lambda: load(of(tmp_path / "f.csv")))


def test_duplicate_columns(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("a,b,a,species\n1,2,3,x\n")
    refused(DataError, "f.csv", "'a'", "more than once", call=lambda: load(of(tmp_path / "f.csv")))
    doubled = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array(["x"])], ["a", "a", "species"])
    path = write(tmp_path / "f.arrow", doubled)
    refused(DataError, "'a'", call=lambda: load(of(path)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("extension", [".parquet", ".arrow"])
def test_nan_and_infinity_are_named_by_row_and_column(tmp_path: Path, value: float, extension: str) -> None:
    columns = flowers()
    columns["width"][[41, 50]] = value
    path = write(tmp_path / f"f{extension}", columns)
    refused(DataError, str(path), f"'width' is {value} in data row 42", "2 such", call=lambda: load(of(path)))
    refused(DataError, "'width'", "data row 42", call=lambda: load(of(path, "width", features=("height",))))


def test_missing_values_are_named_by_row_and_column(tmp_path: Path) -> None:
    columns = flowers()
    holes = columns | {"n_leaves": [None if row == 12 else row for row in range(60)]}
    for extension in (".parquet", ".csv"):
        config = of(write(tmp_path / f"f{extension}", holes))
        refused(DataError, "'n_leaves' has no value in data row 13", call=partial(load, config))
    unlabelled = columns | {"species": [None if row == 3 else "rose" for row in range(60)]}
    for extension in (".parquet", ".csv"):
        config = of(write(tmp_path / f"f{extension}", unlabelled))
        refused(DataError, "'species' has no value in data row 4", call=partial(load, config))
    path = write(tmp_path / "f.parquet", columns | {"width": pa.nulls(60)})
    refused(DataError, "'width' has no value in data row 1", call=lambda: load(of(path)))


def test_text_among_numbers_is_not_dropped_in_silence(tmp_path: Path) -> None:
    columns = flowers()
    columns["width"] = [f"{value:.4f}" for value in columns["width"]]
    columns["width"][29] = "0,12"
    path = write(tmp_path / "f.csv", columns)
    refused(DataError, "f.csv", "'width'", "'0,12' in data row 30", call=lambda: load(of(path)))
    refused(
        DataError, "'width' is not numeric", "data row 30", call=lambda: load(of(path, features=("width",)))
    )
    path = write(tmp_path / "f.parquet", flowers() | {"width": [[1.0, 2.0]] * 60})
    refused(DataError, "'width'", "list", call=lambda: load(of(path, features=("width",))))
    refused(
        DataError, "target column 'width'", "list", call=lambda: load(of(path, "width", features=("height",)))
    )
    path = write(tmp_path / "f.csv", {"remark": ["fine"] * 5, "species": ["a"] * 5})
    refused(DataError, "no numeric column", "'remark'", call=lambda: load(of(path)))


def test_uneven_csv_rows_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", flowers())
    text = path.read_text()
    path.write_text(text[: text.rindex(",")] + "\n")
    refused(DataError, "data row 60", "3 value(s)", "header has 4", call=lambda: load(of(path)))


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes("a,größe,species\n1,2,x\n".encode("latin-1"))
    refused(DataError, "f.csv", "UTF-8", call=lambda: load(of(tmp_path / "f.csv")))
    (tmp_path / "f.csv").write_bytes("a,species\n1,Häher\n2\n".encode("latin-1"))
    refused(DataError, "data row 2", "1 value(s)", call=lambda: load(of(tmp_path / "f.csv")))
    (tmp_path / "f.csv").write_bytes("a,species\nHäher\n".encode("latin-1"))
    refused(DataError, "f.csv", call=lambda: load(of(tmp_path / "f.csv")))
    (tmp_path / "f.csv").write_bytes("a,species\n1,Häher\n2,b\n".encode("latin-1"))
    refused(DataError, "'species'", "binary", call=lambda: load(of(tmp_path / "f.csv")))


@pytest.mark.parametrize("extension", [".parquet", ".csv", ".arrow", ".feather", ".ipc"])
def test_empty_tables_and_files(tmp_path: Path, extension: str) -> None:
    columns = {"x": pa.array([], pa.float64()), "species": pa.array([], pa.string())}
    path = write(tmp_path / f"f{extension}", columns)
    refused(DataError, str(path), "no data rows", call=lambda: load(of(path)))
    path.write_bytes(b"")
    refused(DataError, str(path), "empty", call=lambda: load(of(path)))


@pytest.mark.parametrize("extension", [".parquet", ".arrow", ".feather", ".ipc"])
def test_truncated_files_are_refused_wherever_they_end(tmp_path: Path, extension: str) -> None:
    path = write(tmp_path / f"f{extension}", flowers())
    whole = path.read_bytes()
    end = len(whole) - (9 if extension == ".ipc" else 1)  # a stream may lack its 8 bytes of end mark
    for length in np.linspace(1, end, 25).astype(int):
        path.write_bytes(whole[:length])
        refused(DataError, str(path), call=lambda: load(of(path)))
    path.write_bytes(b"this is no data file at all, whatever its name says")
    refused(DataError, str(path), call=lambda: load(of(path)))


@pytest.mark.parametrize("extension", [".parquet", ".arrow", ".ipc"])
def test_flipped_bytes_give_a_refusal_or_a_table_never_a_crash(tmp_path: Path, extension: str) -> None:
    path = write(tmp_path / f"f{extension}", flowers())
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(damaged))
        try:
            outcome = str(np.isfinite(load(of(path)).features).all())
        except InputError as error:
            outcome = str(error)
        assert outcome == "True" or path.name in outcome


# ---- refusals: targets, splits, the model's features ---------------------------------------------------------------------


def prepared(path: Path, labels: Any, task: Any = "multiclass", **keys: Any) -> PreparedData:
    columns = {name: values[: len(labels)] for name, values in flowers(400).items()}
    return prepare(of(write(path, columns | {"species": labels}), **keys), task=task, seed=1)


def test_labels_that_make_no_classes(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    refused(DataError, "one class only", "'rose'", "'species'", call=lambda: prepared(path, ["rose"] * 40))
    text = refused(
        DataError,
        "3 classes",
        "data.classes = ['a', 'b']",
        call=lambda: prepared(path, [*"abc"] * 9, "binary"),
    )
    assert "cross_entropy" in text
    broken = [0.0, 1.0] * 20
    broken[30] = 0.5
    refused(DataError, "'species' is 0.5 in data row 31", "mse", call=lambda: prepared(path, broken))
    many = list(range(MAX_CLASSES + 1)) * 3
    refused(DataError, f"{MAX_CLASSES + 1} different values", "mse", call=lambda: prepared(path, many))
    refused(
        DataError, "holds text ('a' in data row 1)", call=lambda: prepared(path, [*"ab"] * 9, "regression")
    )
    refused(DataError, "is 2 in every row", call=lambda: prepared(path, [2.0] * 40, "regression"))


def test_classes_that_do_not_exist(tmp_path: Path) -> None:
    path, labels = tmp_path / "f.parquet", ["rose", "tulip", "daisy"] * 10

    def choose(*classes: Any, task: str = "multiclass") -> Callable[[], PreparedData]:
        return lambda: prepared(path, labels, task, classes=classes)

    refused(ConfigError, "data.classes", "'tulpe'", "did you mean 'tulip'", call=choose("rose", "tulpe"))
    refused(ConfigError, "'rose' twice", call=choose("rose", "rose"))
    refused(ConfigError, "two or more", call=choose("rose"))
    refused(ConfigError, "data.classes", "regression", call=choose("rose", "tulip", task="regression"))
    refused(ConfigError, "data.classes = 12", call=lambda: prepared(path, [1, 2, 3] * 10, classes=(1, 12)))


def test_splits_that_would_be_empty(tmp_path: Path) -> None:
    path, few = tmp_path / "f.parquet", ["a"] * 30 + ["b"] * 2
    refused(DataError, "class 'b'", "2 sample(s)", "too few to split", call=lambda: prepared(path, few))
    assert len(prepared(path, few, validation_fraction=0.0).rows.validation) == 0
    refused(
        DataError,
        "class 'a'",
        "data.test_fraction = 0.9",
        call=lambda: prepared(path, [*"ab"] * 5, test_fraction=0.9),
    )
    refused(
        DataError,
        "class 'b'",
        "data.max_samples = 8",
        call=lambda: prepared(path, ["a"] * 300 + ["b"] * 9, max_samples=8),
    )
    refused(
        DataError,
        "the data",
        "too few",
        call=lambda: prepared(path, np.arange(8.0), "regression", test_fraction=0.95),
    )


def test_features_that_do_not_fit_the_model_say_what_to_set() -> None:
    def call(n_features: int, **keys: Any) -> Callable[[], PreparedData]:
        return lambda: prepare(
            DataConfig(name="wine", **keys), task="multiclass", seed=1, n_features=n_features
        )

    refused(ConfigError, "13 feature columns", "data.n_components = 8", "model.n_qubits = 13", call=call(8))
    refused(ConfigError, "data.n_components = 4", "model.n_qubits = 4", call=call(8, n_components=4))
    refused(DataError, "13 feature columns", "too few", "model.n_qubits = 13", call=call(20))
    refused(ConfigError, "data.n_components = 20", "13 features", "'13'", call=call(20, n_components=20))
    assert call(13)().n_features == 13
