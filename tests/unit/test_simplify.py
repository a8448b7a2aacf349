"""Simplification: every rewriting against cirq, what is saved counted by hand, and no step without its check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.circuits import simplify as driver
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.simplify import Simplified, simplify
from orchestrator.circuits.simplify_checks import MAX_CIRQ_QUBITS
from orchestrator.circuits.simplify_passes import Pass
from orchestrator.errors import CapabilityError
from orchestrator.models.model import Model
from orchestrator.models.simplified import simplified
from pipelines.simplified_model import exact_values

Q = cirq.LineQubit.range(4)
A, B, C = sympy.symbols("a b c")


def model_of(*operations: Any, observables: Any = "each", **more: Any) -> Model:
    """Without features; every symbol is a parameter."""
    return Model.from_circuit(
        cirq.Circuit(operations), features=[], observables=observables, head="linear", **more
    )


def left_of(*operations: Any, observables: Any = "each") -> list[str]:
    """What is left of a circuit, gate by gate, angles as sums of parameters."""
    model = simplified(model_of(*operations, observables=observables)).model
    terms: dict[int, dict[str, float]] = {k: {} for k in range(model.template.n_angles)}
    mapping = model.angle_map
    for angle, coefficient, param in zip(mapping.angle, mapping.coefficient, mapping.param, strict=True):
        terms[angle][model.circuit_param_names[param] if param >= 0 else "1"] = round(float(coefficient), 9)
    found = []
    for gate, operation in zip(model.template.gates, model.template.circuit().all_operations(), strict=True):
        name = str(operation) if gate.angle is None else f"{gate.name}{list(gate.qubits)} {terms[gate.angle]}"
        found.append(name)
    return found


# --- What is joined, cancelled and left out ------------------------------


def test_rotations_about_the_same_axis_become_one_with_the_sum_of_their_angles() -> None:
    assert left_of(cirq.rx(A)(Q[0]), cirq.rx(2 * B)(Q[0])) == ["Rx[0] {'a': 1.0, 'b': 2.0}"]
    assert left_of(cirq.rx(A)(Q[0]), cirq.X(Q[0]) ** B) == [f"X[0] {{'a': 1.0, 'b': {round(np.pi, 9)}}}"]


def test_a_rotation_meets_another_only_through_gates_that_it_commutes_with() -> None:
    h = cirq.H(Q[0]), cirq.H(Q[1])
    control = [*h, cirq.rz(A)(Q[0]), cirq.CNOT(Q[0], Q[1]), cirq.rz(B)(Q[0])]
    target = [*h, cirq.rz(A)(Q[1]), cirq.CNOT(Q[0], Q[1]), cirq.rz(B)(Q[1])]
    assert len(left_of(*control, observables=["X0", "Y1"])) == 4
    assert len(left_of(*target, observables=["X0", "Y1"])) == 5


def test_turns_that_cancel_are_gone_and_those_that_do_not_are_kept() -> None:
    around = cirq.H(Q[0])
    assert left_of(around, cirq.rz(A)(Q[0]), cirq.rz(-A)(Q[0]), observables=["X0"]) == [str(around)]
    assert len(left_of(around, cirq.rz(A)(Q[0]), cirq.rz(A)(Q[0]), observables=["X0"])) == 2


@pytest.mark.parametrize(
    "pair",
    [
        (cirq.CNOT(Q[0], Q[1]), cirq.CNOT(Q[0], Q[1])),
        (cirq.CZ(Q[0], Q[1]), cirq.CZ(Q[1], Q[0])),
        (cirq.H(Q[0]), cirq.H(Q[0])),
        (cirq.SWAP(Q[0], Q[1]), cirq.SWAP(Q[1], Q[0])),
        (cirq.S(Q[0]), cirq.S(Q[0]) ** -1),
        (cirq.CNOT(Q[0], Q[1]), cirq.CNOT(Q[0], Q[2]), cirq.CNOT(Q[0], Q[1]), cirq.CNOT(Q[0], Q[2])),
    ],
)
def test_gates_that_undo_each_other_are_gone(pair: tuple[cirq.Operation, ...]) -> None:
    """Behind two rotations of each qubit that nothing passes; the last one takes up the one before the pair."""
    before = [cirq.ry(0.3 + 0.2 * i)(q) for i, q in enumerate(Q)] + [
        cirq.rx(0.5 + 0.1 * i)(q) for i, q in enumerate(Q)
    ]
    assert len(left_of(*before, *pair, cirq.rx(A)(Q[0]), observables=["Z0", "Z1", "Z2", "Z3"])) == 8


def test_cnots_in_opposite_directions_stay() -> None:
    before = [cirq.ry(0.3)(Q[0]), cirq.ry(0.4)(Q[1])]
    pair = cirq.CNOT(Q[0], Q[1]), cirq.CNOT(Q[1], Q[0])
    assert len(left_of(*before, *pair, observables=["Z0*X1", "X0", "X1"])) == 4


def test_numbers_become_part_of_the_rotation_beside_them_and_full_turns_are_gone() -> None:
    around = cirq.H(Q[0])
    found = left_of(around, cirq.S(Q[0]), cirq.rz(A)(Q[0]), observables=["X0"])
    assert found == [str(around), f"Rz[0] {{'1': {round(np.pi / 2, 9)}, 'a': 1.0}}"]
    assert left_of(around, cirq.rz(2 * np.pi)(Q[0]), cirq.rz(A)(Q[0]), observables=["X0"]) == [
        str(around), "Rz[0] {'a': 1.0}"
    ]  # fmt: skip
    turned = left_of(around, cirq.rz(A + np.pi / 2)(Q[0]), cirq.rz(-A)(Q[0]), observables=["X0"])
    assert turned == [str(around), str(cirq.rz(np.pi / 2)(Q[0]))]  # an angle that is a number: a fixed gate


def test_what_is_diagonal_in_front_of_the_measurement_is_gone() -> None:
    start = [cirq.ry(A)(Q[0]), cirq.ry(B)(Q[1])]
    tail = [cirq.CZ(Q[0], Q[1]), cirq.T(Q[0]), cirq.rz(C)(Q[1]), cirq.ZZ(Q[0], Q[1]) ** C]
    assert len(left_of(*start, *tail, observables=["Z0", "Z0*Z1"])) == 2
    assert len(left_of(*start, *tail, observables=["Z0", "X1"])) > 3


def test_gates_outside_of_the_light_cone_are_gone_and_their_qubits_stay() -> None:
    found = simplified(
        model_of(cirq.ry(A)(Q[0]), cirq.ry(B)(Q[1]), cirq.CNOT(Q[1], Q[2]), observables="first")
    )
    assert found.model.template.n_qubits == 3
    assert [gate.name for gate in found.model.template.gates if gate.angle is not None] == ["Ry"]
    assert found.model.trainable.tolist() == [True, False]
    assert found.model.n_circuit_params == 2


def test_a_cnot_whose_control_is_still_zero_is_gone() -> None:
    assert len(left_of(cirq.ry(A)(Q[1]), cirq.CNOT(Q[0], Q[1]), cirq.ry(B)(Q[0]))) == 2
    assert len(left_of(cirq.ry(A)(Q[1]), cirq.CNOT(Q[1], Q[0]), cirq.rx(B)(Q[0]))) == 3


# --- Any circuit ------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_random_circuits_keep_cirqs_values(
    seed: int, random_circuit: Callable[..., cirq.Circuit], cirq_expectations: Callable[..., np.ndarray]
) -> None:
    """Gates of all kinds, symbols shared; both circuits by cirq's simulator, the smaller one through its own angle map."""
    rng = np.random.default_rng(seed)
    symbols = sympy.symbols("p0:5")

    def angle() -> Any:
        return symbols[int(rng.integers(5))] * float(rng.choice([1.0, -1.0, 2.0, 0.5])) + float(
            rng.choice([0.0, 0.5])
        )

    drawn = random_circuit(rng, 3, 10, angle)
    circuit = cirq.Circuit(drawn, drawn[-1:], [cirq.CNOT(Q[0], Q[1])] * 2)
    model = Model.from_circuit(
        circuit, features=[], params=symbols, observables=["Z0", "X1*Z2"], qubit_order=Q[:3], head="linear"
    )
    small = simplified(model).model
    assert len(small.template.gates) < len(model.template.gates)
    points = rng.uniform(-3, 3, (3, 5))
    sums = [cirq.PauliSum.wrap(1.0 * cirq.Z(Q[0])), cirq.PauliSum.wrap(1.0 * cirq.X(Q[1]) * cirq.Z(Q[2]))]
    expected = cirq_expectations(circuit, symbols, points, sums, 3)
    names = [sympy.Symbol(f"a{k}") for k in range(small.template.n_angles)]
    angles = np.array([small.angle_map.angles(point, np.zeros((1, 0))).shared for point in points])
    found = cirq_expectations(small.template.circuit(), names, angles, sums, 3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


# --- Checks ------------------------------


def measured(*operations: Any, paulis: tuple[str, ...] = ("ZI",)) -> MeasuredCircuit:
    template, _ = template_from_circuit(cirq.Circuit(operations), Q[: len(paulis[0])])
    return MeasuredCircuit(template, paulis)


def test_a_pass_that_changes_what_is_measured_is_caught_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = measured(cirq.ry(A)(Q[0]), cirq.rx(B)(Q[0]), cirq.H(Q[1]))
    for keeps in (True, False):
        broken = Pass("broken", lambda pieces, n, paulis: pieces[1:], keeps_unitary=keeps)
        monkeypatch.setattr(driver, "PASSES", (broken,))
        found = simplify(circuit)
        assert found.circuit is circuit
        assert not found.steps
        assert "broken" in found.left_out[0]
        assert "more than rounding" in found.left_out[0]


def test_a_pass_that_keeps_the_values_but_not_the_unitary_is_caught_where_it_should_keep_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    circuit = measured(cirq.ry(A)(Q[0]), cirq.ry(B)(Q[1]))  # nothing of qubit 1 is measured
    broken = Pass("broken", lambda pieces, n, paulis: pieces[:1], keeps_unitary=True)
    monkeypatch.setattr(driver, "PASSES", (broken,))
    assert "unitaries" in simplify(circuit).left_out[0]
    monkeypatch.setattr(driver, "PASSES", (broken._replace(keeps_unitary=False),))
    assert simplify(circuit).steps


def test_what_cannot_be_checked_is_not_done() -> None:
    def cannot(circuit: MeasuredCircuit, angles: np.ndarray) -> np.ndarray:
        raise CapabilityError("too large")

    circuit = measured(cirq.ry(A)(Q[0]), cirq.ry(B)(Q[0]))
    found = simplify(circuit, values=cannot)
    assert found.circuit is circuit
    assert found.left_out == ("joined or cancelled: cannot be checked, too large",)


def test_larger_circuits_than_cirqs_are_checked_by_the_engine() -> None:
    n = MAX_CIRQ_QUBITS + 4
    line = cirq.LineQubit.range(n)
    operations = [cirq.ry(sympy.Symbol(f"p{i}"))(q) for i, q in enumerate(line)]
    operations += [cirq.CZ(line[i], line[i + 1]) for i in range(n - 1)]
    model = Model.from_circuit(cirq.Circuit(operations), features=[], head="linear")
    alone, by_engine = simplified(model), simplified(model, exact_values)
    assert alone.model is model
    assert "cirq's simulator" in alone.how.left_out[0]
    assert len(by_engine.model.template.gates) == n
    assert by_engine.check is not None
    assert by_engine.check.is_rounding


def test_a_circuit_with_nothing_to_save_is_given_back() -> None:
    circuit = measured(cirq.ry(A)(Q[0]), cirq.rx(B)(Q[0]), paulis=("ZI", "XI"))
    found: Simplified = simplify(circuit)
    assert found.circuit is circuit
    assert not found.steps
    assert not found.left_out


def test_a_circuit_that_nothing_feels_becomes_empty_and_still_runs() -> None:
    circuit = measured(cirq.ry(A)(Q[1]), cirq.rz(B)(Q[0]))
    found = simplify(circuit, values=exact_values)
    assert found.circuit.template.n_angles == 0
    np.testing.assert_allclose(exact_values(found.circuit, np.zeros((2, 0))), 1.0)
