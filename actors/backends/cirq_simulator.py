"""The backend "cirq": cirq's own state-vector simulator in double precision, one circuit at a time. The reference, not fast."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.backends.checks import check_circuit, check_job
from actors.backends.results import make_result
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import ANGLE_PREFIX
from orchestrator.jobs import Job, JobResult
from orchestrator.protocols import Capabilities

if TYPE_CHECKING:
    import cirq


@dataclass(frozen=True)
class CirqBackend:
    """``cirq.Simulator`` with complex128."""

    name = "cirq"
    capabilities = Capabilities(is_exact=True, has_shots=True, has_jacobian=False, max_qubits=20)

    def open_session(self) -> CirqSession:
        """A session; imports cirq (a second or two)."""
        return CirqSession(self)


@dataclass(frozen=True, eq=False)
class CompiledCircuit:
    """A circuit in cirq's terms.

    Attributes:
        circuit: what it was made from.
        native: with symbols a0, a1, ...
        qubits: number 0, 1, ... of the circuit.
        observables: one per string.
        rotations: per measurement group, the circuit that turns its basis into Z.
        signs: per group float64 [members, 2**n], the value of each member's string at each outcome.
    """

    circuit: MeasuredCircuit
    native: cirq.Circuit
    qubits: tuple[cirq.Qid, ...]
    observables: tuple[cirq.PauliString[Any], ...]
    rotations: tuple[cirq.Circuit, ...]
    signs: tuple[np.ndarray, ...]


class CirqSession:
    """One actor's cirq simulator."""

    def __init__(self, backend: CirqBackend) -> None:
        import cirq

        self._backend = backend
        self._cirq = cirq
        self._simulator = cirq.Simulator(dtype=np.complex128)

    def compile(self, circuit: MeasuredCircuit) -> CompiledCircuit:
        """Read the circuit's JSON and build its observables.

        Raises:
            CapabilityError: too many qubits.
        """
        cirq = self._cirq
        check_circuit(self._backend.name, self._backend.capabilities, circuit)
        qubits = tuple(cirq.LineQubit.range(circuit.template.n_qubits))
        to_z = {"X": cirq.Y**-0.5, "Y": cirq.X**0.5}
        rotations = [
            cirq.Circuit(
                to_z[letter](q) for letter, q in zip(group.basis, qubits, strict=True) if letter in to_z
            )
            for group in circuit.groups
        ]
        signs = [
            np.array([_outcome_signs(circuit.paulis[m]) for m in group.members]) for group in circuit.groups
        ]
        return CompiledCircuit(
            circuit=circuit,
            native=circuit.template.circuit(),
            qubits=qubits,
            observables=tuple(cirq.DensePauliString(pauli).on(*qubits) for pauli in circuit.paulis),
            rotations=tuple(rotations),
            signs=tuple(signs),
        )

    def run(self, compiled: CompiledCircuit, job: Job) -> JobResult:
        """The answer to `job`.

        Raises:
            CapabilityError: a direct derivative is asked for.
            CircuitError: the job's arrays do not fit the circuit.
        """
        started_at = time.time()
        check_job(self._backend.name, self._backend.capabilities, compiled.circuit, job)
        values = np.empty((job.n_samples, job.n_displacements, len(compiled.circuit.paulis)))
        for sample in range(job.n_samples):
            for row in range(job.n_displacements):
                state = self._state(compiled.native, compiled.qubits, _angles(job, sample, row))
                if job.shots is None:
                    values[sample, row] = self._expectations(compiled, state)
                else:
                    values[sample, row] = self._estimates(compiled, job, sample, row, state)
        return make_result(compiled.circuit, job, self._backend.name, started_at, values)

    def close(self) -> None:
        """Nothing to release."""

    def _state(
        self, circuit: cirq.Circuit, qubits: tuple[cirq.Qid, ...], angles: np.ndarray, start: Any = 0
    ) -> np.ndarray:
        """Final state, complex128 [2**n], from the state or basis index `start`."""
        names = {f"{ANGLE_PREFIX}{k}": float(angle) for k, angle in enumerate(angles)}
        result = self._simulator.simulate(circuit, names, qubit_order=qubits, initial_state=start)
        return np.asarray(result.final_state_vector)

    def _expectations(self, compiled: CompiledCircuit, state: np.ndarray) -> list[float]:
        places = {q: i for i, q in enumerate(compiled.qubits)}
        return [
            observable.expectation_from_state_vector(state, places, check_preconditions=False).real
            for observable in compiled.observables
        ]

    def _estimates(
        self, compiled: CompiledCircuit, job: Job, sample: int, row: int, state: np.ndarray
    ) -> np.ndarray:
        """Means over shots, float64 [M]; every group has a generator of its own, keyed by the circuit's place in the run."""
        assert job.shots is not None
        means = np.empty(len(compiled.circuit.paulis))
        place = (0, job.displacement_start + row, job.sample_start + sample, job.step)
        for group, rotation, signs, key in zip(
            compiled.circuit.groups, compiled.rotations, compiled.signs, job.noise_keys, strict=True
        ):
            turned = self._state(rotation, compiled.qubits, np.empty(0), start=state) if rotation else state
            probabilities = np.abs(turned) ** 2
            counter = np.array(place, np.uint64)
            generator = np.random.Generator(
                np.random.Philox(counter=counter, key=np.array([key, 0], np.uint64))
            )
            counts = generator.multinomial(job.shots, probabilities / probabilities.sum())
            means[list(group.members)] = signs @ counts / job.shots
        return means


def _angles(job: Job, sample: int, row: int) -> np.ndarray:
    """The angles of circuit (sample, row), radians [K]."""
    angles = np.array(job.shared_angles, np.float64)
    angles[job.data_columns] = job.data_angles[sample]
    moved = slice(job.displacements.indptr[row], job.displacements.indptr[row + 1])
    angles[job.displacements.angles[moved]] += job.displacements.deltas[moved]
    return angles


def _outcome_signs(pauli: str) -> np.ndarray:
    """float64 [2**n]: the product of the qubits' +-1 at each outcome, over the qubits where `pauli` is not I."""
    signs = np.ones(1)
    for letter in pauli:
        signs = np.kron(signs, np.ones(2) if letter == "I" else np.array([1.0, -1.0]))
    return signs
