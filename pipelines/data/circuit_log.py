"""The circuits that a run has paid for as one Parquet file, a row each; docs/replay.md says what the columns mean."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.ionq.outcomes import all_outcomes
from actors.ionq.question import places_of
from actors.ionq.record import RecordedSubmission
from actors.ionq.recorded_circuits import content_keys
from orchestrator.errors import InputError
from orchestrator.planning.noise_keys import noise_key

if TYPE_CHECKING:
    import pyarrow as pa

PURPOSES = ("train", "val", "test", "validation")
"""What circuits are evaluated for, as far as the log tells it; gradient rules that evaluate further things have further ones."""
_ROWS = 16_384
"""Circuits of a row group, at least, but for the last."""


@functools.cache
def schema() -> pa.Schema:
    """Columns of the log; its metadata names the format."""
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    when = pa.timestamp("us", tz="UTC")
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("circuit", text, nullable=False),
            pa.field("structure", text, nullable=False),
            pa.field("n_qubits", pa.int32(), nullable=False),
            pa.field("group", pa.int32(), nullable=False),
            pa.field("basis", text, nullable=False),
            pa.field("angles", pa.list_(pa.float64()), nullable=False),
            pa.field("purpose", text),
            pa.field("step", pa.int64(), nullable=False),
            pa.field("sample", pa.int64(), nullable=False),
            pa.field("displacement", pa.int64(), nullable=False),
            pa.field("noise_key", pa.uint64()),
            pa.field("shots", pa.int64()),
            pa.field("outcomes", pa.list_(pa.int64()), nullable=False),
            pa.field("probabilities", pa.list_(pa.float64()), nullable=False),
            pa.field("target", text, nullable=False),
            pa.field("noise", text),
            pa.field("gateset", text, nullable=False),
            pa.field("is_mitigated", pa.bool_(), nullable=False),
            pa.field("token", text, nullable=False),
            pa.field("provider_id", text),
            pa.field("number", pa.int32(), nullable=False),
            pa.field("micro_dollars", pa.int64(), nullable=False),
            pa.field("reserved_at", when, nullable=False),
            pa.field("completed_at", when, nullable=False),
        ],
        metadata={"qfleet_circuit_log": "1"},
    )


def write_circuit_log(path: Path, submissions: Iterable[RecordedSubmission], seed: int) -> int:
    """Write the log, whole or not at all; returns the number of circuits.

    Args:
        path: ending in ``.parquet``. seed: of the run, by which purposes are told.

    Raises:
        InputError: another ending, or the file cannot be written.
    """
    if path.suffix != ".parquet":
        raise InputError(
            f"--export {path}: the log is a Parquet file; nearest valid: {path.with_suffix('.parquet')}"
        )
    aside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        n_circuits = _write(aside, submissions, seed)
        aside.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from None
    finally:
        aside.unlink(missing_ok=True)
    return n_circuits


def _write(path: Path, submissions: Iterable[RecordedSubmission], seed: int) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    n_circuits = n_waiting = 0
    waiting: list[pa.RecordBatch] = []
    with parquet.ParquetWriter(path, schema(), compression="zstd") as writer:
        for submission in submissions:
            columns = _columns(submission, seed)
            arrays = [pa.array(columns[field.name], field.type) for field in schema()]
            waiting.append(pa.RecordBatch.from_arrays(arrays, schema=schema()))
            n_waiting += len(waiting[-1])
            if n_waiting >= _ROWS:
                writer.write_table(pa.Table.from_batches(waiting), row_group_size=n_waiting)
                n_circuits, n_waiting, waiting = n_circuits + n_waiting, 0, []
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting), row_group_size=n_waiting)
    return n_circuits + n_waiting


def _columns(submission: RecordedSubmission, seed: int) -> dict[str, Any]:
    """The rows of one submission."""
    entry, question, job = submission.entry, submission.question, submission.question.job
    n, where, source = question.n_circuits, places_of(question), question.source
    keys = np.empty(n, object)
    for group, basis in enumerate(question.bases):
        chosen = where.groups == group
        keys[chosen] = [
            key.hex() for key in content_keys(question.structure, basis, source, where.angles[chosen])
        ]
    found = all_outcomes(submission.answer, question.n_qubits)
    noise_keys = job.noise_keys.tolist() or [None] * len(question.bases)
    purposes = [
        _purpose(seed, basis, noise_keys[group], job.shots) for group, basis in enumerate(question.bases)
    ]
    return {
        "key": keys.tolist(),
        "circuit": [question.circuit] * n,
        "structure": [question.structure] * n,
        "n_qubits": [question.n_qubits] * n,
        "group": where.groups,
        "basis": [question.bases[group] for group in where.groups],
        "angles": list(where.angles),
        "purpose": [purposes[group] for group in where.groups],
        "step": [job.step] * n,
        "sample": where.samples,
        "displacement": where.displacements,
        "noise_key": [noise_keys[group] for group in where.groups],
        "shots": [None if question.is_exact else job.shots] * n,
        "outcomes": [one.rows for one in found],
        "probabilities": [one.probabilities for one in found],
        "target": [source.target] * n,
        "noise": [source.noise] * n,
        "gateset": [source.gateset] * n,
        "is_mitigated": [source.is_mitigated] * n,
        "token": [entry.token] * n,
        "provider_id": [entry.provider_id] * n,
        "number": np.arange(n, dtype=np.int32),
        "micro_dollars": shares(entry.micro_dollars, n),
        "reserved_at": [round(submission.reserved_at * 1e6)] * n,
        "completed_at": [round(submission.completed_at * 1e6)] * n,
    }


def shares(total: int, n: int) -> np.ndarray:
    """`total` in `n` whole parts that differ by at most one and sum to it, int64 [n]."""
    return np.diff(np.arange(n + 1, dtype=np.int64) * total // n)


@functools.lru_cache(maxsize=1024)
def _purpose(seed: int, basis: str, key: int | None, shots: int | None) -> str | None:
    if key is None or shots is None:
        return None
    return next((name for name in PURPOSES if noise_key(seed, name, basis) == key), None)
