"""CircuitWriter: the circuit log of a run while it goes on, in ``circuits/`` of its folder.

::

    part-000000.parquet ...  finished parts, each written aside and renamed
    tail-000003.arrows       what is to become part 3: an Arrow stream, appended to by every evaluation
    structures.jsonl         the circuits that rows refer to

A row is on the disk before the checkpoint that counts it (`CircuitWriter.flush`). What a killed process left is mended when the run
resumes: the last batch of the tail may be torn and is cut off, and rows of steps that will be done again are dropped. So the log of a
resumed run holds each step once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from orchestrator.errors import StorageError
from orchestrator.jobs import Job, JobResult
from orchestrator.planning.plan import EvaluationPlan
from pipelines.data.circuit_rows import Structure, batches, schema

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "circuits"
STRUCTURES = "structures.jsonl"
PART_ROWS = 1 << 19
"""Rows after which the tail becomes a part."""
_GROUP_ROWS = 1 << 16


class CircuitWriter:
    """Writes the log of one run; one thread, one process.

    Args:
        folder: the run's ``circuits/``. seed: of the run.
        step, cursor: of the state that the run goes on from, see `TrainState`: rows of what comes after it are dropped.

    Raises:
        StorageError: what is there cannot be mended.
    """

    def __init__(
        self, folder: Path, seed: int, *, step: int = 0, cursor: int = 0, part_rows: int = PART_ROWS
    ) -> None:
        self._folder, self._seed, self._part_rows = folder, seed, part_rows
        import pyarrow as pa

        self._known: set[str] = set()
        self._tail: IO[bytes] | None = None
        self._stream: Any = None
        self._n_rows = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._mend(_still_true(step, cursor))
            self._structures = (folder / STRUCTURES).open("ab")
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{folder}: the circuit log cannot be continued: {error}") from None
        self._number = len(parts_of(folder))

    def add(self, plan: EvaluationPlan, answers: Sequence[tuple[Job, JobResult]]) -> None:
        """Append the circuits of an evaluation.

        Raises:
            OSError: the disk does not take them.
        """
        if not answers:
            return
        if plan.circuit.key not in self._known:
            line = json.dumps(Structure.of(plan.circuit)._asdict())
            self._structures.write(line.encode() + b"\n")
            self._known.add(plan.circuit.key)
        for batch in batches(plan, answers, self._seed):
            self._open_tail().write_batch(batch)
            self._n_rows += len(batch)
        if self._n_rows >= self._part_rows:
            self._roll()

    def flush(self) -> None:
        """Have all rows so far on the disk.

        Raises:
            OSError: it does not take them.
        """
        for file in (self._structures, self._tail):
            if file is not None:
                file.flush()
                os.fsync(file.fileno())

    def close(self) -> None:
        """Make the tail a part."""
        self._roll()
        self._structures.close()

    def _open_tail(self) -> Any:
        import pyarrow as pa

        if self._stream is None:
            self._tail = (self._folder / f"tail-{self._number:06d}.arrows").open("wb")
            self._stream = pa.ipc.new_stream(self._tail, schema())
        return self._stream

    def _roll(self) -> None:
        if self._tail is None:
            return
        self._stream.close()
        self._tail.close()
        path = Path(self._tail.name)
        self._tail = self._stream = None
        write_part(self._folder / f"part-{self._number:06d}.parquet", tail_batches(path))
        path.unlink()
        self._number, self._n_rows = self._number + 1, 0

    def _mend(self, is_true: Callable[[pa.Table], pa.Array]) -> None:
        """Make parts of tails that were left, and drop the rows of steps that will be done again."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        for aside in self._folder.glob(".part-*"):
            aside.unlink()
        for tail in tails_of(self._folder):
            part = self._folder / tail.name.replace("tail", "part").replace(".arrows", ".parquet")
            if not part.exists():
                write_part(part, tail_batches(tail))
            tail.unlink()
        for path in parts_of(self._folder):
            whole = pq.ParquetFile(path)
            n_kept = 0
            for batch in whole.iter_batches(_GROUP_ROWS, columns=["step", "purpose"]):
                n_kept += pc.sum(is_true(pa.Table.from_batches([batch]))).as_py() or 0
            if n_kept < whole.metadata.num_rows:
                kept = (
                    pa.Table.from_batches([batch]).filter(is_true(pa.Table.from_batches([batch])))
                    for batch in whole.iter_batches(_GROUP_ROWS)
                )
                write_part(path, (batch for table in kept for batch in table.to_batches()))
        _cut_torn_line(self._folder / STRUCTURES)


def parts_of(folder: Path) -> list[Path]:
    """The finished parts, in order."""
    return sorted(folder.glob("part-*.parquet"))


def tails_of(folder: Path) -> list[Path]:
    """Tails that are no parts yet."""
    done = {path.stem.removeprefix("part-") for path in parts_of(folder)}
    return sorted(
        path for path in folder.glob("tail-*.arrows") if path.stem.removeprefix("tail-") not in done
    )


def tail_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The whole batches of a tail, which another process may be writing, or may have been killed over."""
    import pyarrow as pa

    with path.open("rb") as file:
        try:
            stream = pa.ipc.open_stream(file)
        except (pa.ArrowException, OSError):  # not even the head is whole
            return
        while True:
            try:
                batch = stream.read_next_batch()
                batch.validate(full=True)
            except (StopIteration, pa.ArrowException, OSError):
                return
            yield batch


def write_part(path: Path, rows: Iterator[pa.RecordBatch]) -> None:
    """A Parquet file of rows of the log, whole or not at all."""
    import pyarrow.parquet as pq

    aside = path.with_name(f".{path.name}.aside")
    with pq.ParquetWriter(aside, schema(), compression="zstd") as writer:
        waiting: list[pa.RecordBatch] = []
        n_waiting = 0
        for batch in rows:
            waiting.append(batch)
            n_waiting += len(batch)
            if n_waiting >= _GROUP_ROWS:
                writer.write_table(_unified(waiting))
                waiting, n_waiting = [], 0
        if waiting:
            writer.write_table(_unified(waiting))
    with aside.open("rb+") as file:
        os.fsync(file.fileno())
    aside.replace(path)


def _unified(rows: Sequence[pa.RecordBatch]) -> pa.Table:
    """One table whose batches share their dictionaries."""
    import pyarrow as pa

    return pa.Table.from_batches(rows, schema()).unify_dictionaries().combine_chunks()


def _still_true(step: int, cursor: int) -> Callable[[pa.Table], pa.Array]:
    """Which rows a run that goes on from a state will not write again.

    Steps before it have been done; so has the validation after the last of them, if the state is that of an epoch's end. The test comes
    after all steps, and is always done again.
    """

    def is_true(table: pa.Table) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        purposes = table["purpose"].cast(pa.string())
        is_validation = pc.fill_null(pc.equal(purposes, "val"), False)
        is_test = pc.fill_null(pc.equal(purposes, "test"), False)
        is_before = pc.less(table["step"], step)
        if cursor == 0:
            is_before = pc.or_(is_before, pc.and_(is_validation, pc.equal(table["step"], step)))
        return pc.and_(is_before, pc.invert(is_test))

    return is_true


def _cut_torn_line(path: Path) -> None:
    """Cut off what a killed process left of a line."""
    if path.exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with path.open("rb+") as file:
                file.truncate(len(whole))
