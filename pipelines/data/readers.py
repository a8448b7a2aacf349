"""One data file: its columns, and its rows, whole or block by block. Parquet, CSV and Arrow IPC.

Rows come as pyarrow tables of the columns that are asked for, those of partition folders included, less the rows that a filter drops.
Whatever is wrong with a file is a `DataError` that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError, DataError
from pipelines.data.columns import decoded
from pipelines.data.filters import Filter
from pipelines.data.sources import SourceFile

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

# pyarrow's words. Its hook for bad rows would give the numbers as such, but prints a traceback where the row is not UTF-8.
_UNEVEN_ROW = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)")
_CSV_BYTES = 1 << 20
"""Of a CSV file that are parsed at a time; the first of them say what types its columns have."""


class DataFile:
    """A file that is open for reading.

    Args:
        source: the file, and what its folders say.

    Attributes:
        path: of the file. schema: of its columns, and then of those of its folders; no column is dictionary-encoded.
        names: of the columns in the file itself.

    Raises:
        DataError: it is empty or damaged, or holds a column that its folders name too.
    """

    def __init__(self, source: SourceFile) -> None:
        import pyarrow as pa

        self.path, self._source = source.path, source
        with refused(self.path):
            if self.path.stat().st_size == 0:
                raise DataError(f"{self.path}: is empty (0 bytes)")
            own = self._own_schema()
            self.names: list[str] = list(own.names)
            self.metadata = own
            fields = [pa.field(field.name, _plain_type(field.type)) for field in own]
            for name in self.partition_names:
                if name in self.names:
                    raise DataError(
                        f"{self.path}: is partitioned by {name!r}, which is a column of the file as well"
                    )
                fields.append(pa.field(name, pa.string() if name in source.texts else pa.int64()))
            self.schema = pa.schema(fields)

    @property
    def partition_names(self) -> list[str]:
        """Columns that the folders name."""
        return [name for name, _ in self._source.partitions]

    def read(self, columns: Sequence[str], where: Filter | None = None) -> pa.Table:
        """The columns in this order, of all rows that `where` keeps."""
        with refused(self.path):
            needed, expression = self._needed(columns, where)
            table = self._whole([name for name in needed if name in self.names], expression)
            return self._finished(table, columns, expression)

    def blocks(
        self, columns: Sequence[str], where: Filter | None = None, n_rows: int = 4096
    ) -> Iterator[pa.Table]:
        """What `read` gives, `n_rows` rows at a time (the last of them fewer), however the file is cut inside.

        Holds a block and what the file is read in: pages of a Parquet file, a MiB of CSV, a record batch of Arrow.
        """
        import pyarrow as pa

        waiting: list[pa.Table] = []
        n_waiting = 0
        with refused(self.path):
            needed, expression = self._needed(columns, where)
            own = [name for name in needed if name in self.names]
            for batch in self._batches(own, expression, n_rows):
                table = pa.Table.from_batches([batch])
                table.validate(full=True)
                table = self._finished(table, columns, expression)
                while len(table):
                    part = table.slice(0, n_rows - n_waiting)
                    table = table.slice(len(part))
                    waiting.append(part)
                    n_waiting += len(part)
                    if n_waiting == n_rows:
                        yield pa.concat_tables(waiting)
                        waiting, n_waiting = [], 0
            if waiting:
                yield pa.concat_tables(waiting)

    def n_values(self, n_columns: int) -> int:
        """About how many values so many columns of it have; from what the file says of itself, without reading its rows."""
        import pyarrow.parquet as pq

        with refused(self.path):
            if self._kind == ".parquet":
                return n_columns * int(pq.ParquetFile(self.path).metadata.num_rows)
            # a value of an Arrow file takes up to 8 bytes, one of a CSV file about as many
            share = n_columns / max(len(self.names), 1)
            return int(self.path.stat().st_size / 8 * share)

    @property
    def _kind(self) -> str:
        return self.path.suffix.lower()

    def _needed(self, columns: Sequence[str], where: Filter | None) -> tuple[list[str], pc.Expression | None]:
        if where is None:
            return list(columns), None
        return list(dict.fromkeys([*columns, *where.columns])), where.expression(self.schema)

    def _own_schema(self) -> pa.Schema:
        import pyarrow.parquet as pq

        if self._kind == ".parquet":
            return pq.ParquetFile(self.path).schema_arrow
        if self._kind == ".csv":
            with _uneven_rows(self.path):
                return self._csv().schema
        with _arrow(self.path) as opened:
            return opened.schema

    def _whole(self, names: Sequence[str], expression: pc.Expression | None) -> pa.Table:
        """The file's own columns of all rows, or of the row groups where the filter may keep some."""
        import pyarrow as pa
        import pyarrow.parquet as pq
        from pyarrow import csv

        if self._kind == ".parquet":
            parquet = pq.ParquetFile(self.path, page_checksum_verification=True)
            groups = self._row_groups(expression)
            table = (
                parquet.read(columns=list(names))
                if groups is None
                else parquet.read_row_groups(groups, columns=list(names))
            )
        elif self._kind == ".csv":
            with _uneven_rows(self.path):
                # One thread, because only then does pyarrow know the number of a bad row.
                table = csv.read_csv(self.path, read_options=csv.ReadOptions(use_threads=False))
        else:
            with pa.memory_map(str(self.path)) as source:
                table = _opened(self.path, source).read_all()
        if self._kind != ".csv":
            table.validate(
                full=True
            )  # a flipped bit in a length or an offset must not become a wild read later
        return table

    def _batches(
        self, names: Sequence[str], expression: pc.Expression | None, n_rows: int
    ) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        if self._kind == ".parquet":
            parquet = pq.ParquetFile(
                self.path, page_checksum_verification=True, pre_buffer=False, buffer_size=1 << 16
            )
            yield from parquet.iter_batches(
                batch_size=n_rows,
                columns=list(names),
                row_groups=self._row_groups(expression),
                use_threads=False,
            )
        elif self._kind == ".csv":
            with _uneven_rows(self.path):
                yield from self._csv()
        else:
            with _arrow(self.path) as opened:
                if hasattr(opened, "num_record_batches"):
                    yield from (opened.get_batch(index) for index in range(opened.num_record_batches))
                else:
                    yield from opened

    def _row_groups(self, expression: pc.Expression | None) -> list[int] | None:
        """Row groups of a Parquet file whose statistics do not exclude what the filter keeps; None: all."""
        from pyarrow import dataset, fs

        if expression is None:
            return None
        fragment = dataset.ParquetFileFormat().make_fragment(
            str(self.path), fs.LocalFileSystem(), self._given()
        )
        return [group.id for group in fragment.subset(expression, schema=self.schema).row_groups]

    def _given(self) -> pc.Expression | None:
        return given(self._source)

    def _csv(self) -> Any:
        """A reader of batches. Its types are those of the first MiB, but for whole numbers: later ones may be broken."""
        import pyarrow as pa
        from pyarrow import csv, types

        options = csv.ReadOptions(use_threads=False, block_size=_CSV_BYTES)
        first = csv.open_csv(self.path, read_options=options)
        wider = {
            field.name: pa.float64()
            for field in first.schema
            if types.is_integer(field.type) or types.is_null(field.type)
        }
        first.close()
        if len(set(first.schema.names)) < len(first.schema.names):
            return csv.open_csv(self.path, read_options=options)
        return csv.open_csv(
            self.path, read_options=options, convert_options=csv.ConvertOptions(column_types=wider)
        )

    def _finished(
        self, table: pa.Table, columns: Sequence[str], expression: pc.Expression | None
    ) -> pa.Table:
        """Dictionaries undone where the filter looks, partition columns added, rows filtered, columns chosen."""
        import pyarrow as pa

        for name, value in self._source.partitions:
            constant = pa.repeat(pa.scalar(value, self.schema.field(name).type), len(table))
            table = table.append_column(name, constant)
        if expression is not None:
            for index, field in enumerate(table.schema):
                if pa.types.is_dictionary(field.type):
                    table = table.set_column(index, field.name, decoded(table.column(index)))
            table = table.filter(expression)
        return table.select(list(columns))


