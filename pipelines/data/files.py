"""Columns out of Parquet, CSV and Arrow files, checked on the way in.

Files here, columns in `pipelines.data.columns`: no other reader of data sets touches pyarrow, and out come plain numpy arrays.
Whatever is wrong with a file is a `DataError` naming the file and the data row (counted from 1, a CSV header not counted) or the
column; whatever is wrong with the ``data.*`` key that led here is a `ConfigError` with the nearest valid value.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.errors import ConfigError, DataError, nearest
from pipelines.data.columns import (
    check_is_text,
    check_same_kind,
    feature_values,
    is_number,
    is_numeric,
    target_values,
)

if TYPE_CHECKING:
    import pyarrow as pa

EXTENSIONS = (".parquet", ".csv", ".arrow", ".feather", ".ipc")

# What pandas names the row index it writes beside the data: a row number is no feature, and learning from it is a leak.
_INDEX_COLUMN = re.compile(r"|__index_level_\d+__")

# pyarrow's words. Its hook for bad rows would give the numbers as such, but prints a traceback where the row is not UTF-8.
_UNEVEN_ROW = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)")

Reader = Callable[[Sequence[str]], "pa.Table"]


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


def read_columns(path: str | Path, target: str | None, features: Sequence[str] | None = None) -> Columns:
    """The target and the feature columns of a file, or of all Parquet files of a folder in the order of their names.

    Args:
        path: .parquet, .csv, .arrow, .feather or .ipc file, or a folder with .parquet files.
        target: column of the label or value to learn; None where nothing is to be predicted.
        features: feature columns in their order; all numeric ones but the target if None.

    Raises:
        ConfigError: path, target or features name something that is not there.
        DataError: the data are damaged, not numeric or not complete.
    """
    if features is not None:
        _check_wanted(target, features)
    files = data_files(path)
    first = _read_part(files[0], target, features)
    parts = [
        (files[0], first),
        *((file, _read_part(file, target, first.feature_names)) for file in files[1:]),
    ]
    parts = [(file, part) for file, part in parts if len(part.target)]
    if not parts:
        raise DataError(f"{path}: has no data rows")
    if target is not None:
        check_same_kind([(file, part.target) for file, part in parts], target)
    return Columns(
        first.feature_names,
        np.concatenate([part.features for _, part in parts]),
        target or "",
        np.concatenate([part.target for _, part in parts]),
        first.ignored,
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


def data_files(path: str | Path) -> list[Path]:
    """The files that make up `path`: itself, or the Parquet files of a folder by name.

    Raises:
        ConfigError: there is no such file or folder, or it is of no known kind.
        DataError: the folder holds no Parquet file, or sub-folders (a partitioned data set) with some.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _folder_files(path)
    if not path.exists():
        raise _missing(path)
    if path.suffix.lower() not in EXTENSIONS:
        raise ConfigError(
            "data.path",
            str(path),
            f"unknown extension {path.suffix!r}; known: {', '.join(EXTENSIONS)}, or a folder of .parquet files",
            nearest(path.suffix, EXTENSIONS),
        )
    return [path]


def some(names: Iterable[str], limit: int = 12) -> str:
    """The names for an error message, the long tail of a long list counted only."""
    names = list(names)
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _folder_files(folder: Path) -> list[Path]:
    def visible(pattern: str) -> list[Path]:
        return sorted(p for p in folder.glob(pattern) if p.is_file() and not p.name.startswith((".", "_")))

    nested = visible("*/**/*.parquet")
    if nested:
        raise DataError(
            f"{nested[0]}: lies in a sub-folder of {folder}; partitioned data sets are not read, "
            "keep all .parquet files in one folder"
        )
    files = visible("*.parquet")
    if not files:
        raise DataError(f"{folder}: is a folder without any .parquet file")
    return files


def _missing(path: Path) -> ConfigError:
    if not path.parent.is_dir():
        return ConfigError("data.path", str(path), f"no such file, and no folder {str(path.parent)!r}")
    close = nearest(path.name, (p.name for p in path.parent.iterdir()))
    return ConfigError("data.path", str(path), "no such file", str(path.with_name(close)) if close else None)


def _check_wanted(target: str | None, features: Sequence[str]) -> None:
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


