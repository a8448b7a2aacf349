"""What a session refuses before it computes, in words: jobs that do not fit their circuit, or ask for what the backend lacks."""

from __future__ import annotations

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError, CircuitError, ExecutionError
from orchestrator.jobs import Job
from orchestrator.protocols import Capabilities


def check_circuit(name: str, capabilities: Capabilities, circuit: MeasuredCircuit) -> None:
    """Refuse a circuit that is too large for backend `name`.

    Raises:
        CapabilityError: it has more qubits than the backend takes.
    """
    n_qubits = circuit.template.n_qubits
    if n_qubits > capabilities.max_qubits:
        raise CapabilityError(
            f"backend {name!r} takes up to {capabilities.max_qubits} qubits; the circuit has {n_qubits}"
        )


def check_job(name: str, capabilities: Capabilities, circuit: MeasuredCircuit, job: Job) -> None:
    """Refuse a job that backend `name` cannot do, or that does not fit `circuit`.

    Raises:
        CapabilityError: the backend lacks what is asked for.
        CircuitError: an array has the wrong shape, an index out of range, or a value that is not finite.
        ExecutionError: the job is for another circuit.
    """
    if job.circuit_key != circuit.key:
        raise ExecutionError(
            f"job {job.job_id} is for circuit {job.circuit_key}, but was run with circuit {circuit.key}"
        )
    _check_request(name, capabilities, job)
    _check_angles(circuit.template.n_angles, job)
    _check_displacements(circuit.template.n_angles, job)
    if job.jacobian_angles is not None:
        _check_jacobian(circuit.template.n_angles, job)
    if job.shots is not None and job.noise_keys.shape != (len(circuit.groups),):
        raise CircuitError(
            f"noise_keys has shape {job.noise_keys.shape}; with shots it holds one key for each of the "
            f"{len(circuit.groups)} measurement groups"
        )


def _check_request(name: str, capabilities: Capabilities, job: Job) -> None:
    if job.shots is None and not capabilities.is_exact:
        raise CapabilityError(f"backend {name!r} has no exact values: give a number of shots")
    if job.shots is not None and not capabilities.has_shots:
        raise CapabilityError(f"backend {name!r} has no shots: leave shots unset for exact values")
    if job.shots is not None and job.shots < 1:
        raise CapabilityError(f"shots = {job.shots}: at least 1, or None for exact values")
    if job.jacobian_angles is None:
        return
    if not capabilities.has_jacobian:
        raise CapabilityError(f"backend {name!r} gives no derivatives directly: use parameter shifts")
    if job.shots is not None:
        raise CapabilityError("a direct derivative is exact: leave shots unset, or use parameter shifts")


def _check_angles(n_angles: int, job: Job) -> None:
    if job.shared_angles.shape != (n_angles,):
        raise CircuitError(
            f"shared_angles has shape {job.shared_angles.shape}; the circuit has {n_angles} angles"
        )
    if job.data_angles.ndim != 2 or job.data_angles.shape[1:] != job.data_columns.shape:
        raise CircuitError(
            f"data_angles has shape {job.data_angles.shape}; expected [samples, {len(job.data_columns)}], a column for each of "
            "data_columns"
        )
    _check_indices("data_columns", job.data_columns, n_angles)
    shared = np.delete(job.shared_angles, job.data_columns)  # the entries at data_columns are ignored
    for what, values in (("shared_angles", shared), ("data_angles", job.data_angles)):
        if not np.isfinite(values).all():
            raise CircuitError(f"{what} holds a value that is not finite")


def _check_displacements(n_angles: int, job: Job) -> None:
    rows = job.displacements
    if len(rows.indptr) < 1 or rows.indptr[0] != 0 or np.any(np.diff(rows.indptr) < 0):
        raise CircuitError("displacements.indptr must begin with 0 and never fall")
    if not rows.indptr[-1] == len(rows.angles) == len(rows.deltas):
        raise CircuitError(
            f"displacements name {rows.indptr[-1]} entries, but hold {len(rows.angles)} angles and {len(rows.deltas)} deltas"
        )
    row = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
    if len(rows.angles) and not (rows.angles.min() >= 0 and rows.angles.max() < n_angles):
        raise CircuitError(f"displacements name an angle outside of 0..{n_angles - 1}")
    if len(np.unique(row * (n_angles + 1) + rows.angles)) < len(row):
        raise CircuitError("an angle occurs twice in one displacement row; add its deltas up")
    if not np.isfinite(rows.deltas).all():
        raise CircuitError("displacements.deltas holds a value that is not finite")


def _check_jacobian(n_angles: int, job: Job) -> None:
    assert job.jacobian_angles is not None
    _check_indices("jacobian_angles", job.jacobian_angles, n_angles)
    if len(job.displacements) != 1 or len(job.displacements.angles) > 0:
        raise CapabilityError(
            "a direct derivative is taken at the undisplaced circuit: one empty displacement row"
        )


def _check_indices(what: str, indices: np.ndarray, n_angles: int) -> None:
    if indices.ndim != 1 or (len(indices) and not (indices.min() >= 0 and indices.max() < n_angles)):
        raise CircuitError(f"{what} names an angle outside of 0..{n_angles - 1}")
    if len(np.unique(indices)) < len(indices):
        raise CircuitError(f"{what} names an angle twice")
