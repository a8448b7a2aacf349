"""The backend "noisy": simulation under a noise model, exact or with shots, on this machine's processor.

The method is chosen from the circuit and the number of shots alone (`choose_method`), so that a circuit is computed in the same way, and to
the same bits, whatever job it comes in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actors.backends.checks import check_circuit, check_job
from actors.backends.results import make_result
from actors.noise.model import NoiseModel
from actors.noise.presets import noise_model
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError, ConfigError, nearest
from orchestrator.jobs import Job, JobResult
from orchestrator.protocols import Capabilities

if TYPE_CHECKING:
    from actors.simulation.execution import Execution

METHODS = ("density_matrix", "trajectories", "contraction")
MAX_EXACT_QUBITS = 13
"""4**13 components are half a gigabyte, and an execution holds three such blocks."""
MAX_SAMPLED_QUBITS = 24
SHOTS_FROM_DENSITY_MATRIX = 10
"""Up to so many qubits shots may come from a density matrix."""


def choose_method(circuit: MeasuredCircuit, noise: NoiseModel, shots: int | None) -> str:
    """The cheapest method that can do it, from the circuit alone.

    Exact values: contraction where its cuts are small, else a density matrix. Shots: from a density matrix where that costs less than
    as many trajectories, which is some 2**n of them.
    """
    n_qubits = circuit.template.n_qubits
    if shots is not None:
        return (
            "density_matrix"
            if n_qubits <= SHOTS_FROM_DENSITY_MATRIX and 2**n_qubits <= shots
            else "trajectories"
        )
    from actors.simulation.contraction.cost import contraction_microseconds

    estimate = contraction_microseconds(circuit, noise)
    return "contraction" if estimate < 0.002 * 4.0**n_qubits else "density_matrix"


def _capabilities(method: str) -> Capabilities:
    is_exact = method != "trajectories"
    has_shots = method != "contraction"
    max_qubits = {"density_matrix": MAX_EXACT_QUBITS, "trajectories": MAX_SAMPLED_QUBITS}.get(method, 60)
    return Capabilities(is_exact, has_shots, has_jacobian=is_exact, max_qubits=max_qubits)


class NoisyBackend:
    """Simulation under a noise model.

    Args:
        noise: a NoiseModel, the name of a registered one, or ``module:function`` for one of your own.
        method: "auto", or one of `METHODS` to use it for everything.

    Raises:
        UnknownNameError: no noise model of that name. ConfigError: no such method.
    """

    name = "noisy"

    def __init__(self, noise: NoiseModel | str = "aria-1", method: str = "auto") -> None:
        if method not in ("auto", *METHODS):
            raise ConfigError(
                "method", method, f"must be auto or one of {', '.join(METHODS)}", nearest(method, METHODS)
            )
        self.noise, self.method = noise_model(noise), method
        self.capabilities = _capabilities(method)

    def open_session(self) -> NoisySession:
        """A session; imports numba (a fraction of a second), compiles nothing yet."""
        return NoisySession(self)

    def warm_up(
        self, circuit: MeasuredCircuit, shots: int | None = None, report: Callable[[str], None] | None = None
    ) -> float:
        """Compile the kernels that jobs of `circuit` need, unless they are cached on disk; returns the seconds it took."""
        from actors.simulation.warm_up import warm_up

        return warm_up([self._method(circuit, shots)], report)

    def _method(self, circuit: MeasuredCircuit, shots: int | None) -> str:
        """The method in charge."""
        return choose_method(circuit, self.noise, shots) if self.method == "auto" else self.method


@dataclass(frozen=True, eq=False)
class CompiledCircuit:
    """A circuit, and its executions by method: each is compiled when the first job needs it."""

    circuit: MeasuredCircuit
    executions: dict[str, Execution] = field(default_factory=dict)


class NoisySession:
    """One actor's simulator; holds nothing between jobs."""

    def __init__(self, backend: NoisyBackend) -> None:
        self._backend = backend

    def compile(self, circuit: MeasuredCircuit) -> CompiledCircuit:
        """Check `circuit`; what it compiles to depends on the jobs to come.

        Raises:
            CapabilityError: too many qubits.
            CircuitError: a gate on more qubits than the noise model knows.
        """
        check_circuit(self._backend.name, self._backend.capabilities, circuit)
        for n_qubits in {len(gate.qubits) for gate in circuit.template.gates}:
            self._backend.noise.after_gate(n_qubits)
        return CompiledCircuit(circuit)

    def run(self, compiled: CompiledCircuit, job: Job) -> JobResult:
        """The answer to `job`.

        Raises:
            CapabilityError: exact values of too many qubits, derivatives with shots, or states that do not fit into memory.
            CircuitError: the job's arrays do not fit the circuit.
        """
        started_at = time.time()
        name, circuit = self._backend.name, compiled.circuit
        check_job(name, self._backend.capabilities, circuit, job)
        execution = self._execution(compiled, job.shots)
        if job.jacobian_angles is None:
            return make_result(circuit, job, name, started_at, execution.values(job))
        values, jacobian = execution.jacobian(job)
        return make_result(circuit, job, name, started_at, values[:, None, :], jacobian)

    def close(self) -> None:
        """Nothing to release."""

    def _execution(self, compiled: CompiledCircuit, shots: int | None) -> Execution:
        """The execution of the method in charge."""
        n_qubits = compiled.circuit.template.n_qubits
        method = self._backend._method(compiled.circuit, shots)
        if method not in compiled.executions:
            if method == "trajectories" and n_qubits > MAX_SAMPLED_QUBITS:
                raise CapabilityError(
                    f"shots under noise take up to {MAX_SAMPLED_QUBITS} qubits, and the circuit has {n_qubits}: leave backend.shots out "
                    "for exact values, which shallow chains and rings have at any size"
                )
            if method == "density_matrix" and n_qubits > MAX_EXACT_QUBITS:
                raise CapabilityError(
                    f"exact values under noise take up to {MAX_EXACT_QUBITS} qubits where the entanglement is not that of a shallow chain "
                    f"or ring, and the circuit has {n_qubits}: give a number of shots (backend.shots), and each shot is one trajectory"
                )
            compiled.executions[method] = build_execution(method, compiled.circuit, self._backend.noise)
        return compiled.executions[method]


def build_execution(method: str, circuit: MeasuredCircuit, noise: NoiseModel) -> Execution:
    """`circuit` under `noise`, compiled for `method`.

    Raises:
        CapabilityError: the states do not fit into memory. CircuitError: a gate cannot be simulated.
    """
    if method == "contraction":
        from actors.simulation.contraction.engine import ChainContraction, compile_contraction

        return ChainContraction(circuit, compile_contraction(circuit, noise))
    if method == "density_matrix":
        from actors.simulation.density_matrix.engine import DensityMatrix

        return DensityMatrix(circuit, noise)
    from actors.simulation.trajectories.engine import Trajectories

    return Trajectories(circuit, noise)
