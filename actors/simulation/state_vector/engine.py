"""The engine's Python surface: check a job against its program, bind its arrays, size the blocks, run the loops."""

from __future__ import annotations

import numpy as np

from actors.simulation.sizing import adjoint_together, adjoint_width, forward_width
from actors.simulation.state_vector.adjoint import adjoint
from actors.simulation.state_vector.coefficients import Angles
from actors.simulation.state_vector.forward import Displaced, Noise, forward
from actors.simulation.state_vector.program import Program
from orchestrator.jobs import Displacements, Job


def run_forward(program: Program, job: Job, width: int | None = None) -> np.ndarray:
    """Expectation values, float64 [S, D, M]: exact, or means over ``job.shots`` shots.

    Args:
        program: compiled from the circuit the job names.
        job: checked, see ``actors.backends.checks.check_job``.
        width: lanes of a block; chosen if absent. The bits of the result do not depend on it.

    Raises:
        CapabilityError: the states do not fit into memory.
    """
    n_samples, n_rows = job.n_samples, job.n_displacements
    values = np.empty((n_samples, n_rows, program.n_paulis))
    if values.size == 0:
        return values
    width = width or forward_width(program.n_qubits, n_samples * n_rows)
    noise = Noise(
        shots=job.shots or 0,
        step=job.step,
        sample_start=job.sample_start,
        displacement_start=job.displacement_start,
        keys=np.ascontiguousarray(job.noise_keys, np.uint64),
    )
    displaced = _displaced(program, job.displacements)
    forward(program.instructions, program.observables, _angles(program, job), displaced, noise, width, values)
    return values


def run_adjoint(program: Program, job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Exact values [S, M] and Jacobian [S, M, Kj] by ``job.jacobian_angles``, at the undisplaced circuits.

    Raises:
        CapabilityError: the states do not fit into memory.
    """
    wanted_angles = np.asarray(job.jacobian_angles, np.int64)
    values = np.empty((job.n_samples, program.n_paulis))
    jacobian = np.zeros((job.n_samples, program.n_paulis, len(wanted_angles)))
    if values.size == 0:
        return values, jacobian
    code = program.instructions
    place_of_angle = np.full(
        program.n_angles + 1, -1, np.int64
    )  # the last entry serves the angle -1 of fixed gates
    place_of_angle[wanted_angles] = np.arange(len(wanted_angles))
    adjoint(
        code,
        program.observables,
        _angles(program, job),
        place_of_angle[code.trigs["angle"]],
        adjoint_width(program.n_qubits),
        adjoint_together(program.n_qubits, program.n_paulis),
        values,
        jacobian,
    )
    return values, jacobian


def _angles(program: Program, job: Job) -> Angles:
    column = np.full(program.n_angles, -1, np.int64)
    column[job.data_columns] = np.arange(len(job.data_columns))
    shared = np.ascontiguousarray(job.shared_angles, np.float64)
    return Angles(shared, column, np.ascontiguousarray(job.data_angles, np.float64))


def _displaced(program: Program, rows: Displacements) -> Displaced:
    """The rows of `rows` in the order of the first operation that each moves (an empty row moves none)."""
    indptr, angles = np.ascontiguousarray(rows.indptr, np.int64), np.ascontiguousarray(rows.angles, np.int64)
    first = np.full(len(rows), program.n_operations, np.int64)
    np.minimum.at(
        first,
        np.repeat(np.arange(len(rows)), np.diff(indptr)),
        program.instructions.angles["operation"][angles],
    )
    order = np.argsort(first, kind="stable")
    return Displaced(indptr, angles, np.ascontiguousarray(rows.deltas, np.float64), order, first[order])
