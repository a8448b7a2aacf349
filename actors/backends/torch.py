"""The backend "torch": noiseless simulation by batched torch operations, on a CUDA device or on this machine's processor."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from actors.backends.checks import check_circuit, check_job
from actors.backends.results import make_result
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import MissingExtraError
from orchestrator.jobs import Job, JobResult
from orchestrator.protocols import Capabilities

if TYPE_CHECKING:
    import torch

    from actors.simulation.torch_engine.engine import TorchStateVector


@dataclass(frozen=True)
class TorchBackend:
    """Noiseless simulation by batched torch operations.

    Attributes:
        precision: of the amplitudes, "double" (errors of about 1e-15) or "single" (1e-6).
        threads: of one session, where the device is the processor, and of drawing shots.
        device: "auto" (CUDA where the session's process sees it, else the processor), "cpu", "cuda" or "cuda:N".
    """

    precision: Literal["double", "single"] = "double"
    threads: int = 1
    device: str = "auto"

    name = "torch"
    capabilities = Capabilities(is_exact=True, has_shots=True, has_jacobian=True, max_qubits=24)

    def open_session(self) -> TorchSession:
        """A session: imports torch (a second or two), begins the process's context on the device.

        Raises:
            MissingExtraError: torch is not installed. ConfigError: this process does not see the device, or cannot compute there.
        """
        return TorchSession(self)

    def warm_up(
        self, circuit: MeasuredCircuit, shots: int | None = None, report: Callable[[str], None] | None = None
    ) -> float:
        """Compile what draws shots, unless it is cached on disk; returns the seconds it took. Nothing else is compiled."""
        if shots is None:
            return 0.0
        from actors.simulation.warm_up import warm_up

        return warm_up(["torch_shots"], report)

    def check_here(self) -> None:
        """Refuse a device that this process does not see.

        Raises:
            MissingExtraError: torch is not installed. ConfigError: the device is not there.
        """
        find_device(self.device)


def find_device(name: str) -> torch.device:
    """The device that ``backend.device`` names, as this process sees it.

    Raises:
        MissingExtraError: torch is not installed. ConfigError: the device is not there.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "torch")
    from actors.simulation.torch_engine import device

    return device.find_device(name)


def torch_here() -> dict[str, Any]:
    """What this process has of torch, as plain values: its version, the CUDA it was built for, and the CUDA devices seen; imports it."""
    if importlib.util.find_spec("torch") is None:
        return {"torch": None, "cuda": None, "devices": []}
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [torch.cuda.get_device_name(i) for i in range(count)]
    return {"torch": str(torch.__version__), "cuda": torch.version.cuda, "devices": names}


@dataclass(frozen=True, eq=False)
class CompiledCircuit:
    """A circuit and what simulates it."""

    circuit: MeasuredCircuit
    execution: TorchStateVector


class TorchSession:
    """One actor's device; holds nothing between jobs but the compiled circuits that the actor caches, and torch's own pool of memory."""

    def __init__(self, backend: TorchBackend) -> None:
        found = find_device(backend.device)
        from actors.simulation.torch_engine.device import wake
        from actors.simulation.torch_engine.engine import TorchStateVector

        self.device = wake(found)
        self._backend = backend
        self._execution = TorchStateVector

    def compile(self, circuit: MeasuredCircuit) -> CompiledCircuit:
        """Prepare `circuit`: its operations as tensors on the device.

        Raises:
            CapabilityError: too many qubits, or too little memory.
            CircuitError: a gate cannot be simulated.
        """
        backend = self._backend
        check_circuit(backend.name, backend.capabilities, circuit)
        return CompiledCircuit(
            circuit, self._execution(circuit, self.device, backend.precision, backend.threads)
        )

    def run(self, compiled: CompiledCircuit, job: Job) -> JobResult:
        """The answer to `job`.

        Raises:
            CapabilityError: derivatives with shots, or states that do not fit into memory.
            CircuitError: the job's arrays do not fit the circuit.
        """
        started_at = time.time()
        circuit, name = compiled.circuit, self._backend.name
        check_job(name, self._backend.capabilities, circuit, job)
        if job.jacobian_angles is None:
            return make_result(circuit, job, name, started_at, compiled.execution.values(job))
        values, jacobian = compiled.execution.jacobian(job)
        return make_result(circuit, job, name, started_at, values[:, None, :], jacobian)

    def close(self) -> None:
        """Nothing to release: the context of the device ends with the process."""
