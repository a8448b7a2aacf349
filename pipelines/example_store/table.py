"""LanceTable: one table of LanceDB in a folder, in the few verbs that are needed. The only module that imports lancedb.

Every write is one commit of Lance: a new file in ``_versions``, renamed into place after the data it names are there. A process that is
killed leaves the version before it, and perhaps files that no version names. Everything happens in this process and on this disk: a
local folder is opened, never an address.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from orchestrator.errors import DataError, InputError, nearest

Metric = Literal["cosine", "l2"]
INSTALL = "pip install '.[store]'"
_KEYS_A_FILTER = 2000
_UNKNOWN_FIELD = re.compile(r"No field named [`\"]?([^`\".]+)[`\"]?\.")
_WHERE_IN_THE_SOURCE = re.compile(r",? *\S+\.rs:\d+(:\d+)?")


class MissingExtraError(InputError):
    """An optional package is not installed; the text says what installs it."""


class Version(NamedTuple):
    """A state of the table that can be read again.

    Attributes:
        number: counted from 1 upwards. time: of the commit. rows: in it.
    """

    number: int
    time: datetime
    rows: int


class LanceTable:
    """A table, perhaps not there yet.

    Args:
        folder: that holds ``<name>.lance``.
        version: to read, in place of the newest; nothing can be written then.
    """

    def __init__(self, folder: Path, name: str, version: int | None = None) -> None:
        self._folder, self._name, self._asked = folder, name, version
        self._opened: Any = None

    @property
    def is_there(self) -> bool:
        """Whether a version of it has been written whole."""
        return any((self._folder / f"{self._name}.lance" / "_versions").glob("*.manifest"))

    @property
    def version(self) -> int:
        """That is read; 0 where there is no table."""
        return int(self._table().version) if self.is_there else 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names."""
        return tuple(self._table().schema.names)

    def versions(self) -> list[Version]:
        """All that are kept, the oldest first."""
        if not self.is_there:
            return []
        return [
            Version(int(v["version"]), v["timestamp"], int(v["metadata"].get("total_rows", 0)))
            for v in self._table().list_versions()
        ]

    def refresh(self) -> None:
        """Read the newest version from now on: a handle stays with the one it was opened at, also when it merges."""
        if self._opened is not None and self._asked is None:
            self._opened.checkout_latest()

    def count(self, where: str | None = None) -> int:
        """Rows for which `where` holds."""
        with self._told():
            return int(self._table().count_rows(where))

    def read(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """The rows for which `where` holds, in no particular order.

        Raises:
            DataError: `where` is no condition on these columns.
        """
        query = self._table().search().select(list(columns))
        if where is not None:
            query = query.where(where, prefilter=True)
        with self._told():
            return query.to_arrow()

    def read_keys(self, columns: Sequence[str], key: str, values: Sequence[str]) -> pa.Table:
        """The rows whose text column `key` holds one of `values`, in no particular order."""
        parts = [
            self.read(columns, condition(key, values[first : first + _KEYS_A_FILTER]))
            for first in range(0, max(len(values), 1), _KEYS_A_FILTER)
        ]
        return pa.concat_tables(parts)

    def nearest(
        self, column: str, vector: np.ndarray, k: int, metric: Metric, key: str, where: str | None
    ) -> pa.Table:
        """`key` and ``_distance`` (1 - cosine, or the squared Euclidean distance) of the k rows nearest to `vector` [D], exactly.

        Every row that passes `where` is compared, whatever index there may be; which of several equally far rows come last is open.
        """
        query = self._table().search(vector.astype(np.float32), vector_column_name=column)
        query = query.distance_type(metric).bypass_vector_index()
        if where is not None:
            query = query.where(where, prefilter=True)
        with self._told():
            return query.select([key, "_distance"]).limit(k).to_arrow()

    def create(self, rows: pa.Table) -> None:
        """Make it with these first rows, in one commit."""
        with self._told():
            if not self.is_there:  # what a writer left that was killed before its first version
                shutil.rmtree(self._folder / f"{self._name}.lance", ignore_errors=True)
            self._opened = self._database().create_table(self._name, rows)

    def add_columns(self, names: Sequence[str]) -> None:
        """New columns of numbers, empty in every row, in one commit; no row is written anew."""
        with self._told():
            self._table().add_columns(dict.fromkeys(names, "cast(null as double)"))

    def merge(self, rows: pa.Table, key: str) -> None:
        """Replace the rows with the same `key` and append the others, in one commit."""
        with self._told():
            self._table().merge_insert(key).when_matched_update_all().when_not_matched_insert_all().execute(
                rows
            )

    def update(self, rows: pa.Table, key: str) -> None:
        """Replace these columns in the rows with the same `key`, in one commit."""
        with self._told():
            self._table().merge_insert(key).when_matched_update_all().execute(rows)

    def delete(self, where: str) -> None:
        """Delete rows, in one commit; versions before it keep them."""
        with self._told():
            self._table().delete(where)

    def compact(self, keep: timedelta) -> None:
        """Join small files, and delete versions older than `keep` with what only they hold; whoever reads one of these fails."""
        with self._told(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it says what the line above says
            self._table().optimize(cleanup_older_than=keep)

    def _database(self) -> Any:
        return check_installed().connect(str(self._folder.absolute()))

    def _table(self) -> Any:
        if self._opened is not None:
            return self._opened
        database = self._database()
        if not self.is_there:
            raise DataError(f"{self._folder}: no examples have been added yet")
        with self._told():
            opened = database.open_table(self._name)
        if self._asked is not None:
            known = [int(each["version"]) for each in opened.list_versions()]
            if self._asked not in known:
                close = min(known, key=lambda number: abs(number - (self._asked or 0)))
                raise InputError(f"{self._folder} has no version {self._asked}; nearest valid: {close}")
            opened.checkout(self._asked)
        self._opened = opened
        return opened

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What Lance raises, as a `DataError` in words."""
        try:
            yield
        except (ValueError, RuntimeError, OSError) as error:
            text = str(error)
            unknown = _UNKNOWN_FIELD.search(text)
            if unknown is not None:
                close = nearest(unknown[1], self.columns)
                hint = f"; did you mean {close!r}?" if close else ""
                raise DataError(
                    f"{self._folder}: there is no column {unknown[1]!r}{hint} There are: {', '.join(self.columns)}"
                ) from None
            first = _WHERE_IN_THE_SOURCE.sub("", text.splitlines()[0] if text else type(error).__name__)
            raise DataError(f"{self._folder}: {first}") from None


def check_installed() -> Any:
    """The package lancedb.

    Raises:
        MissingExtraError: it is not there.
    """
    try:
        import lancedb
    except ImportError as error:
        raise MissingExtraError(f"the example store needs lancedb ({error}); install it: {INSTALL}") from None
    return lancedb


def condition(key: str, values: Sequence[str]) -> str:
    """`key` is one of these texts, in SQL."""
    if not values:
        return "false"
    return f"{quoted(key)} IN ({', '.join(text(value) for value in values)})"


def quoted(column: str) -> str:
    """The name of a column in SQL."""
    return f"`{column}`"


def text(value: str) -> str:
    """A text in SQL."""
    return "'" + value.replace("'", "''") + "'"


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """[S, D] of a column of lists of one length."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(whole.flatten().to_numpy(zero_copy_only=False)).reshape(
        len(whole), whole.type.list_size
    )


def lists(values: np.ndarray) -> pa.FixedSizeListArray:
    """A column of lists of one length, of [S, D]."""
    return pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1]
    )


def or_null(values: np.ndarray) -> pa.Array:
    """A column of numbers [S], empty where one is 0."""
    return pa.array(values, mask=values == 0)


def arrow_table(columns: Mapping[str, Any]) -> pa.Table:
    """A table of columns by name."""
    return pa.table(
        {
            name: pa.array(values) if isinstance(values, np.ndarray) else values
            for name, values in columns.items()
        }
    )
