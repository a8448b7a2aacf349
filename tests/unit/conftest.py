"""Shared by the unit tests: random circuits, a small dense simulator in plain numpy, an in-process dispatcher."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Job, JobResult
from orchestrator.protocols import Capabilities, DispatcherStats

PAULIS = {
    letter: cirq.unitary(gate) for letter, gate in zip("IXYZ", (cirq.I, cirq.X, cirq.Y, cirq.Z), strict=True)
}
TO_Z_BASIS = {
    "I": np.eye(2),
    "Z": np.eye(2),
    "X": cirq.unitary(cirq.H),
    "Y": cirq.unitary(cirq.H) @ cirq.unitary(cirq.S**-1),
}


# --- Random circuits ------------------------------

Angle = Callable[[], Any]


def _phasor(a: Angle, qubits: Sequence[cirq.Qid], both: bool = False) -> cirq.Operation:
    letters = dict(zip(qubits, (cirq.X, cirq.Y, cirq.Z), strict=False))
    return cirq.PauliStringPhasor(
        cirq.PauliString(letters), exponent_neg=a(), exponent_pos=a() if both else 0
    )


# name -> (number of qubits, (angle source, qubits) -> operation). Angles are in half turns where cirq calls them exponents.
PARAMETRISED: dict[str, tuple[int, Callable[[Angle, Sequence[cirq.Qid]], cirq.Operation]]] = {
    "rx": (1, lambda a, q: cirq.rx(a())(*q)),
    "ry": (1, lambda a, q: cirq.ry(a())(*q)),
    "rz": (1, lambda a, q: cirq.rz(a())(*q)),
    "X**t": (1, lambda a, q: cirq.X(*q) ** a()),
    "Y**t": (1, lambda a, q: cirq.Y(*q) ** a()),
    "Z**t": (1, lambda a, q: cirq.Z(*q) ** a()),
    "H**t": (1, lambda a, q: cirq.H(*q) ** a()),
    "shifted X**t": (1, lambda a, q: cirq.XPowGate(exponent=a(), global_shift=0.37)(*q)),
    "PhasedX": (1, lambda a, q: cirq.PhasedXPowGate(phase_exponent=a(), exponent=a())(*q)),
    "PhasedX, fixed phase": (1, lambda a, q: cirq.PhasedXPowGate(phase_exponent=0.3, exponent=a())(*q)),
    "PhasedXZ": (1, lambda a, q: cirq.PhasedXZGate(x_exponent=a(), z_exponent=a(), axis_phase_exponent=a())(*q)),
    "CNOT**t": (2, lambda a, q: cirq.CNOT(*q) ** a()),
    "CZ**t": (2, lambda a, q: cirq.CZ(*q) ** a()),
    "SWAP**t": (2, lambda a, q: cirq.SWAP(*q) ** a()),
    "ISWAP**t": (2, lambda a, q: cirq.ISWAP(*q) ** a()),
    "XX**t": (2, lambda a, q: cirq.XX(*q) ** a()),
    "YY**t": (2, lambda a, q: cirq.YY(*q) ** a()),
    "ZZ**t": (2, lambda a, q: cirq.ZZ(*q) ** a()),
    "MS": (2, lambda a, q: cirq.ms(a())(*q)),
    "givens": (2, lambda a, q: cirq.givens(a())(*q)),
    "cphase": (2, lambda a, q: cirq.cphase(a())(*q)),
    "riswap": (2, lambda a, q: cirq.riswap(a())(*q)),
    "FSim": (2, lambda a, q: cirq.FSimGate(a(), a())(*q)),
    "PhasedFSim": (2, lambda a, q: cirq.PhasedFSimGate(a(), zeta=a(), chi=0.4, gamma=a(), phi=a())(*q)),
    "PhasedISwap": (2, lambda a, q: cirq.PhasedISwapPowGate(phase_exponent=a(), exponent=a())(*q)),
    "controlled rx": (2, lambda a, q: cirq.rx(a()).controlled()(*q)),
    "controlled rz, on zero": (2, lambda a, q: cirq.rz(a()).controlled(control_values=[0])(*q)),
    "controlled PhasedX": (2, lambda a, q: cirq.PhasedXPowGate(phase_exponent=a(), exponent=a()).controlled()(*q)),
    "controlled shifted Z**t": (2, lambda a, q: cirq.ZPowGate(exponent=a(), global_shift=0.21).controlled()(*q)),
    "phasor": (2, lambda a, q: _phasor(a, q)),
    "phasor, both": (3, lambda a, q: _phasor(a, q, both=True)),
    "doubly controlled ry": (3, lambda a, q: cirq.ry(a()).controlled(2, control_values=[1, 0])(*q)),
    "CCX**t": (3, lambda a, q: cirq.CCX(*q) ** a()),
    "CCZ**t": (3, lambda a, q: cirq.CCZ(*q) ** a()),
    "controlled ISWAP**t": (3, lambda a, q: (cirq.ISWAP ** a()).controlled()(*q)),
    "sub-circuit": (2, lambda a, q: cirq.CircuitOperation(cirq.FrozenCircuit(cirq.rx(a())(q[0]), cirq.CZ(*q), cirq.ry(a())(q[1])))),
}  # fmt: skip
FIXED: dict[str, tuple[int, Callable[[np.random.Generator, Sequence[cirq.Qid]], cirq.Operation]]] = {
    "H": (1, lambda rng, q: cirq.H(*q)),
    "T": (1, lambda rng, q: cirq.T(*q).with_tags("a tag")),
    "matrix": (
        2,
        lambda rng, q: cirq.MatrixGate(cirq.testing.random_unitary(4, random_state=int(rng.integers(2**31))))(
            *q
        ),
    ),
    "CNOT": (2, lambda rng, q: cirq.CNOT(*q)),
    "Toffoli": (3, lambda rng, q: cirq.TOFFOLI(*q)),
    "CSWAP": (3, lambda rng, q: cirq.CSWAP(*q)),
    "QFT": (3, lambda rng, q: cirq.QuantumFourierTransformGate(3)(*q)),
    "phase": (0, lambda rng, q: cirq.global_phase_operation(1j)),
}


@pytest.fixture(scope="session")
def parametrised_operations() -> dict[str, tuple[int, Callable[..., cirq.Operation]]]:
    """Every kind of parametrised operation that the tests draw from."""
    return PARAMETRISED


@pytest.fixture(scope="session")
def random_circuit() -> Callable[..., cirq.Circuit]:
    """(rng, n_qubits, n_ops, angle source) -> a circuit of operations drawn from all kinds, entangled before and after."""

    def draw(
        rng: np.random.Generator, n_qubits: int, n_ops: int, angle: Angle, kinds: Sequence[str] = ()
    ) -> cirq.Circuit:
        qubits = cirq.LineQubit.range(n_qubits)
        circuit = cirq.Circuit(cirq.ry(0.3 + 0.4 * i)(q) for i, q in enumerate(qubits))
        names = list(kinds) or [
            name for name, (n, _) in [*PARAMETRISED.items(), *FIXED.items()] if n <= n_qubits
        ]
        for name in rng.choice(names, n_ops):
            n, make = PARAMETRISED.get(str(name)) or FIXED[str(name)]
            chosen = [qubits[i] for i in rng.permutation(n_qubits)[:n]]
            circuit.append(make(angle if name in PARAMETRISED else rng, chosen))  # type: ignore[arg-type]
        return circuit

    return draw


# --- The reference: cirq ------------------------------


def _cirq_expectations(
    circuit: cirq.Circuit,
    symbols: Sequence[sympy.Symbol],
    points: np.ndarray,
    observables: Sequence[cirq.PauliSum],
    n_qubits: int,
) -> np.ndarray:
    qubits = cirq.LineQubit.range(n_qubits)
    simulator = cirq.Simulator(dtype=np.complex128)
    resolvers = [cirq.ParamResolver(dict(zip(symbols, map(float, point), strict=True))) for point in points]
    answers = [
        simulator.simulate_expectation_values(circuit, list(observables), resolver, qubit_order=qubits)
        for resolver in resolvers
    ]
    return np.real(np.array(answers))


@pytest.fixture(scope="session")
def cirq_expectations() -> Callable[..., np.ndarray]:
    """(circuit, symbols [V], points [N, V], cirq observables [M], n_qubits) -> float64 [N, M], by cirq's own simulator."""
    return _cirq_expectations


