"""What every entry of a registry must do. One new line in a registry, and all of these apply to it."""

from __future__ import annotations

import inspect
import io
import itertools
from collections.abc import Callable
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator import registry
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate
from orchestrator.config import ModelConfig, OptimizerConfig
from orchestrator.coordinator import Coordinator
from orchestrator.models.angle_map import AngleMap, Angles
from orchestrator.models.model import Model
from orchestrator.optimizers.build import build_optimizer
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.registry import resolve

SIZES = (1, 2, 3, 4)
ENTANGLEMENT_NAMES = list(registry.ENTANGLEMENTS)


def slopes(function: Callable[[np.ndarray], float], point: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """Gradient by the five-point stencil: error h⁴/30 of the fifth derivative, and 1e-15/h of the values."""
    steps = h * np.eye(len(point))
    return np.array(
        [
            (
                8 * (function(point + s) - function(point - s))
                - (function(point + 2 * s) - function(point - 2 * s))
            )
            / (12 * h)
            for s in steps
        ]
    )


def unitary_of(template: CircuitTemplate, angles: np.ndarray) -> np.ndarray:
    qubits = cirq.LineQubit.range(template.n_qubits)
    operations: list[cirq.Operation] = list(cirq.I.on_each(*qubits))
    for gate in template.gates:
        matrix = gate.unitary(0.0 if gate.angle is None else angles[gate.angle])
        operations.append(cirq.MatrixGate(matrix).on(*(qubits[w] for w in gate.qubits)))
    return cirq.unitary(cirq.Circuit(operations))


# --- Feature maps, ansätze, entanglements ------------------------------


def blocks() -> list[Any]:
    """(operations, symbols) of every feature map and every ansatz with every entanglement, for one to four qubits."""
    found = []
    for n in SIZES:
        qubits = cirq.LineQubit.range(n)
        for name in registry.FEATURE_MAPS:
            block = resolve("feature map", name)(ModelConfig(n_qubits=n))
            symbols = list(sympy.symbols(f"x0:{block.n_features}"))
            found.append(
                pytest.param(
                    lambda b=block, q=qubits, s=symbols: b.operations(q, s), symbols, n, id=f"{name}-{n}"
                )
            )
        for name, pattern in itertools.product(registry.ANSATZE, ENTANGLEMENT_NAMES):
            ansatz, pairs = resolve("ansatz", name)(), resolve("entanglement", pattern)(n)
            symbols = list(sympy.symbols(f"p0:{ansatz.params_per_layer(n)}"))
            make = lambda a=ansatz, q=qubits, s=symbols, p=pairs: a.layer(q, s, p)  # noqa: E731
            found.append(pytest.param(make, symbols, n, id=f"{name}-{pattern}-{n}"))
    return found


@pytest.mark.parametrize(("make", "symbols", "n_qubits"), blocks())
def test_block_is_a_circuit_of_single_angle_gates(
    make: Any, symbols: list[sympy.Symbol], n_qubits: int
) -> None:
    """Every symbol is used, every angle moves one gate, and the gates multiply to cirq's own unitary."""
    circuit = cirq.Circuit(make())
    assert circuit.all_qubits() == set(cirq.LineQubit.range(n_qubits)), "every qubit is touched"
    assert {sympy.Symbol(name) for name in cirq.parameter_names(circuit)} == set(symbols)
    template, expressions = template_from_circuit(circuit)
    AngleMap.from_expressions(expressions, [], symbols)  # polynomial in the symbols
    assert sorted(g.angle for g in template.gates if g.angle is not None) == list(range(len(expressions)))
    values = np.random.default_rng(1).uniform(-3, 3, len(symbols))
    point = dict(zip(symbols, values.tolist(), strict=True))
    found = unitary_of(template, np.array([float(e.subs(point)) for e in expressions]))
    expected = cirq.unitary(cirq.resolve_parameters(circuit, point))
    overlap = np.vdot(found, expected)
    np.testing.assert_allclose(found * overlap / abs(overlap), expected, atol=1e-12)


@pytest.mark.parametrize(("make", "symbols", "n_qubits"), blocks())
def test_block_is_felt_in_every_symbol(make: Any, symbols: list[sympy.Symbol], n_qubits: int) -> None:
    """No parameter or feature is without effect on the unitary."""
    circuit = cirq.Circuit(make())
    base = dict.fromkeys(symbols, 0.3)
    unitary = cirq.unitary(cirq.resolve_parameters(circuit, base))
    for symbol in symbols:
        moved = cirq.unitary(cirq.resolve_parameters(circuit, base | {symbol: 0.9}))
        assert abs(np.vdot(unitary, moved)) < len(unitary) * (1 - 1e-3)


@pytest.mark.parametrize("name", registry.ANSATZE)
def test_ansatz_parameters_are_linear(name: str) -> None:
    ansatz = resolve("ansatz", name)()
    symbols = list(sympy.symbols(f"p0:{ansatz.params_per_layer(3)}"))
    circuit = cirq.Circuit(ansatz.layer(cirq.LineQubit.range(3), symbols, [(0, 1), (1, 2)]))
    _, expressions = template_from_circuit(circuit)
    AngleMap.from_expressions(expressions, symbols, [])


@pytest.mark.parametrize("name", registry.FEATURE_MAPS)
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_feature_map_is_felt_by_the_state(name: str, axis: Any) -> None:
    """Applied to |0>, every feature changes the state, for every axis."""
    block = resolve("feature map", name)(ModelConfig(n_qubits=3, feature_axis=axis))
    symbols = list(sympy.symbols(f"x0:{block.n_features}"))
    circuit = cirq.Circuit(block.operations(cirq.LineQubit.range(3), symbols))

    def state(point: dict[sympy.Symbol, float]) -> np.ndarray:
        return cirq.final_state_vector(cirq.resolve_parameters(circuit, point), dtype=np.complex128)

    base = dict.fromkeys(symbols, 0.3)
    for symbol in symbols:
        assert abs(np.vdot(state(base), state(base | {symbol: 0.9}))) < 1 - 1e-3


@pytest.mark.parametrize("name", ENTANGLEMENT_NAMES)
def test_entanglement(name: str) -> None:
    for n in range(1, 9):
        pairs = resolve("entanglement", name)(n)
        assert all(0 <= i < n and 0 <= j < n and i != j for i, j in pairs)
        assert len({frozenset(pair) for pair in pairs}) == len(pairs), "no pair twice"
        joined = {0}
        for _ in range(n):
            joined |= {q for pair in pairs if joined & set(pair) for q in pair}
        assert joined == set(range(n)), "all qubits are joined"


@pytest.mark.parametrize(
    ("feature_map", "ansatz", "entanglement"),
    list(itertools.product(registry.FEATURE_MAPS, registry.ANSATZE, ENTANGLEMENT_NAMES)),
)
def test_configured_model(feature_map: str, ansatz: str, entanglement: str) -> None:
    """Right shapes, and the same model every time it is made."""
    config = ModelConfig(
        n_qubits=3, n_layers=2, feature_map=feature_map, ansatz=ansatz, entanglement=entanglement
    )
    model, again = Model.from_config(config), Model.from_config(config)
    assert model.measured.key == again.measured.key
    assert model.n_circuit_params == 2 * resolve("ansatz", ansatz)().params_per_layer(3)
    assert model.n_features == resolve("feature map", feature_map)(config).n_features
    params = model.initial_params(1)
    assert params.shape == (model.n_params,)
    angles = model.angles(params, np.zeros((4, model.n_features)))
    assert angles.shared.shape == (model.template.n_angles,)
    assert angles.data.shape == (4, len(angles.columns))
    for repeated in (False, True):
        reuploaded = Model.from_config(config.model_copy(update={"reuploading": repeated}))
        assert (len(reuploaded.angle_map.data_columns) == 2 * len(model.angle_map.data_columns)) == repeated


# --- Heads ------------------------------


@pytest.mark.parametrize("name", registry.HEADS)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_head(name: str, n_outputs: int) -> None:
    """Backward is the derivative of forward, by the parameters and by the observables; starting values are seeded."""
    rng = np.random.default_rng(1)
    head = resolve("head", name)(n_outputs, n_outputs, 1.7)
    assert head.n_outputs == n_outputs
    params = head.initial(np.random.default_rng(5))
    assert params.shape == (head.n_params,)
    np.testing.assert_array_equal(params, head.initial(np.random.default_rng(5)))
    params = rng.normal(size=head.n_params)
    observables, weights = rng.uniform(-1, 1, (4, n_outputs)), rng.normal(size=(4, n_outputs))
    assert head.forward(params, observables).shape == (4, n_outputs)
    of_observables, of_params = head.backward(params, observables, weights)
    np.testing.assert_allclose(
        of_params, slopes(lambda p: np.sum(weights * head.forward(p, observables)), params), atol=1e-9
    )
    flat = slopes(lambda o: np.sum(weights * head.forward(params, o.reshape(4, -1))), observables.ravel())
    np.testing.assert_allclose(of_observables.ravel(), flat, atol=1e-9)


# --- Losses ------------------------------

N_CLASSES = {"binary": 2, "multiclass": 4, "regression": 0}


def loss_and_batch(name: str, n: int, seed: int = 1) -> tuple[Any, np.ndarray, np.ndarray]:
    loss = resolve("loss", name)()
    rng = np.random.default_rng(seed)
    n_classes = N_CLASSES[loss.task]
    outputs = 2 * rng.normal(size=(n, loss.n_outputs(n_classes)))
    return loss, outputs, rng.integers(0, n_classes, n) if n_classes else rng.normal(size=n)


@pytest.mark.parametrize("name", registry.LOSSES)
@pytest.mark.parametrize("n", [1, 5])
def test_loss_gradient(name: str, n: int) -> None:
    loss, outputs, targets = loss_and_batch(name, n)
    before = outputs.copy()
    value, gradient = loss.value_and_gradient(outputs, targets)
    assert isinstance(value, float)
    assert gradient.shape == outputs.shape
    expected = slopes(
        lambda o: loss.value_and_gradient(o.reshape(outputs.shape), targets)[0], outputs.ravel()
    )
    np.testing.assert_allclose(gradient.ravel(), expected, atol=1e-10)
    np.testing.assert_array_equal(outputs, before)


@pytest.mark.parametrize("name", registry.LOSSES)
def test_loss_is_a_mean_over_samples(name: str) -> None:
    loss, outputs, targets = loss_and_batch(name, 6)
    value, gradient = loss.value_and_gradient(outputs, targets)
    single = [loss.value_and_gradient(outputs[i : i + 1], targets[i : i + 1]) for i in range(6)]
    assert value == pytest.approx(np.mean([v for v, _ in single]), rel=1e-14)
    np.testing.assert_allclose(gradient, np.concatenate([g for _, g in single]) / 6, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("name", registry.LOSSES)
def test_loss_falls_along_its_gradient(name: str) -> None:
    loss, outputs, targets = loss_and_batch(name, 20)
    start = value = loss.value_and_gradient(outputs, targets)[0]
    for _ in range(200):
        _, gradient = loss.value_and_gradient(outputs, targets)
        outputs = outputs - 5.0 * gradient
        value, previous = loss.value_and_gradient(outputs, targets)[0], value
        assert value <= previous
    assert value < 0.1 * start
    metrics = loss.metrics(outputs, targets)
    assert metrics.get("accuracy", metrics.get("r2")) > 0.9


@pytest.mark.parametrize("name", registry.LOSSES)
def test_loss_predictions_and_metrics(name: str) -> None:
    loss, outputs, targets = loss_and_batch(name, 9)
    metrics = loss.metrics(outputs, targets)
    assert metrics["loss"] == loss.value_and_gradient(outputs, targets)[0]
    assert all(isinstance(value, float) for value in metrics.values())
    answer = loss.predict(outputs)
    assert answer["prediction"].shape == (9,)
    if n_classes := N_CLASSES[loss.task]:
        assert answer["probability"].shape == (9, n_classes)
        np.testing.assert_allclose(answer["probability"].sum(axis=1), 1.0, rtol=1e-14)
        np.testing.assert_array_equal(answer["probability"].argmax(axis=1), answer["prediction"])
        assert metrics["accuracy"] == np.mean(answer["prediction"] == targets)
        one_hot = answer["probability"][np.arange(9), targets]
        assert metrics["loss"] == pytest.approx(-np.mean(np.log(one_hot)), rel=1e-12)
    else:
        np.testing.assert_allclose(metrics["rmse"], np.sqrt(np.mean((answer["prediction"] - targets) ** 2)))


# --- Optimizers and schedules ------------------------------


def minimise(
    name: str,
    gradient: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    rates: np.ndarray,
    **options: Any,
) -> np.ndarray:
    transform = build_optimizer(OptimizerConfig(name=name, **options))
    params, state = start.copy(), transform.init(start)
    for rate in rates:
        update, state = transform.update(gradient(params), state, params, float(rate))
        params = params + update
    return params


@pytest.mark.parametrize("name", registry.OPTIMIZERS)
def test_optimizer_solves_a_quadratic(name: str) -> None:
    """Condition number 100; the rate falls to zero, so that an optimizer of fixed step length settles too."""
    curvature = np.geomspace(0.1, 10, 6)
    minimum = np.random.default_rng(1).normal(size=6)
    found = minimise(name, lambda p: curvature * (p - minimum), np.zeros(6), np.linspace(0.05, 0, 3000))
    np.testing.assert_allclose(found, minimum, atol=1e-4)


@pytest.mark.parametrize("name", registry.OPTIMIZERS)
def test_optimizer_walks_rosenbrocks_valley(name: str) -> None:
    def gradient(p: np.ndarray) -> np.ndarray:
        x, y = p
        return np.array([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])

    rates = np.linspace(0.02, 0, 8000)
    found = minimise(name, gradient, np.array([-1.2, 1.0]), rates, clip_norm=1.0)
    np.testing.assert_allclose(found, [1, 1], atol=0.02)


@pytest.mark.parametrize("name", registry.OPTIMIZERS)
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "clip_value": 1.0, "clip_norm": 1.0}])
def test_optimizer_state_survives_a_file(name: str, options: dict[str, Any]) -> None:
    """Flat float64 arrays; written to .npz without pickle and read back at any step, the updates are the same to the bit."""
    rng = np.random.default_rng(1)
    gradients, params = rng.normal(size=(6, 4)), rng.normal(size=4)
    transform = build_optimizer(OptimizerConfig(name=name, **options))
    through, state = transform.init(params), transform.init(params)
    for gradient in gradients:
        assert all(isinstance(value, np.ndarray) and value.dtype == np.float64 for value in state.values())
        buffer = io.BytesIO()
        np.savez(buffer, **through)
        buffer.seek(0)
        with np.load(buffer, allow_pickle=False) as arrays:
            through = {key: arrays[key] for key in arrays.files}
        assert through.keys() == state.keys()
        one, through = transform.update(gradient, through, params, 0.1)
        other, state = transform.update(gradient, state, params, 0.1)
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", registry.OPTIMIZERS)
def test_optimizer_is_at_rest_without_gradient(name: str) -> None:
    np.testing.assert_array_equal(minimise(name, np.zeros_like, np.ones(3), np.full(5, 0.1)), np.ones(3))


