"""CircuitLog: questions to the circuit log of a run, answered in one pass over its rows and in the memory of a batch.

::

    from pipelines import CircuitLog

    log = CircuitLog.open("my-run")
    log.by("step")           # circuits, shots and dollars
    log.slowest_jobs(10)

A run with ``tracking.circuit_log = true`` has a log with expectation values, finished or not. A run that was paid for has a log of what it
paid at its end in any case, with outcomes in place of expectation values and without the times of the queue; it answers the rest.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from orchestrator.errors import ConfigError, DataError, InputError, nearest
from orchestrator.training.loop import epoch_order
from pipelines.data.circuit_rows import Structure, schema
from pipelines.data.circuit_writer import FOLDER, STRUCTURES, parts_of, tail_batches, tails_of
from pipelines.data.filters import Filter
from pipelines.data.readers import refused
from pipelines.run_folder import RunFolder, read_arrays

if TYPE_CHECKING:
    import pyarrow as pa

KEYS = ("step", "purpose", "target", "group", "job")
"""What circuits can be counted by."""
Key = Literal["step", "purpose", "target", "group", "job"]

_BATCH = 1 << 16
_PAID = "artifacts/circuits.parquet"
_TEXT = ("purpose", "circuit", "target", "job")


@dataclass(frozen=True)
class Group:
    """Circuits that have something in common.

    Attributes:
        key: what; None where it is not known.
        circuits, shots: that were run. jobs: that held them. usd: dollars.
        queue_seconds, execution_seconds, job_seconds: of the jobs, added up; None where no job has it. A job counts in each group that it
            has circuits of.
    """

    key: str | int | None
    circuits: int
    shots: int
    jobs: int
    usd: float
    queue_seconds: float | None
    execution_seconds: float | None
    job_seconds: float | None


@dataclass(frozen=True)
class Value:
    """One expectation value.

    Attributes:
        step, purpose, sample, place, displacement, shots, target: see the log's columns.
        observable: Pauli string, qubit 0 first. value: its estimate. standard_error: root of its variance; None where it is exact.
    """

    step: int
    purpose: str | None
    sample: int
    place: int
    displacement: int
    observable: str
    value: float
    standard_error: float | None
    shots: int | None
    target: str


@dataclass(frozen=True)
class Precision:
    """What standard error so many shots have reached.

    Attributes:
        purpose, target: of the circuits. shots: of each of them. values: expectation values that were estimated.
        standard_error: root of their mean variance.
        shots_for_one_percent: shots that would have brought it to 0.01, as it falls with their root.
    """

    purpose: str | None
    target: str
    shots: int
    values: int
    standard_error: float
    shots_for_one_percent: int


class CircuitLog:
    """The circuits of one run.

    Args:
        folder: the run's.

    Raises:
        InputError: it has no log.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._own = folder.path / FOLDER
        self.has_values = self._own.is_dir()
        if not self.has_values and not (folder.path / _PAID).is_file():
            raise InputError(
                f"run {folder.name} has no circuit log; train with --set tracking.circuit_log=true to keep one"
            )
        self._structures = {each.key: each for each in _structures(self._own / STRUCTURES)}

    @classmethod
    def open(cls, run: str | Path, directory: str = "runs") -> CircuitLog:
        """The log of `run`, named as for `qfleet resume`.

        Raises:
            InputError: there is no such run, or it has no log.
        """
        return cls(RunFolder.find(str(run), directory))

    def batches(self, columns: Sequence[str] | None = None, where: str | None = None) -> Iterator[pa.Table]:
        """The rows, some at a time, in the order in which they were written.

        Args:
            columns: which; None: all. where: a filter as ``data.filter`` is one, on any of the columns.

        Raises:
            ConfigError: the filter is none, or names a column that is not there.
            DataError: a file of the log is damaged.
        """
        wanted = list(columns or schema().names)
        condition = None if where is None else Filter.parse(where, "--where")
        plain = _plain_schema()
        expression = None if condition is None else condition.expression(plain)
        needed = list(dict.fromkeys([*wanted, *(condition.columns if condition else ())]))
        for table in self._tables(needed):
            kept = table if expression is None else table.filter(expression)
            if len(kept):
                yield kept.select(wanted)

    def by(self, key: Key, where: str | None = None) -> list[Group]:
        """Circuits, shots, jobs, dollars and seconds of each step, purpose, target, group or job; in the order of `key`.

        Raises:
            ConfigError: another key.
        """
        import pyarrow as pa

        if key not in KEYS:
            raise ConfigError("--by", key, f"choose one of {', '.join(KEYS)}", nearest(key, KEYS))
        others = [
            "job",
            "circuits",
            "shots",
            "micro_dollars",
            "queue_seconds",
            "execution_seconds",
            "job_seconds",
        ]
        keys = list(dict.fromkeys([key, "job"]))
        parts: list[pa.Table] = []
        for table in self.batches(list(dict.fromkeys([key, *others])), where):
            parts.append(_by_job(_with_total_shots(table), keys))
            if sum(map(len, parts)) > 8 * _BATCH:
                parts = [_by_job(pa.concat_tables(parts), keys)]
        if not parts:
            return []
        return _groups(_by_job(pa.concat_tables(parts), keys), key)

    def slowest_jobs(self, n: int = 10, where: str | None = None) -> list[Group]:
        """The jobs that took longest from sending to the answer, the slowest first."""
        return heapq.nlargest(n, self.by("job", where), key=lambda each: each.job_seconds or 0.0)

    def noisiest(self, n: int = 10, where: str | None = None) -> list[Value]:
        """The expectation values of largest variance, the largest first.

        Raises:
            InputError: the log has no expectation values.
        """
        self._check_values()
        import pyarrow.compute as pc

        best: list[tuple[float, int, Value]] = []
        number = 0
        for table in self.batches(None, where):
            table = table.filter(pc.is_valid(table["variances"])).combine_chunks()
            if not len(table):
                continue
            variances = pc.list_flatten(table["variances"]).to_numpy()
            rows = pc.list_parent_indices(table["variances"]).to_numpy()
            sizes = pc.list_value_length(table["variances"]).to_numpy()
            starts = np.concatenate([[0], np.cumsum(sizes)])
            for index in np.argsort(-variances, kind="stable")[:n]:
                number += 1
                row = int(rows[index])
                item = (
                    float(variances[index]),
                    -number,
                    self._value(table, row, int(index - starts[row])),
                )
                (heapq.heappush if len(best) < n else heapq.heappushpop)(best, item)
        return [value for _, _, value in sorted(best, reverse=True)]

    def sample(self, number: int, split: Literal["train", "validation"] = "validation") -> list[Value]:
        """Expectation values of one sample over the training, at the parameters of each step: its undisplaced circuits.

        Args:
            number: of the sample in the split, from 0.
            split: validation, which is evaluated each epoch, or train, whose samples come once an epoch in another batch each time.

        Raises:
            InputError: the log has no expectation values, or the split no such sample.
        """
        self._check_values()
        config = self.folder.read_config()
        n_samples = len(read_arrays(self.folder.data / "splits.npz")[f"{split}/targets"])
        if not 0 <= number < n_samples:
            close = min(max(number, 0), n_samples - 1)
            raise InputError(
                f"--sample {number}: the {split} split has samples 0 to {n_samples - 1}; nearest valid: {close}"
            )
        found: list[Value] = []
        purpose = "val" if split == "validation" else "train"
        size = config.run.batch_size
        n_batches = -(-n_samples // size)
        epoch_known, order = 0, epoch_order(config.run.seed, 0, n_samples)
        for table in self.batches(None, f"purpose == '{purpose}' and displacement == 0"):
            steps, samples = table["step"].to_numpy(), table["sample"].to_numpy()
            if split == "train":
                for epoch in np.unique(steps // n_batches).tolist():
                    if epoch != epoch_known:
                        epoch_known, order = epoch, epoch_order(config.run.seed, epoch, n_samples)
                    of_epoch = steps // n_batches == epoch
                    samples = samples.copy()
                    samples[of_epoch] = order[(steps % n_batches * size + samples)[of_epoch]]
            table = table.filter(samples == number).combine_chunks()
            for row in range(len(table)):
                n_strings = len(table["values"][row])
                found += [self._value(table, row, index) for index in range(n_strings)]
        return found

    def precision(self, where: str | None = None) -> list[Precision]:
        """The standard error that estimates have reached, by purpose, target and shots.

        Raises:
            InputError: the log has no expectation values.
        """
        self._check_values()
        import pyarrow.compute as pc

        sums: dict[tuple[str | None, str, int], tuple[int, float]] = {}
        for table in self.batches(["purpose", "target", "shots", "variances"], where):
            table = table.filter(pc.is_valid(table["variances"])).combine_chunks()
            if not len(table):
                continue
            flat = table.select(["purpose", "target", "shots"]).take(
                pc.list_parent_indices(table["variances"])
            )
            flat = flat.append_column("variance", pc.list_flatten(table["variances"]))
            grouped = flat.group_by(["purpose", "target", "shots"], use_threads=False)
            for each in grouped.aggregate([("variance", "sum"), ("variance", "count")]).to_pylist():
                key = (each["purpose"], each["target"], each["shots"])
                n, total = sums.get(key, (0, 0.0))
                sums[key] = (n + each["variance_count"], total + each["variance_sum"])
        return [
            Precision(purpose, target, shots, n, (total / n) ** 0.5, round(shots * total / n / 1e-4))
            for (purpose, target, shots), (n, total) in sorted(sums.items(), key=str)
        ]

    def export(self, path: Path, where: str | None = None) -> int:
        """Write the rows to a .parquet file, or a .csv file (lists as text), whole or not at all; returns their number.

        Raises:
            InputError: another ending, or the file cannot be written.
        """
        if path.suffix not in (".parquet", ".csv"):
            raise InputError(
                f"--output {path}: a .parquet or .csv file; nearest valid: {path.with_suffix('.parquet')}"
            )
        aside = path.with_name(f".{path.name}.aside")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            n_rows = _export(aside, self.batches(None, where), is_csv=path.suffix == ".csv")
            aside.replace(path)
        except OSError as error:
            raise InputError(f"--output {path}: cannot be written: {error}") from None
        finally:
            aside.unlink(missing_ok=True)
        return n_rows

    def _value(self, table: pa.Table, row: int, index: int) -> Value:
        """The expectation value number `index` of a row."""
        at = {name: table[name][row].as_py() for name in table.column_names}
        structure = self._structures.get(at["circuit"])
        observable = "?"
        if structure is not None:
            members = range(len(structure.paulis)) if at["group"] is None else structure.groups[at["group"]]
            observable = structure.paulis[members[index]]
        variance = None if at["variances"] is None else at["variances"][index]
        return Value(
            at["step"], at["purpose"], at["sample"], at["place"], at["displacement"], observable, at["values"][index],
            None if variance is None else max(variance, 0.0) ** 0.5, at["shots"], at["target"],
        )  # fmt: skip

    def _check_values(self) -> None:
        if not self.has_values:
            raise InputError(
                f"the log of run {self.folder.name} holds what was paid for, with outcomes and no expectation values; "
                "train with tracking.circuit_log = true to keep those"
            )

    def _tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """All rows; text is text, and no dictionary."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self.has_values:
            yield from self._paid_tables(columns)
            return
        plain = pa.schema([_plain_schema().field(name) for name in columns])
        for path in parts_of(self._own):
            with refused(path):
                for batch in pq.ParquetFile(path).iter_batches(_BATCH, columns=list(columns)):
                    yield pa.Table.from_batches([batch]).select(list(columns)).cast(plain)
        for path in tails_of(self._own):
            for batch in tail_batches(path):
                yield pa.Table.from_batches([batch]).select(list(columns)).cast(plain)

    def _paid_tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Rows of the log of what was paid, as far as they hold the same."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder.path / _PAID
        with refused(path):
            names = [
                "step",
                "purpose",
                "sample",
                "displacement",
                "group",
                "circuit",
                "shots",
                "target",
                "token",
            ]
            names += ["micro_dollars", "reserved_at", "completed_at"]
            for batch in pq.ParquetFile(path).iter_batches(_BATCH, columns=names):
                rows = pa.Table.from_batches([batch])
                whole = (
                    rows["completed_at"].cast(pa.int64()).to_numpy()
                    - rows["reserved_at"].cast(pa.int64()).to_numpy()
                ) / 1e6
                made = {
                    "job": rows["token"],
                    "place": rows["sample"],
                    "circuits": pa.array(np.ones(len(rows), np.int64)),
                    "derivatives": pa.array(np.zeros(len(rows), np.int32)),
                    "values": pa.array([[]] * len(rows), pa.list_(pa.float64())),
                    "job_seconds": pa.array(whole),
                }
                arrays = [
                    (
                        rows[field.name]
                        if field.name in rows.column_names
                        else made.get(field.name, pa.nulls(len(rows)))
                    ).cast(field.type)
                    for field in _plain_schema()
                ]
                yield pa.Table.from_arrays(arrays, schema=_plain_schema()).select(list(columns))


def _plain_schema() -> pa.Schema:
    """The log's columns, with text in place of dictionaries."""
    import pyarrow as pa

    return pa.schema(
        [pa.field(each.name, pa.string() if each.name in _TEXT else each.type) for each in schema()]
    )


def _with_total_shots(table: pa.Table) -> pa.Table:
    """Shots of all circuits of a row in place of those of one."""
    import pyarrow.compute as pc

    shots = pc.multiply(pc.fill_null(table["shots"], 0), table["circuits"])
    return table.set_column(table.column_names.index("shots"), "shots", shots)


def _by_job(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """One row for each job of each key: sums over its circuits, and its times, which all its rows have."""
    sums, times = (
        ("circuits", "shots", "micro_dollars"),
        ("queue_seconds", "execution_seconds", "job_seconds"),
    )
    grouped = table.group_by(list(keys), use_threads=False).aggregate(
        [(name, "sum") for name in sums] + [(name, "max") for name in times]
    )
    renamed = {f"{name}_sum": name for name in sums} | {f"{name}_max": name for name in times}
    return grouped.rename_columns([renamed.get(name, name) for name in grouped.column_names])


def _groups(jobs: pa.Table, key: str) -> list[Group]:
    """Jobs put together by `key`."""
    names = ("circuits", "shots", "micro_dollars", "queue_seconds", "execution_seconds", "job_seconds")
    table = jobs.append_column("one", jobs["circuits"])
    grouped = table.group_by([key], use_threads=False).aggregate(
        [(name, "sum") for name in names] + [("one", "count")]
    )
    found = [
        Group(
            each[key], each["circuits_sum"], each["shots_sum"], each["one_count"], each["micro_dollars_sum"] / 1e6,
            each["queue_seconds_sum"], each["execution_seconds_sum"], each["job_seconds_sum"],
        )
        for each in grouped.to_pylist()
    ]  # fmt: skip
    return sorted(found, key=lambda each: (each.key is not None, each.key))


def _structures(path: Path) -> Iterator[Structure]:
    """The circuits that rows refer to; a torn last line is left out."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return
    for line in lines:
        try:
            plain = json.loads(line)
            yield Structure(plain["key"], tuple(plain["paulis"]), tuple(map(tuple, plain["groups"])))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: is damaged: {error}") from None


def _export(path: Path, tables: Iterator[pa.Table], *, is_csv: bool) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    plain, n_rows = _plain_schema(), 0
    if not is_csv:
        with pq.ParquetWriter(path, plain, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table)
                n_rows += len(table)
        return n_rows
    lists = [name for name in plain.names if pa.types.is_list(plain.field(name).type)]
    flat = pa.schema(
        [pa.field(each.name, pa.string() if each.name in lists else each.type) for each in plain]
    )
    with csv.CSVWriter(path, flat) as sheet:
        for table in tables:
            for name in lists:
                text = pa.array(
                    [None if each is None else json.dumps(each) for each in table[name].to_pylist()],
                    pa.string(),
                )
                table = table.set_column(table.column_names.index(name), name, text)
            sheet.write_table(table)
            n_rows += len(table)
    return n_rows