def given(source: SourceFile) -> pc.Expression | None:
    """What the folders of a file say of its rows."""
    import pyarrow.compute as pc

    whole = None
    for name, value in source.partitions:
        part = pc.field(name).is_null() if value is None else pc.field(name) == value
        whole = part if whole is None else whole & part
    return whole


def possible(sources: Sequence[SourceFile], where: Filter, schema: pa.Schema) -> list[SourceFile]:
    """The files of which the filter may keep rows, by what their folders say; all of them where that tells nothing.

    Raises:
        ConfigError: pyarrow has no such comparison.
    """
    import pyarrow as pa
    from pyarrow import dataset, fs

    local, form = fs.LocalFileSystem(), dataset.IpcFileFormat()  # the files are not opened
    fragments = [form.make_fragment(str(source.path), local, given(source)) for source in sources]
    whole = dataset.FileSystemDataset(fragments, schema, form, local)
    expression = where.expression(schema)
    try:
        kept = {fragment.path for fragment in whole.get_fragments(filter=expression)}
    except pa.ArrowException as error:
        raise ConfigError(where.key, where.text, f"cannot be compared: {error}") from None
    return [source for source in sources if str(source.path) in kept]


@contextmanager
def refused(file: Path) -> Iterator[None]:
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


@contextmanager
def _uneven_rows(file: Path) -> Iterator[None]:
    """pyarrow's words about a row of another length, in ours."""
    try:
        yield
    except ValueError as error:
        uneven = _UNEVEN_ROW.search(str(error))
        if uneven is None:
            raise
        row, expected, given_here, text = uneven.groups()
        raise DataError(
            f"{file}: data row {int(row) - 1} has {given_here} value(s) where the header has {expected}: {text[:80]!r}"
        ) from None


@contextmanager
def _arrow(file: Path) -> Iterator[Any]:
    """Arrow IPC, mapped to memory."""
    import pyarrow as pa

    with pa.memory_map(str(file)) as source:
        yield _opened(file, source)


def _opened(file: Path, source: Any) -> Any:
    """File or stream format; the first bytes tell which."""
    import pyarrow as pa

    with open(file, "rb") as stream:
        magic = stream.read(6)
    if magic.startswith(b"FEA1"):
        raise DataError(f"{file}: is Feather version 1; write it anew as version 2 (Arrow IPC)")
    return pa.ipc.open_file(source) if magic == b"ARROW1" else pa.ipc.open_stream(source)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    from pyarrow import types

    return kind.value_type if types.is_dictionary(kind) else kind
