"""JSON templates against cirq's unitaries and against the client's serialiser, and the body of a submission.

Gate lists are read by an interpreter of their own, which knows IonQ's gates as cirq's.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import cirq
import cirq_ionq
import numpy as np
import pytest
import sympy

from actors.ionq.body import MAX_METADATA_KEYS, Settings, submission_body
from actors.ionq.templates import JsonTemplate, check_gateset, gate_counts
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.template import CircuitTemplate, Gate
from orchestrator.costs.gate_counts import GateCounts, count_gates
from orchestrator.errors import CircuitError, ConfigError

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
    5e-324,
]
WITHOUT_ANGLE = {
    "x": cirq.X, "y": cirq.Y, "z": cirq.Z, "h": cirq.H, "s": cirq.S, "si": cirq.S**-1, "t": cirq.T, "ti": cirq.T**-1,
    "v": cirq.X**0.5, "vi": cirq.X**-0.5, "swap": cirq.SWAP,
}  # fmt: skip
WITH_ANGLE: dict[str, Callable[[float], cirq.Gate]] = {
    "rx": cirq.rx,
    "ry": cirq.ry,
    "rz": cirq.rz,
    "xx": lambda rotation: cirq.XX ** (rotation / math.pi),
    "yy": lambda rotation: cirq.YY ** (rotation / math.pi),
    "zz": lambda rotation: cirq.ZZ ** (rotation / math.pi),
}


def unitary_of(gates: Sequence[dict[str, Any]], n_qubits: int) -> np.ndarray:
    """What a QIS gate list does, by cirq."""
    qubits = cirq.LineQubit.range(n_qubits)
    circuit = cirq.Circuit()
    for gate in gates:
        name = gate["gate"]
        if name == "cnot":
            circuit.append(cirq.CNOT(qubits[gate["control"]], qubits[gate["target"]]))
        elif name == "pauliexp":
            letters = dict(zip((qubits[q] for q in gate["targets"]), reversed(gate["terms"][0]), strict=True))
            string = cirq.DensePauliString("".join(letters.values())).on(*letters)
            sign = gate["coefficients"][0]
            circuit.append(cirq.PauliStringPhasor(string, exponent_neg=2 * sign * gate["time"] / math.pi))
        else:
            kind = WITH_ANGLE[name](gate["rotation"]) if "rotation" in gate else WITHOUT_ANGLE[name]
            circuit.append(kind.on(*(qubits[q] for q in gate["targets"])))
    return circuit.unitary(qubit_order=qubits, qubits_that_should_be_present=qubits)


def source_unitary(template: CircuitTemplate, angles: np.ndarray) -> np.ndarray:
    qubits = cirq.LineQubit.range(template.n_qubits)
    resolver = {f"a{k}": float(angle) for k, angle in enumerate(angles)}
    resolved = cirq.resolve_parameters(template.circuit(), resolver)
    return resolved.unitary(qubit_order=qubits, qubits_that_should_be_present=qubits)


def assert_same(left: np.ndarray, right: np.ndarray, atol: float = 1e-12) -> None:
    """Equal up to a global phase."""
    overlap = np.vdot(right, left) / len(left)
    assert abs(abs(overlap) - 1) < atol
    np.testing.assert_allclose(left, overlap / abs(overlap) * right, rtol=0, atol=atol)


def points(rng: np.random.Generator, n_angles: int) -> np.ndarray:
    """Angles float64 [N, K]: at random, and every special one at least once for each angle."""
    shuffled = np.array([rng.permutation(SPECIAL) for _ in range(n_angles)]).reshape(n_angles, len(SPECIAL)).T
    return np.concatenate([rng.normal(size=(3, n_angles)) * 4, shuffled])


def of_operation(make: Callable[..., cirq.Operation], n_qubits: int, source: Any) -> CircuitTemplate:
    """One operation on the qubits in reverse order, with another qubit on top."""
    qubits = cirq.LineQubit.range(n_qubits + 1)
    return template_from_circuit(cirq.Circuit(make(source, qubits[:n_qubits][::-1])), qubits)[0]


def symbols() -> Callable[[], sympy.Symbol]:
    names = itertools.count()
    return lambda: sympy.Symbol(f"s{next(names)}")


def two_layers() -> CircuitTemplate:
    """8 qubits, 2 layers, 48 rotations and 16 CNOT: the worked example of the price list."""
    q = cirq.LineQubit.range(8)
    angle = symbols()
    layers = [
        [
            [gate(angle())(x) for x in q for gate in (cirq.rx, cirq.ry, cirq.rz)],
            [cirq.CNOT(a, b) for a, b in zip(q, q[1:] + q[:1], strict=True)],
        ]
        for _ in range(2)
    ]
    return template_from_circuit(cirq.Circuit(layers), q)[0]


def test_every_parametrised_operation(parametrised_operations) -> None:
    rng = np.random.default_rng(1)
    for n_qubits, make in parametrised_operations.values():
        template = of_operation(make, n_qubits, symbols())
        angles = points(rng, template.n_angles)
        texts = JsonTemplate(template, "Z" * template.n_qubits).circuits_json(angles)
        for row, text in zip(angles, texts, strict=True):
            assert_same(unitary_of(json.loads(text), template.n_qubits), source_unitary(template, row))


FIXED = [
    cirq.X, cirq.Y, cirq.Z, cirq.H, cirq.S, cirq.T, cirq.S**-1, cirq.T**-1, cirq.X**0.5, cirq.X**-0.5, cirq.I, cirq.X**0.3, cirq.Y**-0.7,
    cirq.Z**0.125, cirq.H**0.4, cirq.PhasedXPowGate(phase_exponent=0.3, exponent=0.6), cirq.CNOT, cirq.CZ, cirq.SWAP, cirq.ISWAP,
    cirq.CZ**0.3, cirq.SWAP**0.5, cirq.ISWAP**-0.5, cirq.FSimGate(0.3, 0.7), cirq.CNOT**0.5, cirq.H.controlled(), cirq.CCX, cirq.CCZ,
    cirq.CSWAP, cirq.X.controlled(3), cirq.Z.controlled(2, control_values=[0, 1]), cirq.QuantumFourierTransformGate(3), cirq.givens(0.3),
    cirq.ControlledGate(cirq.CNOT, control_values=[0]),
    cirq.MatrixGate(cirq.unitary(cirq.SWAP) @ cirq.unitary(cirq.CNOT) @ cirq.unitary(cirq.SWAP)),
    *(cirq.MatrixGate(cirq.testing.random_unitary(2**n, random_state=seed)) for n in (1, 2, 3) for seed in range(4)),
    cirq.MatrixGate(cirq.testing.random_special_unitary(16, random_state=1)),
]  # fmt: skip


@pytest.mark.parametrize("gate", FIXED, ids=[f"{i} {gate}".splitlines()[0] for i, gate in enumerate(FIXED)])
def test_every_fixed_operation(gate) -> None:
    template = of_operation(lambda _, q: gate.on(*q), cirq.num_qubits(gate), None)
    (text,) = JsonTemplate(template, "Z" * template.n_qubits).circuits_json(np.empty((1, 0)))
    assert_same(unitary_of(json.loads(text), template.n_qubits), source_unitary(template, np.empty(0)))


@pytest.mark.parametrize(("gate", "n_2q"), [(cirq.CNOT, 1), (cirq.CZ, 1), (cirq.SWAP, 1), (cirq.ISWAP, 2), (cirq.CCX, 6),
    (cirq.MatrixGate(cirq.testing.random_unitary(4, random_state=3)), 3)])  # fmt: skip
def test_two_qubit_gates_are_not_wasted(gate, n_2q) -> None:
    template = of_operation(lambda _, q: gate.on(*q), cirq.num_qubits(gate), None)
    assert gate_counts(template, "Z" * template.n_qubits).n_2q == n_2q


def test_a_parity_about_any_axes_is_found_among_degenerate_eigenvalues() -> None:
    """ZZZ between gates on single qubits: -1 is an eigenvalue four times, on the logarithm's branch cut."""
    local = [cirq.testing.random_unitary(2, random_state=seed) for seed in range(3)]
    turn = np.kron(np.kron(*local[:2]), local[2])
    parity = turn @ cirq.unitary(cirq.DensePauliString("ZZZ")) @ turn.conj().T
    template = of_operation(lambda _, q: cirq.MatrixGate(parity).on(*q), 3, None)
    assert gate_counts(template, "ZZZZ").n_2q == 3


