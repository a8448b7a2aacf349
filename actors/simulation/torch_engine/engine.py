"""TorchStateVector: the execution by batches of state vectors on a torch device."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import torch

from actors.simulation.state_vector.program import compile_program
from actors.simulation.torch_engine.adjoint import derivatives
from actors.simulation.torch_engine.device import Blocks, computing
from actors.simulation.torch_engine.forward import Drawing, exact_values
from actors.simulation.torch_engine.observables import PauliStrings
from actors.simulation.torch_engine.rows import Chunk
from actors.simulation.torch_engine.sizing import STATES_AT_ONCE, state_bytes
from actors.simulation.torch_engine.tables import Tables
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Job


class TorchStateVector:
    """Exact values, shots and derivatives of a circuit on `device`. See ``Execution``.

    Args:
        circuit: what to simulate. device: where. precision: of the amplitudes, "double" or "single"; angles and results are double.
        threads: of torch, where the device is the processor, and of drawing shots. The bits do not depend on it.

    Raises:
        CapabilityError: not even one circuit's states fit into memory. CircuitError: a gate cannot be simulated.
    """

    def __init__(
        self, circuit: MeasuredCircuit, device: torch.device, precision: str = "double", threads: int = 1
    ) -> None:
        n_qubits = circuit.template.n_qubits
        self._circuit = circuit
        self._threads = threads
        self._state_bytes = state_bytes(n_qubits, precision)
        self._blocks = Blocks(device, n_qubits)
        self._layouts: dict[object, list[Chunk]] = {}
        with computing(threads):
            self._tables, self._strings = self._blocks.run(
                lambda lanes: _compiled(circuit, device, precision),
                STATES_AT_ONCE * self._state_bytes,
                "simulating a circuit",
            )

    def values(self, job: Job) -> np.ndarray:
        """Float64 [S, D, M]: exact, or means over ``job.shots`` shots.

        Raises:
            CapabilityError: too little memory.
        """
        shape = (job.n_samples, job.n_displacements, len(self._circuit.paulis))
        if 0 in shape:
            return np.empty(shape)
        what, one = "simulating a circuit", STATES_AT_ONCE * self._state_bytes

        def work(lanes: int) -> np.ndarray:
            if job.shots is None:
                return exact_values(self._tables, self._strings, job, lanes, self._layouts)
            return self._drawing.values(job, lanes, self._layouts)

        with computing(self._threads):
            return self._blocks.run(work, one, what)

    def jacobian(self, job: Job) -> tuple[np.ndarray, np.ndarray]:
        """Exact values [S, M] and derivatives by the adjoint method, [S, M, Kj] or with cotangents [S, 1, Kj].

        Raises:
            CapabilityError: too little memory.
        """

        def work(lanes: int) -> tuple[np.ndarray, np.ndarray]:
            return derivatives(self._tables, self._strings, job, 2 * lanes)

        with computing(self._threads):
            one = 2 * STATES_AT_ONCE * self._state_bytes
            return self._blocks.run(work, one, "differentiating a circuit")

    @cached_property
    def _drawing(self) -> Drawing:
        pool = None if self._threads == 1 else ThreadPoolExecutor(self._threads, "qfleet-shots")
        return Drawing(self._tables, self._circuit, self._threads, pool)


def _compiled(circuit: MeasuredCircuit, device: torch.device, precision: str) -> tuple[Tables, PauliStrings]:
    tables = Tables(compile_program(circuit), device, precision)
    return tables, PauliStrings(tables)
