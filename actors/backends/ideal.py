"""The backend "ideal": the batched state-vector engine, noiseless, exact or with shots, derivatives by the adjoint method."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors.backends.checks import check_circuit, check_job
from actors.backends.results import make_result
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Job, JobResult
from orchestrator.protocols import Capabilities

if TYPE_CHECKING:
    from actors.simulation.state_vector.program import Program


@dataclass(frozen=True)
class IdealBackend:
    """Noiseless simulation on this machine's processor."""

    name = "ideal"
    capabilities = Capabilities(is_exact=True, has_shots=True, has_jacobian=True, max_qubits=24)

    def open_session(self) -> IdealSession:
        """A session; imports numba (a fraction of a second), compiles nothing yet."""
        return IdealSession(self)

    def warm_up(self, report: Callable[[str], None] | None = None) -> float:
        """Compile the kernels unless they are cached on disk; returns the seconds it took. See `simulation.warm_up`."""
        from actors.simulation.warm_up import warm_up

        return warm_up(report)


@dataclass(frozen=True, eq=False)
class CompiledCircuit:
    """A circuit and its program."""

    circuit: MeasuredCircuit
    program: Program


class IdealSession:
    """One actor's engine; holds nothing between jobs."""

    def __init__(self, backend: IdealBackend) -> None:
        from actors.simulation import sizing
        from actors.simulation.state_vector import engine, program

        self._backend = backend
        self._engine, self._program, self._sizing = engine, program, sizing

    def compile(self, circuit: MeasuredCircuit) -> CompiledCircuit:
        """Fuse and lower `circuit`.

        Raises:
            CapabilityError: too many qubits, or too few bytes of memory.
            CircuitError: a gate cannot be simulated.
        """
        check_circuit(self._backend.name, self._backend.capabilities, circuit)
        self._sizing.forward_width(circuit.template.n_qubits, 1)
        return CompiledCircuit(circuit, self._program.compile_program(circuit))

    def run(self, compiled: CompiledCircuit, job: Job) -> JobResult:
        """The answer to `job`.

        Raises:
            CapabilityError: derivatives with shots, or states that do not fit into memory.
            CircuitError: the job's arrays do not fit the circuit.
        """
        started_at = time.time()
        circuit, program = compiled.circuit, compiled.program
        check_job(self._backend.name, self._backend.capabilities, circuit, job)
        if job.jacobian_angles is None:
            values = self._engine.run_forward(program, job)
            return make_result(circuit, job, self._backend.name, started_at, values)
        values, jacobian = self._engine.run_adjoint(program, job)
        return make_result(circuit, job, self._backend.name, started_at, values[:, None, :], jacobian)

    def close(self) -> None:
        """Nothing to release."""
