"""What every gradient rule must do: the right mean, the variance it says it has, the circuits it was predicted to take.

The model of these tests has shared parameters, a controlled rotation (two frequencies), a trainable weight times a feature, several
observables that are measured together, and a trainable head. The exact gradient is taken from central differences of the loss, with
expectation values by cirq's own simulator.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator import registry
from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate
from orchestrator.config import GradientConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError
from orchestrator.gradients.base import GradientEstimate, drive, predict
from orchestrator.gradients.problem import GradientProblem
from orchestrator.models.angle_map import Angles
from orchestrator.models.model import Model
from orchestrator.models.patches import Patches
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.registry import resolve

Q = cirq.LineQubit.range(3)
N_DRAWS = 2000
LINEAR = ["parameter_shift", "adjoint", "finite_difference"]
"""Rules with a derivative of their own for single angles."""
TRANSFORMED = {"natural_gradient", "qn_spsa"}
"""Rules whose answer is the gradient seen through a metric."""
REFUSING = {"rotosolve"}
"""Rules that do not hold for this model, with its trainable head and a parameter that multiplies a feature; tested by themselves."""
RULES = [name for name in registry.GRADIENT_RULES if name not in REFUSING]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in RULES),
    ("finite_difference", {"stencil": "forward"}),
    ("spsa", {"perturbations": 3}),
    ("parameter_shift", {"shots_per_step": 80_000, "shot_allocation": "uniform"}),
]
IDS = ["-".join([name, *map(str, options.values())]) for name, options in VARIANTS]


def coordinator_on(name: str) -> Coordinator:
    from actors.serial import SerialDispatcher

    backend = resolve("backend", name)()
    return Coordinator(SerialDispatcher(backend), backend.capabilities)


@pytest.fixture(scope="module")
def coordinator() -> Coordinator:
    return coordinator_on("ideal")


def model(head: str = "linear", n_outputs: int = 1, patches: Patches | None = None) -> Model:
    a, b, c, d, x, y = sympy.symbols("a b c d x y")
    circuit = cirq.Circuit(
        cirq.ry(x * a + 0.3)(Q[0]), cirq.rx(b)(Q[1]), cirq.ry(b / 2 + c).controlled()(Q[0], Q[1]), cirq.CNOT(Q[1], Q[2]),
        cirq.rz(d * y)(Q[1]), cirq.rx(c)(Q[0]), cirq.ry(2 * d + y)(Q[1]), cirq.ry(a)(Q[2]), cirq.CNOT(Q[0], Q[1]), cirq.rx(x)(Q[1]),
    )  # fmt: skip
    observables = ["Z0", "Z1", "Z0*Z2", "X1 + 0.5*X2"][: 4 if head == "linear" else n_outputs]
    return Model.from_circuit(
        circuit, features=["x", "y"], observables=observables, head=head, n_outputs=n_outputs, patches=patches
    )


def patched(loss: str, shots: int | None = None) -> GradientProblem:
    """Samples of three features, seen by the circuit two at a time: two states a sample, and a head over both."""
    made, rng = model(patches=Patches((3,), (2,), 1)), np.random.default_rng(5)
    params, features = rng.normal(size=made.n_params), rng.uniform(-1, 1, (4, 3))
    return problem(loss, shots, model=made, params=params, features=features)


def problem(loss: str = "mse", shots: int | None = None, **changes: Any) -> GradientProblem:
    rng = np.random.default_rng(3)
    made = model(n_outputs={"cross_entropy": 3, "weighted_fidelity": 2}.get(loss, 1))
    targets = {
        "mse": rng.normal(size=4),
        "binary_cross_entropy": np.array([0, 1, 1, 0]),
        "cross_entropy": np.array([0, 2, 1, 2]),
        "weighted_fidelity": np.array([1, 0, 0, 1]),
        "trash_fidelity": np.zeros(4),
    }
    found = GradientProblem(
        model=made,
        loss=resolve("loss", loss)(),
        params=rng.normal(size=made.n_params),
        features=rng.uniform(-1, 1, (4, 2)),
        targets=targets[loss],
        shots=shots,
        step=0,
        seed=11,
    )  # fmt: skip
    return replace(found, **changes)


def rule_of(name: str, **options: Any) -> Any:
    return resolve("gradient rule", name)(GradientConfig(rule=name, **options))


def estimate(rule: Any, at: GradientProblem, coordinator: Coordinator) -> GradientEstimate:
    return drive(rule.estimate(at), coordinator.evaluate)


def loss_by_cirq(at: GradientProblem, params: np.ndarray) -> float:
    """The batch's loss, every expectation value by cirq."""
    values = []
    circuit = at.model.template.circuit()
    strings = [cirq.DensePauliString(p).on(*Q) for p in at.model.readout.paulis]
    angles = at.model.angles(params, at.features)
    for row in angles.data:
        point = angles.shared.copy()
        point[angles.columns] = row
        state = cirq.Simulator(dtype=np.complex128).simulate_expectation_values(
            circuit, strings, {f"a{k}": float(v) for k, v in enumerate(point)}, qubit_order=Q
        )
        values.append(np.real(state))
    return replace(at, params=params).backward(np.array(values)).loss


