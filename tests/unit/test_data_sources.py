"""Data sets of many files: folders, hive partitions, globs, filters; each refusal with the place it names."""

from __future__ import annotations

import decimal
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, DataError
from pipelines.data.files import read_columns
from pipelines.data.filters import Filter
from pipelines.data.readers import DataFile, possible
from pipelines.data.sources import find_files
from pipelines.data.table import load

TABLE = pa.table(
    {
        "age": [1, 50, None, 70],
        "site": ["a", "b", "c", None],
        "ok": [True, False, True, None],
        "mean radius": [1.0, 2.0, float("nan"), 4.0],
        "day": pa.array([0, 1, 2, 3], pa.date32()),
    }
)


def patients(folder: Path, sites: str = "abc", n_rows: int = 40) -> Path:
    """A data set partitioned by site and year."""
    rng = np.random.default_rng(4)
    for site in sites:
        for year in (2019, 2020):
            part = folder / f"site={site}" / f"year={year}"
            part.mkdir(parents=True)
            columns = {"age": rng.integers(20, 80, n_rows), "pulse": rng.normal(70, 9, n_rows)}
            pq.write_table(
                pa.table(columns | {"ill": rng.random(n_rows) < 0.5}), part / "0.parquet", row_group_size=10
            )
    return folder


def refusal(kind: type[Exception], **keys: Any) -> str:
    with pytest.raises(kind) as caught:
        load(DataConfig(**keys))
    return str(caught.value)


# ---- filters ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("age > 40 and site in ['a', 'b']", [1]),
        ("18 <= age < 65", [1]),
        ("site not in ('a',)", [1, 2]),  # a missing site is neither
        ("age is None", [2]),
        ("col('mean radius') is not None", [0, 1, 3]),
        ("ok", [0, 2]),
        ("not ok", [1]),
        ("not (age > 1)", [0]),
        ("day >= '1970-01-03'", [2, 3]),
        ("age != 50 or ok == True", [0, 2, 3]),
        ("age > -1 and col('mean radius') < age", [1, 3]),
        (f"age in {list(range(50, 1500))}", [1, 3]),
    ],
)
def test_a_filter_keeps_the_rows_it_says(text: str, rows: list[int]) -> None:
    numbered = TABLE.append_column("row", pa.array(range(4)))
    found = Filter.parse(text)
    assert numbered.filter(found.expression(TABLE.schema)).column("row").to_pylist() == rows
    assert pickle.loads(pickle.dumps(found)).columns == found.columns


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("agee > 1", ["'agee'", "did you mean 'age'"]),
        ("age > 'x'", ["is text", "'age' holds numbers"]),
        ("site == 3", ["holds text", "'3'"]),
        ("__import__('os')", ["is no condition"]),
        ("age.real > 1", ["neither a column nor"]),
        ("age + 1 > 2", ["neither a column nor"]),
        ("(lambda: 1)() > age", ["neither a column nor"]),
        ("age", ["holds numbers and is no condition"]),
        ("1 < 2", ["compares no column"]),
        ("age in 3", ["no list"]),
        ("age >", ["is no filter"]),
        ("ok < True", ["truth values"]),
        ("age == None", ["is None"]),
        ("day > 'soon'", ["date32", "'day'"]),
        ("site < age", ["'site' holds text", "numbers"]),
        ("age in [1, -9223372036854775809]", ["64 bits", "did you mean '9223372036854775807'"]),
        ("age in [" + "1," * 3000 + "]", ["more than 2000 parts"]),
        ("not " * 5000 + "ok", ["data.filter"]),
    ],
)
def test_a_filter_is_refused_in_words(text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Filter.parse(text).expression(TABLE.schema)
    assert all(word in str(caught.value) for word in ["data.filter", *words]), str(caught.value)


def test_a_filtered_table_is_the_table_of_the_rows_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    whole = pa.table(
        {"x": np.sort(rng.normal(size=200)), "g": rng.integers(0, 4, 200), "y": rng.integers(0, 2, 200)}
    )
    kept = whole.filter(
        pa.compute.and_(pa.compute.greater(whole["x"], 0.3), pa.compute.not_equal(whole["g"], 2))
    )
    pq.write_table(whole, tmp_path / "whole.parquet", row_group_size=20)
    pq.write_table(kept, tmp_path / "kept.parquet")
    pa.csv.write_csv(whole, tmp_path / "whole.csv")
    pa.feather.write_feather(whole, str(tmp_path / "whole.arrow"), chunksize=30)
    keys = {"target": "y", "features": ("x",)}
    wanted = load(DataConfig(path=str(tmp_path / "kept.parquet"), **keys))
    for name in ("whole.parquet", "whole.csv", "whole.arrow"):
        found = load(DataConfig(path=str(tmp_path / name), filter="x > 0.3 and g != 2", **keys))
        assert found.digest == wanted.digest, name
    assert "keeps" in refusal(DataError, path=str(tmp_path / "whole.csv"), filter="g > 9", **keys)


def test_row_groups_that_cannot_match_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"x": np.arange(100.0), "y": np.arange(100) % 2}), path, row_group_size=10)
    where = Filter.parse("x >= 42 and x < 55")
    file = DataFile(find_files(path)[0])
    assert file._row_groups(where.expression(file.schema)) == [4, 5]
    with path.open("r+b") as damaged:  # the first row group is not read: its damage is not noticed
        damaged.seek(30)
        damaged.write(b"\xff" * 40)
    assert load(DataConfig(path=str(path), target="y", filter=where.text)).features[:, 0].tolist() == list(
        range(42, 55)
    )
    assert "damaged" in refusal(DataError, path=str(path), target="y")