@pytest.mark.parametrize("n_qubits", [2, 3])
def test_a_generator_without_structure(n_qubits) -> None:
    """No gate of cirq's: random eigenvectors, so that no strings commute and no axes are shared."""
    size = 2**n_qubits
    vectors = cirq.testing.random_unitary(size, random_state=5)
    phases = np.arange(size) / 4 - 0.5
    projectors = np.array([np.outer(column, column.conj()) for column in vectors.T])
    gate = Gate("custom", tuple(range(n_qubits))[::-1], 0, phases, projectors)
    template = CircuitTemplate(n_qubits, 1, (gate,), "{}")
    angles = points(np.random.default_rng(2), 1)
    for row, text in zip(angles, JsonTemplate(template, "Z" * n_qubits).circuits_json(angles), strict=True):
        expected = gate.unitary(row[0]).reshape((2,) * (2 * n_qubits))
        order = list(range(n_qubits))[::-1]
        expected = expected.transpose(order + [n_qubits + i for i in order]).reshape(size, size)
        assert_same(unitary_of(json.loads(text), n_qubits), expected)


def test_random_circuits(random_circuit) -> None:
    rng = np.random.default_rng(3)
    for _ in range(6):
        circuit = random_circuit(rng, 4, 12, symbols())
        template, _ = template_from_circuit(circuit, cirq.LineQubit.range(4))
        angles = points(rng, template.n_angles)[::3]
        texts = JsonTemplate(template, "ZIZI").circuits_json(angles)
        for row, text in zip(angles, texts, strict=True):
            assert_same(unitary_of(json.loads(text), 4), source_unitary(template, row))


