"""What every entry of a registry must do. One new line in a registry, and all of these apply to it."""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator import registry
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.template import CircuitTemplate
from orchestrator.config import ModelConfig, OptimizerConfig
from orchestrator.models.angle_map import AngleMap
from orchestrator.models.feature_maps.base import TrainableFeatureMap
from orchestrator.models.model import Model
from orchestrator.optimizers.build import build_optimizer
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


def rotated(axis: str, angle: float, state: np.ndarray) -> np.ndarray:
    """exp(-i angle/2 P) of one qubit's state."""
    pauli = {"x": [[0, 1], [1, 0]], "y": [[0, -1j], [1j, 0]], "z": [[1, 0], [0, -1]]}[axis]
    return np.cos(angle / 2) * state - 1j * np.sin(angle / 2) * (np.array(pauli) @ state)


def product(factors: Sequence[np.ndarray]) -> np.ndarray:
    """Tensor product, qubit 0 first."""
    return functools.reduce(np.kron, factors)


ZERO, PLUS = np.array([1, 0]), np.array([1, 1]) / np.sqrt(2)


def angle_state(x: np.ndarray, config: ModelConfig, params: np.ndarray) -> np.ndarray:
    start = PLUS if config.feature_axis == "z" else ZERO
    return product([rotated(config.feature_axis, angle, start) for angle in x])


def basis_state(x: np.ndarray, config: ModelConfig, params: np.ndarray) -> np.ndarray:
    return np.eye(2 ** len(x))[int("".join(str(int(bit)) for bit in x), 2)]


def phase_state(single: np.ndarray, pair: Callable[[int, int], float], repeats: int) -> np.ndarray:
    """(exp(-i/2 [sum_i single_i Z_i + sum_(i<j) pair(i, j) Z_i Z_j]) H)^repeats |0...0>."""
    n = len(single)
    z = np.array(list(itertools.product([1, -1], repeat=n)))
    exponent = z @ single
    for i, j in itertools.combinations(range(n), 2):
        exponent = exponent + pair(i, j) * z[:, i] * z[:, j]
    hadamards = product([np.array([[1, 1], [1, -1]]) / np.sqrt(2)] * n)
    state = np.eye(2**n)[0]
    for _ in range(repeats):
        state = np.exp(-0.5j * exponent) * (hadamards @ state)
    return state


def zz_state(x: np.ndarray, config: ModelConfig, params: np.ndarray) -> np.ndarray:
    return phase_state(2 * x, lambda i, j: 2 * (np.pi - x[i]) * (np.pi - x[j]), config.feature_repeats)


def iqp_state(x: np.ndarray, config: ModelConfig, params: np.ndarray) -> np.ndarray:
    return phase_state(x, lambda i, j: x[i] * x[j], config.feature_repeats)


def reuploaded_state(x: np.ndarray, config: ModelConfig, params: np.ndarray) -> np.ndarray:
    turns = (params[0::2] * x + params[1::2]).reshape(-1, 3)
    return product([rotated("y", c, rotated("z", b, rotated("y", a, ZERO))) for a, b, c in turns])


# From features [F], a configuration with full entanglement and the map's parameters to the state, by the formula: a new map adds one.
ENCODED: dict[str, Callable[[np.ndarray, ModelConfig, np.ndarray], np.ndarray]] = {
    "angle": angle_state,
    "amplitude": lambda x, config, params: x / np.linalg.norm(x),
    "basis": basis_state,
    "zz": zz_state,
    "iqp": iqp_state,
    "reuploading": reuploaded_state,
}


def feature_block(name: str, config: ModelConfig) -> tuple[Any, list[sympy.Symbol], list[sympy.Symbol]]:
    """Of a feature map: what makes its operations, the symbols for its inputs and those for its parameters."""
    block, qubits = resolve("feature map", name)(config), cirq.LineQubit.range(config.n_qubits)
    inputs = list(sympy.symbols(f"x0:{getattr(block, 'n_inputs', block.n_features)}"))
    if not isinstance(block, TrainableFeatureMap):
        return lambda: block.operations(qubits, inputs), inputs, []
    params = list(sympy.symbols(f"p0:{block.params_per_layer(config.n_qubits)}"))
    return lambda: block.layer(qubits, params, inputs), inputs, params


def blocks() -> list[Any]:
    """(operations, symbols) of every feature map and every ansatz with every entanglement, for one to four qubits."""
    found = []
    for n in SIZES:
        qubits = cirq.LineQubit.range(n)
        for name in registry.FEATURE_MAPS:
            make, inputs, params = feature_block(name, ModelConfig(n_qubits=n))
            found.append(pytest.param(make, [*inputs, *params], n, id=f"{name}-{n}"))
        for name, pattern in itertools.product(registry.ANSATZE, ENTANGLEMENT_NAMES):
            ansatz, pairs = resolve("ansatz", name)(), resolve("entanglement", pattern)(n)
            symbols = list(sympy.symbols(f"p0:{ansatz.params_per_layer(n)}"))
            layer = lambda a=ansatz, q=qubits, s=symbols, p=pairs: a.layer(q, s, p)  # noqa: E731
            found.append(pytest.param(layer, symbols, n, id=f"{name}-{pattern}-{n}"))
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
    make, inputs, params = feature_block(name, ModelConfig(n_qubits=3, feature_axis=axis))
    circuit = cirq.Circuit(make())

    def state(point: dict[sympy.Symbol, float]) -> np.ndarray:
        return cirq.final_state_vector(cirq.resolve_parameters(circuit, point), dtype=np.complex128)

    base = dict.fromkeys(inputs, 0.3) | dict.fromkeys(params, 0.8)
    for symbol in inputs:
        assert abs(np.vdot(state(base), state(base | {symbol: 0.9}))) < 1 - 1e-3


