"""cirq circuits to templates: the same unitary, one angle per gate, the right frequencies, and clear refusals."""

from __future__ import annotations

from collections.abc import Callable

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.circuits.from_cirq import template_from_circuit, template_from_json
from orchestrator.circuits.template import CircuitTemplate
from orchestrator.errors import CircuitError

A, B, C, X = sympy.symbols("a b c x")
Q = cirq.LineQubit.range(4)

# Errors of single gates are a few ulp of cirq's own eigendecompositions; they add up over at most 40 gates.
TOLERANCE = 1e-11


def unitary_of(template: CircuitTemplate, angles: np.ndarray) -> np.ndarray:
    """The product of the gates' own matrices, put on their qubits by cirq."""
    qubits = cirq.LineQubit.range(template.n_qubits)
    product = np.eye(2**template.n_qubits, dtype=complex)
    for gate in template.gates:
        matrix = gate.unitary(0.0 if gate.angle is None else angles[gate.angle])
        placed = cirq.Circuit(
            cirq.MatrixGate(matrix, unitary_check_atol=1e-9)(*[qubits[w] for w in gate.qubits])
        )
        product = cirq.unitary(cirq.Circuit(cirq.I.on_each(*qubits), placed)) @ product
    return product


def assert_same_up_to_phase(left: np.ndarray, right: np.ndarray) -> None:
    overlap = np.vdot(left, right)
    np.testing.assert_allclose(left * overlap / abs(overlap), right, atol=TOLERANCE)


def values_of(expressions: tuple[sympy.Expr, ...], point: dict[sympy.Symbol, float]) -> np.ndarray:
    return np.array([float(expression.subs(point)) for expression in expressions])


def random_expression(rng: np.random.Generator) -> sympy.Expr:
    """Shared symbols, sums, products with features, numbers of every kind."""
    choices = [
        A, B, -C, 2 * A + B / 3 + 0.4, A * X, X**2 - 0.7, sympy.Rational(1, 3) * B, 0.1 * C * X + sympy.pi / 7,
        float(rng.normal()) * A, sympy.pi * B,
    ]  # fmt: skip
    return choices[rng.integers(len(choices))]


def test_any_circuit_has_cirqs_unitary(random_circuit: Callable[..., cirq.Circuit]) -> None:
    rng = np.random.default_rng(1)
    for _ in range(25):
        n_qubits = int(rng.integers(1, 5))
        circuit = random_circuit(rng, n_qubits, 8, lambda: random_expression(rng))
        template, expressions = template_from_circuit(circuit)
        assert template.n_qubits == n_qubits
        point = dict(zip((A, B, C, X), rng.uniform(-3, 3, 4).tolist(), strict=True))
        resolved = cirq.resolve_parameters(circuit, point)
        assert_same_up_to_phase(unitary_of(template, values_of(expressions, point)), cirq.unitary(resolved))


@pytest.mark.parametrize("name", ["PhasedXZ", "controlled PhasedX", "phasor, both", "FSim", "sub-circuit"])
def test_kinds_that_must_be_taken_apart(name: str, parametrised_operations: dict) -> None:
    """Said once more for one gate at a time, so that a failure names it."""
    n, make = parametrised_operations[name]
    rng = np.random.default_rng(2)
    symbols = iter(sympy.symbols("s0:9"))
    circuit = cirq.Circuit(make(lambda: next(symbols), Q[:n]))
    template, expressions = template_from_circuit(circuit)
    point = {symbol: float(rng.uniform(-3, 3)) for symbol in cirq.parameter_symbols(circuit)}
    assert_same_up_to_phase(
        unitary_of(template, values_of(expressions, point)),
        cirq.unitary(cirq.resolve_parameters(circuit, point)),
    )


def test_each_angle_moves_exactly_one_gate(random_circuit: Callable[..., cirq.Circuit]) -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        circuit = random_circuit(rng, 3, 10, lambda: random_expression(rng))
        template, expressions = template_from_circuit(circuit)
        owned = [gate.angle for gate in template.gates if gate.angle is not None]
        assert sorted(owned) == list(range(template.n_angles)) == list(range(len(expressions)))
        assert [gate.angle for gate in template.gate_of_angle] == list(range(template.n_angles))
        names = cirq.parameter_names(template.circuit())
        assert names == {f"a{k}" for k in range(template.n_angles)}


