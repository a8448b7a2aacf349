"""The density-matrix method as an Execution: exact under any noise model, and the reference for the other methods."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from actors.noise.model import NoiseModel
from actors.simulation.density_matrix.forward import forward
from actors.simulation.density_matrix.program import Program, compile_program
from actors.simulation.sizing import density_matrix_width
from actors.simulation.state_vector.coefficients import Angles
from actors.simulation.state_vector.forward import Displaced, Noise
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Displacements, Job


class DensityMatrix:
    """A circuit under a noise model, its density matrix held as 4**n real Pauli components.

    Args:
        circuit: what to run. noise: what follows its gates, and its readout error.
        width: lanes of a block; chosen if absent. The bits of the results do not depend on it.

    Raises:
        CircuitError: a gate on more qubits than the noise model knows.
        CapabilityError: the states do not fit into memory.
    """

    def __init__(self, circuit: MeasuredCircuit, noise: NoiseModel, width: int | None = None) -> None:
        density_matrix_width(circuit.template.n_qubits, 1)
        self._circuit, self._noise, self._width = circuit, noise, width

    def values(self, job: Job) -> np.ndarray:
        """Expectation values, float64 [S, D, M]: exact, or means over ``job.shots`` shots.

        Raises:
            CapabilityError: the states do not fit into memory.
        """
        program = self._exact if job.shots is None else self._sampling
        return self._run(program, job, np.full(job.n_displacements, -1, np.int64))

    def jacobian(self, job: Job) -> tuple[np.ndarray, np.ndarray]:
        """Exact values [S, M] and derivatives [S, M, Kj] by ``job.jacobian_angles``, or [S, 1, Kj] with ``job.cotangents``.

        An expectation value is linear in every gate's transfer matrix, so its derivative is the value of the circuit with the
        gate's matrix replaced by its derivative.

        Raises:
            CapabilityError: the states do not fit into memory.
        """
        wanted = np.asarray(job.jacobian_angles, np.int64)
        rows = replace(job, displacements=Displacements.single(wanted, np.zeros(len(wanted))))
        found = self._run(self._exact, rows, np.concatenate([[-1], wanted]))
        operations = self._exact.instructions.angles["operation"][wanted]
        found[:, 1:][:, operations == self._exact.instructions.n_operations] = 0.0  # angles that move nothing
        jacobian = found[:, 1:].transpose(0, 2, 1)
        if job.cotangents is not None:
            total = np.zeros((job.n_samples, 1, len(wanted)))
            for m in range(found.shape[2]):  # string by string, so that a sample's bits stand alone
                total[:, 0] += job.cotangents[:, m, None] * jacobian[:, m]
            jacobian = total
        return np.ascontiguousarray(found[:, 0]), np.ascontiguousarray(jacobian)

    @functools.cached_property
    def _exact(self) -> Program:
        return compile_program(self._circuit, self._noise, from_shots=False)

    @functools.cached_property
    def _sampling(self) -> Program:
        return compile_program(self._circuit, self._noise, from_shots=True)

    def _run(self, program: Program, job: Job, derivative: np.ndarray) -> np.ndarray:
        """Values [S, D, M]; derivative: int64 [D], the angle that each row is differentiated by, -1 for none."""
        values = np.empty((job.n_samples, job.n_displacements, program.n_paulis))
        if values.size == 0:
            return values
        width = self._width or density_matrix_width(program.n_qubits, job.n_samples * job.n_displacements)
        noise = Noise(
            shots=job.shots or 0,
            step=job.step,
            sample_start=job.sample_start,
            displacement_start=job.displacement_start,
            keys=np.ascontiguousarray(job.noise_keys, np.uint64),
        )
        forward(
            program.instructions,
            program.reading,
            _angles(program, job),
            _displaced(program, job.displacements),
            derivative,
            noise,
            width,
            values,
        )
        return values


def _angles(program: Program, job: Job) -> Angles:
    column = np.full(program.n_angles, -1, np.int64)
    column[job.data_columns] = np.arange(len(job.data_columns))
    shared = np.ascontiguousarray(job.shared_angles, np.float64)
    return Angles(shared, column, np.ascontiguousarray(job.data_angles, np.float64))


def _displaced(program: Program, rows: Displacements) -> Displaced:
    """The rows of `rows` in the order of the first operation that each moves (an empty row moves none)."""
    code = program.instructions
    indptr, angles = np.ascontiguousarray(rows.indptr, np.int64), np.ascontiguousarray(rows.angles, np.int64)
    first = np.full(len(rows), code.n_operations, np.int64)
    np.minimum.at(first, np.repeat(np.arange(len(rows)), np.diff(indptr)), code.angles["operation"][angles])
    order = np.argsort(first, kind="stable")
    return Displaced(indptr, angles, np.ascontiguousarray(rows.deltas, np.float64), order, first[order])
