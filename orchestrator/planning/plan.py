"""EvaluationPlan: what a step needs, as pure data, before any of it runs.

A plan is a product of S samples and D displacements over one measured circuit. It can be counted, priced, pickled, cut into jobs in
any way and put together from their results in any order; none of that changes a bit of the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import ExecutionError
from orchestrator.jobs import Displacements, Job, JobResult
from orchestrator.models.angle_map import Angles
from orchestrator.planning.derivative import Derivative, DirectDerivative, LinearDerivative


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A plan's answer.

    Attributes:
        values: float64 [S, M] expectation values of the undisplaced circuits (of row 0).
        variances: float64 [S, M] or None: variance of each value as an estimate.
        rows: float64 [S, D, M], expectation values of all circuits.
        jacobian: float64 [S, M, Kj] or None: derivative by the wanted angles; [S, 1, Kj] if the plan has cotangents.
        jacobian_variances: float64 [S, M, Kj] or None (exact).
        n_circuits, n_shots, cost_usd, compute_seconds: what it took, summed over jobs.
        n_jobs, n_cache_hits: jobs, and jobs that found the circuit compiled.
        n_simulated: jobs that failed and were answered by a simulator in place of the backend.
        jobs_by_target: jobs that each target answered, by its name in the results; empty where the cut is by measured speed.
    """

    values: np.ndarray
    variances: np.ndarray | None
    rows: np.ndarray
    jacobian: np.ndarray | None
    jacobian_variances: np.ndarray | None
    n_circuits: int
    n_shots: int
    cost_usd: float
    compute_seconds: float
    n_jobs: int
    n_cache_hits: int
    n_simulated: int = 0
    jobs_by_target: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class EvaluationPlan:
    """Samples x displacements of one circuit.

    Attributes:
        circuit: template and Pauli strings.
        angles: of the S samples.
        wanted: int64 [Kj], angles whose derivative is wanted (empty: values only).
        derivative: how to get it, None for values only.
        moved: displacement rows to run where nothing is differentiated; none: the undisplaced circuit.
        n_differentiated: the first so many Pauli strings are those whose derivatives are wanted; none: all.
        cotangents: float64 [S, M] or None, with a DirectDerivative only: weights c; the derivative wanted is that of
            ``sum_m c[s, m] <O_m>`` and not of every expectation value.
        shots: per circuit, None for exact.
        step: step number; with `noise_keys` it keys the shot noise.
        noise_keys: uint64 [G].
        of_batch: int64 [S] or None: the sample of the batch that each sample of the plan belongs to, where that is not its own number.
    """

    circuit: MeasuredCircuit
    angles: Angles
    wanted: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    derivative: Derivative | None = None
    moved: Displacements | None = None
    n_differentiated: int | None = None
    cotangents: np.ndarray | None = None
    shots: int | None = None
    step: int = 0
    noise_keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    of_batch: np.ndarray | None = None

    @cached_property
    def members(self) -> np.ndarray:
        """int64 [S]: the sample of the batch that each sample belongs to."""
        return np.arange(self.n_samples) if self.of_batch is None else self.of_batch

    @property
    def displacements(self) -> Displacements:
        """The D rows, row 0 first: those that the derivative asks for, else `moved`, else the undisplaced circuit."""
        if isinstance(self.derivative, LinearDerivative):
            return self.derivative.displacements
        return self.moved if self.moved is not None else Displacements.none()

    @property
    def n_samples(self) -> int:
        """S, the states whose circuits it runs."""
        return len(self.angles.data)

    @property
    def n_circuits(self) -> int:
        """Circuits that the plan runs: S·D, times the measurement groups where shots are drawn."""
        return self.n_samples * len(self.displacements) * (len(self.circuit.groups) if self.shots else 1)

    @property
    def kind(self) -> Hashable:
        """Plans of one kind cost the same per circuit, and are allowed or refused alike."""
        return self.circuit.key, type(self.derivative), self.cotangents is None, self.shots

    def blank(self) -> Evaluation:
        """An answer of zeros, with the circuits and shots that the real one takes: what a dry run is given."""
        rows = np.zeros((self.n_samples, len(self.displacements), len(self.circuit.paulis)))
        jacobian = None
        if self.derivative is not None:
            n_strings = self.n_differentiated or rows.shape[2]
            jacobian = np.zeros(
                (len(rows), 1 if self.cotangents is not None else n_strings, len(self.wanted))
            )
        return Evaluation(
            values=rows[:, 0],
            variances=None if self.shots is None else np.zeros_like(rows[:, 0]),
            rows=rows,
            jacobian=jacobian,
            jacobian_variances=None,
            n_circuits=self.n_circuits,
            n_shots=self.n_circuits * (self.shots or 0),
            cost_usd=0.0,
            compute_seconds=0.0,
            n_jobs=1,
            n_cache_hits=0,
        )

    def job(self) -> Job:
        """The whole plan as one job."""
        return Job(
            circuit_key=self.circuit.key,
            shared_angles=self.angles.shared,
            data_columns=self.angles.columns,
            data_angles=self.angles.data,
            displacements=self.displacements,
            jacobian_angles=self.wanted if isinstance(self.derivative, DirectDerivative) else None,
            cotangents=self.cotangents,
            shots=self.shots,
            step=self.step,
            noise_keys=self.noise_keys,
        )

    def assemble(
        self, answers: Iterable[tuple[Job, JobResult]], unanswered: Sequence[Job] = ()
    ) -> Evaluation:
        """Put the jobs' results together; their order does not matter.

        Args:
            unanswered: jobs that were given up; their places hold zeros, which whoever gave them up must not use.

        Raises:
            ExecutionError: the jobs do not cover the plan exactly once.
        """
        n_rows = len(self.displacements)
        ordered = sorted(answers, key=lambda pair: pair[0].sample_start * n_rows + pair[0].displacement_start)
        values, variances, jacobian = self._joined(ordered, unanswered)
        jacobian_variances = None
        if isinstance(self.derivative, LinearDerivative) and len(self.wanted):
            first = slice(0, self.n_differentiated)
            jacobian = self.derivative.combine(values[:, :, first])
            if variances is not None:
                jacobian_variances = self.derivative.combine(variances[:, :, first], power=2)
        results = [result for _, result in ordered]
        return Evaluation(
            values=values[:, 0],
            variances=None if variances is None else variances[:, 0],
            rows=values,
            jacobian=jacobian,
            jacobian_variances=jacobian_variances,
            n_circuits=sum(r.n_circuits for r in results),
            n_shots=sum(r.n_shots for r in results),
            cost_usd=sum(r.cost_usd for r in results),
            compute_seconds=sum(r.compute_seconds for r in results),
            n_jobs=len(results),
            n_cache_hits=sum(r.cache_hit for r in results),
            jobs_by_target=Counter(r.backend for r in results),
        )

    def _joined(
        self, ordered: Sequence[tuple[Job, JobResult]], unanswered: Sequence[Job]
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Values [S, D, M], their variances, and the Jacobian if the backend was asked for it."""
        shape = (self.n_samples, len(self.displacements), len(self.circuit.paulis))
        if len(ordered) == 1 and ordered[0][1].values.shape == shape:
            whole = ordered[0][1]
            return np.ascontiguousarray(whole.values), _in_order(whole.variances), _in_order(whole.jacobian)
        values = np.full(shape, np.nan)
        variances = np.full(shape, np.nan) if self.shots else None
        n_rows = shape[2] if self.cotangents is None else 1
        direct = isinstance(self.derivative, DirectDerivative)
        jacobian = np.full((shape[0], n_rows, len(self.wanted)), np.nan) if direct else None
        covered = 0
        for job, result in ordered:
            rows = slice(job.sample_start, job.sample_start + job.n_samples)
            columns = slice(job.displacement_start, job.displacement_start + job.n_displacements)
            covered += job.n_samples * job.n_displacements
            values[rows, columns] = result.values
            if variances is not None:
                variances[rows, columns] = result.variances
            if jacobian is not None:
                jacobian[rows] = result.jacobian
        for job in unanswered:
            rows = slice(job.sample_start, job.sample_start + job.n_samples)
            columns = slice(job.displacement_start, job.displacement_start + job.n_displacements)
            covered += job.n_samples * job.n_displacements
            for table in (values, variances):
                if table is not None:
                    table[rows, columns] = 0.0
            if jacobian is not None:
                jacobian[rows] = 0.0
        if covered != shape[0] * shape[1] or np.isnan(values).any():
            raise ExecutionError(f"the jobs cover {covered} of the plan's {shape[0] * shape[1]} circuits")
        return values, variances, jacobian


def _in_order(array: np.ndarray | None) -> np.ndarray | None:
    """`array` in C order: einsum adds in the order of memory, which a backend's own layout must not decide."""
    return None if array is None else np.ascontiguousarray(array)
