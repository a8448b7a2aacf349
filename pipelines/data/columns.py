"""Columns of a pyarrow table as checked numpy arrays. What is wrong with one is a `DataError` naming file, column and data row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from orchestrator.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


class Rows(NamedTuple):
    """How messages call the rows of a column.

    Attributes:
        before: rows of the file that precede it.
        is_filtered: only rows that the filter keeps are counted.
    """

    before: int = 0
    is_filtered: bool = False

    def __call__(self, row: int) -> str:
        """Row number `row` of the column, from 1, in words."""
        return f"data row {row + self.before}{' of those that data.filter keeps' if self.is_filtered else ''}"


_ALL = Rows()


def feature_values(file: Path, name: str, column: pa.ChunkedArray, rows: Rows = _ALL) -> np.ndarray:
    """A feature column as finite float64 [S]."""
    import pyarrow as pa

    if not is_numeric(column.type):
        raise DataError(f"{file}: column {name!r} is not numeric: {_first_text(decoded(column), rows)}")
    _check_present(file, name, column, rows)
    values = _cast(file, name, decoded(column), pa.float64())
    _check_finite(file, name, values, rows)
    return values


def target_values(file: Path, name: str, column: pa.ChunkedArray, rows: Rows = _ALL) -> np.ndarray:
    """The target column as bool, int64, float64 or str [S], nothing missing."""
    import pyarrow as pa
    from pyarrow import types

    column = decoded(column)
    kind = column.type
    _check_present(file, name, column, rows)
    if types.is_null(kind):
        return np.empty(0)
    if types.is_boolean(kind):
        return np.array(column.to_pylist(), dtype=bool)
    if types.is_integer(kind):
        return _cast(file, name, column, pa.int64())
    if types.is_floating(kind) or types.is_decimal(kind):
        values = _cast(file, name, column, pa.float64())
        _check_finite(file, name, values, rows)
        return values
    if not _is_text(kind):
        raise DataError(
            f"{file}: target column {name!r} has type {kind}; expected numbers, text or true/false"
        )
    labels = column.to_pylist()
    blank = [row for row, label in enumerate(labels, 1) if not label.strip()]
    if blank:
        raise DataError(
            f"{file}: column {name!r} has no value in {rows(blank[0])} ({len(blank)} missing in all)"
        )
    return np.array(labels, dtype=np.str_)


def check_same_kind(targets: Sequence[tuple[Path, np.ndarray]], name: str) -> None:
    """The parts of a folder may mix whole and broken numbers in the target, not numbers and text."""

    def kind(values: np.ndarray) -> str:
        return {"b": "true/false", "U": "text"}.get(values.dtype.kind, "numbers")

    first_file, first = targets[0]
    for file, target in targets[1:]:
        if kind(first) != kind(target):
            raise DataError(
                f"{file}: column {name!r} holds {kind(target)}, but {kind(first)} in {first_file.name}"
            )


def check_is_text(file: Path, name: str, column: pa.ChunkedArray) -> None:
    """Refuse a column that one slip of the pen made text: it would vanish from the features without a word."""
    column = decoded(column)
    if not _is_text(column.type):
        return
    values = column.to_pylist()
    bad = [row for row, value in enumerate(values, 1) if not is_number(value)]
    if 0 < len(bad) < len(values) / 2:
        raise DataError(
            f"{file}: column {name!r} is numeric but for {len(bad)} value(s), the first "
            f"{values[bad[0] - 1]!r} in data row {bad[0]}; mend it, or list the columns to use in data.features"
        )


def is_numeric(kind: pa.DataType) -> bool:
    """Whether the values of this type can be features."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    # An all-missing column counts, so that it is refused by name instead of quietly left out.
    checks = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)
    return any(check(kind) for check in checks)


def is_number(text: object) -> bool:
    """Whether Python reads it as a number."""
    try:
        float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _is_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with a dictionary encoding undone."""
    from pyarrow import types

    return column.cast(column.type.value_type) if types.is_dictionary(column.type) else column


def _check_present(file: Path, name: str, column: pa.ChunkedArray, rows: Rows) -> None:
    import pyarrow.compute as pc

    if column.null_count:
        row = pc.index(column.is_null(), True).as_py() + 1
        raise DataError(
            f"{file}: column {name!r} has no value in {rows(row)} ({column.null_count} missing in all)"
        )


def _check_finite(file: Path, name: str, values: np.ndarray, rows: Rows) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DataError(
            f"{file}: column {name!r} is {values[bad[0]]} in {rows(int(bad[0]) + 1)} ({len(bad)} such value(s) in all)"
        )


def _cast(file: Path, name: str, column: pa.ChunkedArray, kind: pa.DataType) -> np.ndarray:
    import pyarrow as pa

    try:
        values: np.ndarray = column.cast(kind).to_numpy()
    except pa.ArrowInvalid as error:
        raise DataError(f"{file}: column {name!r} does not fit {kind}: {error}") from None
    return values


def _first_text(column: pa.ChunkedArray, rows: Rows) -> str:
    if _is_text(column.type):
        for row, value in enumerate(column.to_pylist(), 1):
            if value is not None and not is_number(value):
                return f"{value!r} in {rows(row)}"
    return f"it has type {column.type}"
