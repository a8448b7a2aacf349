"""The engine's Python surface: check a job against its program, bind its arrays, size the blocks, run the loops."""

from __future__ import annotations

from typing import Literal

import numpy as np

from actors.simulation.sizing import (
    BLOCK_LANES,
    FORWARD_BLOCKS,
    MAX_WIDTH,
    adjoint_together,
    adjoint_width,
    block_bytes,
    check_fits,
    forward_width,
)
from actors.simulation.state_vector.adjoint import adjoint
from actors.simulation.state_vector.carrying import Shifts
from actors.simulation.state_vector.coefficients import Angles
from actors.simulation.state_vector.forward import Noise
from actors.simulation.state_vector.forward_exact import forward_exact
from actors.simulation.state_vector.forward_sampled import forward_sampled
from actors.simulation.state_vector.program import Program
from actors.simulation.state_vector.rows import Routes, exact_routes, own_routes
from orchestrator.errors import CapabilityError
from orchestrator.jobs import Displacements, Job

Precision = Literal["double", "single"]
_REALS: dict[str, type[np.float64] | type[np.float32]] = {"double": np.float64, "single": np.float32}
MAX_SINGLE_SHOTS = 2**24
"""Counts up to this number are exact in single precision."""
_ROUTES_KEPT = 64
"""Programs remember how the rows of so many jobs were routed: the same displacements come back every step."""


def run_forward(
    program: Program, job: Job, width: int | None = None, precision: Precision = "double"
) -> np.ndarray:
    """Expectation values, float64 [S, D, M]: exact, or means over ``job.shots`` shots.

    Args:
        program: compiled from the circuit the job names.
        job: checked, see ``actors.backends.checks.check_job``.
        width: lanes of a block; chosen if absent. The bits of the result do not depend on it.
        precision: of the states. In "single" a value is wrong by up to about 1e-7 times the number of operations.

    Raises:
        CapabilityError: the states do not fit into memory, or there are too many shots for single precision.
        ValueError: a precision of another name.
    """
    n_samples, n_rows = job.n_samples, job.n_displacements
    values = np.empty((n_samples, n_rows, program.n_paulis))
    real = _real(precision)
    if values.size == 0:
        return values
    routes = _routes(program, job)
    width = width or _forward_width(program, n_samples * max(len(routes.carried.kind), 1), real)
    displaced = _displaced(job.displacements)
    angles = _angles(program, job)
    if job.shots is None:
        # One more than `forward_exact` always needs where a block may hold two states of a sample.
        blocks = FORWARD_BLOCKS + (1 if n_samples % width == 0 else 2)
        buffers = _buffers(program, blocks, width, real)
        forward_exact(
            program.instructions, program.observables, angles, displaced, routes, width, buffers, values
        )
        return values
    if real is np.float32 and job.shots > MAX_SINGLE_SHOTS:
        raise CapabilityError(
            f"{job.shots} shots are too many for single precision; take {MAX_SINGLE_SHOTS} or fewer, or double precision"
        )
    noise = Noise(
        shots=job.shots,
        step=job.step,
        sample_start=job.sample_start,
        displacement_start=job.displacement_start,
        keys=np.ascontiguousarray(job.noise_keys, np.uint64),
    )
    buffers = _buffers(program, FORWARD_BLOCKS, width, real)
    forward_sampled(
        program.instructions,
        program.observables,
        angles,
        displaced,
        routes.carried,
        noise,
        width,
        buffers,
        values,
    )
    return values


def run_adjoint(program: Program, job: Job, precision: Precision = "double") -> tuple[np.ndarray, np.ndarray]:
    """Exact values [S, M] and derivatives by ``job.jacobian_angles``, at the undisplaced circuits.

    The derivatives are [S, M, Kj], or with ``job.cotangents`` c [S, M] the sums ``sum_m c[s, m] d<O_m>/da``, [S, 1, Kj].

    Raises:
        CapabilityError: the states do not fit into memory.
        ValueError: a precision of another name.
    """
    real = _real(precision)
    wanted_angles = np.asarray(job.jacobian_angles, np.int64)
    cotangents: np.ndarray | None = getattr(job, "cotangents", None)
    n_sweeps = program.n_paulis if cotangents is None else 1
    values = np.empty((job.n_samples, program.n_paulis))
    jacobian = np.zeros((job.n_samples, n_sweeps, len(wanted_angles)))
    if values.size == 0:
        return values, jacobian
    code = program.instructions
    place_of_angle = np.full(
        program.n_angles + 1, -1, np.int64
    )  # the last entry serves the angle -1 of fixed gates
    place_of_angle[wanted_angles] = np.arange(len(wanted_angles))
    together = adjoint_together(program.n_qubits, n_sweeps)
    width = adjoint_width(program.n_qubits)
    adjoint(
        code,
        program.observables,
        _angles(program, job),
        place_of_angle[code.trigs["angle"]],
        np.empty((0, program.n_paulis))
        if cotangents is None
        else np.ascontiguousarray(cotangents, np.float64),
        _buffers(program, 2 + together, width, real),
        values,
        jacobian,
    )
    return values, jacobian


def _real(precision: str) -> type[np.float64] | type[np.float32]:
    if precision not in _REALS:
        raise ValueError(f"precision is 'double' or 'single', not {precision!r}")
    return _REALS[precision]


def _forward_width(program: Program, n_lanes: int, real: type) -> int:
    """Lanes of a block; of the half as long numbers of single precision the cache holds twice as many."""
    least = BLOCK_LANES if program.instructions.blocks.size else 1
    width = forward_width(program.n_qubits, n_lanes, least)
    return min(2 * width, MAX_WIDTH, n_lanes) if real is np.float32 else width


def _buffers(program: Program, blocks: int, width: int, real: type) -> np.ndarray:
    check_fits(program.n_qubits, "simulating a circuit", blocks * block_bytes(program.n_qubits, width))
    return np.empty((blocks, 2, width << program.n_qubits), real)


def _angles(program: Program, job: Job) -> Angles:
    column = np.full(program.n_angles, -1, np.int64)
    column[job.data_columns] = np.arange(len(job.data_columns))
    shared = np.ascontiguousarray(job.shared_angles, np.float64)
    return Angles(shared, column, np.ascontiguousarray(job.data_angles, np.float64))


def _displaced(rows: Displacements) -> Shifts:
    return Shifts(
        np.ascontiguousarray(rows.indptr, np.int64),
        np.ascontiguousarray(rows.angles, np.int64),
        np.ascontiguousarray(rows.deltas, np.float64),
    )


def _routes(program: Program, job: Job) -> Routes:
    rows = job.displacements
    key = (job.shots is None, rows.indptr.tobytes(), rows.angles.tobytes())
    if key not in program.routes:
        if len(program.routes) >= _ROUTES_KEPT:
            program.routes.clear()
        program.routes[key] = (exact_routes if job.shots is None else own_routes)(program, rows)
    return program.routes[key]
