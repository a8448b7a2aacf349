"""The engine's Python surface: bind a job to a program, size the blocks, run the loops."""

from __future__ import annotations

import numpy as np

from actors.simulation.coefficients import Angles
from actors.simulation.forward import Displaced, Noise, forward
from actors.simulation.program import Program
from orchestrator.jobs import Displacements, Job

def run_forward(program: Program, job: Job, width: int = 64) -> np.ndarray:
    code = program.instructions
    column = np.full(program.n_angles, -1, np.int64)
    column[job.data_columns] = np.arange(len(job.data_columns))
    angles = Angles(np.ascontiguousarray(job.shared_angles, np.float64), column, np.ascontiguousarray(job.data_angles, np.float64))
    values = np.empty((job.n_samples, job.n_displacements, program.n_paulis))
    d = job.displacements
    first = np.full(len(d), program.n_operations, np.int64)
    np.minimum.at(first, np.repeat(np.arange(len(d)), np.diff(d.indptr)), code.angle_operation[d.angles])
    order = np.argsort(first, kind="stable")
    displaced = Displaced(d.indptr, d.angles, d.deltas, order, first[order])
    noise = Noise(job.shots or 0, job.step, job.sample_start, job.displacement_start, job.noise_keys)
    forward(code, program.observables, angles, displaced, noise, width, values)
    return values