# --- A dense simulator and a dispatcher of our own ------------------------------


def _embedded(matrix: np.ndarray, wires: Sequence[int], state: np.ndarray) -> np.ndarray:
    """`matrix` on the axes `wires` of a state of shape (2, 2, ...)."""
    n = len(wires)
    moved = np.tensordot(matrix.reshape((2,) * (2 * n)), state, axes=(range(n, 2 * n), wires))
    return np.moveaxis(moved, range(n), wires)


ALL = Capabilities(is_exact=True, has_shots=True, has_jacobian=True, max_qubits=8)


@dataclass(frozen=True)
class DenseBackend:
    """State vectors one at a time, straight from the definition of a template: slow, short, obviously right."""

    name: str = "dense"
    capabilities: Capabilities = ALL

    def open_session(self) -> DenseBackend:
        return self

    def compile(self, circuit: MeasuredCircuit) -> MeasuredCircuit:
        return circuit

    def close(self) -> None:
        pass

    def state(
        self, circuit: MeasuredCircuit, angles: np.ndarray, derivative: int | None = None
    ) -> np.ndarray:
        """Final state, or its derivative by one angle."""
        n = circuit.template.n_qubits
        state = np.zeros((2,) * n, np.complex128)
        state[(0,) * n] = 1
        for gate in circuit.template.gates:
            state = _embedded(
                gate.unitary(0.0 if gate.angle is None else angles[gate.angle]), gate.qubits, state
            )
            if derivative is not None and gate.angle == derivative:
                state = 1j * _embedded(gate.generator, gate.qubits, state)
        return state

    def run(self, circuit: MeasuredCircuit, job: Job) -> JobResult:
        shape = (job.n_samples, job.n_displacements, len(circuit.paulis))
        values, variances = np.empty(shape), np.zeros(shape)
        jacobian = (
            None if job.jacobian_angles is None else np.empty((shape[0], shape[2], len(job.jacobian_angles)))
        )
        for s in range(shape[0]):
            angles = np.array(job.shared_angles, float)
            angles[job.data_columns] = job.data_angles[s]
            for d in range(shape[1]):
                moved = angles.copy()
                row = job.displacements.rows(d, d + 1)
                moved[row.angles] += row.deltas
                state = self.state(circuit, moved)
                if job.shots is None:
                    values[s, d] = [self._overlap(state, pauli, state) for pauli in circuit.paulis]
                else:
                    place = (job.step, job.sample_start + s, job.displacement_start + d)
                    values[s, d] = self._sampled(circuit, state, job, place)
                    variances[s, d] = (1 - values[s, d] ** 2) / max(job.shots - 1, 1)
            if jacobian is not None:
                state = self.state(circuit, angles)
                for k, angle in enumerate(job.jacobian_angles):
                    change = self.state(circuit, angles, int(angle))
                    jacobian[s, :, k] = [2 * self._overlap(state, pauli, change) for pauli in circuit.paulis]
        if job.cotangents is not None:
            jacobian = (job.cotangents[:, :, None] * jacobian).sum(axis=1, keepdims=True)
        n_circuits = shape[0] * shape[1] * (len(circuit.groups) if job.shots else 1)
        n_shots = n_circuits * (job.shots or 0)
        return JobResult(
            job.job_id, values, variances if job.shots else None, jacobian, n_circuits, n_shots, 0.25 * n_circuits,
            True, 1e-4 * n_circuits, time.time(), time.time(), "here", self.name,
        )  # fmt: skip

    def _overlap(self, left: np.ndarray, pauli: str, right: np.ndarray) -> float:
        for wire, letter in enumerate(pauli):
            right = _embedded(PAULIS[letter], [wire], right)
        return float(np.vdot(left, right).real)

    def _sampled(
        self, circuit: MeasuredCircuit, state: np.ndarray, job: Job, place: tuple[int, int, int]
    ) -> np.ndarray:
        means = np.empty(len(circuit.paulis))
        for key, group in zip(job.noise_keys, circuit.groups, strict=True):
            turned = state
            for wire, letter in enumerate(group.basis):
                turned = _embedded(TO_Z_BASIS[letter], [wire], turned)
            probabilities = np.abs(turned.ravel()) ** 2
            rng = np.random.Generator(np.random.Philox(key=int(key), counter=[0, *place]))
            counts = rng.multinomial(job.shots, probabilities / probabilities.sum()).reshape(turned.shape)
            for member in group.members:
                axes = [wire for wire, letter in enumerate(circuit.paulis[member]) if letter != "I"]
                signs = np.ones(counts.shape)
                for axis in axes:
                    signs = signs * np.array([1.0, -1.0]).reshape(
                        [2 if i == axis else 1 for i in range(counts.ndim)]
                    )
                means[member] = (signs * counts).sum() / job.shots
        return means


