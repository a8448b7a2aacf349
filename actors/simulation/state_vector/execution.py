"""StateVector: the execution by batches of state vectors."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from actors.simulation.sizing import forward_width
from actors.simulation.state_vector.engine import Precision, run_adjoint, run_forward
from actors.simulation.state_vector.program import Program, compile_program
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Job


class StateVector:
    """Exact values, shots and derivatives of any circuit whose states fit into memory. See ``Execution``.

    Args:
        precision: of the amplitudes, "double" or "single"; angles and results are double.
    """

    name = "state_vector"

    def __init__(self, circuit: MeasuredCircuit, precision: Precision = "double") -> None:
        self._circuit = circuit
        self._precision = precision

    @cached_property
    def program(self) -> Program:
        """Compiled when first needed.

        Raises:
            CapabilityError: not even one circuit's states fit into memory; CircuitError: a gate cannot be simulated.
        """
        forward_width(self._circuit.template.n_qubits, 1)
        return compile_program(self._circuit)

    def values(self, job: Job) -> np.ndarray:
        """Float64 [S, D, M]: exact, or means over ``job.shots`` shots."""
        return run_forward(self.program, job, precision=self._precision)

    def jacobian(self, job: Job) -> tuple[np.ndarray, np.ndarray]:
        """Values [S, M] and derivatives by the adjoint method, [S, M, Kj] or with cotangents [S, 1, Kj]."""
        return run_adjoint(self.program, job, precision=self._precision)
