"""Native compilation against cirq: the gates by the client's own unitaries, the circuits by cirq's unitaries and simulator."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import cirq
import cirq_ionq
import numpy as np
import pytest
import sympy

from actors.ionq.rotations import Run, euler_angles, product, quaternion
from actors.ionq.templates import JsonTemplate
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.template import CircuitTemplate

SPECIAL = [
    0.0,
    math.pi / 2,
    math.pi,
    -math.pi,
    2 * math.pi,
    -math.pi / 2,
    math.pi / 4,
    3 * math.pi,
    1e-9,
    1e-17,
    -7.9,
]


def circuit_of(gates: Sequence[dict[str, Any]], n_qubits: int) -> cirq.Circuit:
    """A native gate list in the client's gates."""
    qubits = cirq.LineQubit.range(n_qubits)
    operations = []
    for gate in gates:
        if gate["gate"] == "ms":
            phi0, phi1 = gate["phases"]
            kind = cirq_ionq.MSGate(phi0=phi0, phi1=phi1, theta=gate["angle"])
            operations.append(kind.on(*(qubits[q] for q in gate["targets"])))
        else:
            one = {"gpi": cirq_ionq.GPIGate, "gpi2": cirq_ionq.GPI2Gate}[gate["gate"]](phi=gate["phase"])
            operations.append(one.on(qubits[gate["target"]]))
    return cirq.Circuit(operations)


def resolved(template: CircuitTemplate, angles: np.ndarray) -> cirq.Circuit:
    return cirq.resolve_parameters(template.circuit(), {f"a{k}": float(a) for k, a in enumerate(angles)})


def assert_same_but_final_z(native: cirq.Circuit, source: cirq.Circuit, n_qubits: int) -> None:
    """native = phase x (Rz on each qubit) x source."""
    qubits = cirq.LineQubit.range(n_qubits)
    left, right = (
        c.unitary(qubit_order=qubits, qubits_that_should_be_present=qubits) for c in (native, source)
    )
    ratio = left @ right.conj().T
    first = ratio[0, 0]
    expected = np.ones(1)
    for qubit in range(n_qubits):
        expected = np.kron(
            expected, [1, ratio[1 << (n_qubits - 1 - qubit), 1 << (n_qubits - 1 - qubit)] / first]
        )
    np.testing.assert_allclose(ratio, np.diag(first * expected), rtol=0, atol=1e-12)


def points(rng: np.random.Generator, n_angles: int) -> np.ndarray:
    shuffled = np.array([rng.permutation(SPECIAL) for _ in range(n_angles)]).reshape(n_angles, len(SPECIAL)).T
    return np.concatenate([rng.normal(size=(3, n_angles)) * 4, shuffled])


def symbols() -> Callable[[], sympy.Symbol]:
    names = itertools.count()
    return lambda: sympy.Symbol(f"s{next(names)}")


def test_the_client_s_gates_are_what_is_assumed() -> None:
    """Pulses are rotations about axes in the plane, MS about two of them: ``P_phi = cos(2 pi phi) X + sin(2 pi phi) Y``."""
    x, y = cirq.unitary(cirq.X), cirq.unitary(cirq.Y)

    def axis(phi: float) -> np.ndarray:
        return math.cos(2 * math.pi * phi) * x + math.sin(2 * math.pi * phi) * y

    for phi0, phi1, theta in np.random.default_rng(1).uniform(-1, 1, (20, 3)):
        np.testing.assert_allclose(cirq.unitary(cirq_ionq.GPIGate(phi=phi0)), axis(phi0), atol=1e-15)
        expected = (np.eye(2) - 1j * axis(phi0)) / math.sqrt(2)
        np.testing.assert_allclose(cirq.unitary(cirq_ionq.GPI2Gate(phi=phi0)), expected, atol=1e-15)
        both = np.kron(axis(phi0), axis(phi1))
        expected = math.cos(math.pi * theta) * np.eye(4) - 1j * math.sin(math.pi * theta) * both
        found = cirq.unitary(cirq_ionq.MSGate(phi0=phi0, phi1=phi1, theta=theta))
        np.testing.assert_allclose(found, expected, atol=1e-15)


