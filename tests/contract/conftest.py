"""Random circuits, jobs and their reference values, for the suites that run over a whole registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cirq
import numpy as np
import pytest
import sympy

from actors.ionq.book import SubmissionBook
from actors.ionq.emulator import Emulator
from actors.noise.model import NoiseModel
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Displacements, Job


@pytest.fixture(scope="module", autouse=True)
def emulated_cloud() -> Iterator[str]:
    """IonQ's cloud for the backend "ionq", on this machine."""
    with Emulator() as emulator, pytest.MonkeyPatch.context() as patch:
        patch.setenv("IONQ_REMOTE_HOST", emulator.url)
        patch.setenv("IONQ_API_KEY", "emulated")
        yield emulator.url


@pytest.fixture(scope="session")
def empty_record(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a run that has paid for nothing yet."""
    folder = tmp_path_factory.mktemp("record")
    SubmissionBook(folder).close()
    return str(folder)


FIXED = (
    cirq.H,
    cirq.T,
    cirq.S,
    cirq.X,
    cirq.Y,
    cirq.X**0.3,
    cirq.CNOT,
    cirq.CZ,
    cirq.SWAP,
    cirq.ISWAP,
    cirq.ISWAP**0.5,
)
FIXED_THREE = (cirq.CCX, cirq.CCZ, cirq.CSWAP)


def _moved(angle: sympy.Symbol) -> tuple[cirq.Gate, ...]:
    turns = angle / sympy.pi
    return (
        cirq.rx(angle),
        cirq.ry(angle),
        cirq.rz(angle),
        cirq.H**turns,
        cirq.PhasedXPowGate(phase_exponent=0.3, exponent=turns),
        cirq.ControlledGate(cirq.rx(angle)),
        cirq.ControlledGate(cirq.ry(angle), control_values=[0]),
        cirq.CNOT**turns,
        cirq.CZ**turns,
        cirq.SWAP**turns,
        cirq.ISWAP**turns,
        cirq.XX**turns,
        cirq.YY**turns,
        cirq.ZZ**turns,
        cirq.CCX**turns,
        cirq.CCZ**turns,
    )


def random_circuit(
    rng: np.random.Generator, n_qubits: int, n_gates: int, max_gate_qubits: int = 3
) -> cirq.Circuit:
    """Gates of all sorts on 1 to 3 qubits, about two in three moved by a symbol of their own."""
    qubits = cirq.LineQubit.range(n_qubits)
    operations: list[cirq.Operation] = []
    while len(operations) < n_gates:
        choices = _moved(sympy.Symbol(f"t{len(operations)}")) if rng.random() < 0.66 else FIXED + FIXED_THREE
        gate = choices[rng.integers(len(choices))]
        if gate.num_qubits() <= min(n_qubits, max_gate_qubits):
            operations.append(gate(*(qubits[i] for i in rng.permutation(n_qubits)[: gate.num_qubits()])))
    return cirq.Circuit(cirq.I.on_each(*qubits), operations)


def random_paulis(
    rng: np.random.Generator, n_qubits: int, letters: str = "IXYZ", n_strings: int = 6
) -> tuple[str, ...]:
    """Distinct strings of `letters`, at most `n_strings`."""
    drawn = ["".join(rng.choice(list(letters), n_qubits)) for _ in range(n_strings)]
    return tuple(dict.fromkeys(drawn))


def random_measured(
    rng: np.random.Generator,
    n_qubits: int,
    n_gates: int = 25,
    letters: str = "IXYZ",
    max_gate_qubits: int = 3,
) -> MeasuredCircuit:
    template, _ = template_from_circuit(random_circuit(rng, n_qubits, n_gates, max_gate_qubits))
    return MeasuredCircuit(template, random_paulis(rng, n_qubits, letters))


def random_job(
    rng: np.random.Generator,
    circuit: MeasuredCircuit,
    n_samples: int = 3,
    n_rows: int = 4,
    shots: int | None = None,
) -> Job:
    """Some angles from data, rows that move up to three angles, one of them none."""
    n_angles = circuit.template.n_angles
    columns = rng.permutation(n_angles)[: int(rng.integers(n_angles + 1))]
    moved = [rng.permutation(n_angles)[: int(rng.integers(0, 4)) if row else 0] for row in range(n_rows)]
    entries = np.concatenate(moved).astype(np.int64)
    return Job(
        circuit_key=circuit.key,
        shared_angles=rng.uniform(-np.pi, np.pi, n_angles),
        data_columns=columns.astype(np.int64),
        data_angles=rng.uniform(-np.pi, np.pi, (n_samples, len(columns))),
        displacements=Displacements(
            np.cumsum([0, *map(len, moved)]).astype(np.int64), entries, rng.normal(size=len(entries))
        ),
        shots=shots,
        step=3,
        sample_start=5,
        displacement_start=7,
        noise_keys=rng.integers(2**63, size=len(circuit.groups), dtype=np.uint64),
    )


def angles_of(job: Job, sample: int, row: int) -> np.ndarray:
    """The angles of circuit (sample, row) by the words of `Job`, radians [K]."""
    angles = job.shared_angles.copy()
    angles[job.data_columns] = job.data_angles[sample]
    rows = job.displacements
    for entry in range(rows.indptr[row], rows.indptr[row + 1]):
        angles[rows.angles[entry]] += rows.deltas[entry]
    return angles


def dense_values(circuit: MeasuredCircuit, angles: np.ndarray) -> np.ndarray:
    """Expectation values [M] by dense linear algebra on cirq's unitary and Pauli matrices."""
    qubits = cirq.LineQubit.range(circuit.template.n_qubits)
    resolved = cirq.resolve_parameters(circuit.template.circuit(), {f"a{k}": a for k, a in enumerate(angles)})
    state = resolved.unitary(qubit_order=qubits, qubits_that_should_be_present=qubits)[:, 0]
    matrices = {
        letter: cirq.unitary(gate)
        for letter, gate in zip("IXYZ", (cirq.I, cirq.X, cirq.Y, cirq.Z), strict=True)
    }
    return np.array(
        [
            np.vdot(state, cirq.kron(*(matrices[letter] for letter in pauli)) @ state).real
            for pauli in circuit.paulis
        ]
    )


def random_noise(rng: np.random.Generator) -> NoiseModel:
    """Each kind of error of `NoiseModel` with probability 1/2, and then large."""
    rates = rng.uniform(0, [0.2, 0.3, 0.3, 0.3, 0.2, 0.2]) * (rng.random(6) < 0.5)
    return NoiseModel("random", *(float(rate) for rate in rates))


def noisy_circuit(circuit: cirq.Circuit, noise: NoiseModel) -> cirq.Circuit:
    """`circuit` with cirq's own channels after each of its gates."""
    operations: list[cirq.Operation] = []
    for op in circuit.all_operations():
        operations.append(op)
        k = len(op.qubits)
        if k == 0 or not noise.has_gate_noise:
            continue
        rate = noise.one_qubit_depolarizing if k == 1 else noise.two_qubit_depolarizing
        operations.append(cirq.DepolarizingChannel(rate * (4**k - 1) / 4**k, n_qubits=k)(*op.qubits))
        operations += cirq.amplitude_damp(noise.amplitude_damping).on_each(*op.qubits)
        operations += cirq.phase_damp(noise.phase_damping).on_each(*op.qubits)
    return cirq.Circuit(operations)


TO_Z_BASIS = {
    "I": np.eye(2),
    "X": cirq.unitary(cirq.Y**-0.5),
    "Y": cirq.unitary(cirq.X**0.5),
    "Z": np.eye(2),
}


def noisy_values(circuit: MeasuredCircuit, angles: np.ndarray, noise: NoiseModel) -> np.ndarray:
    """Expectation values [M] by cirq's density-matrix simulator, the outcomes' distribution confused by readout error."""
    n_qubits = circuit.template.n_qubits
    resolved = cirq.resolve_parameters(circuit.template.circuit(), {f"a{k}": a for k, a in enumerate(angles)})
    simulator = cirq.DensityMatrixSimulator(dtype=np.complex128)
    rho = simulator.simulate(
        noisy_circuit(resolved, noise), qubit_order=cirq.LineQubit.range(n_qubits)
    ).final_density_matrix
    zero, one = noise.readout_0_to_1, noise.readout_1_to_0
    confused = cirq.kron(*[np.array([[1 - zero, one], [zero, 1 - one]])] * n_qubits)
    values = []
    for pauli in circuit.paulis:
        turn = cirq.kron(*(TO_Z_BASIS[letter] for letter in pauli))
        probabilities = confused @ np.diag(turn @ rho @ turn.conj().T).real
        signs = cirq.kron(*(np.array([[1, 1 if letter == "I" else -1]]) for letter in pauli))[0]
        values.append(signs.real @ probabilities)
    return np.array(values)


def noisy_reference(circuit: MeasuredCircuit, job: Job, noise: NoiseModel) -> np.ndarray:
    """Exact values [S, D, M] of a job by `noisy_values`."""
    rows = range(job.n_displacements)
    return np.array(
        [[noisy_values(circuit, angles_of(job, s, d), noise) for d in rows] for s in range(job.n_samples)]
    )


def reference_values(circuit: MeasuredCircuit, job: Job) -> np.ndarray:
    """Exact values [S, D, M] of a job by `dense_values`."""
    return np.array(
        [
            [dense_values(circuit, angles_of(job, s, d)) for d in range(job.n_displacements)]
            for s in range(job.n_samples)
        ]
    )


@dataclass(frozen=True)
class Make:
    """What the tests build things with."""

    measured: Callable[..., MeasuredCircuit] = random_measured
    job: Callable[..., Job] = random_job
    angles_of: Callable[[Job, int, int], np.ndarray] = angles_of
    dense_values: Callable[[MeasuredCircuit, np.ndarray], np.ndarray] = dense_values
    reference: Callable[[MeasuredCircuit, Job], np.ndarray] = reference_values
    noise: Callable[[np.random.Generator], NoiseModel] = random_noise
    noisy_values: Callable[[MeasuredCircuit, np.ndarray, NoiseModel], np.ndarray] = noisy_values
    noisy_reference: Callable[[MeasuredCircuit, Job, NoiseModel], np.ndarray] = noisy_reference


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
