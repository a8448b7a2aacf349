"""Job and JobResult: the unit that is hashed, sent to an actor, retried and answered.

A job is a product of samples and displacements over one measured circuit, held as a few small arrays; the S x D circuits it
stands for are expanded inside the actor and never exist as Python objects.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from orchestrator.errors import ExecutionError, QfleetError


@dataclass(frozen=True, eq=False)
class Displacements:
    """D changes of the angle vector, in compressed sparse rows.

    Row d adds ``deltas[indptr[d]:indptr[d+1]]`` (radians) to the angles ``angles[indptr[d]:indptr[d+1]]``. An empty row is the
    circuit itself.

    Attributes:
        indptr: int64 [D + 1].
        angles: int64 [nnz], indices of angles; an angle occurs at most once in a row.
        deltas: float64 [nnz], radians.
    """

    indptr: np.ndarray
    angles: np.ndarray
    deltas: np.ndarray

    @staticmethod
    @functools.cache
    def none() -> Displacements:
        """One row, nothing displaced."""
        return Displacements(np.zeros(2, np.int64), np.empty(0, np.int64), np.empty(0))

    @staticmethod
    def single(angles: np.ndarray, deltas: np.ndarray) -> Displacements:
        """An undisplaced row 0, then one row per entry: angle ``angles[i]`` moved by ``deltas[i]``."""
        n = len(angles)
        indptr = np.concatenate([[0], np.arange(n + 1)]).astype(np.int64)
        return Displacements(indptr, np.asarray(angles, np.int64), np.asarray(deltas, np.float64))

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def rows(self, start: int, stop: int) -> Displacements:
        """Rows start..stop-1."""
        if start == 0 and stop == len(self):
            return self
        low, high = self.indptr[start], self.indptr[stop]
        return Displacements(
            self.indptr[start : stop + 1] - low,
            self.angles[low:high],
            self.deltas[low:high],
        )


@dataclass(frozen=True, eq=False)
class Job:
    """S x D circuits over one measured circuit.

    Circuit (s, d) has the angles ``shared_angles``, with ``data_angles[s]`` put at ``data_columns``, plus displacement row d.

    Attributes:
        circuit_key: key of the MeasuredCircuit; the dispatcher sees to it that the actor knows it.
        shared_angles: float64 [K], radians; the entries at `data_columns` are ignored.
        data_columns: int64 [Kd]: the angles that depend on the sample.
        data_angles: float64 [S, Kd], radians.
        displacements: D rows.
        jacobian_angles: int64 [Kj] or None. If given, the exact derivative of every expectation value by these angles is
            wanted, at the undisplaced circuit; then D must be 1 and row 0 empty.
        cotangents: float64 [S, M] or None, only with `jacobian_angles`: weights of the expectation values. If given, the derivative
            of their weighted sum is wanted in place of every value's (a vector-Jacobian product).
        shots: repetitions of each circuit, None for exact expectation values.
        step, sample_start, displacement_start: the place of this job in the run; with `noise_keys` they key the shot noise, so
            that it depends on what is computed and never on who computes it, or in what pieces.
        noise_keys: uint64 [G], one generator key per measurement group.
    """

    circuit_key: str
    shared_angles: np.ndarray
    data_columns: np.ndarray
    data_angles: np.ndarray
    displacements: Displacements
    jacobian_angles: np.ndarray | None = None
    cotangents: np.ndarray | None = None
    shots: int | None = None
    step: int = 0
    sample_start: int = 0
    displacement_start: int = 0
    noise_keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    _id: str | None = field(default=None, init=False, repr=False)

    @property
    def n_samples(self) -> int:
        """S, its samples."""
        return len(self.data_angles)

    @property
    def n_displacements(self) -> int:
        """D, its displacement rows."""
        return len(self.displacements)

    @property
    def job_id(self) -> str:
        """Content id (32 hex digits): equal for equal work, whoever asks."""
        if self._id is not None:
            return self._id
        found = self._digest()
        object.__setattr__(self, "_id", found)  # cached_property would give each of many jobs a dictionary
        return found

    def _digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        place = (
            self.circuit_key,
            self.shots,
            self.step,
            self.sample_start,
            self.displacement_start,
            self.data_angles.shape,
        )
        digest.update(repr(place).encode())
        d = self.displacements
        arrays = (
            self.shared_angles,
            self.data_columns,
            self.data_angles,
            d.indptr,
            d.angles,
            d.deltas,
            self.noise_keys,
        )
        for array in arrays:
            digest.update(array.data if array.flags.c_contiguous else np.ascontiguousarray(array).data)
        if self.jacobian_angles is not None:
            digest.update(b"jacobian" + self.jacobian_angles.tobytes())
        if self.cotangents is not None:
            digest.update(b"cotangents" + self.cotangents.tobytes())
        return digest.hexdigest()

    def part(self, samples: slice, displacements: slice) -> Job:
        """The sub-job of a range of samples and a range of displacements."""
        return self.parts([samples], [displacements])[0]

    def parts(self, samples: Sequence[slice], displacements: Sequence[slice]) -> list[Job]:
        """The sub-jobs of all pairs of a range of samples and a range of displacements; those of the first range of samples first."""
        tables = [(cut.start, self.displacements.rows(cut.start, cut.stop)) for cut in displacements]
        return [
            Job(
                self.circuit_key,
                self.shared_angles,
                self.data_columns,
                self.data_angles[cut],
                table,
                self.jacobian_angles,
                None if self.cotangents is None else self.cotangents[cut],
                self.shots,
                self.step,
                self.sample_start + cut.start,
                self.displacement_start + start,
                self.noise_keys,
            )
            for cut in samples
            for start, table in tables
        ]


class JobPhases(NamedTuple):
    """Where the time of one job went that a service answered. The first six add up to all of it; everything in seconds.

    Attributes:
        serialise: angles and circuits to the text that is sent.
        submit: until the service's name of the job is on record; looking up, recording, and attempts that failed included.
        queue, execution: by the service's clock, as far as they passed while this job was waited for; all that waiting is `queue` where
            the service gives no times.
        fetch: noticing that it is done, and fetching and recording the answer.
        decode: from the answer to expectation values.
        processor_before, processor_after: processor time of the job's thread, until its answer had come and from then on.
        is_served: nothing was asked of the service; the answer had been recorded before.
    """

    serialise: float
    submit: float
    queue: float
    execution: float
    fetch: float
    decode: float
    processor_before: float = 0.0
    processor_after: float = 0.0
    is_served: bool = False


@dataclass(frozen=True, eq=False)
class JobResult:
    """The answer to a job.

    Attributes:
        values: float64 [S, D, M] expectation values.
        variances: float64 [S, D, M], variance of each value as an estimate (zero shots noise: None on exact backends).
        jacobian: float64 [S, M, Kj], derivative by the job's `jacobian_angles`, or None; with `cotangents` c it is [S, 1, Kj], the
            derivative of ``sum_m c[s, m] <O_m>``.
        n_circuits, n_shots: what was run. A direct derivative counts its S forward circuits only.
        cost_usd: price of the job in US dollars.
        cache_hit: the compiled circuit was already in the actor's cache.
        compute_seconds: time inside the backend.
        started_at, finished_at: Unix time in seconds on the worker.
        worker, backend: who computed it, and with what.
        sent_at: Unix time in seconds on the driver when the job had been handed to the worker, filled in by the dispatcher.
        phases: where its time went, from backends that ask a service; else None.
    """

    job_id: str
    values: np.ndarray
    variances: np.ndarray | None
    jacobian: np.ndarray | None
    n_circuits: int
    n_shots: int
    cost_usd: float
    cache_hit: bool
    compute_seconds: float
    started_at: float
    finished_at: float
    worker: str
    backend: str
    sent_at: float = 0.0
    phases: JobPhases | None = None


class FailedJob(NamedTuple):
    """What a dispatcher says of a job that it has given up, where it is asked to go on with the others.

    Attributes:
        job_id: as of the job. error: what it was given up for.
    """

    job_id: str
    error: QfleetError


def check_result(job: Job, result: object, n_paulis: int) -> JobResult:
    """`result` if it is a complete, finite answer to `job`.

    Raises:
        ExecutionError: it is of another type, shape or job, or holds a value that is not finite.
    """
    if not isinstance(result, JobResult):
        raise ExecutionError(
            f"job {job.job_id}: the worker answered with {type(result).__name__}, not a JobResult"
        )
    if result.job_id != job.job_id:
        raise ExecutionError(f"job {job.job_id}: the worker answered for job {result.job_id}")
    shape = (len(job.data_angles), len(job.displacements), n_paulis)
    wanted: list[tuple[str, np.ndarray | None, tuple[int, ...]]] = [("values", result.values, shape)]
    if job.shots is not None:
        wanted.append(("variances", result.variances, shape))
    if job.jacobian_angles is not None:
        n_rows = n_paulis if job.cotangents is None else 1
        wanted.append(("jacobian", result.jacobian, (job.n_samples, n_rows, len(job.jacobian_angles))))
    for name, array, expected in wanted:
        if not isinstance(array, np.ndarray) or array.shape != expected or array.dtype != np.float64:
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise ExecutionError(
                f"job {job.job_id} from {result.worker}: {name} is {found}, expected float64 {expected}"
            )
        if not _is_finite(array):
            raise ExecutionError(
                f"job {job.job_id} from {result.worker}: {name} holds a value that is not finite"
            )
    return result


def _is_finite(array: np.ndarray) -> bool:
    """Whether all entries are finite. They add up to a finite number only if they are, and that is soon told; without BLAS, whose threads
    wait for each other where the cores are busy."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = float(array.sum())
    return math.isfinite(total) or bool(np.isfinite(array).all())