def slopes(function: Callable[[np.ndarray], float], point: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """Five-point stencil: wrong by h⁴/30 of the fifth derivative, some 1e-11 here, and by 1e-15/h of the values."""
    steps = h * np.eye(len(point))
    return np.array(
        [
            (8 * (function(point + s) - function(point - s)) - (function(point + 2 * s) - function(point - 2 * s))) / (12 * h)
            for s in steps
        ]
    )  # fmt: skip


_EXACT: dict[tuple[Any, ...], np.ndarray] = {}
"""Gradients by cirq, which every rule is held against."""


def exact_gradient(at: GradientProblem) -> np.ndarray:
    arrays = (at.model.frozen, at.params, at.features, at.targets)
    key = (type(at.loss), at.model.measured.key, *(array.tobytes() for array in arrays))
    if key not in _EXACT:
        found = slopes(lambda params: loss_by_cirq(at, params), at.params)
        _EXACT[key] = np.where(at.model.frozen, 0.0, found)
    return _EXACT[key]


def is_random(name: str) -> bool:
    return name not in (*LINEAR, "natural_gradient")


def is_gradient(name: str) -> bool:
    """Whether what the rule returns estimates the gradient itself. What others return is proved in tests of their own."""
    return name not in TRANSFORMED


# --- The mean ------------------------------


@pytest.mark.parametrize("loss", registry.LOSSES)
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_mean_of_exact_values(
    name: str, options: dict[str, Any], loss: str, coordinator: Coordinator
) -> None:
    """The gradient to rounding, or to the stated bias; the mean over draws of a random rule within five standard errors."""
    check_mean(name, options, problem(loss), coordinator)


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_mean_with_patches(name: str, options: dict[str, Any], coordinator: Coordinator) -> None:
    """Several states a sample, whose values meet in the head."""
    check_mean(name, options, patched("binary_cross_entropy"), coordinator)


def check_mean(name: str, options: dict[str, Any], at: GradientProblem, coordinator: Coordinator) -> None:
    if not is_gradient(name):
        pytest.skip("not a gradient")
    expected = exact_gradient(at)
    if not is_random(name):
        # finite differences: F**2 h / 2 with h = 3e-8, or rounding over 6e-6; each angle's share is of order 1
        tolerance = {"finite_difference": 1e-6}.get(name, 1e-9)
        found = estimate(rule_of(name, **options), at, coordinator)
        np.testing.assert_allclose(found.gradient, expected, rtol=0, atol=tolerance)
        assert not found.variance.any()
        return
    size = 0.01  # a bias of c**2 / 6 times third derivatives
    rule = rule_of(name, perturbation_size=size, perturbation_decay=0.0, **options)
    draws = np.array([estimate(rule, replace(at, step=i), coordinator).gradient for i in range(400)])
    error = draws.std(axis=0) / 20
    assert np.all(np.abs(draws.mean(axis=0) - expected) <= 5 * error + 10 * size**2)


@pytest.mark.parametrize("name", ["parameter_shift", "stochastic_parameter_shift", "random_coordinate"])
def test_no_bias_with_shots(name: str, coordinator: Coordinator) -> None:
    """Of a loss whose derivative is linear in the values; twenty shots would show a bias of order one over the shots."""
    at = problem("mse", shots=20)
    rule = rule_of(name)
    draws = np.array([estimate(rule, replace(at, step=i), coordinator).gradient for i in range(N_DRAWS)])
    n = (
        at.model.n_circuit_params
    )  # the head's gradient multiplies two values of one circuit, which are correlated
    error = draws.std(axis=0) / N_DRAWS**0.5
    assert np.all(np.abs(draws.mean(axis=0) - exact_gradient(at))[:n] <= 4.5 * error[:n])


# --- The variance ------------------------------


@pytest.mark.parametrize(
    ("name", "options"), [v for v in VARIANTS if v[0] != "adjoint"], ids=[i for i in IDS if i != "adjoint"]
)
def test_predicted_variance_is_the_empirical_one(
    name: str, options: dict[str, Any], coordinator: Coordinator
) -> None:
    """Within 15 %, over shots and random choices; parameter by parameter where a rule claims that."""
    if not is_gradient(name):
        pytest.skip("not a gradient")
    check_variance(name, options, problem("binary_cross_entropy", shots=500), coordinator)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("parameter_shift", {}),
        ("parameter_shift", {"shots_per_step": 160_000}),
        ("spsa", {"perturbations": 2}),
    ],
)
def test_predicted_variance_with_patches(
    name: str, options: dict[str, Any], coordinator: Coordinator
) -> None:
    """Noise of one state reaches the others of its sample through the curvature of the loss."""
    check_variance(name, options, patched("binary_cross_entropy", shots=500), coordinator)


