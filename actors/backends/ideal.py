"""The backend "ideal": noiseless simulation, exact or with shots, with exact derivatives."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors.backends.checks import check_circuit, check_job
from actors.backends.results import make_result
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Job, JobResult
from orchestrator.protocols import Capabilities

if TYPE_CHECKING:
    from actors.simulation.choice import Candidate
    from actors.simulation.simulator import Simulator
    from actors.simulation.state_vector.engine import Precision


@dataclass(frozen=True)
class IdealBackend:
    """Noiseless simulation on this machine's processor.

    Attributes:
        precision: of the arithmetic, "double" (errors of about 1e-15) or "single" (1e-6, up to twice as fast).
        threads: of one session.
    """

    precision: Precision = "double"
    threads: int = 1

    name = "ideal"
    capabilities = Capabilities(is_exact=True, has_shots=True, has_jacobian=True, max_qubits=60)

    def open_session(self) -> IdealSession:
        """A session; imports numba (a fraction of a second), compiles nothing yet."""
        return IdealSession(self)

    def warm_up(
        self, circuit: MeasuredCircuit, shots: int | None = None, report: Callable[[str], None] | None = None
    ) -> float:
        """Compile the kernels that jobs of `circuit` need, unless they are cached on disk; returns the seconds it took.

        Raises:
            CapabilityError: no way of simulating it fits.
        """
        from actors.simulation.choice import choose
        from actors.simulation.simulator import parts_for
        from actors.simulation.warm_up import warm_up

        return warm_up(parts_for(choose(circuit), shots), report)


@dataclass(frozen=True, eq=False)
class CompiledCircuit:
    """A circuit and what simulates it."""

    circuit: MeasuredCircuit
    simulator: Simulator


class IdealSession:
    """One actor's engine; holds nothing between jobs but the compiled circuits that the actor caches."""

    def __init__(self, backend: IdealBackend) -> None:
        from actors.simulation.simulator import Simulator

        self._backend = backend
        self._simulator = Simulator

    def compile(self, circuit: MeasuredCircuit) -> CompiledCircuit:
        """Choose how to simulate `circuit`, and prepare it.

        Raises:
            CapabilityError: no way of simulating it fits, or too few bytes of memory.
            CircuitError: a gate cannot be simulated.
        """
        check_circuit(self._backend.name, self._backend.capabilities, circuit)
        return CompiledCircuit(
            circuit, self._simulator(circuit, self._backend.precision, self._backend.threads)
        )

    def explain(self, compiled: CompiledCircuit) -> Sequence[Candidate]:
        """The cost model's table: every way of simulating the circuit, its estimated costs, and which was chosen."""
        return compiled.simulator.candidates

    def run(self, compiled: CompiledCircuit, job: Job) -> JobResult:
        """The answer to `job`.

        Raises:
            CapabilityError: derivatives with shots, shots of too many qubits, or states that do not fit into memory.
            CircuitError: the job's arrays do not fit the circuit.
        """
        started_at = time.time()
        circuit, simulator = compiled.circuit, compiled.simulator
        check_job(self._backend.name, self._backend.capabilities, circuit, job)
        if job.jacobian_angles is None:
            return make_result(circuit, job, self._backend.name, started_at, simulator.values(job))
        values, jacobian = simulator.jacobian(job)
        return make_result(circuit, job, self._backend.name, started_at, values[:, None, :], jacobian)

    def close(self) -> None:
        """Nothing to release."""
