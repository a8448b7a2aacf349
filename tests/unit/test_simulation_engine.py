"""The engine's own promises: the same bits for every block width, the same numbers at every size, bounded memory."""

from __future__ import annotations

import cirq
import numpy as np
import pytest
import sympy

from actors.simulation import sizing
from actors.simulation.state_vector.engine import run_adjoint, run_forward
from actors.simulation.state_vector.program import Program, compile_program
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError
from orchestrator.jobs import Displacements, Job


def brickwork(n_qubits: int, n_layers: int, paulis: tuple[str, ...]) -> MeasuredCircuit:
    """Turns about two axes, ZZ and controlled RY, and fixed gates of both kinds, on every qubit."""
    qubits = cirq.LineQubit.range(n_qubits)
    symbols = (sympy.Symbol(f"t{k}") for k in range(10**6))
    operations: list[cirq.Operation] = []
    for layer in range(n_layers):
        operations += [gate(next(symbols))(q) for q in qubits for gate in (cirq.ry, cirq.rz)]
        operations += [
            cirq.CNOT(a, b) for a, b in zip(qubits[layer % 2 :: 2], qubits[1 + layer % 2 :: 2], strict=False)
        ]
        operations += [
            (cirq.ZZ ** (next(symbols) / sympy.pi))(qubits[0], qubits[-1]),
            (cirq.ISWAP**0.5)(*qubits[:2]),
        ]
        operations += [cirq.ControlledGate(cirq.ry(next(symbols)))(qubits[1], qubits[-1])]
    return MeasuredCircuit(template_from_circuit(cirq.Circuit(operations), qubits)[0], paulis)


def job_of(circuit: MeasuredCircuit, n_samples: int, n_data: int, rows: Displacements, **changes) -> Job:
    rng = np.random.default_rng(1)
    return Job(
        circuit_key=circuit.key,
        shared_angles=rng.uniform(-3, 3, circuit.template.n_angles),
        data_columns=np.arange(n_data),
        data_angles=rng.uniform(-3, 3, (n_samples, n_data)),
        displacements=rows,
        noise_keys=np.arange(1, 1 + len(circuit.groups), dtype=np.uint64),
        **changes,
    )


def every_angle_shifted(circuit: MeasuredCircuit) -> Displacements:
    n_angles = circuit.template.n_angles
    return Displacements.single(np.arange(n_angles), np.full(n_angles, 0.7))


@pytest.fixture(scope="module")
def small() -> tuple[MeasuredCircuit, Program]:
    circuit = brickwork(4, 3, ("ZIII", "IZZI", "XYIZ", "IIII", "YIYX"))
    return circuit, compile_program(circuit)


@pytest.mark.parametrize("shots", [None, 50])
def test_bits_do_not_depend_on_the_width_of_a_block(small, shots) -> None:
    circuit, program = small
    job = job_of(circuit, 7, 6, every_angle_shifted(circuit), shots=shots)
    whole = run_forward(program, job)
    for width in (1, 2, 3, 7, 8, 31, 64, 100, 256):
        assert np.array_equal(run_forward(program, job, width), whole)


@pytest.mark.parametrize("shots", [None, 50])
def test_bits_do_not_depend_on_the_chunking(small, shots) -> None:
    """Parts of every shape; so an angle is shared by the lanes in one part and differs between them in another."""
    circuit, program = small
    rng = np.random.default_rng(2)
    job = job_of(
        circuit, 9, 6, every_angle_shifted(circuit), shots=shots, sample_start=11, displacement_start=3
    )
    whole = run_forward(program, job)
    for _ in range(60):
        s = sorted(rng.choice(10, 2, replace=False))
        d = sorted(rng.choice(len(job.displacements) + 1, 2, replace=False))
        part = job.part(slice(*s), slice(*d))
        assert np.array_equal(run_forward(program, part), whole[slice(*s), slice(*d)])
    for d in range(len(job.displacements)):
        assert np.array_equal(
            run_forward(program, job.part(slice(4, 5), slice(d, d + 1))), whole[4:5, d : d + 1]
        )


def test_bits_do_not_depend_on_whether_an_angle_comes_from_data(small) -> None:
    circuit, program = small
    job = job_of(circuit, 1, 6, every_angle_shifted(circuit))
    angles = job.shared_angles.copy()
    angles[job.data_columns] = job.data_angles[0]
    shared = Job(circuit.key, angles, np.zeros(0, np.int64), np.zeros((1, 0)), job.displacements)
    assert np.array_equal(run_forward(program, shared), run_forward(program, job))


def test_derivatives_are_the_same_bits_one_sample_or_string_at_a_time(small, monkeypatch) -> None:
    circuit, program = small
    job = job_of(
        circuit, 5, 6, Displacements.none(), jacobian_angles=np.arange(circuit.template.n_angles)[::-1]
    )
    values, jacobian = run_adjoint(program, job)
    assert np.array_equal(values, run_forward(program, job)[:, 0])
    for s in range(5):
        one_values, one = run_adjoint(program, job.part(slice(s, s + 1), slice(0, 1)))
        assert np.array_equal(one, jacobian[s : s + 1])
        assert np.array_equal(one_values, values[s : s + 1])
    monkeypatch.setattr(
        "actors.simulation.state_vector.engine.adjoint_together", lambda n_qubits, n_paulis: 2
    )
    assert np.array_equal(run_adjoint(program, job)[1], jacobian)


