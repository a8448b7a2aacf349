"""Simulator: a noiseless circuit with the executions that the cost model chose for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

import numpy as np

from actors.simulation.choice import MAX_STATE_QUBITS, Candidate, Choice, choose
from actors.simulation.contraction.engine import ChainContraction
from actors.simulation.execution import Execution
from actors.simulation.state_vector.engine import Precision
from actors.simulation.state_vector.execution import StateVector
from actors.simulation.warm_up import warm_up
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError
from orchestrator.jobs import Job

T = TypeVar("T")

_WORTH_SPLITTING_MICROSECONDS = 1000.0
"""Handing a part of a job to another thread costs some 50 microseconds."""


def parts_for(choice: Choice, shots: int | None = None) -> list[str]:
    """The kernels that a circuit's jobs use, as keys of ``warm_up.PARTS``."""
    if shots is not None:
        return ["shots"]
    gradients = "adjoint" if choice.for_gradients == "state_vector" else choice.for_gradients
    return [choice.for_values, gradients]


class Simulator:
    """Answers jobs about one circuit. See ``Execution``.

    Args:
        circuit: what to simulate.
        precision: "double" or "single".
        threads: to split large jobs over. The bits of the results do not depend on it.

    Raises:
        CapabilityError: no execution can do the circuit. CircuitError: a gate cannot be simulated.
    """

    def __init__(self, circuit: MeasuredCircuit, precision: Precision = "double", threads: int = 1) -> None:
        self._circuit = circuit
        self._precision = precision
        self._threads = threads
        self._choice = choose(circuit)
        self._for_values, self._for_gradients = self._choice.for_values, self._choice.for_gradients
        if self._choice.for_values == "state_vector":
            _ = self._state_vector.program  # refuse now what it cannot do
        warm_up(parts_for(self._choice))

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The cost model's table."""
        return self._choice.candidates

    @cached_property
    def _state_vector(self) -> StateVector:
        return StateVector(self._circuit, self._precision)

    @cached_property
    def _contraction(self) -> ChainContraction:
        assert self._choice.chain is not None
        return ChainContraction(self._circuit, self._choice.chain, self._precision)

    def _execution(self, name: str) -> Execution:
        return self._state_vector if name == "state_vector" else self._contraction

    def values(self, job: Job) -> np.ndarray:
        """Float64 [S, D, M]: exact, or means over ``job.shots`` shots.

        Raises:
            CapabilityError: shots of a circuit too large for a state vector, or too little memory.
        """
        name = self._for_values
        if job.shots is not None:
            name = "state_vector"
            if self._circuit.template.n_qubits > MAX_STATE_QUBITS:
                raise CapabilityError(
                    f"shots are drawn from state vectors of up to {MAX_STATE_QUBITS} qubits, the circuit has "
                    f"{self._circuit.template.n_qubits}: leave backend.shots out for exact values, or use fewer qubits"
                )
        execution = self._execution(name)
        if self._threads == 1:
            return execution.values(job)
        cost = self._cost(name).microseconds_per_circuit
        cuts = self._cuts(job.n_samples, cost * job.n_samples * job.n_displacements)
        if len(cuts) == 1:
            return execution.values(job)
        rows = slice(0, job.n_displacements)
        return np.concatenate(self._in_threads(lambda part: execution.values(job.part(part, rows)), cuts))

    def jacobian(self, job: Job) -> tuple[np.ndarray, np.ndarray]:
        """Exact values [S, M] and derivatives, [S, M, Kj] or with cotangents [S, 1, Kj].

        Raises:
            CapabilityError: too little memory.
        """
        name = self._for_gradients
        execution = self._execution(name)
        if self._threads == 1:
            return execution.jacobian(job)
        cost = self._cost(name).microseconds_per_gradient
        cuts = self._cuts(job.n_samples, cost * job.n_samples)
        if len(cuts) == 1:
            return execution.jacobian(job)
        rows = slice(0, job.n_displacements)
        parts = self._in_threads(lambda part: execution.jacobian(job.part(part, rows)), cuts)
        return np.concatenate([values for values, _ in parts]), np.concatenate([found for _, found in parts])

    def _cost(self, name: str) -> Candidate:
        return next(c for c in self.candidates if c.execution == name)

    def _cuts(self, n_samples: int, microseconds: float) -> list[slice]:
        """The samples in as many parts as there are threads that have something to do."""
        n = int(min(self._threads, n_samples, max(microseconds // _WORTH_SPLITTING_MICROSECONDS, 1)))
        bounds = [n_samples * i // max(n, 1) for i in range(max(n, 1) + 1)]
        return [slice(a, b) for a, b in pairwise(bounds)]

    def _in_threads(self, work: Callable[[slice], T], cuts: list[slice]) -> list[T]:
        return list(self._pool.map(work, cuts))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="qfleet-engine")
