"""The emulator's gates against cirq's and cirq-ionq's unitaries, and its noise against cirq's density-matrix simulator."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import cirq
import cirq_ionq
import numpy as np
import pytest

from actors.ionq.emulator import simulation
from actors.ionq.emulator.circuits import CircuitReader
from actors.ionq.emulator.gates import Call, Piece, pieces
from actors.ionq.emulator.machine import Machine, exact_text, shares_text
from actors.ionq.emulator.simulation import Simulation, draw_counts, key_order, walsh_hadamard
from actors.ionq.emulator.submission import read_submission
from actors.noise.presets import aria_1, forte_1
from orchestrator.errors import CapabilityError

QUBITS = cirq.LineQubit.range(4)
ANGLES = (0.0, 1.3, -2.1, math.pi / 2, math.pi, 2 * math.pi, 1e-9)
FIXED = {
    "x": cirq.X, "not": cirq.X, "cnot": cirq.X, "y": cirq.Y, "z": cirq.Z, "h": cirq.H, "s": cirq.S, "si": cirq.S**-1, "t": cirq.T,
    "ti": cirq.T**-1, "v": cirq.X**0.5, "vi": cirq.X**-0.5,
}  # fmt: skip
TURNS = {"rx": cirq.rx, "ry": cirq.ry, "rz": cirq.rz}
PAIRS = {"xx": cirq.XX, "yy": cirq.YY, "zz": cirq.ZZ}


def unitary_of(found: Sequence[Piece], parameters: Sequence[float]) -> np.ndarray:
    circuit = cirq.Circuit(cirq.I.on_each(*QUBITS))
    for piece in found:
        matrix = piece.gate.unitary(sum(parameters[k] * coefficient for k, coefficient in piece.terms))
        circuit.append(cirq.MatrixGate(matrix).on(*(QUBITS[q] for q in piece.gate.qubits)))
    return cirq.unitary(circuit)


def assert_same(found: Sequence[Piece], parameters: Sequence[float], *operations: cirq.Operation) -> None:
    """Equal up to global phase, to rounding of some dozens of products."""
    wanted = cirq.unitary(cirq.Circuit(cirq.I.on_each(*QUBITS), *operations))
    got = unitary_of(found, parameters)
    overlap = abs(np.trace(wanted.conj().T @ got)) / len(wanted)
    assert abs(overlap - 1.0) < 1e-13
    cirq.testing.assert_allclose_up_to_global_phase(got, wanted, atol=1e-13)


@pytest.mark.parametrize("n_controls", [0, 1, 2, 3])
@pytest.mark.parametrize("name", FIXED)
def test_fixed_gates_with_any_controls(name: str, n_controls: int) -> None:
    call = Call(name, (3,), tuple(range(n_controls)))
    gate = FIXED[name].on(QUBITS[3])
    wanted = gate.controlled_by(*QUBITS[:n_controls]) if n_controls else gate
    found = list(pieces(call, "qis"))
    assert all(len(piece.gate.qubits) <= 2 for piece in found)
    assert_same(found, [], wanted)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("n_controls", [0, 1, 3])
@pytest.mark.parametrize("name", TURNS)
def test_rotations_with_any_controls(name: str, n_controls: int, angle: float) -> None:
    gate = TURNS[name](angle).on(QUBITS[3])
    wanted = gate.controlled_by(*QUBITS[:n_controls]) if n_controls else gate
    assert_same(list(pieces(Call(name, (3,), tuple(range(n_controls))), "qis")), [angle], wanted)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("name", PAIRS)
def test_two_qubit_rotations(name: str, angle: float) -> None:
    wanted = (PAIRS[name] ** (angle / math.pi)).on(QUBITS[3], QUBITS[1])
    assert_same(list(pieces(Call(name, (3, 1)), "qis")), [angle], wanted)


@pytest.mark.parametrize("n_controls", [0, 1, 2])
def test_swap_with_any_controls(n_controls: int) -> None:
    gate = cirq.SWAP(QUBITS[3], QUBITS[2])
    wanted = gate.controlled_by(*QUBITS[:n_controls]) if n_controls else gate
    assert_same(list(pieces(Call("swap", (3, 2), tuple(range(n_controls))), "qis")), [], wanted)


@pytest.mark.parametrize("term", ["X", "Y", "ZY", "IX", "XYZ", "YIZX", "IIII"])
def test_pauli_exponentials(term: str) -> None:
    targets = tuple(range(len(term)))[::-1]
    letters = {
        QUBITS[q]: getattr(cirq, letter) for q, letter in zip(targets, term, strict=True) if letter != "I"
    }
    string = cirq.PauliString(letters)
    wanted = (
        [cirq.PauliStringPhasor(string, exponent_neg=0.4 / math.pi, exponent_pos=-0.4 / math.pi)]
        if letters
        else []
    )
    assert_same(list(pieces(Call("pauliexp", targets, (), term), "qis")), [0.4], *wanted)


@pytest.mark.parametrize("numbers", [(0.3, -0.41, 0.17), (0.0, 0.0, 0.25), (1.0, -1.0, -0.125)])
def test_native_gates(numbers: tuple[float, float, float]) -> None:
    a, b, c = numbers
    for call, wanted in (
        (Call("gpi", (0,)), cirq_ionq.GPIGate(phi=a).on(QUBITS[0])),
        (Call("gpi2", (1,)), cirq_ionq.GPI2Gate(phi=a).on(QUBITS[1])),
        (Call("ms", (2, 1)), cirq_ionq.MSGate(phi0=a, phi1=b, theta=c).on(QUBITS[2], QUBITS[1])),
        (Call("zz", (2, 1)), cirq_ionq.ZZGate(theta=a).on(QUBITS[2], QUBITS[1])),
    ):
        assert_same(list(pieces(call, "native")), [a, b, c], wanted)


# --- Circuits ------------------------------------------------------------------------------------------------------------------


def gates_and_circuit(
    gateset: str, rng: np.random.Generator, n_qubits: int
) -> tuple[list[dict[str, Any]], list[cirq.Operation]]:
    """A random circuit as IonQ's JSON and as cirq's operations."""
    gates: list[dict[str, Any]] = []
    operations: list[cirq.Operation] = []
    for _ in range(14):
        a, b = (int(q) for q in rng.choice(n_qubits, 2, replace=False))
        x, y, z = (float(v) for v in rng.uniform(-1, 1, 3))
        q = QUBITS
        choices: list[tuple[dict[str, Any], cirq.Operation]] = (
            [
                ({"gate": "rx", "target": a, "rotation": 3 * x}, cirq.rx(3 * x)(q[a])),
                ({"gate": "ry", "targets": [a], "rotation": 3 * y}, cirq.ry(3 * y)(q[a])),
                ({"gate": "h", "target": a}, cirq.H(q[a])),
                ({"gate": "cnot", "control": a, "target": b}, cirq.CNOT(q[a], q[b])),
                ({"gate": "zz", "targets": [a, b], "rotation": z}, cirq.ZZ(q[a], q[b]) ** (z / math.pi)),
            ]
            if gateset == "qis"
            else [
                ({"gate": "gpi", "target": a, "phase": x}, cirq_ionq.GPIGate(phi=x)(q[a])),
                ({"gate": "gpi2", "target": a, "phase": y}, cirq_ionq.GPI2Gate(phi=y)(q[a])),
                (
                    {"gate": "ms", "targets": [a, b], "phases": [x, y]},
                    cirq_ionq.MSGate(phi0=x, phi1=y)(q[a], q[b]),
                ),
                (
                    {"gate": "ms", "targets": [a, b], "phases": [y, z], "angle": x / 4},
                    cirq_ionq.MSGate(phi0=y, phi1=z, theta=x / 4)(q[a], q[b]),
                ),
                ({"gate": "zz", "targets": [a, b], "angle": z}, cirq_ionq.ZZGate(theta=z)(q[a], q[b])),
            ]
        )
        gate, operation = choices[int(rng.integers(len(choices)))]
        gates.append(gate)
        operations.append(operation)
    return gates, operations


def simulated(gates: list[dict[str, Any]], gateset: str, noise: Any) -> np.ndarray:
    text = json.dumps({"circuit": gates})
    return Simulation().probabilities(CircuitReader().read([text], gateset, 4), noise)[0]


@pytest.mark.parametrize("gateset", ["qis", "native"])
@pytest.mark.parametrize("seed", range(4))
def test_ideal_probabilities_are_cirqs(gateset: str, seed: int) -> None:
    gates, operations = gates_and_circuit(gateset, np.random.default_rng(seed), 4)
    found = simulated(gates, gateset, None)
    used = QUBITS[: len(found).bit_length() - 1]
    state = cirq.Simulator(dtype=np.complex128).simulate(cirq.Circuit(operations), qubit_order=used)
    np.testing.assert_allclose(found, np.abs(state.final_state_vector) ** 2, atol=1e-13)


@pytest.mark.parametrize("noise", [aria_1(), forte_1()], ids=lambda noise: noise.name)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gateset", ["qis", "native"])
def test_noisy_probabilities_are_those_of_a_channel_after_each_gate(
    gateset: str, seed: int, noise: Any
) -> None:
    gates, operations = gates_and_circuit(gateset, np.random.default_rng(seed), 3)
    noisy = cirq.Circuit()
    for operation in operations:
        n_qubits = len(operation.qubits)
        rate = noise.one_qubit_depolarizing if n_qubits == 1 else noise.two_qubit_depolarizing
        error = rate * (1 - 4.0**-n_qubits)  # cirq's: the probability of any Pauli but the identity
        noisy.append(cirq.Moment(operation))
        noisy.append(cirq.Moment(cirq.depolarize(error, n_qubits).on(*operation.qubits)))
    found = simulated(gates, gateset, noise)
    used = QUBITS[: len(found).bit_length() - 1]
    final = cirq.DensityMatrixSimulator(dtype=np.complex128).simulate(noisy, qubit_order=used)
    np.testing.assert_allclose(found, np.diag(final.final_density_matrix).real, atol=1e-12)
    assert np.abs(found - simulated(gates, gateset, None)).max() > 1e-3  # the noise is there


def test_a_structure_is_compiled_once_for_each_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile_program = simulation._compile
    monkeypatch.setattr(
        simulation, "_compile", lambda *call: compiled.append(call[0].text) or compile_program(*call)
    )
    reader, machine = CircuitReader(), Simulation()
    for angle in (0.1, 0.2, 0.3):
        texts = [
            json.dumps({"circuit": [{"gate": "rx", "target": 0, "rotation": angle + k}]}) for k in range(5)
        ]
        circuits = reader.read(texts, "qis", 1)
        for noise in (None, aria_1()):
            found = np.array(machine.probabilities(circuits, noise))
            error = 0.0 if noise is None else noise.one_qubit_depolarizing
            wanted = [0.5 - 0.5 * (1 - error) * np.cos(angle + k) for k in range(5)]
            np.testing.assert_allclose(found[:, 1], wanted, atol=1e-14)
    assert len(compiled) == 2


def test_constants_are_part_of_a_structure() -> None:
    """Whole numbers, and the angle of a full MS gate, stay where they are; circuits that differ in them are told apart."""
    texts = [json.dumps({"circuit": [{"gate": "rx", "target": 0, "rotation": k}]}) for k in (1, 2)]
    one, two = Simulation().probabilities(CircuitReader().read(texts, "qis", 1), None)
    np.testing.assert_allclose([one[1], two[1]], np.sin([0.5, 1.0]) ** 2, atol=1e-14)
    gates = [
        [{"gate": "ms", "targets": [0, 1], "phases": [0.1, 0.2], "angle": angle}]
        for angle in (0.25, 0.125, 0.2)
    ]
    circuits = CircuitReader().read([json.dumps({"circuit": gate}) for gate in gates], "native", 2)
    assert [structure.n_decimals for structure, _, _ in circuits.groups] == [2, 3]
    found = Simulation().probabilities(circuits, None)
    np.testing.assert_allclose(
        [row[3] for row in found], np.sin(np.pi * np.array([0.25, 0.125, 0.2])) ** 2, atol=1e-14
    )


def test_too_many_qubits_are_refused_with_the_limit() -> None:
    wide = [{"gate": "h", "target": 10}]
    text = json.dumps({"circuit": wide})
    circuits = CircuitReader().read([text], "qis", 11)
    with pytest.raises(CapabilityError, match="up to 10 qubits, and this one has 11"):
        Simulation().probabilities(circuits, aria_1())


# --- Answers -------------------------------------------------------------------------------------------------------------------


def test_walsh_hadamard_is_the_matrix() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 8))
    signs = np.array([[(-1.0) ** (a & b).bit_count() for b in range(8)] for a in range(8)])
    np.testing.assert_allclose(walsh_hadamard(rows), rows @ signs, atol=1e-14)


def test_keys_are_little_endian() -> None:
    # |q0 q1 q2> = |1 0 0> is the engine's row 4 and IonQ's key "1".
    row = np.zeros(8)
    row[0b100] = 1.0
    assert json.loads(exact_text(row)) == {"1": 1.0}
    assert key_order(3).tolist() == [int(f"{key:03b}"[::-1], 2) for key in range(8)]


def test_texts_hold_the_numbers() -> None:
    row = np.random.default_rng(1).dirichlet(np.full(16, 0.1))
    assert row.min() < 1e-9
    for factor in (1.0, 0.0):  # all outcomes are possible, or one is not
        row[5] *= factor
        found = {key_order(4)[int(key)]: value for key, value in json.loads(exact_text(row)).items()}
        assert set(found) == set(np.flatnonzero(row).tolist())
        assert max(abs(value - row[index]) for index, value in found.items()) < 2e-16
    assert json.loads(exact_text(np.array([0.0, 1.0 + 2**-52]))) == {"1": 1.0}
    counts = np.array([0, 3, 0, 7])
    assert json.loads(shares_text(counts, 10)) == {"2": 0.3, "3": 0.7}


def test_counts_are_keyed_and_follow_the_probabilities() -> None:
    row = np.random.default_rng(2).dirichlet(np.ones(8))
    counts = draw_counts(row, 200_000, b"a1")
    assert counts.sum() == 200_000
    assert np.array_equal(counts, draw_counts(row, 200_000, b"a1"))
    assert not np.array_equal(counts, draw_counts(row, 200_000, b"a2"))
    error = np.sqrt(row * (1 - row) * 200_000)
    assert (np.abs(counts - row * 200_000) < 5 * error).all()


def test_a_machine_without_noise_draws_its_shots_all_the_same() -> None:
    """Outcomes that noise alone could give do not come up, and the others as a binomial of the exact probability."""
    shots, angle = 4000, 1.0
    body = {
        "backend": "qpu.aria-1", "type": "ionq.circuit.v1", "shots": shots,
        "input": {"gateset": "qis", "qubits": 2, "circuit": [
            {"gate": "ry", "target": 0, "rotation": angle}, {"gate": "cnot", "control": 0, "target": 1}]},
    }  # fmt: skip
    submission = read_submission(json.dumps(body), CircuitReader())
    answers = []
    for is_noiseless in (False, True):
        machine = Machine(0, None, is_noiseless)
        answers.append(json.loads(machine.run(submission).result()[0]))
        machine.close()
    noisy, found = answers
    assert set(noisy) > set(found) == {"0", "3"}
    assert found["0"] * shots == round(found["0"] * shots)
    exact = math.sin(angle / 2) ** 2
    assert abs(found["3"] - exact) < 4 * math.sqrt(exact * (1 - exact) / shots)