def _read_part(file: Path, target: str | None, features: Sequence[str] | None) -> Columns:
    """The wanted columns of one file."""
    with _refused(file):
        names, read = _open(file)
        _check_names(file, names, target, features)
        if features is None:
            table = read(names)
            kept, ignored = _choose_features(file, table, target)
        else:
            table = read([*features, *([] if target is None else [target])])
            kept, ignored = tuple(features), ()
        values = np.empty((table.num_rows, len(kept)))
        for index, name in enumerate(kept):
            values[:, index] = feature_values(file, name, table.column(name))
        if target is None:
            return Columns(kept, values, "", np.zeros(len(values)), ignored)
        return Columns(kept, values, target, target_values(file, target, table.column(target)), ignored)


@contextmanager
def _refused(file: Path) -> Iterator[None]:
    """What pyarrow and the file system raise about damaged files, as a `DataError` that names the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{file}: cannot be read: {error.strerror}") from None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, UnicodeDecodeError):
            reason = f"text that is not UTF-8 ({reason})"
        raise DataError(f"{file}: damaged, cut short or not a {file.suffix} file: {reason}") from None


def _open(file: Path) -> tuple[list[str], Reader]:
    """Column names of a file, and a function that reads some of its columns."""
    if file.stat().st_size == 0:
        raise DataError(f"{file}: is empty (0 bytes)")
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        return _open_parquet(file)
    table = _read_csv(file) if suffix == ".csv" else _read_arrow(file)
    return table.column_names, lambda names: table


def _open_parquet(file: Path) -> tuple[list[str], Reader]:
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(file, page_checksum_verification=True)

    def read(names: Sequence[str]) -> pa.Table:
        table = parquet.read(columns=list(names))
        table.validate(full=True)  # a flipped bit in a length or an offset must not become a wild read later
        return table

    return parquet.schema_arrow.names, read


def _read_arrow(file: Path) -> pa.Table:
    """Arrow IPC, file or stream format; the first bytes tell which."""
    import pyarrow as pa

    with open(file, "rb") as stream:
        magic = stream.read(6)
    if magic.startswith(b"FEA1"):
        raise DataError(f"{file}: is Feather version 1; write it anew as version 2 (Arrow IPC)")
    with pa.memory_map(str(file)) as source:
        opened = pa.ipc.open_file(source) if magic == b"ARROW1" else pa.ipc.open_stream(source)
        table = opened.read_all()
    table.validate(full=True)
    return table


def _read_csv(file: Path) -> pa.Table:
    from pyarrow import csv

    try:
        # One thread, because only then does pyarrow know the number of a bad row.
        return csv.read_csv(file, read_options=csv.ReadOptions(use_threads=False))
    except ValueError as error:
        uneven = _UNEVEN_ROW.search(str(error))
        if uneven is None:
            raise
        row, expected, given, text = uneven.groups()
        raise DataError(
            f"{file}: data row {int(row) - 1} has {given} value(s) where the header has {expected}: {text[:80]!r}"
        ) from None


def _check_names(file: Path, names: list[str], target: str | None, features: Sequence[str] | None) -> None:
    if twice := _repeated(names):
        raise DataError(f"{file}: has {len(twice)} column name(s) more than once: {some(twice)}")
    targets = [] if target is None else [target]
    for key, wanted in (("data.target", targets), ("data.features", list(features or ()))):
        for name in wanted:
            if name not in names:
                close = nearest(name, names)
                raise ConfigError(
                    key, name, f"no such column in {file}, which has {_described(names)}", close
                )


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _described(names: list[str]) -> str:
    if len(names) == 1 and (found := next((mark for mark in ";\t|" if mark in names[0]), None)):
        return f"one column only, {names[0]!r}: values must be separated by commas, not by {found!r}"
    if names and all(is_number(name) for name in names):
        return f"{some(names)}: is the header line missing?"
    return some(names)


def _choose_features(
    file: Path, table: pa.Table, target: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(all numeric columns but the target, those left out)."""
    candidates = [name for name in table.column_names if name != target]
    index = set(_pandas_index(table)) | {name for name in candidates if _INDEX_COLUMN.fullmatch(name)}
    kept = [name for name in candidates if name not in index and is_numeric(table.column(name).type)]
    ignored = [name for name in candidates if name not in kept]
    for name in ignored:
        if name not in index:
            check_is_text(file, name, table.column(name))
    if not kept:
        beside = "" if target is None else f" beside the target {target!r}"
        raise DataError(f"{file}: has no numeric column{beside}; it has {some(table.column_names)}")
    return tuple(kept), tuple(ignored)


def _pandas_index(table: pa.Table) -> list[str]:
    """Columns that pandas wrote as its row index."""
    metadata = table.schema.pandas_metadata or {}
    return [name for name in metadata.get("index_columns", ()) if isinstance(name, str)]
