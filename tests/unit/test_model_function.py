"""A model as a function of parameters and features: values and both gradients against cirq, and what each call takes.

Reference: the circuit as cirq simulates it (for amplitude encoding, cirq started from the normalised features themselves), the head by
hand, and the five-point stencil along random directions, whose error at h = 1e-3 is some 3e-9 (see test_gradients_against_cirq.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from actors.backends.ideal import IdealBackend
from actors.serial import SerialDispatcher
from orchestrator.config import GradientConfig, ModelConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import CapabilityError
from orchestrator.gradients.adjoint import Adjoint
from orchestrator.gradients.finite_difference import FiniteDifference
from orchestrator.gradients.function import Call, Gradients, Wanted, backward, forward, wanted
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.models.angle_map import AngleMap
from orchestrator.models.blocks import blocks_of
from orchestrator.models.feature_maps.amplitude import AmplitudeFeatureMap
from orchestrator.models.model import Model
from orchestrator.models.patches import Patches
from orchestrator.planning.plan import Evaluation, EvaluationPlan

H = 1e-3
TOLERANCE = 1e-8


class Counting:
    """Evaluates on the ideal backend and remembers the plans."""

    def __init__(self) -> None:
        backend = IdealBackend()
        self._coordinator = Coordinator(SerialDispatcher(backend), backend.capabilities)
        self.plans: list[EvaluationPlan] = []

    def __call__(self, plan: EvaluationPlan) -> Evaluation:
        self.plans.append(plan)
        return self._coordinator.evaluate(plan)


@pytest.fixture
def evaluate() -> Counting:
    return Counting()


def by_cirq(config: ModelConfig, model: Model, params: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Outputs [S, C], with nothing of ours but the circuit's gates and the names of the observables."""
    is_amplitude = config.feature_map == "amplitude"  # rotations by 0 in place of the preparation
    blocks = blocks_of(config.model_copy(update={"feature_map": "angle"}) if is_amplitude else config)
    qubits = cirq.LineQubit.range(config.n_qubits)
    n_circuit = len(blocks.params)
    resolver: dict[Any, float] = dict(zip(blocks.params, params[:n_circuit], strict=True))
    outputs = []
    for row in features:
        windows = row[None] if blocks.patches is None else row[blocks.patches.columns]
        observables = []
        for window in windows:
            start = window / np.linalg.norm(window) if is_amplitude else None
            inputs = np.zeros(config.n_qubits) if is_amplitude else window
            state = cirq.Simulator(dtype=np.complex128).simulate(
                blocks.circuit,
                resolver | dict(zip(blocks.inputs, inputs, strict=True)),
                qubit_order=qubits,
                initial_state=start,
            )
            observables += [
                _expectation(name, state.final_state_vector, qubits) for name in model.readout.names
            ]
        outputs.append(_head(config.head, params[n_circuit:], np.array(observables), model.n_outputs))
    return np.array(outputs)


def _expectation(name: str, state: np.ndarray, qubits: list[cirq.LineQubit]) -> float:
    total = 0.0
    for term in name.replace(" ", "").replace("-", "+-").lstrip("+").split("+"):
        coefficient, letters = 1.0, {}
        for factor in term.lstrip("-").split("*"):
            if factor[0] in "XYZ":
                letters[qubits[int(factor[1:])]] = factor[0]
            else:
                coefficient = float(factor)
        string = cirq.PauliString(letters)
        value = string.expectation_from_state_vector(state, {q: i for i, q in enumerate(qubits)}).real
        total += (-coefficient if term[0] == "-" else coefficient) * value
    return total


def _head(name: str, params: np.ndarray, observables: np.ndarray, n_outputs: int) -> np.ndarray:
    if name == "linear":
        matrix, bias = params[:-n_outputs].reshape(n_outputs, -1), params[-n_outputs:]
        return matrix @ observables + bias
    if name == "weighted_fidelity":
        return params * np.concatenate([1 + observables, 1 - observables]) / 2
    return observables


def slope(function: Callable[[float], float]) -> float:
    return (8 * (function(H) - function(-H)) - (function(2 * H) - function(-2 * H))) / (12 * H)


def gradients(
    model: Model,
    params: np.ndarray,
    features: np.ndarray,
    of_outputs: np.ndarray,
    evaluate: Counting,
    rule: Any,
    by: Wanted | None = None,
) -> Gradients:
    values = forward(model, params, features, evaluate).values
    by = by or wanted(model, True, True)
    return backward(model, params, features, values, of_outputs, evaluate, by, rule)