@pytest.mark.parametrize("name", registry.SCHEDULES)
def test_schedule(name: str) -> None:
    """Starts at the configured rate, never rises, stays positive, and depends on nothing but its arguments."""
    config = OptimizerConfig(schedule=name, learning_rate=0.3, minimum_learning_rate=0.001)
    schedule = resolve("schedule", name)
    history = [1.0, 0.5] + [0.7] * 28
    rates = [schedule(config, epoch, 30, history[:epoch]) for epoch in range(30)]
    assert rates[0] == pytest.approx(0.3)
    assert all(0 < later <= earlier * (1 + 1e-12) for earlier, later in itertools.pairwise(rates))
    assert [schedule(config, epoch, 30, history[:epoch]) for epoch in reversed(range(30))] == rates[::-1]
    assert schedule(config, 0, 1, []) == pytest.approx(0.3)


# --- Gradient rules ------------------------------


@pytest.fixture(scope="module")
def coordinator() -> Coordinator:
    """The exact backend, in this process."""
    from actors.serial import SerialDispatcher

    backend = resolve("backend", "ideal")()
    return Coordinator(SerialDispatcher(backend), backend.capabilities)


def rule_template() -> CircuitTemplate:
    """Rotations, a controlled rotation, a power of ISWAP and one of the Mølmer-Sørensen gate: frequencies 1, ½ and 1, 1."""
    q = cirq.LineQubit.range(3)
    s = sympy.symbols("s0:7")
    return template_from_circuit(
        cirq.Circuit(
            cirq.ry(s[0])(q[0]), cirq.rx(s[1])(q[1]), cirq.ry(s[2]).controlled()(q[0], q[1]), cirq.ISWAP(q[1], q[2]) ** s[3],
            cirq.H(q[2]), cirq.rz(s[4])(q[2]), cirq.ms(s[5])(q[0], q[2]), cirq.rx(s[6])(q[2]),
        )
    )[0]  # fmt: skip


