"""Random circuits, jobs and their reference values, for the suites that run over a whole registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Displacements, Job

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


def random_circuit(rng: np.random.Generator, n_qubits: int, n_gates: int) -> cirq.Circuit:
    """Gates of all sorts on 1 to 3 qubits, about two in three moved by a symbol of their own."""
    qubits = cirq.LineQubit.range(n_qubits)
    operations: list[cirq.Operation] = []
    while len(operations) < n_gates:
        choices = _moved(sympy.Symbol(f"t{len(operations)}")) if rng.random() < 0.66 else FIXED + FIXED_THREE
        gate = choices[rng.integers(len(choices))]
        if gate.num_qubits() <= n_qubits:
            operations.append(gate(*(qubits[i] for i in rng.permutation(n_qubits)[: gate.num_qubits()])))
    return cirq.Circuit(cirq.I.on_each(*qubits), operations)


def random_paulis(
    rng: np.random.Generator, n_qubits: int, letters: str = "IXYZ", n_strings: int = 6
) -> tuple[str, ...]:
    """Distinct strings of `letters`, at most `n_strings`."""
    drawn = ["".join(rng.choice(list(letters), n_qubits)) for _ in range(n_strings)]
    return tuple(dict.fromkeys(drawn))


def random_measured(
    rng: np.random.Generator, n_qubits: int, n_gates: int = 25, letters: str = "IXYZ"
) -> MeasuredCircuit:
    template, _ = template_from_circuit(random_circuit(rng, n_qubits, n_gates))
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


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
