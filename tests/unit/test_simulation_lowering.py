"""Fusion: how many operations a circuit becomes, what is absorbed, what is refused."""

from __future__ import annotations

import itertools

import cirq
import numpy as np
import pytest
import sympy

from actors.simulation.state_vector.gate_algebra import block_gate, monomial, rotation, to_matrix
from actors.simulation.state_vector.lowering import Blocks, Permute, Turn, lower
from actors.simulation.state_vector.permutations import Step, compose, gather_bits, spread_bits
from actors.simulation.state_vector.program import GROW, PERMUTE, TURN, compile_program
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate, Gate
from orchestrator.errors import CircuitError

Q = cirq.LineQubit.range(4)


def template(*operations: cirq.OP_TREE) -> CircuitTemplate:
    return template_from_circuit(cirq.Circuit(operations), Q)[0]


def alone(operation: cirq.Operation) -> Gate:
    """The gate of a circuit of one operation."""
    return template_from_circuit(cirq.Circuit(operation))[0].gates[0]


def layer(tag: str) -> list[cirq.Operation]:
    turns = [
        gate(sympy.Symbol(f"{tag}{i}{gate.__name__}"))(q)
        for i, q in enumerate(Q)
        for gate in (cirq.rx, cirq.rz)
    ]
    return [*turns, *(cirq.CNOT(a, b) for a, b in itertools.pairwise(Q))]


def kinds(*operations: cirq.OP_TREE, paulis: tuple[str, ...] = ("ZIII", "IIZZ")) -> list[int]:
    program = compile_program(MeasuredCircuit(template(*operations), paulis))
    return program.instructions.operations["kind"][:-1].tolist()


def test_a_layered_circuit_is_one_turn_a_qubit_and_one_permutation_a_layer() -> None:
    assert kinds(layer("a"), layer("b")) == [GROW] * 4 + [PERMUTE] + [TURN] * 4


def test_the_last_permutation_stays_for_strings_with_x() -> None:
    assert kinds(layer("a"), paulis=("XIII",)) == [GROW] * 4 + [PERMUTE]


def test_the_last_permutation_stays_if_it_is_not_affine() -> None:
    assert kinds(layer("a"), cirq.CCX(*Q[:3])) == [GROW] * 4 + [PERMUTE]


def test_fixed_gates_between_cnots_join_the_permutation() -> None:
    lowered = lower(
        template(cirq.H.on_each(*Q), cirq.CNOT(Q[0], Q[1]), cirq.S(Q[1]), cirq.X(Q[0]), cirq.CZ(Q[1], Q[0]))
    )
    assert lowered.operations == []
    assert isinstance(lowered.trailing, Permute)
    assert lowered.trailing.bits == {3, 2}


def test_an_operation_passes_a_permutation_on_other_qubits() -> None:
    zz = (cirq.ZZ ** sympy.Symbol("t"))(Q[2], Q[3])
    lowered = lower(
        template(cirq.H.on_each(*Q), cirq.CNOT(Q[0], Q[1]), zz, cirq.CNOT(Q[1], Q[0]), cirq.H(Q[0]))
    )
    assert [type(operation) for operation in lowered.operations] == [Blocks, Permute, Turn]


@pytest.mark.parametrize(
    ("gate", "sizes"),
    [
        (cirq.ControlledGate(cirq.rx(0.3)), [2]),
        (cirq.XX**0.2, [2, 2]),
        (cirq.ZZ**0.2, [1, 1]),  # up to a global phase
        (cirq.CCZ**0.2, [1]),
        (cirq.ISWAP**0.5, [2]),
        (cirq.MatrixGate(cirq.testing.random_unitary(8, random_state=1)), [8]),
    ],
)
def test_gates_split_into_blocks_without_the_identities(gate, sizes) -> None:
    found = block_gate(alone(gate(*Q[: gate.num_qubits()])))
    assert [len(block) for block in found.blocks] == sizes


def test_a_large_dense_gate_is_refused() -> None:
    gate = Gate(
        "big", tuple(range(5)), None, np.zeros(1), cirq.testing.random_unitary(32, random_state=2)[None]
    )
    with pytest.raises(CircuitError, match=r"'big'.*32 basis states"):
        lower(CircuitTemplate(5, 0, (gate,), ""))


@pytest.mark.parametrize("qubits", [(0,), (0, 1)])
def test_a_gate_that_is_not_unitary_is_refused(qubits) -> None:
    gate = Gate("bad", qubits, None, np.zeros(1), 2 * np.eye(2 ** len(qubits), dtype=complex)[None])
    with pytest.raises(CircuitError, match=r"'bad'.*not unitary"):
        lower(CircuitTemplate(2, 0, (gate,), ""))


@pytest.mark.parametrize("gate", [cirq.rx, cirq.ry, cirq.rz])
def test_rotations_are_quaternions_with_their_axis(gate) -> None:
    turn = rotation(alone(gate(sympy.Symbol("t"))(Q[0])))
    for angle in (0.0, 0.7, -2.0):
        matrix = to_matrix(np.cos(turn.rate * angle) * turn.even + np.sin(turn.rate * angle) * turn.odd)
        assert cirq.equal_up_to_global_phase(matrix, cirq.unitary(gate(angle)), atol=1e-14)
    axis = {cirq.rx: 0, cirq.ry: 1, cirq.rz: 2}[gate]
    np.testing.assert_allclose(turn.axis(), -0.5 * np.eye(3)[axis], atol=1e-15)


def test_monomials() -> None:
    found = monomial(alone(cirq.CZ(Q[0], Q[1])))
    assert found is not None
    assert found.source.tolist() == [0, 1, 2, 3]
    assert found.phase.tolist() == [1, 1, 1, -1]
    assert monomial(alone(cirq.H(Q[0]))) is None
    assert monomial(alone(cirq.rz(sympy.Symbol("t"))(Q[0]))) is None


def test_bits_go_out_and_back() -> None:
    local = np.arange(8)
    rows = spread_bits(local, (4, 0, 2))
    assert rows.tolist() == [0, 4, 1, 5, 16, 20, 17, 21]
    assert np.array_equal(gather_bits(rows, (4, 0, 2)), local)


PERMUTING = [cirq.X, cirq.Y, cirq.S, cirq.CNOT, cirq.SWAP, cirq.CZ, cirq.ISWAP, cirq.TOFFOLI, cirq.CSWAP]


@pytest.mark.parametrize("gates", [PERMUTING[:7], PERMUTING], ids=["affine", "any"])
def test_a_run_of_permuting_gates_is_its_unitary(gates) -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        operations = [
            gate(*(Q[int(q)] for q in rng.permutation(4)[: cirq.num_qubits(gate)]))
            for gate in rng.choice(np.array(gates, object), 12)
        ]
        steps = []
        for operation in operations:
            found = monomial(alone(operation))
            assert found is not None
            steps.append(Step(found, tuple(3 - qubit.x for qubit in operation.qubits)))
        source, phase = compose(4, steps)
        matrix = np.zeros((16, 16), complex)
        matrix[np.arange(16), source] = phase
        expected = cirq.Circuit(operations).unitary(qubit_order=Q[:4])
        assert cirq.equal_up_to_global_phase(matrix, expected, atol=1e-14)