def test_messages_count_the_rows_kept(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0, np.inf, 2.0, np.nan], "y": [0, 1, 0, 1]}), tmp_path / "f.parquet")
    path = str(tmp_path / "f.parquet")
    assert "data row 2 (" in refusal(DataError, path=path, target="y")
    assert "data row 1 of those that data.filter keeps" in refusal(
        DataError, path=path, target="y", filter="y == 1"
    )


# ---- files -----------------------------------------------------------------------------------------------------------------


def test_partitions_are_columns_that_are_features_when_asked_for(tmp_path: Path) -> None:
    folder = patients(tmp_path / "p")
    table = load(DataConfig(path=str(folder), target="ill"))
    assert table.feature_names == ("age", "pulse")
    assert table.ignored == ("site", "year")
    assert len(table.target) == 240
    asked = load(DataConfig(path=str(folder), target="site", features=("year", "pulse")))
    assert asked.target.tolist() == ["a"] * 80 + ["b"] * 80 + ["c"] * 80
    assert asked.features[:, 0].tolist() == ([2019.0] * 40 + [2020.0] * 40) * 3


@pytest.mark.parametrize(("where", "n"), [("site == 'a'", 3), ("site is None", 5), ("site in ['a', 'b']", 7)])
def test_a_folder_of_no_value_stands_among_text(tmp_path: Path, where: str, n: int) -> None:
    """Its files come first by name, and say nothing of what the column holds."""
    for site, rows in (("a", 3), ("b", 4), ("__HIVE_DEFAULT_PARTITION__", 5)):
        (tmp_path / f"site={site}").mkdir()
        pq.write_table(
            pa.table({"x": np.arange(float(rows)), "y": np.arange(rows)}),
            tmp_path / f"site={site}" / "0.parquet",
        )
    found = read_columns(tmp_path, "y", ["x"], Filter.parse(where))
    assert len(found.target) == n


def test_decimals_are_compared_with_whole_numbers(tmp_path: Path) -> None:
    prices = pa.array([decimal.Decimal(n) for n in range(5)], pa.decimal128(10, 2))
    pq.write_table(pa.table({"price": prices, "y": np.arange(5)}), tmp_path / "a.parquet")
    found = read_columns(tmp_path, "y", ["price"], Filter.parse("price >= 3"))
    assert found.features.tolist() == [[3.0], [4.0]]


def test_partitions_that_cannot_match_are_not_opened(tmp_path: Path) -> None:
    folder = patients(tmp_path / "p")
    sources = find_files(folder)
    schema = DataFile(sources[0]).schema
    kept = possible(sources, Filter.parse("site in ['a', 'c'] and year > 2019 and age > 30"), schema)
    assert [str(each.path.parent.relative_to(folder)) for each in kept] == [
        "site=a/year=2020",
        "site=c/year=2020",
    ]
    (folder / "site=b" / "year=2019" / "0.parquet").write_bytes(b"no Parquet file")
    keys = {"path": str(folder), "target": "ill"}
    assert len(load(DataConfig(**keys, filter="site != 'b'")).target) == 160
    assert "site=b/year=2019" in refusal(DataError, **keys)


