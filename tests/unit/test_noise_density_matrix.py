"""The density-matrix method: cirq's numbers at full size, the same bits for every block width, bounded memory."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cirq
import numpy as np
import pytest
import sympy

from actors.noise.model import NoiseModel
from actors.noise.presets import aria_1
from actors.simulation import sizing
from actors.simulation.density_matrix.engine import DensityMatrix
from actors.simulation.density_matrix.lowering import lower
from actors.simulation.density_matrix.program import GROW, LOCAL, PERMUTE, SHRINK, compile_program
from actors.simulation.state_vector.engine import run_forward
from actors.simulation.state_vector.program import compile_program as compile_ideal
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError
from orchestrator.jobs import Displacements, Job

EVERYTHING = NoiseModel("everything", 0.02, 0.05, 0.03, 0.04, 0.01, 0.06)


def layered(
    n_qubits: int, n_layers: int, paulis: tuple[str, ...], ends_with_xx: bool = True
) -> MeasuredCircuit:
    """Turns about three axes on each qubit, then a chain of CNOTs; and an XX interaction, moved by an angle."""
    qubits = cirq.LineQubit.range(n_qubits)
    symbols = (sympy.Symbol(f"t{k:04d}") for k in range(10**4))
    operations: list[cirq.Operation] = []
    for _ in range(n_layers):
        operations += [gate(next(symbols))(q) for q in qubits for gate in (cirq.rx, cirq.ry, cirq.rz)]
        operations += [cirq.CNOT(a, b) for a, b in itertools.pairwise(qubits)]
    if ends_with_xx:
        operations.append((cirq.XX ** (next(symbols) / sympy.pi))(qubits[0], qubits[-1]))
    return MeasuredCircuit(template_from_circuit(cirq.Circuit(operations), qubits)[0], paulis)


def job_of(circuit: MeasuredCircuit, n_samples: int, **changes) -> Job:
    rng = np.random.default_rng(1)
    n_angles = circuit.template.n_angles
    return Job(
        circuit_key=circuit.key,
        shared_angles=rng.uniform(-3, 3, n_angles),
        data_columns=np.arange(3),
        data_angles=rng.uniform(-3, 3, (n_samples, 3)),
        displacements=Displacements.single(np.arange(n_angles), np.full(n_angles, 0.7)),
        noise_keys=np.arange(1, 1 + len(circuit.groups), dtype=np.uint64),
        **changes,
    )


@pytest.mark.parametrize("noise", [aria_1(), EVERYTHING], ids=lambda noise: noise.name)
def test_eight_qubits_agree_with_cirq(noise: NoiseModel) -> None:
    zs = tuple("I" * q + "Z" + "I" * (7 - q) for q in range(8))
    circuit = layered(8, 2, (*zs, "XYZIIZYX"))
    qubits = cirq.LineQubit.range(8)
    job = replace(job_of(circuit, 1), displacements=Displacements.none())
    angles = np.concatenate([job.data_angles[0], job.shared_angles[3:]])
    resolved = cirq.resolve_parameters(circuit.template.circuit(), {f"a{k}": a for k, a in enumerate(angles)})
    noisy = cirq.Circuit()
    for op in resolved.all_operations():
        k = len(op.qubits)
        rate = noise.one_qubit_depolarizing if k == 1 else noise.two_qubit_depolarizing
        noisy.append([op, cirq.DepolarizingChannel(rate * (1 - 4.0**-k), n_qubits=k)(*op.qubits)])
        noisy.append(cirq.amplitude_damp(noise.amplitude_damping).on_each(*op.qubits))
        noisy.append(cirq.phase_damp(noise.phase_damping).on_each(*op.qubits))
    simulator = cirq.DensityMatrixSimulator(dtype=np.complex128)
    rho = simulator.simulate(noisy, qubit_order=qubits).final_density_matrix

    def expectation(pauli: str) -> float:  # each letter is read as scale P + offset I
        scale, offset = noise.readout_scale, noise.readout_offset
        letters = [
            np.eye(2) if p == "I" else scale * cirq.unitary(getattr(cirq, p)) + offset * np.eye(2)
            for p in pauli
        ]
        return float(np.trace(cirq.kron(*letters) @ rho).real)

    found = DensityMatrix(circuit, noise).values(job)[0, 0]
    np.testing.assert_allclose(found, [expectation(pauli) for pauli in circuit.paulis], rtol=0, atol=1e-12)


@pytest.mark.parametrize("shots", [None, 50])
@pytest.mark.parametrize("noise", [aria_1(), EVERYTHING], ids=lambda noise: noise.name)
def test_bits_do_not_depend_on_width_or_chunking(noise: NoiseModel, shots: int | None) -> None:
    circuit = layered(4, 2, ("ZIII", "IZZI", "XYIZ", "IIII", "YIYX"))
    job = job_of(circuit, 5, shots=shots, sample_start=11, displacement_start=3)
    method = DensityMatrix(circuit, noise)
    whole = method.values(job)
    for width in (1, 2, 3, 7, 8, 31, 64, 100, 256):
        assert np.array_equal(DensityMatrix(circuit, noise, width).values(job), whole)
    rng = np.random.default_rng(2)
    for _ in range(20):
        s = slice(*sorted(rng.choice(6, 2, replace=False)))
        d = slice(*sorted(rng.choice(len(job.displacements) + 1, 2, replace=False)))
        assert np.array_equal(method.values(job.part(s, d)), whole[s, d])


def test_derivatives_are_the_same_bits_one_sample_at_a_time_and_the_values_are_values() -> None:
    circuit = layered(3, 2, ("ZII", "XYZ"))
    every = np.arange(circuit.template.n_angles)
    job = replace(job_of(circuit, 4), displacements=Displacements.none(), jacobian_angles=every[::-1])
    method = DensityMatrix(circuit, EVERYTHING)
    values, jacobian = method.jacobian(job)
    assert np.array_equal(values, method.values(job)[:, 0])
    for s in range(4):
        assert np.array_equal(method.jacobian(job.part(slice(s, s + 1), slice(0, 1)))[1], jacobian[s : s + 1])


def test_an_angle_that_moves_nothing_has_derivative_zero() -> None:
    q = cirq.LineQubit(0)
    phase = cirq.ZPowGate(exponent=sympy.Symbol("t"), global_shift=0)(q)
    circuit = MeasuredCircuit(template_from_circuit(cirq.Circuit(cirq.X(q), phase))[0], ("Z",))
    job = Job(
        circuit.key,
        np.array([0.3]),
        np.zeros(0, np.int64),
        np.zeros((1, 0)),
        Displacements.none(),
        np.array([0]),
    )
    values, jacobian = DensityMatrix(circuit, NoiseModel("nothing")).jacobian(job)
    assert (values.item(), jacobian.item()) == (-1.0, 0.0)


def test_without_noise_it_is_the_ideal_engine() -> None:
    circuit = layered(5, 2, ("ZIIII", "IZXYI", "YIYXZ"))
    job = job_of(circuit, 3)
    ideal = run_forward(compile_ideal(circuit), job)
    np.testing.assert_allclose(
        DensityMatrix(circuit, NoiseModel("nothing")).values(job), ideal, rtol=0, atol=1e-13
    )


def test_full_depolarising_leaves_nothing() -> None:
    circuit = layered(3, 1, ("ZII", "XYZ", "III"))
    values = DensityMatrix(circuit, NoiseModel("all", 1.0, 1.0)).values(job_of(circuit, 2))
    assert np.array_equal(values, np.broadcast_to([0.0, 0.0, 1.0], values.shape))


def test_pauli_noise_costs_no_operation() -> None:
    """Eight qubits, two layers: the first turns grow, one permutation, the last turns shrink; the last CNOTs move only what is read."""
    zs = tuple("I" * q + "Z" + "I" * (7 - q) for q in range(8))
    circuit = layered(8, 2, zs, ends_with_xx=False)
    code = compile_program(circuit, aria_1(), from_shots=False).instructions
    assert code.operations["kind"][: code.n_operations].tolist() == [GROW] * 8 + [PERMUTE] + [SHRINK] * 8
    damped = NoiseModel("damped", amplitude_damping=0.1)
    circuit = layered(8, 2, zs)
    kinds = compile_program(circuit, damped, from_shots=False).instructions.operations["kind"]
    assert (kinds == LOCAL).sum() == 15  # each CNOT, and the XX: with damping they are no permutations


def test_a_qubit_that_only_turns_keeps_its_letters_beside_larger_gates() -> None:
    q = cirq.LineQubit.range(3)
    gates = [cirq.ry(0.4)(q[2]), cirq.ry(0.3)(q[0]), (cirq.ISWAP**0.5)(q[0], q[1])]
    template, _ = template_from_circuit(cirq.Circuit(gates))
    lowered = lower(template, aria_1(), np.array([3]))
    assert [run.letters for run in lowered.first] == [(0, 1, 2, 3)] * 3


class TestMemory:
    def test_lanes_suit_the_cache_and_the_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert sizing.density_matrix_width(6, 10**6) == 32
        assert sizing.density_matrix_width(8, 10**6) == 8
        assert sizing.density_matrix_width(8, 3) == 3
        monkeypatch.setattr(sizing, "available_bytes", lambda: 2**30)
        assert sizing.density_matrix_width(11, 10**6) == 2

    def test_a_state_that_does_not_fit_is_refused_with_both_figures(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sizing, "available_bytes", lambda: 2**30)
        circuit = MeasuredCircuit(
            template_from_circuit(cirq.Circuit(cirq.X.on_each(*cirq.LineQubit.range(13))))[0], ("Z" * 13,)
        )
        with pytest.raises(
            CapabilityError, match=r"13 qubits needs 1\.5 GiB of memory and 1\.0 GiB is available"
        ):
            DensityMatrix(circuit, aria_1())
