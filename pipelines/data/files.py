"""Columns out of data files, whole and checked on the way in: a table in memory.

Whatever is wrong with a file is a `DataError` naming the file and the data row (counted from 1, a CSV header not counted) or the
column; whatever is wrong with the ``data.*`` key that led here is a `ConfigError` with the nearest valid value.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.errors import ConfigError, DataError, nearest
from pipelines.data.columns import (
    Rows,
    check_is_text,
    check_same_kind,
    feature_values,
    is_number,
    is_numeric,
    target_values,
)
from pipelines.data.filters import Filter
from pipelines.data.readers import DataFile, possible
from pipelines.data.sources import SourceFile, find_files

if TYPE_CHECKING:
    import pyarrow as pa

# What pandas names the row index it writes beside the data: a row number is no feature, and learning from it is a leak.
_INDEX_COLUMN = re.compile(r"|__index_level_\d+__")


@dataclass(frozen=True)
class Columns:
    """The columns of a data set that are used.

    Attributes:
        feature_names: F names, in the order of the columns of `features`.
        features: float64 [S, F], finite.
        target_name: column of the target; empty where there is none.
        target: [S]; bool, int64, float64 or str, as the file has it; nothing missing. Zeros where there is none.
        ignored: columns left out because they are not numeric (or are a row index), when no features were asked for.
    """

    feature_names: tuple[str, ...]
    features: np.ndarray
    target_name: str
    target: np.ndarray
    ignored: tuple[str, ...] = ()


def read_columns(
    path: str | Path,
    target: str | None,
    features: Sequence[str] | None = None,
    where: Filter | None = None,
) -> Columns:
    """The target and the feature columns of a file, of all files of a folder, or of a glob, in the order of their paths.

    Args:
        path: see `pipelines.data.sources`.
        target: column of the label or value to learn; None where nothing is to be predicted.
        features: feature columns in their order; all numeric ones in the first file but the target if None.
        where: which rows; None for all.

    Raises:
        ConfigError: path, target, features or the filter name something that is not there.
        DataError: the data are damaged, not numeric or not complete, or the filter keeps no row.
    """
    check_wanted(target, features)
    sources, first_file = chosen_files(path, where)
    first = _read_part(first_file, target, features, where)
    parts = [(first_file.path, first)]
    for source in sources:
        if source.path != first_file.path:
            file = DataFile(source)
            check_alike(file, first_file, features)
            parts.append((file.path, _read_part(file, target, first.feature_names, where)))
    parts = [(file, part) for file, part in parts if len(part.target)]
    if not parts:
        raise no_rows(path, None if where is None else where.text)
    if target is not None:
        check_same_kind([(file, part.target) for file, part in parts], target)
    return Columns(
        first.feature_names,
        np.concatenate([part.features for _, part in parts]),
        target or "",
        np.concatenate([part.target for _, part in parts]),
        first.ignored,
    )


def chosen_files(path: str | Path, where: Filter | None) -> tuple[list[SourceFile], DataFile]:
    """The files where the filter may keep rows, by their folders' names, and the first of them, opened.

    Raises:
        ConfigError, DataError: there are none, or the first one is damaged.
    """
    sources = find_files(path)
    first = DataFile(sources[0])
    if where is not None:
        sources = possible(sources, where, first.schema)
        if not sources:
            raise no_rows(path, None if where is None else where.text)
        first = first if sources[0].path == first.path else DataFile(sources[0])
    return sources, first


def no_rows(path: str | Path, condition: str | None) -> DataError:
    """What is said of a data set of no rows; `condition` is the filter's text."""
    return DataError(
        f"{path}: has no data rows"
        + ("" if condition is None else f" that data.filter = {condition!r} keeps")
    )


def check_alike(file: DataFile, first: DataFile, features: Sequence[str] | None) -> None:
    """Refuse a file with columns that the first one lacks, where features are all numeric columns of the first one."""
    if features is not None:
        return
    more = [name for name in file.schema.names if name not in first.schema.names and not _is_index(name)]
    if more:
        raise DataError(
            f"{file.path}: has column {more[0]!r}, which {first.path.name} lacks; list the columns to use in data.features"
        )