def test_a_glob_names_the_same_files(tmp_path: Path) -> None:
    folder = patients(tmp_path / "p")
    whole = load(DataConfig(path=str(folder), target="ill"))
    assert load(DataConfig(path=str(folder / "**" / "*.parquet"), target="ill")).digest == whole.digest
    some = load(DataConfig(path=str(folder / "site=[ab]" / "*" / "*.parquet"), target="ill"))
    assert len(some.target) == 160
    assert "matches no" in refusal(ConfigError, path=str(folder / "*.csv"), target="ill")


def test_folders_of_csv_and_arrow_files_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    parts = [pa.table({"x": rng.normal(size=9), "y": rng.integers(0, 2, 9)}) for _ in range(3)]
    for kind, write in (
        (".csv", pa.csv.write_csv),
        (".arrow", lambda t, p: pa.feather.write_feather(t, str(p))),
    ):
        folder = tmp_path / kind[1:]
        folder.mkdir()
        for number, part in enumerate(parts):
            write(part, folder / f"{number}{kind}")
        table = load(DataConfig(path=str(folder), target="y"))
        assert np.array_equal(table.features[:, 0], np.concatenate([part["x"] for part in parts]))
    (tmp_path / "csv" / "3.arrow").write_bytes((tmp_path / "arrow" / "0.arrow").read_bytes())
    assert "several kinds" in refusal(ConfigError, path=str(tmp_path / "csv"), target="y")


def test_folders_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    folder = patients(tmp_path / "p", "a")
    pq.write_table(pa.table({"age": [1], "pulse": [1.0], "ill": [True]}), folder / "site=a" / "x.parquet")
    text = refusal(DataError, path=str(folder), target="ill")
    assert "x.parquet" in text
    assert "'year'" in text
    (folder / "site=a" / "x.parquet").rename(folder / "b.parquet")
    assert "nothing" in refusal(DataError, path=str(folder), target="ill")
    (folder / "b.parquet").unlink()
    (folder / "plain").mkdir()
    (folder / "site=a" / "year=2019" / "0.parquet").rename(folder / "plain" / "0.parquet")
    assert "no key=value" in refusal(DataError, path=str(folder), target="ill")


def test_a_later_file_with_more_columns_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": [0, 1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [1.0, 2.0], "z": [3.0, 4.0], "y": [0, 1]}), tmp_path / "b.parquet")
    text = refusal(DataError, path=str(tmp_path), target="y")
    assert "b.parquet" in text
    assert "'z'" in text
    assert load(DataConfig(path=str(tmp_path), target="y", features=("x",))).features.shape == (4, 1)
    pq.write_table(pa.table({"x": ["1", "two"], "y": [0, 1]}), tmp_path / "b.parquet")
    assert "b.parquet: column 'x' is not numeric" in refusal(DataError, path=str(tmp_path), target="y")


def test_names_of_folders_keep_their_kind(tmp_path: Path) -> None:
    for name in ("code=007", "code=12", "code=__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"x": [1.0]}), tmp_path / name / "f.parquet")
    assert [dict(each.partitions)["code"] for each in find_files(tmp_path)] == ["007", "12", None]


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"name": "iris", "filter": "x > 1"}, "data.filter"),
        ({"name": "iris", "streaming": True}, "data.streaming"),
        ({"name": "iris", "readers": 2}, "data.readers"),
        ({"name": "iris", "image_size": 8}, "data.image_size"),
        ({"path": "p", "target": "y", "image_fit": "letterbox"}, "data.image_fit"),
        ({"path": "p", "target": "y", "image_size": 8}, "data.target"),
        ({"path": "p", "target": "y", "streaming": False, "readers": 2}, "data.readers"),
    ],
)
def test_keys_that_mean_nothing_are_refused(keys: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DataConfig(**keys)
    assert caught.value.key == key
