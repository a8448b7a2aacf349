"""Rows of the circuit log of any run: a circuit each, made of the arrays of an evaluation and never of one Python object a circuit.

docs/data.md says what the columns mean. The log of what a run has paid for, with outcomes, is `pipelines.data.circuit_log`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Job, JobResult
from orchestrator.planning.noise_keys import noise_key
from orchestrator.planning.plan import EvaluationPlan
from pipelines.data.circuit_log import PURPOSES, shares

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 65_536
"""Rows of a batch, at most, as far as one sample of one job has not more."""

_OF_RULES = (
    "train/metric",
    *(f"train/turn{number}" for number in range(64)),
    *(f"train/shots{number}" for number in range(64)),
)


@functools.cache
def schema() -> pa.Schema:
    """Columns of the log; its metadata names the format."""
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            pa.field("step", pa.int64(), nullable=False),
            pa.field("purpose", text),
            pa.field("sample", pa.int64(), nullable=False),
            pa.field("place", pa.int64(), nullable=False),
            pa.field("displacement", pa.int64(), nullable=False),
            pa.field("group", pa.int32()),
            pa.field("circuit", text, nullable=False),
            pa.field("shots", pa.int64()),
            pa.field("values", pa.list_(pa.float64()), nullable=False),
            pa.field("variances", pa.list_(pa.float64())),
            pa.field("derivatives", pa.int32(), nullable=False),
            pa.field("circuits", pa.int64(), nullable=False),
            pa.field("target", text, nullable=False),
            pa.field("job", text, nullable=False),
            pa.field("micro_dollars", pa.int64(), nullable=False),
            pa.field("queue_seconds", pa.float64()),
            pa.field("execution_seconds", pa.float64()),
            pa.field("job_seconds", pa.float64()),
        ],
        metadata={"qfleet_circuits": "1"},
    )


class Structure(NamedTuple):
    """What the log says of a circuit once, and its rows refer to.

    Attributes:
        key: of the measured circuit. paulis: the strings read, qubit 0 first. groups: indices into them of each measurement group.
    """

    key: str
    paulis: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, circuit: MeasuredCircuit) -> Structure:
        """Of a circuit."""
        return cls(circuit.key, circuit.paulis, tuple(group.members for group in circuit.groups))


def batches(
    plan: EvaluationPlan, answers: Sequence[tuple[Job, JobResult]], seed: int
) -> Iterator[pa.RecordBatch]:
    """The circuits of an evaluation, in the order of its jobs.

    Args:
        answers: each job with its answer. seed: of the run, by which purposes are told.
    """
    waiting: list[dict[str, np.ndarray]] = []
    n_waiting = 0
    jobs: list[tuple[Job, JobResult]] = []
    ordered = sorted(answers, key=lambda pair: (pair[0].sample_start, pair[0].displacement_start))
    for job, result in ordered:
        for columns in _columns(plan, job, result):
            if n_waiting and n_waiting + len(columns["sample"]) > ROWS:
                yield _batch(plan, waiting, jobs, seed)
                waiting, n_waiting, jobs = [], 0, []
            if not jobs or jobs[-1][0] is not job:
                jobs.append((job, result))
            columns["job"] = np.full(len(columns["sample"]), len(jobs) - 1, np.int32)
            waiting.append(columns)
            n_waiting += len(columns["sample"])
    if waiting:
        yield _batch(plan, waiting, jobs, seed)


def _columns(plan: EvaluationPlan, job: Job, result: JobResult) -> Iterator[dict[str, np.ndarray]]:
    """Numbers of the rows of one job, some samples at a time: row (s, d, g) is group g of displacement d of sample s."""
    groups = plan.circuit.groups if job.shots is not None else ()
    order = np.array([index for group in groups for index in group.members], np.int64)
    n_groups, (n_samples, n_moved, n_strings) = max(len(groups), 1), result.values.shape
    n_rows = n_samples * n_moved * n_groups
    circuits, price = shares(result.n_circuits, n_rows), shares(round(result.cost_usd * 1e6), n_rows)
    sizes = np.array([len(group.members) for group in groups] or [n_strings], np.int64)
    n_at_once = max(ROWS // (n_moved * n_groups), 1)
    for first in range(0, n_samples, n_at_once):
        part = slice(first, min(first + n_at_once, n_samples))
        n = (part.stop - first) * n_moved
        places = job.sample_start + np.arange(first, part.stop)
        rows = slice(first * n_moved * n_groups, part.stop * n_moved * n_groups)
        found = {
            "place": places.repeat(n_moved * n_groups),
            "sample": plan.members[places].repeat(n_moved * n_groups),
            "displacement": np.tile(
                (job.displacement_start + np.arange(n_moved)).repeat(n_groups), part.stop - first
            ),
            "group": np.tile(np.arange(n_groups, dtype=np.int32), n),
            "sizes": np.tile(sizes, n),
            "values": (result.values[part][..., order] if len(order) else result.values[part]).ravel(),
            "circuits": circuits[rows],
            "micro_dollars": price[rows],
        }
        if result.variances is not None and job.shots is not None:
            found["variances"] = result.variances[part][..., order].ravel()
        yield found


def _batch(
    plan: EvaluationPlan,
    parts: Sequence[dict[str, np.ndarray]],
    jobs: Sequence[tuple[Job, JobResult]],
    seed: int,
) -> pa.RecordBatch:
    """Rows of several jobs as one batch; what is the same for a job is looked up by its number."""
    import pyarrow as pa

    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    n, numbers = len(joined["sample"]), joined.pop("job")
    offsets = np.concatenate([[0], np.cumsum(joined.pop("sizes"))]).astype(np.int32)
    is_exact = plan.shots is None

    def of_job(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind).take(pa.array(numbers))

    def text(values: Sequence[str | None]) -> pa.Array:
        distinct = list(dict.fromkeys(value for value in values if value is not None))
        codes = np.array([-1 if value is None else distinct.index(value) for value in values], np.int32)
        return _coded(codes[numbers], distinct)

    times = [_seconds(result) for _, result in jobs]
    derivatives = [0 if job.jacobian_angles is None else len(job.jacobian_angles) for job, _ in jobs]
    constant = np.zeros(n, np.int32)
    purpose = purpose_of(plan, seed)
    columns: dict[str, pa.Array] = {
        "step": of_job([job.step for job, _ in jobs], pa.int64()),
        "purpose": _coded(constant - (purpose is None), [] if purpose is None else [purpose]),
        "group": pa.nulls(n, pa.int32()) if is_exact else pa.array(joined.pop("group")),
        "circuit": _coded(constant, [plan.circuit.key]),
        "shots": of_job([job.shots for job, _ in jobs], pa.int64()),
        "values": pa.ListArray.from_arrays(pa.array(offsets), pa.array(joined.pop("values"))),
        "variances": pa.nulls(n, pa.list_(pa.float64()))
        if is_exact
        else pa.ListArray.from_arrays(pa.array(offsets), pa.array(joined.pop("variances"))),
        "derivatives": of_job(derivatives, pa.int32()),
        "target": text([result.backend for _, result in jobs]),
        "job": _coded(numbers, [job.job_id for job, _ in jobs]),
        "queue_seconds": of_job([each[0] for each in times], pa.float64()),
        "execution_seconds": of_job([each[1] for each in times], pa.float64()),
        "job_seconds": of_job([each[2] for each in times], pa.float64()),
    }
    for name in ("sample", "place", "displacement", "circuits", "micro_dollars"):
        columns[name] = pa.array(joined[name], pa.int64())
    return pa.RecordBatch.from_arrays([columns[field.name] for field in schema()], schema=schema())


def _coded(codes: np.ndarray, words: Sequence[str]) -> pa.DictionaryArray:
    """Text by its place among `words`; -1 is none."""
    import pyarrow as pa

    codes = np.asarray(codes, np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(words, pa.string()))


def _seconds(result: JobResult) -> tuple[float | None, float | None, float]:
    """(queue, execution, from sending to the answer) of a job, seconds.

    By the service's clock where there is one; else `queue` is from the driver's sending to the worker's beginning, by two machines' clocks.
    """
    began = result.sent_at or result.started_at
    whole = max(result.finished_at - began, 0.0)
    if result.phases is not None:
        return result.phases.queue, result.phases.execution, whole
    queue = max(result.started_at - result.sent_at, 0.0) if result.sent_at else None
    return queue, result.compute_seconds, whole


def purpose_of(plan: EvaluationPlan, seed: int) -> str | None:
    """What a plan is evaluated for, told by its noise keys; None for what has none, or has an unknown one."""
    if not len(plan.noise_keys):
        return None
    return _purpose(seed, plan.circuit.groups[0].basis, int(plan.noise_keys[0]))


@functools.lru_cache(maxsize=256)
def _purpose(seed: int, basis: str, key: int) -> str | None:
    return next((name for name in (*PURPOSES, *_OF_RULES) if noise_key(seed, name, basis) == key), None)