def test_the_basis_is_turned_to_z() -> None:
    """The appended gates B satisfy B' Z B = the letter, on each qubit."""
    letters = {"X": cirq.X, "Y": cirq.Y, "Z": cirq.Z}
    template, _ = template_from_circuit(cirq.Circuit(cirq.I.on_each(*cirq.LineQubit.range(1))))
    for letter, pauli in letters.items():
        (text,) = JsonTemplate(template, letter).circuits_json(np.empty((1, 0)))
        turn = unitary_of(json.loads(text), 1)
        np.testing.assert_allclose(
            turn.conj().T @ cirq.unitary(cirq.Z) @ turn, cirq.unitary(pauli), atol=1e-15
        )
    (text,) = JsonTemplate(template, "I").circuits_json(np.empty((1, 0)))
    assert text == "[]"


SERIALISED: list[Callable[[float, Any], cirq.Operation]] = [
    lambda a, q: cirq.rx(a)(q[0]),
    lambda a, q: cirq.ry(a)(q[1]),
    lambda a, q: cirq.rz(a)(q[0]),
    lambda a, q: cirq.X(q[1]) ** (a / math.pi),
    lambda a, q: cirq.Z(q[1]) ** (a / math.pi),
    lambda a, q: cirq.XX(*q) ** (a / math.pi),
    lambda a, q: cirq.YY(*q) ** (a / math.pi),
    lambda a, q: cirq.ZZ(*q) ** (a / math.pi),
    lambda a, q: cirq.PauliStringPhasor(cirq.X(q[0]) * cirq.Y(q[1]), exponent_neg=abs(a) / math.pi),
    lambda a, q: cirq.H(q[0]),
    lambda a, q: cirq.CNOT(q[1], q[0]),
    lambda a, q: cirq.SWAP(*q),
]


