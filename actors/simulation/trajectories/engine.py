"""The trajectory method as an Execution: shots of noisy circuits of up to some twenty qubits."""

from __future__ import annotations

import numpy as np

from actors.noise.model import NoiseModel
from actors.simulation.sizing import BLOCK_LANES, forward_width
from actors.simulation.state_vector.coefficients import Angles
from actors.simulation.state_vector.forward import Noise
from actors.simulation.trajectories.loop import Rows, run_trajectories
from actors.simulation.trajectories.schedule import compile_schedule
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError
from orchestrator.jobs import Job

MAX_SHOTS = 2**31
"""Shots of one circuit: what half a Philox counter word numbers."""


class Trajectories:
    """A circuit under a noise model, one state vector a shot.

    Args:
        circuit: what to run. noise: what follows its gates, and its readout error.
        width: lanes of a block; chosen if absent. The bits of the results do not depend on it.

    Raises:
        CircuitError: a gate that cannot be simulated, or one on more qubits than the noise model knows.
        CapabilityError: the states do not fit into memory.
    """

    def __init__(self, circuit: MeasuredCircuit, noise: NoiseModel, width: int | None = None) -> None:
        forward_width(circuit.template.n_qubits, 1)
        self._schedule, self._width = compile_schedule(circuit, noise), width

    def values(self, job: Job) -> np.ndarray:
        """Means over ``job.shots`` shots, float64 [S, D, M].

        Raises:
            CapabilityError: no shots, too many of them, or the states do not fit into memory.
        """
        if job.shots is None:
            raise CapabilityError("quantum trajectories have no exact values: give a number of shots")
        if job.shots >= MAX_SHOTS:
            raise CapabilityError(f"shots = {job.shots}: trajectories number up to {MAX_SHOTS - 1}")
        schedule = self._schedule
        values = np.empty((job.n_samples, job.n_displacements, schedule.n_paulis))
        column = np.full(schedule.n_angles, -1, np.int64)
        column[job.data_columns] = np.arange(len(job.data_columns))
        rows = job.displacements
        run_trajectories(
            schedule.instructions,
            schedule.errors,
            schedule.strings,
            Angles(
                np.ascontiguousarray(job.shared_angles, np.float64),
                column,
                np.ascontiguousarray(job.data_angles, np.float64),
            ),
            Rows(
                np.ascontiguousarray(rows.indptr, np.int64),
                np.ascontiguousarray(rows.angles, np.int64),
                np.ascontiguousarray(rows.deltas, np.float64),
            ),
            Noise(
                shots=job.shots,
                step=job.step,
                sample_start=job.sample_start,
                displacement_start=job.displacement_start,
                keys=np.ascontiguousarray(job.noise_keys, np.uint64),
            ),
            self._width or forward_width(schedule.n_qubits, job.shots, BLOCK_LANES),
            values,
        )
        return values

    def jacobian(self, job: Job) -> tuple[np.ndarray, np.ndarray]:
        """Refused.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError(
            "quantum trajectories give no derivatives directly: use parameter shifts (gradient.rule = 'parameter_shift')"
        )