def table_bytes(columns: Mapping[str, np.ndarray], kind: str) -> bytes:
    """A Parquet or CSV file (`kind`: ``.parquet`` or ``.csv``) of columns [S] by name."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    sink = pa.BufferOutputStream()
    if kind == ".csv":
        csv.write_csv(table, sink)
    else:
        parquet.write_table(table, sink)
    return bytes(sink.getvalue())


def some(names: Iterable[str], limit: int = 12) -> str:
    """The names for an error message, the long tail of a long list counted only."""
    names = list(names)
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def check_wanted(target: str | None, features: Sequence[str] | None) -> None:
    """Refuse features that are none, named twice, or the target."""
    if features is None:
        return
    if not features:
        raise ConfigError("data.features", list(features), "names no column")
    if twice := _repeated(features):
        raise ConfigError("data.features", list(features), f"names {twice[0]!r} twice")
    if target in features:
        raise ConfigError(
            "data.features",
            list(features),
            f"holds {target!r}, which is data.target: the answer is no feature",
        )


def columns_to_read(file: DataFile, target: str | None, features: Sequence[str] | None) -> list[str]:
    """The columns to read of a file: all of its own where features are to be chosen from them.

    Raises:
        ConfigError: target or features name a column that it lacks; DataError: a name occurs twice.
    """
    _check_names(file, target, features)
    targets = [] if target is None else [target]
    return list(dict.fromkeys([*(file.names if features is None else features), *targets]))


def _read_part(
    file: DataFile, target: str | None, features: Sequence[str] | None, where: Filter | None
) -> Columns:
    """The wanted columns of one file."""
    table = file.read(columns_to_read(file, target, features), where)
    kept, ignored = (tuple(features), ()) if features is not None else choose_features(file, table, target)
    rows = Rows(is_filtered=where is not None)
    values = np.empty((table.num_rows, len(kept)))
    for index, name in enumerate(kept):
        values[:, index] = feature_values(file.path, name, table.column(name), rows)
    if target is None:
        return Columns(kept, values, "", np.zeros(len(values)), ignored)
    return Columns(
        kept, values, target, target_values(file.path, target, table.column(target), rows), ignored
    )


def _check_names(file: DataFile, target: str | None, features: Sequence[str] | None) -> None:
    names = list(file.schema.names)
    if twice := _repeated(names):
        raise DataError(f"{file.path}: has {len(twice)} column name(s) more than once: {some(twice)}")
    targets = [] if target is None else [target]
    for key, wanted in (("data.target", targets), ("data.features", list(features or ()))):
        for name in wanted:
            if name not in names:
                close = nearest(name, names)
                raise ConfigError(
                    key, name, f"no such column in {file.path}, which has {_described(names)}", close
                )


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _described(names: list[str]) -> str:
    if len(names) == 1 and (found := next((mark for mark in ";\t|" if mark in names[0]), None)):
        return f"one column only, {names[0]!r}: values must be separated by commas, not by {found!r}"
    if names and all(is_number(name) for name in names):
        return f"{some(names)}: is the header line missing?"
    return some(names)


def choose_features(
    file: DataFile, table: pa.Table, target: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(all numeric columns of the file but the target, those left out). Columns of its folders are none unless they are asked for.

    Args:
        table: rows of all columns, by which text that ought to be numbers is noticed.
    """
    candidates = [name for name in file.names if name != target]
    index = set(_pandas_index(file.metadata)) | {name for name in candidates if _is_index(name)}
    kept = [name for name in candidates if name not in index and is_numeric(table.column(name).type)]
    ignored = [name for name in candidates if name not in kept]
    for name in ignored:
        if name not in index:
            check_is_text(file.path, name, table.column(name))
    if not kept:
        beside = "" if target is None else f" beside the target {target!r}"
        raise DataError(f"{file.path}: has no numeric column{beside}; it has {some(file.names)}")
    return tuple(kept), (*ignored, *(name for name in file.partition_names if name != target))


def _is_index(name: str) -> bool:
    return _INDEX_COLUMN.fullmatch(name) is not None


def _pandas_index(schema: pa.Schema) -> list[str]:
    """Columns that pandas wrote as its row index."""
    metadata = schema.pandas_metadata or {}
    return [name for name in metadata.get("index_columns", ()) if isinstance(name, str)]
