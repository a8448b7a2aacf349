"""MitigatedSession: each job becomes jobs of the inner session, whose answers are combined, variances and costs too."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from actors.backends.checks import check_circuit, check_job
from actors.crew import Crew
from actors.mitigation.backend import Mitigated
from actors.mitigation.calibration import Calibrations
from actors.mitigation.expansion import Part, expand
from actors.mitigation.readout import Inversion
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.preparation import preparation_circuit
from orchestrator.jobs import Job, JobPhases, JobResult


@dataclass(frozen=True, eq=False)
class CompiledCircuit:
    """A circuit, what is run in place of it, each compiled by the inner session, and the inversions made so far (exact or not)."""

    circuit: MeasuredCircuit
    parts: tuple[Part, ...]
    programs: tuple[Any, ...]
    inversions: dict[bool, Inversion] = field(default_factory=dict)


class MitigatedSession:
    """One actor's session of a mitigated backend. As many threads may use it as the inner backend has jobs in flight."""

    def __init__(self, backend: Mitigated) -> None:
        self._backend = backend
        self._inner = backend.inner.open_session()
        n_threads = backend.inner.capabilities.jobs_in_flight
        self._crew: Crew[JobResult] | None = Crew(n_threads) if n_threads > 1 else None
        settings = backend.mitigation
        self._calibrations = Calibrations(self._calibrate, settings.calibration_shots, backend.seed)

    def compile(self, circuit: MeasuredCircuit) -> CompiledCircuit:
        """Fold the circuit, and let the inner session compile all that is run.

        Raises:
            CapabilityError: too many qubits, or a string too long for readout mitigation.
            CircuitError: too few gates for the noise scales, or a gate that the inner backend cannot run.
        """
        check_circuit(self._backend.name, self._backend.capabilities, circuit)
        parts = expand(circuit, self._backend.mitigation)
        return CompiledCircuit(circuit, parts, tuple(self._inner.compile(part.circuit) for part in parts))

    def run(self, compiled: CompiledCircuit, job: Job) -> JobResult:
        """The answer to `job`.

        Raises:
            CapabilityError, CircuitError: it cannot be asked for; ExecutionError: the inner backend failed, or a qubit cannot be read.
        """
        started_at = time.time()
        check_job(self._backend.name, self._backend.capabilities, compiled.circuit, job)
        inversion = self._inversion(compiled, job.shots is None)
        jobs = [_pulled_back(inversion, part.job(job)) for part in compiled.parts]
        answers = self._run_all(compiled.programs, jobs)
        estimates = [_estimate(inversion, answer, job.shots) for answer in answers]
        values, variances = _combined([part.weight for part in compiled.parts], estimates)
        jacobian = answers[0].jacobian
        if inversion is not None and jacobian is not None and job.cotangents is None:
            jacobian = np.ascontiguousarray(inversion.derivatives(jacobian.swapaxes(1, 2)).swapaxes(1, 2))
        run = [*answers, *self._calibrations.uncounted()]
        finished_at = time.time()
        return replace(
            answers[0],
            job_id=job.job_id,
            values=values,
            variances=variances,
            jacobian=jacobian,
            n_circuits=sum(answer.n_circuits for answer in run),
            n_shots=sum(answer.n_shots for answer in run),
            cost_usd=sum(answer.cost_usd for answer in run),
            compute_seconds=finished_at - started_at,
            started_at=started_at,
            finished_at=finished_at,
            phases=_longest(answers) if self._crew is not None else _added(answers),
        )

    def close(self) -> None:
        """Close the inner session, which ends what waits for it."""
        if self._crew is not None:
            self._crew.close()
        self._inner.close()

    def _inversion(self, compiled: CompiledCircuit, is_exact: bool) -> Inversion | None:
        """How readout errors are undone, if they are."""
        if not self._backend.mitigation.readout:
            return None
        if is_exact not in compiled.inversions:  # made twice at worst, and alike
            rates = self._calibrations.rates(compiled.circuit.template.n_qubits, is_exact)
            compiled.inversions[is_exact] = Inversion(compiled.circuit, rates)
        return compiled.inversions[is_exact]

    def _calibrate(self, job: Job, n_qubits: int) -> JobResult:
        return self._inner.run(self._inner.compile(preparation_circuit(n_qubits)), job)

    def _run_all(self, programs: Sequence[Any], jobs: Sequence[Job]) -> list[JobResult]:
        """The inner answers in order; at the same time where the inner session mostly waits."""
        if self._crew is None or len(jobs) == 1:
            return [self._inner.run(program, job) for program, job in zip(programs, jobs, strict=True)]
        answers: list[Future[JobResult]] = []
        try:
            for program, job in zip(programs, jobs, strict=True):
                answers.append(self._crew.hand(self._inner.run, program, job))
            return [answer.result() for answer in answers]
        finally:  # after a failure, what has not begun is not begun
            for answer in answers:
                answer.cancel()


def _longest(answers: Sequence[JobResult]) -> JobPhases | None:
    """Where the time of jobs went that ran at the same time: that of the longest."""
    told = [answer.phases for answer in answers if answer.phases is not None]
    return max(told, key=lambda phases: sum(phases[:6]), default=None)


def _added(answers: Sequence[JobResult]) -> JobPhases | None:
    """Where the time of jobs went that ran one after the other."""
    told = [answer.phases for answer in answers if answer.phases is not None]
    if not told:
        return None
    seconds = np.sum([phases[:-1] for phases in told], axis=0).tolist()
    return JobPhases(*seconds)._replace(is_served=all(phases.is_served for phases in told))


def _pulled_back(inversion: Inversion | None, job: Job) -> Job:
    """`job` with cotangents of the strings that are read, in place of those of the strings that are wanted."""
    if inversion is None or job.cotangents is None:
        return job
    return replace(job, cotangents=inversion.pulled_back(job.cotangents))


def _estimate(
    inversion: Inversion | None, answer: JobResult, shots: int | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Values and variances [S, D, M] of one circuit, freed of readout errors."""
    if inversion is None:
        return answer.values, answer.variances
    variances = None if shots is None else inversion.variances(answer.values, shots)
    return inversion.values(answer.values), variances


def _combined(
    weights: Sequence[float], estimates: Sequence[tuple[np.ndarray, np.ndarray | None]]
) -> tuple[np.ndarray, np.ndarray | None]:
    """The weighted sum, and its variance; the circuits' shots are independent."""
    if len(estimates) == 1:
        return estimates[0]
    values, variances = np.zeros_like(estimates[0][0]), np.zeros_like(estimates[0][0])
    is_exact = estimates[0][1] is None
    for weight, (value, variance) in zip(weights, estimates, strict=True):
        values += weight * value
        if variance is not None:
            variances += weight**2 * variance
    return values, None if is_exact else variances