def check_variance(name: str, options: dict[str, Any], at: GradientProblem, coordinator: Coordinator) -> None:
    rule = rule_of(
        name, perturbation_size=0.05, perturbation_decay=0.0, **options
    )  # the head sees the mean of two points, off by c**2
    found = [estimate(rule, replace(at, step=i), coordinator) for i in range(N_DRAWS)]
    empirical = np.var([f.gradient for f in found], axis=0, ddof=1)
    predicted = np.mean([f.variance for f in found], axis=0)
    n = at.model.n_circuit_params
    if "spsa" in name:
        assert predicted[:n].sum() == pytest.approx(empirical[:n].sum(), rel=0.15)
        np.testing.assert_allclose(predicted[n:], empirical[n:], rtol=0.15)
    else:
        np.testing.assert_allclose(predicted, empirical, rtol=0.15)


# --- Cost, seeds, frozen parameters, backends ------------------------------


@pytest.mark.parametrize("shots", [None, 50])
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_circuits_are_as_predicted(
    name: str, options: dict[str, Any], shots: int | None, coordinator: Coordinator
) -> None:
    if name == "adjoint" and shots:
        pytest.skip("exact only")
    rule = rule_of(name, **options)
    for at in problem(shots=shots), patched("mse", shots):
        predicted = predict(rule, at)
        found = estimate(rule, at, coordinator)
        used = [sum(getattr(e, what) for e in found.evaluations) for what in ("n_circuits", "n_shots")]
        assert [predicted.n_circuits, predicted.n_shots] == used
        assert predicted.n_evaluations == len(found.evaluations)


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_same_seed_same_bits(name: str, options: dict[str, Any], coordinator: Coordinator) -> None:
    shots = None if name == "adjoint" else 50
    at = problem(shots=shots)
    one, other = (estimate(rule_of(name, **options), at, coordinator) for _ in range(2))
    assert one.gradient.tobytes() == other.gradient.tobytes()
    assert one.variance.tobytes() == other.variance.tobytes()
    assert one.loss == other.loss
    later = estimate(rule_of(name, **options), replace(at, step=1), coordinator)
    assert (one.gradient.tobytes() != later.gradient.tobytes()) == (is_random(name) or shots is not None)


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)
def test_frozen_parameters_cost_nothing_and_stay(
    name: str, options: dict[str, Any], coordinator: Coordinator
) -> None:
    """Some frozen: their components are zero. The whole circuit frozen: one circuit a sample (or two points), and the head is exact."""
    rule = rule_of(name, **options)
    at = problem()
    some = replace(at, model=at.model.with_frozen([1, 2, 5]))
    found = estimate(rule, some, coordinator)
    assert not found.gradient[[1, 2, 5]].any()
    assert not found.variance[[1, 2, 5]].any()
    if name in ("parameter_shift", "finite_difference"):
        assert found.evaluations[0].n_circuits < estimate(rule, at, coordinator).evaluations[0].n_circuits
    none = replace(at, model=at.model.with_frozen(range(at.model.n_circuit_params)))
    found = estimate(rule, none, coordinator)
    assert sum(e.n_circuits for e in found.evaluations) == at.n_samples
    np.testing.assert_allclose(found.gradient, exact_gradient(none), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "backend", sorted({*registry.BACKENDS} - {"recorded"})
)  # it runs no circuit of its own
@pytest.mark.parametrize("name", RULES)
def test_runs_on_every_backend_that_can(name: str, backend: str, coordinator: Coordinator) -> None:
    """Exact values of cirq's simulator and ours give the same gradient; noise gives another one, as finite and of its shape."""
    if backend == "torch":
        pytest.importorskip("torch")
    elsewhere, rule, at = coordinator_on(backend), rule_of(name), problem()
    if rule.needs_jacobian and not elsewhere.capabilities.has_jacobian:
        pytest.skip("no derivatives there")
    found = estimate(rule, at, elsewhere)
    assert np.isfinite(found.gradient).all()
    if backend != "noisy":
        here = estimate(rule, at, coordinator)
        np.testing.assert_allclose(found.gradient, here.gradient, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", registry.GRADIENT_RULES)
def test_check_takes_what_the_rule_holds_for_and_no_more(name: str) -> None:
    rule, at = rule_of(name), problem()
    if name not in REFUSING:
        rule.check(at)
        return
    with pytest.raises(ConfigError, match="nearest valid") as caught:
        rule.check(at)
    assert caught.value.suggestion in registry.GRADIENT_RULES


@pytest.mark.parametrize("name", registry.GRADIENT_RULES)
def test_is_named_after_its_module(name: str) -> None:
    rule = rule_of(name)
    module = inspect.getmodule(type(rule))
    assert module is not None
    assert rule.name == name == module.__name__.rpartition(".")[2]
    assert isinstance(rule.needs_jacobian, bool)


# --- Derivatives by single angles ------------------------------


def rule_template() -> CircuitTemplate:
    """Rotations, a controlled rotation, a power of ISWAP and one of the Mølmer-Sørensen gate: frequencies 1, ½ and 1, 1."""
    s = sympy.symbols("s0:7")
    return template_from_circuit(
        cirq.Circuit(
            cirq.ry(s[0])(Q[0]), cirq.rx(s[1])(Q[1]), cirq.ry(s[2]).controlled()(Q[0], Q[1]), cirq.ISWAP(Q[1], Q[2]) ** s[3],
            cirq.H(Q[2]), cirq.rz(s[4])(Q[2]), cirq.ms(s[5])(Q[0], Q[2]), cirq.rx(s[6])(Q[2]),
        )
    )[0]  # fmt: skip


@pytest.mark.parametrize("name", LINEAR)
def test_derivative_by_angles(name: str, coordinator: Coordinator) -> None:
    """Of several observables by any subset of angles, against finite differences of values computed by cirq."""
    rule, template = rule_of(name), rule_template()
    circuit = MeasuredCircuit(template, ("ZII", "IXY", "ZZX"))
    strings = [cirq.DensePauliString(pauli).on(*Q) for pauli in circuit.paulis]
    simulator, symbolic = cirq.Simulator(dtype=np.complex128), template.circuit()

    def by_cirq(angles: np.ndarray, which: int) -> float:
        resolver = {f"a{k}": float(a) for k, a in enumerate(angles)}
        found = simulator.simulate_expectation_values(symbolic, strings[which], resolver, qubit_order=Q)
        return float(np.real(found[0]))

    rng = np.random.default_rng(1)
    point = rng.uniform(-3, 3, template.n_angles)
    expected = np.array([slopes(lambda a, m=m: by_cirq(a, m), point) for m in range(3)])
    angles = Angles(np.where(np.arange(7) == 2, 99.0, point), np.array([2]), np.full((2, 1), point[2]))
    tolerance = 1e-9 if name == "finite_difference" else 1e-10  # rounding over 6e-6, bias 6e-12
    for wanted in (np.arange(7), np.array([2, 3, 6]), np.array([5])):
        evaluation = coordinator.evaluate(
            EvaluationPlan(circuit, angles, wanted, rule.derivative(template, wanted))
        )
        assert evaluation.jacobian is not None
        for sample in evaluation.jacobian:
            np.testing.assert_allclose(sample, expected[:, wanted], rtol=0, atol=tolerance)
        np.testing.assert_allclose(evaluation.values[1], [by_cirq(point, m) for m in range(3)], atol=1e-12)