def test_gates_are_spectral(random_circuit: Callable[..., cirq.Circuit]) -> None:
    """Projectors are orthogonal and complete, so U is unitary and G = sum s P generates it."""
    rng = np.random.default_rng(4)
    template, _ = template_from_circuit(random_circuit(rng, 3, 40, lambda: A))
    for gate in template.gates:
        d = 2 ** len(gate.qubits)
        if gate.angle is None:
            np.testing.assert_allclose(
                gate.projectors[0] @ gate.projectors[0].conj().T, np.eye(d), atol=TOLERANCE
            )
            assert gate.frequencies == ()
            np.testing.assert_array_equal(gate.generator, np.zeros((d, d)))
            continue
        np.testing.assert_allclose(gate.projectors.sum(axis=0), np.eye(d), atol=TOLERANCE)
        for i, left in enumerate(gate.projectors):
            for j, right in enumerate(gate.projectors):
                np.testing.assert_allclose(left @ right, left if i == j else np.zeros((d, d)), atol=TOLERANCE)
        h = 1e-3  # central difference of U: error h²/6 |s|³, with |s| <= 2
        slope = (gate.unitary(0.6 + h) - gate.unitary(0.6 - h)) / (2 * h)
        np.testing.assert_allclose(1j * gate.generator @ gate.unitary(0.6), slope, atol=2e-6)


@pytest.mark.parametrize(
    ("operation", "frequencies"),
    [
        (cirq.rx(A)(Q[0]), (1,)),
        (cirq.Z(Q[0]) ** A, (1,)),
        (cirq.ZZ(Q[0], Q[1]) ** A, (1,)),
        (cirq.ms(A)(Q[0], Q[1]), (1,)),  # its angle is 2a: XX**t with t in half turns
        (cirq.CNOT(Q[0], Q[1]) ** A, (1,)),
        (cirq.rx(A).controlled()(Q[0], Q[1]), (0.5, 1)),
        (cirq.ry(A).controlled(2)(Q[0], Q[1], Q[2]), (0.5, 1)),
        (cirq.ISWAP(Q[0], Q[1]) ** A, (0.5, 1)),
        (cirq.givens(A)(Q[0], Q[1]), (0.5, 1)),  # likewise
        (cirq.ZPowGate(exponent=A, global_shift=0.25).controlled()(Q[0], Q[1]), (0.25, 1, 1.25)),
    ],
)
def test_frequencies(operation: cirq.Operation, frequencies: tuple[float, ...]) -> None:
    """Known eigenvalue differences; and a cirq-computed expectation value is a Fourier series of just these."""
    template, (expression,) = template_from_circuit(cirq.Circuit(operation))
    found = template.gate_of_angle[0].frequencies
    # per radian of the angle; the angle itself is what the expression says
    assert found == pytest.approx(frequencies, abs=1e-12)
    rng = np.random.default_rng(5)
    d = 2 ** len(operation.qubits)
    state, bra = rng.normal(size=(2, d)) + 1j * rng.normal(size=(2, d))
    points = np.linspace(-4, 4, 31)
    scale = float(expression.subs(A, 1.0))
    values = [
        abs(bra.conj() @ cirq.unitary(cirq.resolve_parameters(operation, {"a": p / scale})) @ state) ** 2
        for p in points
    ]
    columns = [np.ones_like(points), *(f(w * points) for w in found for f in (np.cos, np.sin))]
    design = np.stack(columns, axis=1)
    fitted = design @ np.linalg.lstsq(design, np.array(values))[0]
    np.testing.assert_allclose(fitted, values, atol=1e-9 * max(values))


def test_json_round_trip_is_exact_to_the_bit(random_circuit: Callable[..., cirq.Circuit]) -> None:
    """A model read back from its folder must compute what the fresh one did: same gates, same order, same numbers."""
    rng = np.random.default_rng(6)
    for _ in range(15):
        template, _ = template_from_circuit(random_circuit(rng, 3, 10, lambda: random_expression(rng)))
        back = template_from_json(template.circuit_json)
        assert (back.key, back.n_qubits, back.n_angles) == (
            template.key,
            template.n_qubits,
            template.n_angles,
        )
        assert len(back.gates) == len(template.gates)
        for new, old in zip(back.gates, template.gates, strict=True):
            assert (new.name, new.qubits, new.angle) == (old.name, old.qubits, old.angle)
            assert new.eigenphases.tobytes() == old.eigenphases.tobytes()
            assert new.projectors.tobytes() == old.projectors.tobytes()


def test_idle_qubit_is_kept() -> None:
    template, _ = template_from_circuit(cirq.Circuit(cirq.rx(A)(Q[0]), cirq.CNOT(Q[0], Q[2])), Q[:3])
    back = template_from_json(template.circuit_json)
    assert template.n_qubits == back.n_qubits == 3
    assert [gate.qubits for gate in back.gates] == [gate.qubits for gate in template.gates]


def test_own_symbols_may_be_called_like_the_templates() -> None:
    circuit = cirq.Circuit(cirq.rx(sympy.Symbol("a1"))(Q[0]), cirq.ry(sympy.Symbol("a0"))(Q[0]))
    template, expressions = template_from_circuit(circuit)
    assert [str(e) for e in expressions] == ["a1", "a0"]
    assert template_from_json(template.circuit_json).key == template.key