CASES = {
    "angle": ({"n_qubits": 3}, None),
    "reuploaded angle, linear head": (
        {"feature_axis": "z", "reuploading": True, "ansatz": "hardware_efficient", "observables": "parity", "head": "linear"},
        2,
    ),
    "amplitude": (
        {"n_qubits": 3, "feature_map": "amplitude", "ansatz": "strongly_entangling", "observables": ("X0*Y1", "0.5*Z0 - Z2"),
         "head": "linear"},
        3,
    ),
    "zz": ({"feature_map": "zz", "ansatz": "hardware_efficient", "observables": "mean"}, None),
    "iqp, weighted fidelities": (
        {"n_qubits": 3, "feature_map": "iqp", "entanglement": "circular", "head": "weighted_fidelity"},
        6,
    ),
    "weights times features": ({"feature_map": "reuploading", "n_features": 7, "observables": "first"}, None),
    "pooled": ({"n_qubits": 4, "layers": ("convolution", "pooling")}, None),
    "patches": (
        {"feature_map": "reuploading", "image_shape": (3, 3), "patch_shape": (2, 2), "patch_stride": 1, "head": "linear"},
        2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_cirq(name: str, evaluate: Counting) -> None:
    options, n_outputs = CASES[name]
    config = ModelConfig(**{"n_qubits": 2, "n_layers": 2, "head": "none", **options})
    model = Model.from_config(config, n_outputs)
    rng = np.random.default_rng(len(name))
    params, features = rng.uniform(-3, 3, model.n_params), rng.uniform(-2, 2, (2, model.n_features))
    of_outputs = rng.normal(size=(2, model.n_outputs))
    np.testing.assert_allclose(
        forward(model, params, features, evaluate).outputs,
        by_cirq(config, model, params, features),
        atol=1e-12,
    )
    exact = gradients(model, params, features, of_outputs, evaluate, Adjoint())
    shifted = gradients(model, params, features, of_outputs, evaluate, ParameterShift())
    assert exact.of_params is not None
    assert exact.of_features is not None
    for found, other in zip(exact, shifted, strict=True):
        np.testing.assert_allclose(found, other, atol=1e-11)
    direction, way = rng.normal(size=model.n_params), rng.normal(size=features.shape)
    along_params = slope(
        lambda t: float(np.sum(of_outputs * by_cirq(config, model, params + t * direction, features)))
    )
    along_features = slope(
        lambda t: float(np.sum(of_outputs * by_cirq(config, model, params, features + t * way)))
    )
    scale = 1 + np.abs(of_outputs).sum() * (1 + np.abs(params).max())
    assert exact.of_params @ direction == pytest.approx(along_params, abs=TOLERANCE * scale)
    assert np.sum(exact.of_features * way) == pytest.approx(along_features, abs=TOLERANCE * scale)


@pytest.mark.parametrize("stencil", ["central", "forward"])
def test_finite_differences_are_as_far_off_as_they_say(stencil: str, evaluate: Counting) -> None:
    model = Model.from_config(ModelConfig(n_qubits=2, head="none", feature_map="zz"), None)
    rng = np.random.default_rng(1)
    at = rng.uniform(-3, 3, model.n_params), rng.uniform(-1, 1, (3, 2)), np.ones((3, 2))
    rule = FiniteDifference(GradientConfig(rule="finite_difference", stencil=stencil, step=0.01))
    exact, found = (gradients(*(model, *at), evaluate, one).of_params for one in (Adjoint(), rule))
    assert exact is not None
    bound = rule.bias_bound(1.0, None) * at[2].size
    assert 1e-9 < np.abs(found - exact).max() <= bound * (1 + 1e-6)


def test_each_call_takes_what_is_asked_for_and_no_more(evaluate: Counting) -> None:
    """Two qubits, two layers of three rotations: 12 angles of parameters and 2 of features; Z0 does not feel the last RZ, nor anything
    of qubit 1 behind the last CNOT of which it is the target."""
    model = Model.from_config(ModelConfig(n_qubits=2, head="none"), None)
    params, features, of_outputs = model.initial_params(1), np.ones((5, 2)), np.ones((5, 2))
    values = forward(model, params, features, evaluate).values
    assert evaluate.plans[-1].n_circuits == 5

    def plan_of(by: Wanted, rule: Any) -> EvaluationPlan | None:
        before = len(evaluate.plans)
        backward(model, params, features, values, of_outputs, evaluate, by, rule)
        assert len(evaluate.plans) <= before + 1
        return evaluate.plans[-1] if len(evaluate.plans) > before else None

    by_angle = {
        "params": len(model.differentiated_angles), "features": 2, "both": len(model.differentiated_angles) + 2,
    }  # fmt: skip
    everything = {
        "params": wanted(model), "features": wanted(model, False, True), "both": wanted(model, True, True),
    }  # fmt: skip
    for name, by in everything.items():
        direct, shifted = plan_of(by, Adjoint()), plan_of(by, ParameterShift())
        assert direct is not None
        assert shifted is not None
        assert direct.n_circuits == 5
        assert direct.cotangents is not None
        assert shifted.n_circuits == 5 * 2 * by_angle[name], "two shifts an angle, no undisplaced circuit"
    assert by_angle["params"] < 12, "some angle is felt by no observable"
    assert plan_of(wanted(model, False, False), ParameterShift()) is None
    of_layer = plan_of(wanted(model.with_frozen(["layer0"])), ParameterShift())
    assert of_layer is not None
    assert set(of_layer.wanted) == {k for k in model.differentiated_angles if k >= of_layer.wanted.min()}
    assert of_layer.n_circuits < 5 * 2 * by_angle["params"]


def test_a_mask_leaves_the_others_zero(evaluate: Counting) -> None:
    model = Model.from_config(ModelConfig(n_qubits=2, frozen=("p1",)), 2)
    rng = np.random.default_rng(5)
    params, features, of_outputs = rng.normal(size=model.n_params), np.ones((3, 2)), rng.normal(size=(3, 2))
    mask = rng.random(model.n_params) < 0.5
    whole = gradients(model, params, features, of_outputs, evaluate, ParameterShift(), wanted(model))
    some = gradients(model, params, features, of_outputs, evaluate, ParameterShift(), wanted(model, mask))
    assert whole.of_params is not None
    np.testing.assert_array_equal(some.of_params, np.where(mask, whole.of_params, 0.0))
    assert whole.of_params[1] == 0.0
    assert whole.of_features is None


def test_no_samples_take_no_circuits(evaluate: Counting) -> None:
    model = Model.from_config(ModelConfig(n_qubits=2), 3)
    params, nothing = model.initial_params(0), np.empty((0, 2))
    found = forward(model, params, nothing, evaluate)
    back = backward(
        model, params, nothing, found.values, np.empty((0, 3)), evaluate, wanted(model, True, True), Adjoint()
    )
    assert found.outputs.shape == (0, 3)
    np.testing.assert_array_equal(back.of_params, np.zeros(model.n_params))
    assert back.of_features is not None
    assert back.of_features.shape == (0, 2)
    assert not evaluate.plans


def test_shot_noise_is_keyed_by_the_call() -> None:
    """The same call the same plans, so the same jobs and bits; another number, stream or seed other noise, and other noise backward."""
    model = Model.from_config(ModelConfig(n_qubits=2, head="none"), None)
    params, features = model.initial_params(0), np.ones((4, 2))

    def values(call: Call) -> np.ndarray:
        return forward(model, params, features, Counting(), call).values

    first = Call(shots=100, seed=3, stream="a", number=2)
    np.testing.assert_array_equal(values(first), values(first))
    for other in ({"number": 3}, {"stream": "b"}, {"seed": 4}):
        assert (values(first) != values(Call(**{**first.__dict__, **other}))).any()
    evaluate = Counting()
    by, of_outputs = wanted(model), np.ones((4, 2))
    backward(model, params, features, values(first), of_outputs, evaluate, by, ParameterShift(), first)
    assert evaluate.plans[0].step == 2
    assert set(evaluate.plans[0].noise_keys).isdisjoint(_forward_keys(model, first))


def _forward_keys(model: Model, call: Call) -> set[int]:
    evaluate = Counting()
    forward(model, model.initial_params(0), np.ones((1, 2)), evaluate, call)
    return set(evaluate.plans[0].noise_keys)


def test_amplitudes_close_to_zero() -> None:
    """Leaves that are zero, a pair of them, and a row of one entry: the derivative of the state itself, but for the second of two zeros."""
    feature_map = AmplitudeFeatureMap(ModelConfig(n_qubits=3, feature_map="amplitude"))
    model = Model.from_config(ModelConfig(n_qubits=3, feature_map="amplitude", n_layers=1, head="none"), None)
    rng = np.random.default_rng(8)
    params = rng.uniform(-3, 3, model.n_params)
    rows = np.array([[0, 1, 0, -2, 3, 0, 0.5, 1], [2, 1, 0, 0, -1, 3, 1, 1], [0, 0, 0, 0, 0, 0, -4, 0.0]])
    of_outputs = rng.normal(size=(3, 3))
    found = gradients(model, params, rows, of_outputs, Counting(), Adjoint()).of_features
    config = ModelConfig(n_qubits=3, feature_map="amplitude", n_layers=1, head="none")

    def along(row: int, column: int) -> float:
        def value(t: float) -> float:
            moved = rows[row].copy()
            moved[column] += t
            outputs = by_cirq(config, model, params, moved[None])[0]
            return float(of_outputs[row] @ outputs)

        return slope(value)

    assert found is not None
    seconds_of_zeros = {
        (1, 3),
        (2, 1),
        (2, 2),
        (2, 3),
        (2, 5),
    }  # (2, 2): the first of a pair that is second of two
    for row in range(3):
        for column in range(8):
            expected = 0.0 if (row, column) in seconds_of_zeros else along(row, column)
            assert found[row, column] == pytest.approx(expected, abs=2e-7), (row, column)
    tiny = 1e-150 * np.eye(8)[:1]
    pulled = feature_map.pullback(tiny, np.ones((1, 7)))
    assert np.isfinite(pulled).all()


def test_powers_and_products_of_features() -> None:
    a, x, y = sympy.symbols("a x y")
    mapping = AngleMap.from_expressions([3 * a * x**2 * y - y**3, x + 0.5, 2 * a], [a], [x, y])
    params, features = np.array([0.7]), np.array([[1.5, -2.0], [0.0, 3.0]])
    of_angles = np.array([[1.0, 10.0, 100.0], [-2.0, 0.5, 1.0]])
    by_x = of_angles[:, 0] * 6 * 0.7 * features[:, 0] * features[:, 1] + of_angles[:, 1]
    by_y = of_angles[:, 0] * (3 * 0.7 * features[:, 0] ** 2 - 3 * features[:, 1] ** 2)
    found = mapping.pullback_features(of_angles, params, features)
    np.testing.assert_allclose(found, np.stack([by_x, by_y], axis=1), rtol=1e-14)


def test_windows_pull_back_to_where_they_came_from() -> None:
    """The transpose of taking windows: <windows(x), y> = <x, pullback(y)>."""
    rng = np.random.default_rng(3)
    for patches in (Patches((4, 5), (2, 3), 1), Patches((7,), (3,), 2)):
        x, y = rng.normal(size=(2, patches.n_features)), rng.normal(size=(2 * patches.count, patches.size))
        assert np.sum(patches(x) * y) == pytest.approx(np.sum(x * patches.pullback(y)), rel=1e-12)


class OwnMap:
    """A feature map with a classical step and no derivative of it."""

    def __init__(self, config: ModelConfig) -> None:
        self.n_features = self.n_inputs = config.n_qubits

    def transform(self, features: np.ndarray) -> np.ndarray:
        return np.tanh(features)

    def operations(self, qubits: Any, features: Any) -> Any:
        for qubit, feature in zip(qubits, features, strict=True):
            yield cirq.ry(feature)(qubit)


class OwnDifferentiableMap(OwnMap):
    """And one with it."""

    def pullback(self, features: np.ndarray, of_inputs: np.ndarray) -> np.ndarray:
        return of_inputs * (1 - np.tanh(features) ** 2)


def test_classical_steps_of_ones_own() -> None:
    def model_of(name: str) -> Model:
        return Model.from_config(ModelConfig(n_qubits=2, n_layers=1, head="none", feature_map=name), None)

    for name in ("basis", f"{__name__}:OwnMap"):
        with pytest.raises(CapabilityError, match=r"has no derivative by its features.*'angle'"):
            model_of(name).check_feature_gradients()
    own, plain = model_of(f"{__name__}:OwnDifferentiableMap"), model_of("angle")
    own.check_feature_gradients()
    features, params = np.array([[0.3, -0.8]]), own.initial_params(4)
    found = gradients(own, params, features, np.ones((1, 2)), Counting(), Adjoint()).of_features
    inner = gradients(plain, params, np.tanh(features), np.ones((1, 2)), Counting(), Adjoint()).of_features
    assert inner is not None
    np.testing.assert_allclose(found, inner * (1 - np.tanh(features) ** 2), atol=1e-14)
