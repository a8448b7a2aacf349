"""What a session refuses before it computes, in words: jobs that do not fit their circuit, or ask for what the backend lacks."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

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
    if job.cotangents is not None:
        _check_cotangents(len(circuit.paulis), job)
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
    # the entries of shared_angles at data_columns are ignored
    if not _all_finite(job.shared_angles) and not _all_finite(np.delete(job.shared_angles, job.data_columns)):
        raise CircuitError("shared_angles holds a value that is not finite")
    if not _all_finite(job.data_angles):
        raise CircuitError("data_angles holds a value that is not finite")


def _all_finite(values: np.ndarray) -> bool:
    """Their sum of squares says so in a third of the time, unless it overflows."""
    return math.isfinite(np.vdot(values, values)) or bool(np.isfinite(values).all())


def _check_displacements(n_angles: int, job: Job) -> None:
    rows = job.displacements
    problem = _problem(_displacement_problem, n_angles, rows.indptr, rows.angles, rows.deltas)
    if problem is not None:
        raise CircuitError(problem)


def _displacement_problem(
    n_angles: int, indptr: np.ndarray, angles: np.ndarray, deltas: np.ndarray
) -> str | None:
    if len(indptr) < 1 or indptr[0] != 0 or np.any(np.diff(indptr) < 0):
        return "displacements.indptr must begin with 0 and never fall"
    if not indptr[-1] == len(angles) == len(deltas):
        return (
            f"displacements name {indptr[-1]} entries, but hold {len(angles)} angles and {len(deltas)} deltas"
        )
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    if len(angles) and not (angles.min() >= 0 and angles.max() < n_angles):
        return f"displacements name an angle outside of 0..{n_angles - 1}"
    if len(np.unique(row * (n_angles + 1) + angles)) < len(row):
        return "an angle occurs twice in one displacement row; add its deltas up"
    if not np.isfinite(deltas).all():
        return "displacements.deltas holds a value that is not finite"
    return None


def _check_jacobian(n_angles: int, job: Job) -> None:
    assert job.jacobian_angles is not None
    _check_indices("jacobian_angles", job.jacobian_angles, n_angles)
    if len(job.displacements) != 1 or len(job.displacements.angles) > 0:
        raise CapabilityError(
            "a direct derivative is taken at the undisplaced circuit: one empty displacement row"
        )


def _check_cotangents(n_paulis: int, job: Job) -> None:
    assert job.cotangents is not None
    if job.jacobian_angles is None:
        raise CircuitError("cotangents weigh derivatives: they need jacobian_angles")
    if job.cotangents.shape != (job.n_samples, n_paulis):
        raise CircuitError(
            f"cotangents has shape {job.cotangents.shape}; expected {(job.n_samples, n_paulis)}, a weight for each sample and string"
        )
    if job.cotangents.dtype != np.float64 or not np.isfinite(job.cotangents).all():
        raise CircuitError("cotangents holds a value that is not a finite float64")


def _check_indices(what: str, indices: np.ndarray, n_angles: int) -> None:
    problem = _problem(_index_problem, n_angles, indices)
    if problem is not None:
        raise CircuitError(f"{what} {problem}")


def _index_problem(n_angles: int, indices: np.ndarray) -> str | None:
    if indices.ndim != 1 or (len(indices) and not (indices.min() >= 0 and indices.max() < n_angles)):
        return f"names an angle outside of 0..{n_angles - 1}"
    if len(np.unique(indices)) < len(indices):
        return "names an angle twice"
    return None


_MAX_REMEMBERED_BYTES = 2**16
"""Looking through larger tables is nothing beside the circuits that they stand for."""


def _problem(find: Callable[..., str | None], n_angles: int, *arrays: np.ndarray) -> str | None:
    """``find(n_angles, *arrays)``, remembered by content: the tables of a run are the same in every step."""
    is_plain = all(array.dtype.kind in "iuf" for array in arrays)
    if not is_plain or sum(array.nbytes for array in arrays) > _MAX_REMEMBERED_BYTES:
        return find(n_angles, *arrays)
    return _remembered(find, n_angles, *[(a.dtype.char, a.shape, a.tobytes()) for a in arrays])


@functools.lru_cache(maxsize=64)
def _remembered(
    find: Callable[..., str | None], n_angles: int, *contents: tuple[str, tuple[int, ...], bytes]
) -> str | None:
    return find(n_angles, *(np.frombuffer(data, kind).reshape(shape) for kind, shape, data in contents))