def test_every_parametrised_operation(parametrised_operations) -> None:
    rng = np.random.default_rng(2)
    for n_qubits, make in parametrised_operations.values():
        qubits = cirq.LineQubit.range(n_qubits)
        template, _ = template_from_circuit(cirq.Circuit(make(symbols(), qubits[::-1])), qubits)
        angles = points(rng, template.n_angles)
        texts = JsonTemplate(template, "Z" * n_qubits, "native").circuits_json(angles)
        for row, text in zip(angles, texts, strict=True):
            assert_same_but_final_z(circuit_of(json.loads(text), n_qubits), resolved(template, row), n_qubits)


def test_fixed_operations() -> None:
    gates = [cirq.H, cirq.T, cirq.X, cirq.Y**0.5, cirq.X**0.3, cirq.CNOT, cirq.CZ, cirq.SWAP, cirq.ISWAP, cirq.XX**0.25, cirq.XX**-0.3,
        cirq.ZZ**1.3, cirq.YY**1.0, cirq.CCX, cirq.MatrixGate(cirq.testing.random_unitary(4, random_state=1))]  # fmt: skip
    for gate in gates:
        n = cirq.num_qubits(gate)
        template, _ = template_from_circuit(cirq.Circuit(gate.on(*cirq.LineQubit.range(n)[::-1])))
        (text,) = JsonTemplate(template, "Z" * n, "native").circuits_json(np.empty((1, 0)))
        assert_same_but_final_z(circuit_of(json.loads(text), n), template.circuit(), n)


def test_outcome_probabilities_of_random_circuits(random_circuit) -> None:
    """In every basis, against cirq's simulator; and the gate list is the same at all angles."""
    rng = np.random.default_rng(3)
    simulator = cirq.Simulator(dtype=np.complex128)
    qubits = cirq.LineQubit.range(4)
    turns = {"X": cirq.H, "Y": cirq.X**0.5}
    for _ in range(6):
        template, _ = template_from_circuit(random_circuit(rng, 4, 12, symbols()), qubits)
        basis = "".join(rng.choice(list("IXYZ"), 4))
        angles = points(rng, template.n_angles)[::2]
        shapes = set()
        for row, text in zip(
            angles, JsonTemplate(template, basis, "native").circuits_json(angles), strict=True
        ):
            gates = json.loads(text)
            shapes.add(str([(g["gate"], g.get("target"), g.get("targets")) for g in gates]))
            source = resolved(template, row)
            source.append(
                turns[letter](q) for letter, q in zip(basis, qubits, strict=True) if letter in turns
            )
            found, expected = (
                np.abs(simulator.simulate(c, qubit_order=qubits).final_state_vector) ** 2
                for c in (circuit_of(gates, 4), source)
            )
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        assert len(shapes) == 1


def test_numbers_are_within_what_ionq_takes(random_circuit) -> None:
    rng = np.random.default_rng(4)
    template, _ = template_from_circuit(random_circuit(rng, 4, 30, symbols()), cirq.LineQubit.range(4))
    angles = np.concatenate([points(rng, template.n_angles), rng.normal(size=(50, template.n_angles)) * 1e3])
    for text in JsonTemplate(template, "XYZZ", "native").circuits_json(angles):
        for gate in json.loads(text):
            phases = gate["phases"] if gate["gate"] == "ms" else [gate["phase"]]
            assert max(map(abs, phases)) <= 1
            assert 0 <= gate.get("angle", 0) <= 0.25