@pytest.mark.parametrize("kind", range(len(SERIALISED)))
def test_the_client_would_say_the_same(kind) -> None:
    """The serialiser's gates of the resolved circuit and ours multiply to the same unitary; it names special angles otherwise."""
    q = cirq.LineQubit.range(2)
    for angle in [*SPECIAL, 0.3, -2.7]:
        circuit = cirq.Circuit(cirq.ry(0.4).on_each(*q), SERIALISED[kind](angle, q))
        theirs = cirq_ionq.Serializer().serialize_single_circuit(circuit).input
        assert theirs["gateset"] == "qis"
        template, _ = template_from_circuit(circuit, q)
        (text,) = JsonTemplate(template, "ZZ").circuits_json(np.empty((1, 0)))
        # The serialiser takes angles within 1e-8 half turns of a special one for it
        assert_same(unitary_of(json.loads(text), 2), unitary_of(theirs["circuit"], 2), atol=1e-8)


def test_numbers_are_written_so_that_they_read_back_the_same() -> None:
    template, _ = template_from_circuit(cirq.Circuit(cirq.rx(sympy.Symbol("s"))(cirq.LineQubit(0))))
    angles = np.array([[0.1 + 0.2], [1e-300], [-math.pi], [2.0], [1e22]])
    read = [json.loads(text)[0]["rotation"] for text in JsonTemplate(template, "Z").circuits_json(angles)]
    assert read == angles[:, 0].tolist()
    assert all(isinstance(number, float) for number in read)


@pytest.mark.parametrize("gateset", ["qis", "native"])
def test_a_circuit_s_text_does_not_depend_on_its_neighbours(gateset) -> None:
    template = two_layers()
    angles = np.random.default_rng(4).uniform(-7, 7, (33, template.n_angles))
    ready = JsonTemplate(template, "XYZIXYZI", gateset)
    whole = ready.circuits_json(angles)
    for size in (1, 2, 7):
        assert whole == [t for i in range(0, 33, size) for t in ready.circuits_json(angles[i : i + size])]


@pytest.mark.parametrize(
    ("angles", "words"),
    [
        (np.zeros((2, 3)), r"\(circuits, 1\)"),
        (np.zeros(1), r"\(circuits, 1\)"),
        (np.zeros((2, 1), np.float32), "float32"),
        (np.array([[0.0], [np.nan]]), "angle 0 of circuit 1 is nan"),
        (np.array([[-np.inf]]), "angle 0 of circuit 0 is -inf"),
    ],
)
def test_angles_that_are_refused(angles, words) -> None:
    template, _ = template_from_circuit(cirq.Circuit(cirq.rx(sympy.Symbol("s"))(cirq.LineQubit(0))))
    with pytest.raises(CircuitError, match=words):
        JsonTemplate(template, "Z").circuits_json(angles)


@pytest.mark.parametrize("basis", ["Z", "ZZZ", "ZQ", "zz"])
def test_a_basis_that_does_not_fit(basis) -> None:
    template, _ = template_from_circuit(cirq.Circuit(cirq.CNOT(*cirq.LineQubit.range(2))))
    with pytest.raises(CircuitError, match=repr(basis)):
        JsonTemplate(template, basis)


def test_gate_sets_that_are_refused() -> None:
    template, _ = template_from_circuit(cirq.Circuit(cirq.H(cirq.LineQubit(0))))
    with pytest.raises(ConfigError, match="did you mean 'native'"):
        JsonTemplate(template, "Z", "natve")
    with pytest.raises(ConfigError, match=r"qpu\.forte-1 has zz .* did you mean 'qis'"):
        check_gateset("native", "qpu.forte-1")
    check_gateset("native", "qpu.aria-1")
    check_gateset("qis", "qpu.forte-1")


def test_counts_are_those_of_the_text() -> None:
    template = two_layers()
    assert gate_counts(template, "Z" * 8) == GateCounts(48, 16)
    assert gate_counts(template, "XYIZXYIZ") == GateCounts(48 + 4, 16)
    for gateset, basis in itertools.product(("qis", "native"), ("ZZZZZZZZ", "XYIZXYIZ")):
        (text,) = JsonTemplate(template, basis, gateset).circuits_json(np.ones((1, 48)))
        assert gate_counts(template, basis, gateset) == count_gates(json.loads(text))
    assert gate_counts(template, "Z" * 8, "native").n_2q == 16


