"""Single precision within its error bound, and the vector-Jacobian product against the Jacobian."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cirq
import numpy as np
import pytest
import sympy

from actors.simulation.state_vector.engine import MAX_SINGLE_SHOTS, run_adjoint, run_forward
from actors.simulation.state_vector.program import Program, compile_program
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CapabilityError
from orchestrator.jobs import Displacements, Job

N_QUBITS = 5
STRINGS = {
    "z": ("ZIIII", "IZIZI", "ZZZZZ", "IIIII", "IIIIZ"),
    "x and y": ("XIIII", "YZIXI", "IIYYY"),
    "mixed": ("ZIIII", "YZIXI", "IZZII", "IIYYX", "IIIII"),
}


def layered(paulis: tuple[str, ...]) -> MeasuredCircuit:
    qubits = cirq.LineQubit.range(N_QUBITS)
    symbols = (sympy.Symbol(f"t{k:02d}") for k in range(100))
    ops: list[cirq.Operation] = []
    for _ in range(3):
        ops += [gate(next(symbols))(q) for q in qubits for gate in (cirq.ry, cirq.rz, cirq.rx)]
        ops += [cirq.CNOT(a, b) for a, b in itertools.pairwise(qubits)]
        ops += [(cirq.ZZ ** (next(symbols) / sympy.pi))(qubits[0], qubits[-1])]
    return MeasuredCircuit(template_from_circuit(cirq.Circuit(ops), qubits)[0], paulis)


@pytest.fixture(scope="module", params=sorted(STRINGS))
def case(request) -> tuple[Program, Job]:
    circuit = layered(STRINGS[request.param])
    rng = np.random.default_rng(7)
    n_angles = circuit.template.n_angles
    job = Job(
        circuit_key=circuit.key,
        shared_angles=rng.uniform(-3, 3, n_angles),
        data_columns=np.arange(5),
        data_angles=rng.uniform(-3, 3, (40, 5)),
        displacements=Displacements.none(),
        jacobian_angles=np.arange(n_angles)[::-1],
    )
    return compile_program(circuit), job


def bound(program: Program) -> float:
    """Error of an expectation value in single precision.

    Every amplitude of an operation on one qubit is a sum of 4 products of rounded coefficients, so a state of norm 1 is wrong by at most
    (4 + 1) u sqrt(2) after it, u = eps / 2; <O> by twice that, and by the n + 1 additions of a sum of 2**n probabilities.
    """
    u = float(np.finfo(np.float32).eps) / 2
    return (2 * 5 * np.sqrt(2) * program.n_operations + N_QUBITS + 2) * u


def test_values_are_within_the_bound(case) -> None:
    program, job = case
    n_angles = program.n_angles
    rows = Displacements.single(np.arange(n_angles), np.full(n_angles, 0.7))
    shifted = replace(job, displacements=rows, jacobian_angles=None)
    double, single = run_forward(program, shifted), run_forward(program, shifted, precision="single")
    assert single.dtype == np.float64
    error = np.abs(single - double).max()
    assert 1e-9 < error < 4 * bound(program)  # a row combines up to four sums with weights up to 1
    assert np.array_equal(single, run_forward(program, shifted, width=7, precision="single"))


def test_derivatives_are_within_the_bound(case) -> None:
    program, job = case
    (values, jacobian), (values32, jacobian32) = (
        run_adjoint(program, job),
        run_adjoint(program, job, "single"),
    )
    assert values32.dtype == jacobian32.dtype == np.float64
    assert np.abs(values32 - values).max() < bound(program)
    assert 1e-9 < np.abs(jacobian32 - jacobian).max() < 3 * bound(program)  # both states, there and back


def test_a_weighted_sum_of_derivatives_is_that_of_the_jacobian(case) -> None:
    program, job = case
    weights = np.random.default_rng(8).normal(size=(job.n_samples, program.n_paulis))
    values, jacobian = run_adjoint(program, job)
    same, product = run_adjoint(program, replace(job, cotangents=weights))
    assert product.shape == (job.n_samples, 1, len(job.jacobian_angles))
    assert np.array_equal(values, same)
    expected = np.einsum("sm,smk->sk", weights, jacobian)
    scale = np.abs(weights).sum(axis=1).max()
    np.testing.assert_allclose(product[:, 0], expected, rtol=0, atol=1e-14 * scale)
    single = run_adjoint(program, replace(job, cotangents=weights), "single")[1]
    assert np.abs(single - product).max() < 3 * scale * bound(program)


def test_a_weighted_sum_has_the_same_bits_one_sample_at_a_time(case) -> None:
    program, job = case
    weights = np.random.default_rng(9).normal(size=(job.n_samples, program.n_paulis))
    weighted = replace(job, cotangents=weights)
    whole = run_adjoint(program, weighted)[1]
    for s in (0, 17, 39):
        one = replace(weighted, data_angles=job.data_angles[s : s + 1], cotangents=weights[s : s + 1])
        assert np.array_equal(run_adjoint(program, one)[1], whole[s : s + 1])


def test_what_single_precision_cannot_do_is_refused(case) -> None:
    program, job = case
    with pytest.raises(ValueError, match="half"):
        run_forward(program, job, precision="half")
    many = replace(job, jacobian_angles=None, shots=MAX_SINGLE_SHOTS + 1, noise_keys=np.ones(9, np.uint64))
    with pytest.raises(CapabilityError, match=str(MAX_SINGLE_SHOTS)):
        run_forward(program, many, precision="single")
