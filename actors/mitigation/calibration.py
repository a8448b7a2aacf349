"""How each qubit is read, measured with two circuits: all qubits in 0, all qubits in 1.

The job is the same in every session of a run, so that its shots are the same too, and where a book is kept it is paid once. Errors of
preparing the states count as readout errors. What the shots leave uncertain is an error that all values share (see docs/mitigation.md).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np

from actors.mitigation.readout import FlipRates
from orchestrator.circuits.preparation import preparation_circuit
from orchestrator.jobs import Displacements, Job, JobResult, check_result
from orchestrator.planning.noise_keys import noise_keys

_PURPOSE = "readout calibration"


def calibration_job(n_qubits: int, shots: int | None, seed: int) -> Job:
    """A job of two circuits over ``preparation_circuit(n_qubits)``: row 0 all qubits in 0, row 1 in 1."""
    circuit, every = preparation_circuit(n_qubits), np.arange(n_qubits)
    rows = Displacements(np.array([0, 0, n_qubits]), every, np.full(n_qubits, math.pi))
    return Job(
        circuit_key=circuit.key,
        shared_angles=np.zeros(n_qubits),
        data_columns=np.empty(0, np.int64),
        data_angles=np.empty((1, 0)),
        displacements=rows,
        shots=shots,
        noise_keys=noise_keys(seed, _PURPOSE, circuit),
    )


class Calibrations:
    """The flip rates that a session has measured, by number of qubits. Any thread may ask.

    Args:
        run: runs a job of ``preparation_circuit(n_qubits)``.
        shots: of each circuit where shots are drawn. seed: of the run.
    """

    def __init__(self, run: Callable[[Job, int], JobResult], shots: int, seed: int) -> None:
        self._run, self._shots, self._seed = run, shots, seed
        self._lock = threading.Lock()  # held while it is measured, which everybody needs
        self._known: dict[tuple[int, bool], FlipRates] = {}
        self._uncounted: list[JobResult] = []

    def rates(self, n_qubits: int, is_exact: bool) -> FlipRates:
        """The rates, exact or from shots, measured if they are not known yet.

        Raises:
            ExecutionError: it failed, or a qubit is read almost at random.
        """
        with self._lock:
            if (n_qubits, is_exact) not in self._known:
                job = calibration_job(n_qubits, None if is_exact else self._shots, self._seed)
                result = check_result(job, self._run(job, n_qubits), n_qubits)
                if (
                    result.phases is None or not result.phases.is_served
                ):  # else it was paid and counted before
                    self._uncounted.append(result)
                rates = FlipRates.from_values(result.values[0, 0], result.values[0, 1])
                self._known[n_qubits, is_exact] = rates
            return self._known[n_qubits, is_exact]

    def uncounted(self) -> list[JobResult]:
        """What was run and is in no job's figures yet; whoever asks puts it there."""
        with self._lock:
            found, self._uncounted = self._uncounted, []
        return found