@pytest.mark.parametrize(("gateset", "limit"), [("qis", 0.005), ("native", 0.060)])
def test_a_job_of_97_circuits_is_prepared_in_time(gateset, limit) -> None:
    template = two_layers()
    angles = np.tile(np.random.default_rng(5).uniform(-3, 3, 48), (97, 1))
    for i in range(96):  # a gradient by parameter shifts
        angles[i + 1, i // 2] += math.pi / 2 * (-1) ** i
    ready = JsonTemplate(template, "XYZXYZXY", gateset)
    settings = Settings("simulator", 1024, gateset)
    best = math.inf
    for _ in range(20):
        start = time.perf_counter()
        body = submission_body(ready.circuits_json(angles), 8, settings, "n", {})
        best = min(best, time.perf_counter() - start)
    assert len(json.loads(body)["input"]["circuits"]) == 97
    assert best < limit


class TestSubmissionBody:
    def test_single(self) -> None:
        settings = Settings("simulator", 1000, noise_model="aria-1", noise_seed=3)
        body = submission_body(['[{"gate":"x","targets":[0]}]'], 3, settings, "n1", {"qfleet_token": "ab"})
        assert json.loads(body) == {
            "type": "ionq.circuit.v1",
            "backend": "simulator",
            "shots": 1000,
            "noise": {"model": "aria-1", "seed": 3},
            "name": "n1",
            "metadata": {"qfleet_token": "ab", "shots": "1000"},
            "input": {"gateset": "qis", "qubits": 3, "circuit": [{"gate": "x", "targets": [0]}]},
        }

    def test_several(self) -> None:
        settings = Settings("qpu.aria-1", 500, "native", is_mitigated=True, is_dry_run=True)
        body = submission_body(["[]", '[{"gate":"gpi","target":0,"phase":0.5}]'], 1, settings, 'a"b', {})
        assert json.loads(body) == {
            "type": "ionq.multi-circuit.v1",
            "backend": "qpu.aria-1",
            "shots": 500,
            "settings": {"error_mitigation": {"debiasing": True}},
            "dry_run": True,
            "name": 'a"b',
            "metadata": {"shots": "500"},
            "input": {
                "gateset": "native",
                "qubits": 1,
                "circuits": [{"circuit": []}, {"circuit": [{"gate": "gpi", "target": 0, "phase": 0.5}]}],
            },
        }

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"shots": 0}, "backend.shots = 0.*'1'"),
            ({"shots": 1_000_001}, "backend.shots = 1000001.*'1000000'"),
            ({"shots": 499, "is_mitigated": True}, "backend.shots = 499.*'500'"),
            ({"target": "qpu.aria-1", "noise_model": "aria-1"}, "backend.noise"),
        ],
    )
    def test_settings_that_are_refused(self, change, words) -> None:
        with pytest.raises(ConfigError, match=words):
            Settings(**({"target": "simulator", "shots": 10} | change))

    @pytest.mark.parametrize(
        "metadata",
        [{f"k{i}": "" for i in range(MAX_METADATA_KEYS)}, {"": "v"}, {"k" * 41: "v"}, {"k": "v" * 40_001}, {"k": 3}],
    )  # fmt: skip
    def test_metadata_beyond_the_limits(self, metadata) -> None:
        with pytest.raises(ConfigError, match="metadata"):
            submission_body(["[]"], 1, Settings("simulator", 1), "n", metadata)

    def test_metadata_at_the_limits(self) -> None:
        metadata = {f"{i}" + "k" * 39: "v" * 40_000 for i in range(9)}
        body = submission_body(["[]"], 1, Settings("simulator", 1), "n", metadata)
        assert json.loads(body)["metadata"] == metadata | {"shots": "1"}

    def test_no_circuit(self) -> None:
        with pytest.raises(CircuitError, match="at least one"):
            submission_body([], 1, Settings("simulator", 1), "n", {})