@pytest.mark.parametrize("name", registry.FEATURE_MAPS)
@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("n_qubits", SIZES)
def test_encoding_prepares_the_state_of_its_formula(name: str, axis: Any, n_qubits: int) -> None:
    """Through the whole model, from features to state vector; the ansatz, at zero, does nothing."""
    config = ModelConfig(
        n_qubits=n_qubits, n_layers=1, feature_map=name, feature_axis=axis, feature_repeats=n_qubits, entanglement="full",
        ansatz="three_rotation_separable",
    )  # fmt: skip
    model, rng = Model.from_config(config), np.random.default_rng(n_qubits)
    features = rng.normal(0.0, 1.5, (5, model.n_features))
    if name == "basis":
        features = (features > 0).astype(float)
    of_map = rng.uniform(-3, 3, model.n_circuit_params - 3 * n_qubits)
    params = np.concatenate([of_map, np.zeros(model.n_params - len(of_map))])
    angles, circuit = model.angles(params, features), model.template.circuit()
    for row, values in zip(angles.data, features, strict=True):
        point = angles.shared.copy()
        point[angles.columns] = row
        resolved = cirq.resolve_parameters(circuit, {f"a{k}": v for k, v in enumerate(point.tolist())})
        found = cirq.final_state_vector(resolved, dtype=np.complex128)
        expected = ENCODED[name](values, config, of_map)
        assert np.linalg.norm(expected) == pytest.approx(1, abs=1e-12)
        assert abs(np.vdot(expected, found)) ** 2 >= 1 - 1e-10


@pytest.mark.parametrize("name", [name for name in registry.ANSATZE if not name.endswith("_separable")])
@pytest.mark.parametrize("n_qubits", SIZES)
def test_ansatz_has_a_separable_twin(name: str, n_qubits: int) -> None:
    """The same rotations at the same parameters, and no gate on more than one qubit."""
    ansatz, twin = resolve("ansatz", name)(), resolve("ansatz", f"{name}_separable")()
    n_params = ansatz.params_per_layer(n_qubits)
    assert twin.params_per_layer(n_qubits) == n_params
    qubits, symbols = cirq.LineQubit.range(n_qubits), list(sympy.symbols(f"p0:{n_params}"))
    pairs = [(i, i + 1) for i in range(n_qubits - 1)]
    layers = [list(a.layer(qubits, symbols, pairs)) for a in (ansatz, twin)]
    assert [op for op in layers[0] if len(op.qubits) == 1] == layers[1]
    assert any(len(op.qubits) > 1 for op in layers[0]) == (n_qubits > 1)
    models = [
        Model.from_config(ModelConfig(n_qubits=n_qubits, n_layers=4, ansatz=a, entanglement="full"))
        for a in (name, f"{name}_separable")
    ]
    assert models[0].n_circuit_params == models[1].n_circuit_params
    assert all(len(gate.qubits) == 1 for gate in models[1].template.gates)
    assert any(len(gate.qubits) > 1 for gate in models[0].template.gates) == (n_qubits > 1)


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
    block = resolve("feature map", feature_map)(config)
    is_trainable = isinstance(block, TrainableFeatureMap)
    of_map = block.params_per_layer(3) if is_trainable else 0
    assert model.n_circuit_params == 2 * (of_map + resolve("ansatz", ansatz)().params_per_layer(3))
    assert model.n_features == block.n_features
    params = model.initial_params(1)
    assert params.shape == (model.n_params,)
    angles = model.angles(params, np.ones((4, model.n_features)))
    assert angles.shared.shape == (model.template.n_angles,)
    assert angles.data.shape == (4, len(angles.columns))
    for repeated in (False, True):
        reuploaded = Model.from_config(config.model_copy(update={"reuploading": repeated}))
        times = 2 if repeated and not is_trainable else 1  # a trainable map is in both layers as it is
        assert len(reuploaded.angle_map.data_columns) == times * len(model.angle_map.data_columns)


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
    assert of_params.shape == (4, head.n_params)
    np.testing.assert_allclose(
        of_params.sum(axis=0),
        slopes(lambda p: np.sum(weights * head.forward(p, observables)), params),
        atol=1e-9,
    )
    flat = slopes(lambda o: np.sum(weights * head.forward(params, o.reshape(4, -1))), observables.ravel())
    np.testing.assert_allclose(of_observables.ravel(), flat, atol=1e-9)


# --- Losses ------------------------------

N_CLASSES = {"binary": 2, "multiclass": 4, "regression": 0, "autoencoder": 0}


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
    assert next(metrics[name] for name in ("accuracy", "r2", "trash_fidelity") if name in metrics) > 0.9


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
        if name.endswith("cross_entropy"):
            of_target = answer["probability"][np.arange(9), targets]
            assert metrics["loss"] == pytest.approx(-np.mean(np.log(of_target)), rel=1e-12)
    elif loss.task == "autoencoder":
        assert metrics["trash_fidelity"] == pytest.approx(1 - metrics["loss"], abs=1e-14)
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