@pytest.mark.parametrize("name", registry.GRADIENT_RULES)
def test_gradient_rule_is_the_derivative(name: str, coordinator: Coordinator) -> None:
    """Of several observables by any subset of angles, against finite differences of values computed by cirq."""
    rule, template = resolve("gradient rule", name)(), rule_template()
    circuit = MeasuredCircuit(template, ("ZII", "IXY", "ZZX"))
    q = cirq.LineQubit.range(3)
    strings = [cirq.DensePauliString(pauli).on(*q) for pauli in circuit.paulis]
    simulator, symbolic = cirq.Simulator(dtype=np.complex128), template.circuit()

    def by_cirq(angles: np.ndarray, which: int) -> float:
        resolver = {f"a{k}": float(a) for k, a in enumerate(angles)}
        return float(
            np.real(
                simulator.simulate_expectation_values(symbolic, strings[which], resolver, qubit_order=q)[0]
            )
        )

    rng = np.random.default_rng(1)
    point = rng.uniform(-3, 3, template.n_angles)
    expected = np.array([slopes(lambda a, m=m: by_cirq(a, m), point) for m in range(3)])
    angles = Angles(np.where(np.arange(7) == 2, 99.0, point), np.array([2]), np.full((2, 1), point[2]))
    for wanted in (np.arange(7), np.array([2, 3, 6]), np.array([5])):
        evaluation = coordinator.evaluate(
            EvaluationPlan(circuit, angles, wanted, rule.derivative(template, wanted))
        )
        assert evaluation.jacobian is not None
        for sample in evaluation.jacobian:
            np.testing.assert_allclose(sample, expected[:, wanted], atol=1e-10)
        np.testing.assert_allclose(evaluation.values[1], [by_cirq(point, m) for m in range(3)], atol=1e-12)


@pytest.mark.parametrize("name", registry.GRADIENT_RULES)
def test_gradient_rule_is_named_after_its_module(name: str) -> None:
    rule = resolve("gradient rule", name)()
    assert rule.name == name == inspect.getmodule(type(rule)).__name__.rpartition(".")[2]
    assert isinstance(rule.needs_jacobian, bool)
