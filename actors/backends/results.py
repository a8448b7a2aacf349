"""From values to a JobResult: the variance of means over shots, and the counting of circuits."""

from __future__ import annotations

import time

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Job, JobResult


def mean_variances(circuit: MeasuredCircuit, values: np.ndarray, shots: int) -> np.ndarray:
    """Estimated variance of each mean of `shots` outcomes +-1, float64 [S, D, M].

    The outcomes of one string are independent with variance ``1 - <P>**2``; with the mean v their sample variance is
    ``(1 - v**2) shots / (shots - 1)``, so ``(1 - v**2) / (shots - 1)`` estimates the variance of v without bias. One shot says nothing
    of the spread; then 1 is given, the most that a +-1 outcome can have. A string of I alone is 1 without error.
    """
    variances = np.ones_like(values) if shots == 1 else np.maximum(1 - values**2, 0.0) / (shots - 1)
    variances[..., [set(pauli) == {"I"} for pauli in circuit.paulis]] = 0.0
    return variances


def make_result(
    circuit: MeasuredCircuit,
    job: Job,
    backend: str,
    started_at: float,
    values: np.ndarray,
    jacobian: np.ndarray | None = None,
) -> JobResult:
    """The result of a free simulation that began at `started_at` (Unix seconds) and ends now.

    With shots every measurement group is a circuit of its own; exact values of all strings come from one.
    """
    finished_at = time.time()
    n_circuits = job.n_samples * job.n_displacements
    variances = None
    if job.shots is not None:
        n_circuits *= len(circuit.groups)
        variances = mean_variances(circuit, values, job.shots)
    return JobResult(
        job_id=job.job_id,
        values=values,
        variances=variances,
        jacobian=jacobian,
        n_circuits=n_circuits,
        n_shots=n_circuits * (job.shots or 0),
        cost_usd=0.0,
        cache_hit=False,
        compute_seconds=finished_at - started_at,
        started_at=started_at,
        finished_at=finished_at,
        worker="",
        backend=backend,
    )