class InProcessDispatcher:
    """Runs jobs here and now; `shuffle` decides the order in which the answers come back."""

    def __init__(
        self, session: Any, n_workers: int = 1, shuffle: Callable[[list[Any]], Sequence[Any]] | None = None
    ) -> None:
        self.session = session
        self.n_workers = n_workers
        self.job_overhead_seconds = 1e-9  # cut as finely as the workers allow
        self.shuffle = shuffle or (lambda answers: answers)
        self.circuits: dict[str, Any] = {}
        self.jobs: list[Job] = []

    def register(self, circuit: MeasuredCircuit) -> None:
        self.circuits[circuit.key] = self.session.compile(circuit)

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        self.jobs += jobs
        yield from self.shuffle([self.session.run(self.circuits[job.circuit_key], job) for job in jobs])

    def stats(self) -> DispatcherStats:
        return DispatcherStats(self.n_workers, len(self.jobs), 0, 0, 0.0, 0, 0)

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def dense() -> SimpleNamespace:
    """``Backend`` and ``Dispatcher`` of the dense simulator, and ``Coordinator`` over both."""
    from orchestrator.coordinator import Coordinator

    def coordinator(**options: Any) -> Coordinator:
        return Coordinator(InProcessDispatcher(DenseBackend(), **options), DenseBackend.capabilities)

    return SimpleNamespace(Backend=DenseBackend, Dispatcher=InProcessDispatcher, coordinator=coordinator)