@pytest.mark.parametrize("n_qubits", [1, 3, 7, 10, 13])
def test_every_size_agrees_with_cirq(n_qubits) -> None:
    zs = tuple("I" * q + "Z" + "I" * (n_qubits - 1 - q) for q in range(n_qubits))
    if n_qubits == 1:
        ops = [
            cirq.ry(sympy.Symbol("a"))(cirq.LineQubit(0)),
            cirq.rz(sympy.Symbol("b"))(cirq.LineQubit(0)),
            cirq.H(cirq.LineQubit(0)),
        ]
        circuit = MeasuredCircuit(template_from_circuit(cirq.Circuit(ops))[0], ("Z", "X", "Y"))
    else:
        circuit = brickwork(n_qubits, 2, (*zs, "Y" * n_qubits))
    program = compile_program(circuit)
    n_angles = circuit.template.n_angles
    rows = Displacements.single(np.array([0, n_angles - 1]), np.array([0.4, -1.1]))
    job = job_of(circuit, 2, 1, rows)
    found = run_forward(program, job)
    qubits = cirq.LineQubit.range(n_qubits)
    strings = [cirq.DensePauliString(pauli).on(*qubits) for pauli in circuit.paulis]
    for s in range(2):
        for d, moved in enumerate(
            (0 * np.eye(n_angles)[0], 0.4 * np.eye(n_angles)[0], -1.1 * np.eye(n_angles)[-1])
        ):
            angles = np.concatenate([job.data_angles[s], job.shared_angles[1:]]) + moved
            names = {f"a{k}": a for k, a in enumerate(angles)}
            simulator = cirq.Simulator(dtype=np.complex128)
            state = simulator.simulate(
                circuit.template.circuit(), names, qubit_order=qubits
            ).final_state_vector
            expected = [
                string.expectation_from_state_vector(state, {q: i for i, q in enumerate(qubits)}).real
                for string in strings
            ]
            np.testing.assert_allclose(found[s, d], expected, rtol=0, atol=1e-12)
    every = np.arange(n_angles)
    base = job_of(circuit, 2, 1, Displacements.none(), jacobian_angles=every)
    step = 1e-3
    shifts = Displacements.single(np.repeat(every, 4), np.tile(np.array([1, -1, 2, -2]) * step, n_angles))
    values = run_forward(program, job_of(circuit, 2, 1, shifts))[:, 1:].reshape(2, n_angles, 4, -1)
    difference = (8 * (values[:, :, 0] - values[:, :, 1]) - (values[:, :, 2] - values[:, :, 3])) / (12 * step)
    np.testing.assert_allclose(
        run_adjoint(program, base)[1], difference.transpose(0, 2, 1), rtol=0, atol=1e-10
    )


def test_empty_jobs(small) -> None:
    circuit, program = small
    job = job_of(circuit, 0, 6, every_angle_shifted(circuit))
    assert run_forward(program, job).shape == (0, len(job.displacements), 5)
    none = job_of(circuit, 2, 6, Displacements.none(), jacobian_angles=np.zeros(0, np.int64))
    values, jacobian = run_adjoint(program, none)
    assert jacobian.shape == (2, 5, 0)
    assert np.array_equal(values, run_forward(program, none)[:, 0])


class TestSizing:
    def test_blocks_suit_the_cache_and_the_job(self) -> None:
        assert sizing.forward_width(8, 10**6) == 64
        assert sizing.forward_width(4, 10**6) == 256
        assert sizing.forward_width(12, 10**6) == 8
        assert sizing.forward_width(8, 3) == 3
        assert sizing.forward_width(16, 10**6) == 1
        for n_qubits in range(1, 17):
            assert sizing.block_bytes(n_qubits, sizing.adjoint_width(n_qubits)) <= max(
                2**17, 8 * 16 << n_qubits
            )

    def test_less_memory_means_fewer_lanes_and_fewer_strings_at_a_time(self, monkeypatch) -> None:
        monkeypatch.setattr(sizing, "available_bytes", lambda: 2**30)
        assert sizing.forward_width(20, 10**6, 4) == 4
        assert sizing.forward_width(22, 10**6, 4) == 1
        assert sizing.forward_width(8, 10**6) == 64
        assert sizing.adjoint_together(20, 20) < 20

    def test_a_state_that_does_not_fit_is_refused_with_both_figures(self, monkeypatch) -> None:
        monkeypatch.setattr(sizing, "available_bytes", lambda: 2**30)
        with pytest.raises(
            CapabilityError, match=r"25 qubits needs 1\.5 GiB of memory and 1\.0 GiB is available"
        ):
            sizing.forward_width(25, 1)
        with pytest.raises(CapabilityError, match="differentiating"):
            sizing.adjoint_together(25, 1)

    def test_the_memory_of_this_machine_is_known(self) -> None:
        assert 2**20 < sizing.available_bytes() < 2**50