def test_qubit_order_and_other_kinds_of_qubits() -> None:
    left, right = cirq.NamedQubit("left"), cirq.GridQubit(0, 1)
    circuit = cirq.Circuit(cirq.rx(A)(right), cirq.CNOT(right, left))
    template, _ = template_from_circuit(circuit, [right, left])
    assert [gate.qubits for gate in template.gates] == [(0,), (0, 1)]
    template, _ = template_from_circuit(circuit, [left, right])
    assert [gate.qubits for gate in template.gates] == [(1,), (1, 0)]


def test_constant_written_in_sympy_is_an_angle_nobody_moves() -> None:
    template, (expression,) = template_from_circuit(cirq.Circuit(cirq.rx(sympy.pi / 2)(Q[0])))
    assert float(expression) == pytest.approx(np.pi / 2, abs=1e-15)
    assert_same_up_to_phase(unitary_of(template, np.array([np.pi / 2])), cirq.unitary(cirq.rx(np.pi / 2)))


def test_key_is_of_structure() -> None:
    def key(*operations: cirq.Operation) -> str:
        return template_from_circuit(cirq.Circuit(operations))[0].key

    assert key(cirq.rx(A)(Q[0])) == key(cirq.rx(2 * B + 1)(Q[3])), (
        "names, expressions and qubit labels do not matter"
    )
    different = {
        key(cirq.rx(A)(Q[0])),
        key(cirq.ry(A)(Q[0])),
        key(cirq.rx(A)(Q[0]), cirq.X(Q[0])),
        key(cirq.rx(0.1)(Q[0])),
    }
    assert len(different) == 4


class Undecomposable(cirq.Gate):
    """exp(i a X) that says nothing of itself but its unitary."""

    def __init__(self, angle: object) -> None:
        self.angle = angle

    def _num_qubits_(self) -> int:
        return 1

    def _is_parameterized_(self) -> bool:
        return cirq.is_parameterized(self.angle)

    def _parameter_names_(self) -> set[str]:
        return set(cirq.parameter_names(self.angle))

    def _resolve_parameters_(self, resolver: cirq.ParamResolver, recursive: bool) -> Undecomposable:
        return type(self)(resolver.value_of(self.angle, recursive))

    def _unitary_(self) -> np.ndarray | None:
        return None if self._is_parameterized_() else cirq.unitary(cirq.rx(-2.0 * float(self.angle)))


class Decomposable(Undecomposable):
    """The same, but it can be taken apart."""

    def _unitary_(self) -> None:
        return None

    def _decompose_(self, qubits: tuple[cirq.Qid, ...]) -> list[cirq.Operation]:
        return [cirq.rx(-2 * self.angle)(*qubits)]


class Power(cirq.EigenGate):
    """An EigenGate of one's own, which cirq cannot write to JSON."""

    def _num_qubits_(self) -> int:
        return 1

    def _eigen_components(self) -> list[tuple[float, np.ndarray]]:
        return [(0, np.diag([1, 0])), (1, np.diag([0, 1]))]


def test_own_gate_is_taken_apart() -> None:
    template, expressions = template_from_circuit(cirq.Circuit(Decomposable(A * X)(Q[0])))
    assert [str(e) for e in expressions] == ["-2*a*x"]
    assert_same_up_to_phase(unitary_of(template, np.array([-1.2])), cirq.unitary(cirq.rx(-1.2)))


def test_own_fixed_gate_becomes_a_matrix() -> None:
    template, _ = template_from_circuit(cirq.Circuit(Undecomposable(0.3)(Q[0]), cirq.rx(A)(Q[0])))
    assert_same_up_to_phase(template.gates[0].unitary(), cirq.unitary(cirq.rx(-0.6)))
    assert template_from_json(template.circuit_json).key == template.key


@pytest.mark.parametrize(
    ("circuit", "message"),
    [
        (cirq.Circuit(), "empty"),
        (cirq.Circuit(cirq.global_phase_operation(1j)), "empty"),
        (cirq.Circuit(cirq.rx(A)(Q[0]), cirq.measure(Q[0])), "leave measurements out"),
        (cirq.Circuit(cirq.rx(A)(Q[0]), cirq.depolarize(0.1)(Q[0])), "not unitary"),
        (cirq.Circuit(cirq.reset(Q[0])), "not unitary"),
        (cirq.Circuit(cirq.X(Q[0]).with_classical_controls("m")), "not unitary|measurement"),
        (cirq.Circuit(cirq.IdentityGate(qid_shape=(3,))(cirq.LineQid(0, 3))), "qudit"),
        (cirq.Circuit(Undecomposable(A)(Q[0])), "cannot take this parametrised gate apart"),
        (cirq.Circuit(Power(exponent=A)(Q[0])), "must decompose into cirq's gates"),
        (cirq.Circuit(cirq.QuantumFourierTransformGate(7)(*cirq.LineQubit.range(7))), "at most 6"),
    ],
)
def test_refusals(circuit: cirq.Circuit, message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        template_from_circuit(circuit)
