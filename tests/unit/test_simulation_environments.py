"""Displaced rows answered from shared states: every kind of row against cirq, and the same bits however a job is cut."""

from __future__ import annotations

from dataclasses import replace

import cirq
import numpy as np
import pytest
import sympy

from actors.simulation.state_vector.engine import run_forward
from actors.simulation.state_vector.program import Program, compile_program
from actors.simulation.state_vector.rows import (
    COMPLEMENT,
    DISPLACED,
    QUADRATURE,
    REFLECTION,
    Routes,
    exact_routes,
)
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.jobs import Displacements, Job

STRINGS = {"z": ("ZIII", "IZIZ", "ZZZZ", "IIII", "IIIZ"), "mixed": ("XIII", "YZIX", "IZZI", "IIYY", "ZIII")}


def varied(paulis: tuple[str, ...]) -> MeasuredCircuit:
    """Runs with fixed gates between; two-qubit gates of two eigenphases (one of them 0, neither of them 0) and of three."""
    q = cirq.LineQubit.range(4)
    t = [sympy.Symbol(f"t{k:02d}") for k in range(40)]
    ops: list[cirq.Operation] = []
    for k in range(4):
        ops += [
            cirq.ry(t[3 * k])(q[k]),
            cirq.T(q[k]),
            cirq.rx(t[3 * k + 1])(q[k]),
            cirq.rz(t[3 * k + 2])(q[k]),
        ]
    ops += [
        cirq.CNOT(q[0], q[1]),
        (cirq.XX ** (t[12] / sympy.pi))(q[1], q[2]),
        (cirq.CZ ** (t[13] / sympy.pi))(q[2], q[3]),
        cirq.ControlledGate(cirq.ry(t[14]))(q[3], q[0]),
    ]
    for k in range(4):
        ops += [cirq.rx(t[15 + 2 * k])(q[k]), cirq.H(q[k]), cirq.rz(t[16 + 2 * k])(q[k])]
    ops += [cirq.CNOT(q[0], q[1]), cirq.CNOT(q[1], q[2]), cirq.ISWAP(q[2], q[3]) ** 0.5]
    for k in range(4):
        ops += [cirq.ry(t[23 + 2 * k])(q[k]), cirq.rx(t[24 + 2 * k])(q[k])]
    ops += [cirq.CNOT(q[2], q[3]), cirq.CNOT(q[0], q[2])]
    return MeasuredCircuit(template_from_circuit(cirq.Circuit(ops), q)[0], paulis)


def every_kind_of_row(circuit: MeasuredCircuit, program: Program) -> Displacements:
    """No angle; each angle by two amounts; all pairs of angles of one operation; pairs of different operations."""
    rng = np.random.default_rng(3)
    n_angles = circuit.template.n_angles
    operation = program.instructions.angles["operation"]
    rows: list[list[int]] = [[], *([k] for k in range(n_angles) for _ in range(2))]
    rows += [[i, k] for k in range(n_angles) for i in range(k) if operation[i] == operation[k]]
    rows += [sorted(rng.choice(n_angles, 2, replace=False).tolist()) for _ in range(8)]
    angles = np.array([angle for row in rows for angle in row], np.int64)
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Displacements(indptr, angles, rng.uniform(-4, 4, len(angles)))


@pytest.fixture(scope="module", params=sorted(STRINGS))
def case(request) -> tuple[MeasuredCircuit, Program, Job]:
    circuit = varied(STRINGS[request.param])
    program = compile_program(circuit)
    rng = np.random.default_rng(4)
    data = np.array([0, 3, 15, 23])
    job = Job(
        circuit_key=circuit.key,
        shared_angles=rng.uniform(-3, 3, circuit.template.n_angles),
        data_columns=data,
        data_angles=rng.uniform(-3, 3, (5, len(data))),
        displacements=every_kind_of_row(circuit, program),
    )
    return circuit, program, job


def kinds_of(routes: Routes) -> set[int]:
    return set(routes.carried.kind.tolist())


def test_every_kind_of_row_agrees_with_cirq(case) -> None:
    circuit, program, job = case
    routes = exact_routes(program, job.displacements)
    assert kinds_of(routes) == {DISPLACED, QUADRATURE, REFLECTION, COMPLEMENT}
    assert len(routes.undisplaced) == 1
    only_z = not any(set(pauli) - set("IZ") for pauli in circuit.paulis)
    assert (len(routes.final_rows) > 0) == only_z
    found = run_forward(program, job)
    qubits = cirq.LineQubit.range(4)
    strings = [cirq.DensePauliString(pauli).on(*qubits) for pauli in circuit.paulis]
    simulator, drawn = cirq.Simulator(dtype=np.complex128), circuit.template.circuit()
    d = job.displacements
    for s in range(2):
        for row in range(len(d)):
            angles = job.shared_angles.copy()
            angles[job.data_columns] = job.data_angles[s]
            moved = slice(d.indptr[row], d.indptr[row + 1])
            angles[d.angles[moved]] += d.deltas[moved]
            names = {f"a{k}": a for k, a in enumerate(angles)}
            state = simulator.simulate(drawn, names, qubit_order=qubits).final_state_vector
            expected = [
                p.expectation_from_state_vector(state, {q: i for i, q in enumerate(qubits)}).real
                for p in strings
            ]
            # cirq's gate matrices and ours, of some 40 gates, each right to a few 1e-16
            np.testing.assert_allclose(found[s, row], expected, rtol=0, atol=2e-14)


def test_shared_states_are_few(case) -> None:
    """Of one layer of encoding: a state per qubit serves all its rows; of others a state per angle serves both its shifts."""
    circuit, program, _ = case
    n_angles = circuit.template.n_angles
    pairs = Displacements.single(
        np.repeat(np.arange(n_angles), 2), np.tile([np.pi / 2, -np.pi / 2], n_angles)
    )
    routes = exact_routes(program, pairs)
    served = np.diff(routes.carried.start)
    assert np.all(served[routes.carried.kind == COMPLEMENT] == 6)
    assert np.count_nonzero(routes.carried.kind == COMPLEMENT) == 4
    assert np.all(served[routes.carried.kind == QUADRATURE] == 2)


def test_a_row_has_the_same_bits_alone_and_in_any_part(case) -> None:
    _, program, job = case
    whole = run_forward(program, job)
    rng = np.random.default_rng(5)
    for width in (1, 2, 4, 5, 16, 64):
        assert np.array_equal(run_forward(program, job, width), whole)
    for d in range(len(job.displacements)):
        alone = run_forward(program, job.part(slice(3, 4), slice(d, d + 1)))
        assert np.array_equal(alone, whole[3:4, d : d + 1])
    for _ in range(20):
        s = sorted(rng.choice(6, 2, replace=False))
        d = sorted(rng.choice(len(job.displacements) + 1, 2, replace=False))
        part = job.part(slice(*s), slice(*d))
        assert np.array_equal(run_forward(program, part), whole[slice(*s), slice(*d)])


def test_the_order_of_the_rows_does_not_matter(case) -> None:
    _, program, job = case
    d = job.displacements
    order = np.random.default_rng(6).permutation(len(d))
    entries = [slice(d.indptr[row], d.indptr[row + 1]) for row in order]
    mixed = Displacements(
        np.cumsum([0, *(e.stop - e.start for e in entries)]).astype(np.int64),
        np.concatenate([d.angles[e] for e in entries]),
        np.concatenate([d.deltas[e] for e in entries]),
    )
    found = run_forward(program, replace(job, displacements=mixed))
    assert np.array_equal(found, run_forward(program, job)[:, order])