def test_the_client_writes_the_same_gates() -> None:
    """Our text read into the client's gates and serialised by it is our text again."""
    q = cirq.LineQubit.range(3)
    angle = symbols()
    circuit = cirq.Circuit(
        cirq.X(q[2]),  # gpi
        cirq.rx(angle()).on_each(*q),
        cirq.CNOT(q[0], q[1]),
        cirq.ZZ(q[1], q[2]) ** angle(),
        cirq.H(q[0]),
    )
    template, _ = template_from_circuit(circuit, q)
    angles = np.random.default_rng(5).normal(size=(5, template.n_angles))
    for text in JsonTemplate(template, "ZXY", "native").circuits_json(angles):
        gates = json.loads(text)
        theirs = cirq_ionq.Serializer().serialize_single_circuit(circuit_of(gates, 3)).input
        assert theirs["gateset"] == "native"

        def by_wire(listed: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
            """cirq's moments reorder gates of different qubits only."""
            return [[g for g in listed if q in [g.get("target"), *g.get("targets", [])]] for q in range(3)]

        assert by_wire(theirs["circuit"]) == by_wire(gates)


@pytest.mark.parametrize(
    ("operations", "names"),
    [
        (lambda q, a: cirq.rz(a)(q[0]), []),
        (lambda q, a: [cirq.T(q[0]), cirq.Z(q[0])], []),
        (lambda q, a: cirq.H(q[0]), ["gpi2"]),
        (lambda q, a: [cirq.rz(a)(q[0]), cirq.X(q[0]) ** 0.5, cirq.rz(a)(q[0])], ["gpi2"]),
        (lambda q, a: [cirq.rz(a)(q[0]), cirq.Y(q[0])], ["gpi"]),
        (lambda q, a: cirq.ry(a)(q[0]), ["gpi2", "gpi2"]),
        (lambda q, a: [cirq.rx(a)(q[0]), cirq.ry(a)(q[0]), cirq.H(q[0])], ["gpi2", "gpi2"]),
        (lambda q, a: cirq.XX(*q) ** 2.0, []),
        (lambda q, a: cirq.XX(*q), ["gpi", "gpi"]),
        (lambda q, a: cirq.XX(*q) ** 0.5, ["ms"]),
        (lambda q, a: cirq.CNOT(*q), ["gpi2", "ms", "gpi2", "gpi2"]),
    ],
)
def test_no_pulse_is_wasted(operations, names) -> None:
    q = cirq.LineQubit.range(2)
    circuit = cirq.Circuit(cirq.I.on_each(*q), operations(q, sympy.Symbol("a")))
    template, _ = template_from_circuit(circuit, q)
    (text,) = JsonTemplate(template, "ZZ", "native").circuits_json(np.ones((1, template.n_angles)))
    assert sorted(gate["gate"] for gate in json.loads(text)) == sorted(names)


def test_frames_stay_exact_over_a_long_circuit() -> None:
    """400 layers: each adds rounding of about 1e-16 to a frame, so errors of 1e-13 are left."""
    q = cirq.LineQubit.range(2)
    angle = symbols()
    circuit = cirq.Circuit(
        [cirq.rz(angle())(q[0]), cirq.rx(angle())(q[1]), cirq.CNOT(*q), cirq.ry(angle())(q[0])]
        for _ in range(400)
    )
    template, _ = template_from_circuit(circuit, q)
    angles = np.random.default_rng(6).uniform(-50, 50, (1, template.n_angles))
    (text,) = JsonTemplate(template, "ZZ", "native").circuits_json(angles)
    assert_same_but_final_z(circuit_of(json.loads(text), 2), resolved(template, angles[0]), 2)


class TestRotations:
    def matrix(self, rotation: np.ndarray) -> np.ndarray:
        paulis = [cirq.unitary(gate) for gate in (cirq.X, cirq.Y, cirq.Z)]
        return rotation[0] * np.eye(2) - 1j * sum(c * p for c, p in zip(rotation[1:], paulis, strict=True))

    def test_quaternions_multiply_like_matrices(self) -> None:
        for seed in range(20):
            first, second = (cirq.testing.random_unitary(2, random_state=2 * seed + i) for i in range(2))
            found = np.array(product(tuple(quaternion(second)), tuple(quaternion(first))))
            np.testing.assert_allclose(np.linalg.norm(found), 1, atol=1e-15)
            overlap = np.vdot(self.matrix(found), second @ first) / 2
            assert abs(abs(overlap) - 1) < 1e-14

    def test_euler_angles_at_the_poles_too(self) -> None:
        gates = [
            cirq.I,
            cirq.Z,
            cirq.S,
            cirq.X,
            cirq.Y,
            cirq.H,
            cirq.ry(1e-17),
            cirq.ry(math.pi - 1e-16),
            cirq.rx(1e-9),
        ]
        unitaries = [cirq.unitary(g) for g in gates]
        unitaries += [cirq.testing.random_unitary(2, random_state=seed) for seed in range(20)]
        for unitary in unitaries:
            rotation = quaternion(unitary)
            theta, phi, lam = euler_angles(tuple(rotation))
            built = cirq.unitary(cirq.rz(phi)) @ cirq.unitary(cirq.ry(theta)) @ cirq.unitary(cirq.rz(lam))
            overlap = np.vdot(built, unitary) / 2
            np.testing.assert_allclose(built * overlap / abs(overlap), unitary, atol=1e-15)

    def test_a_run_holds_one_fixed_rotation_more_than_open_angles(self) -> None:
        run = Run(0)
        for letter in "XYZ":
            run.turn(letter, 3)
        assert (len(run.fixed), run.columns) == (4, [3, 3, 3])
