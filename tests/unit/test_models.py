"""Model: blocks put together as configured, parameters and features in their places, plain form, refusals."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.config import ModelConfig
from orchestrator.errors import CircuitError, ConfigError, InputError
from orchestrator.models.entanglement import circular, full, linear
from orchestrator.models.model import Model
from orchestrator.models.plain import model_from_plain, model_to_plain

Q = cirq.LineQubit.range(3)
A, B, X = sympy.symbols("a b x")


def config(**values: Any) -> ModelConfig:
    return ModelConfig(**{"n_qubits": 3, "n_layers": 2, "observables": "first", "head": "none", **values})


def test_entanglement_patterns() -> None:
    assert linear(4) == [(0, 1), (1, 2), (2, 3)]
    assert circular(4) == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert full(4) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert circular(2) == linear(2) == full(2) == [(0, 1)]
    assert circular(1) == linear(1) == full(1) == []


@pytest.mark.parametrize("ansatz", ["three_rotation", "hardware_efficient"])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("reuploading", [False, True])
def test_circuit_is_the_documented_one(ansatz: str, axis: str, reuploading: bool) -> None:
    """Built once more by hand from cirq, at random parameters and features: the same unitary."""
    model = Model.from_config(
        config(ansatz=ansatz, feature_axis=axis, reuploading=reuploading, entanglement="circular")
    )
    rng = np.random.default_rng(1)
    params, features = rng.uniform(-3, 3, model.n_params), rng.uniform(-3, 3, (1, 3))
    rotations = [cirq.rx, cirq.ry, cirq.rz] if ansatz == "three_rotation" else [cirq.ry, cirq.rz]
    values = iter(params)
    operations: list[Any] = []
    for layer in range(2):
        if layer == 0 or reuploading:
            if axis == "z":
                operations += cirq.H.on_each(*Q)
            operations += [
                {"x": cirq.rx, "y": cirq.ry, "z": cirq.rz}[axis](x)(q)
                for q, x in zip(Q, features[0], strict=True)
            ]
        operations += [rotation(next(values))(q) for q in Q for rotation in rotations]
        operations += [cirq.CNOT(Q[i], Q[j]) for i, j in [(0, 1), (1, 2), (2, 0)]]
    assert not list(values), "every parameter is used"
    angles = model.angles(params, features)
    table = angles.shared.copy()
    table[angles.columns] = angles.data[0]
    found = cirq.resolve_parameters(model.template.circuit(), {f"a{k}": v for k, v in enumerate(table)})
    np.testing.assert_allclose(cirq.unitary(found), cirq.unitary(cirq.Circuit(operations)), atol=1e-12)


def test_own_circuit_takes_symbols_in_the_order_given() -> None:
    circuit = cirq.Circuit(
        cirq.rx(sympy.Symbol("p10"))(Q[0]), cirq.ry(sympy.Symbol("p2"))(Q[0]), cirq.rz(X)(Q[0])
    )
    assert Model.from_circuit(circuit, features=["x"]).circuit_param_names == ("p2", "p10")
    model = Model.from_circuit(circuit, features=[X], params=["p10", sympy.Symbol("p2")])
    assert model.circuit_param_names == ("p10", "p2")
    angles = model.angles(np.array([1.0, 2.0]), np.array([[3.0]]))
    np.testing.assert_array_equal(angles.shared[:2], [1, 2])
    np.testing.assert_array_equal(angles.data, [[3]])


def test_symbols_with_assumptions_are_found_by_name() -> None:
    circuit = cirq.Circuit(cirq.rx(sympy.Symbol("t", real=True) * sympy.Symbol("x", positive=True))(Q[0]))
    for params in (None, ["t"]):
        model = Model.from_circuit(circuit, features=["x"], params=params)
        assert model.angles(np.array([2.0]), np.array([[0.25]])).data == pytest.approx(0.5)


def test_parameter_that_moves_nothing() -> None:
    model = Model.from_circuit(cirq.Circuit(cirq.rx(A)(Q[0])), features=[], params=["a", "b"])
    assert model.n_params == 2
    assert model.differentiated_angles.tolist() == [0]


def test_frozen_and_constant_angles_are_not_differentiated() -> None:
    circuit = cirq.Circuit(
        cirq.rx(A)(Q[0]),
        cirq.ry(A + B)(Q[0]),
        cirq.rz(X)(Q[0]),
        cirq.rx(sympy.pi / 3)(Q[0]),
        cirq.ry(B)(Q[0]),
    )
    model = Model.from_circuit(circuit, features=["x"])
    assert model.differentiated_angles.tolist() == [0, 1, 4]
    assert model.with_frozen([0]).differentiated_angles.tolist() == [1, 4]
    assert model.with_frozen([1]).differentiated_angles.tolist() == [0, 1]
    assert model.with_frozen([0, 1]).differentiated_angles.tolist() == []
    assert model.with_frozen([0, 1]).with_frozen([]).differentiated_angles.tolist() == [0, 1, 4]


def test_initial_params_are_seeded_and_scaled() -> None:
    model = Model.from_config(config(n_layers=60, head="linear", initial_scale=0.2), n_outputs=2)
    start = model.initial_params(5)
    np.testing.assert_array_equal(start, model.initial_params(5))
    assert (start != model.initial_params(6)).any()
    circuit = start[: model.n_circuit_params]
    assert circuit.std() == pytest.approx(0.2, rel=5 / np.sqrt(2 * len(circuit)))  # five standard errors
    flat = Model.from_config(config(initial_scale=0.0)).initial_params(5)
    np.testing.assert_array_equal(flat, 0)


@pytest.mark.parametrize("head", ["none", "linear"])
def test_plain_form_gives_the_same_model(head: str) -> None:
    circuit = cirq.Circuit(
        cirq.rx(A * X + B)(Q[0]), cirq.ISWAP(Q[0], Q[2]) ** (X**2 / 3), cirq.givens(B)(Q[0], Q[2])
    )
    model = Model.from_circuit(
        circuit,
        features=["x"],
        observables=["Z0 - 0.5*X2 + 0.25"],
        head=head,
        output_scale=2.5,
        frozen=[1],
        qubit_order=Q,
    )
    description, arrays = model_to_plain(model)
    back = model_from_plain(json.loads(json.dumps(description)), arrays)
    assert back.measured.key == model.measured.key
    assert back.template.n_qubits == 3
    rng = np.random.default_rng(1)
    params, features = model.initial_params(3), rng.normal(size=(4, 1))
    np.testing.assert_array_equal(back.initial_params(3), params)
    for one, other in zip(back.angles(params, features), model.angles(params, features), strict=True):
        np.testing.assert_array_equal(one, other)
    values = rng.normal(size=(4, len(model.readout.paulis)))
    np.testing.assert_array_equal(back.outputs(params, values), model.outputs(params, values))
    np.testing.assert_array_equal(back.frozen, model.frozen)
    assert (back.n_outputs, back.circuit_param_names, back.readout.names) == (
        model.n_outputs, model.circuit_param_names, model.readout.names,
    )  # fmt: skip


def test_model_of_ones_own_by_path(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ModuleType("own_models")
    model = Model.from_circuit(cirq.Circuit(cirq.rx(A)(Q[0])), features=[])
    vars(own).update(make=lambda: model, wrong=lambda: 3, broken=lambda: 1 / 0)
    monkeypatch.setitem(sys.modules, "own_models", own)
    assert Model.from_config(config(circuit="own_models:make")) is model
    with pytest.raises(InputError, match=r"returned int, not an orchestrator\.Model"):
        Model.from_config(config(circuit="own_models:wrong"))
    with pytest.raises(InputError, match=r"model\.circuit = 'own_models:broken' failed: ZeroDivisionError"):
        Model.from_config(config(circuit="own_models:broken"))
    with pytest.raises(InputError, match="cannot load"):
        Model.from_config(config(circuit="own_models:nothing"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"features": ["x", "x"]}, CircuitError, "x is listed twice"),
        ({"features": ["a"], "params": ["a", "b", "x"]}, CircuitError, "a is listed twice"),
        ({"features": ["x"], "params": ["a", "a", "b"]}, CircuitError, "a is listed twice"),
        ({"features": ["x"], "params": ["a"]}, CircuitError, "symbol b .* neither a parameter nor a feature"),
        ({"features": ["x"], "frozen": [2]}, ConfigError, r"model\.frozen = 2: .* 0 to 1"),
        ({"features": ["x"], "frozen": [-1]}, ConfigError, r"model\.frozen = -1"),
        ({"features": ["x"], "qubit_order": [Q[1]]}, CircuitError, "qubit_order"),
        ({"features": ["x"], "observables": ["Z1"]}, CircuitError, "names qubit 1"),
        ({"features": ["x"], "observables": "each", "n_outputs": 2}, ConfigError, "2 wanted"),
        ({"features": ["x"], "head": "liner"}, InputError, "did you mean 'linear'"),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    circuit = cirq.Circuit(cirq.rx(A * X)(Q[0]), cirq.ry(B)(Q[0]))
    with pytest.raises(error, match=message):
        Model.from_circuit(circuit, **arguments)


def test_frozen_may_name_head_parameters() -> None:
    model = Model.from_config(config(head="linear", frozen=(18, 19)))
    assert model.n_params == 20
    assert model.frozen.nonzero()[0].tolist() == [18, 19]
