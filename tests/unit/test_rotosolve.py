"""Rotosolve: the loss along a parameter is reconstructed whole, its least value found; and what it does not hold for is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.config import GradientConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import CircuitError, ConfigError
from orchestrator.gradients.base import GradientEstimate, drive, predict
from orchestrator.gradients.problem import GradientProblem
from orchestrator.gradients.rotosolve import Rotosolve
from orchestrator.gradients.trigonometric import TrigonometricPolynomial, common_spacing
from orchestrator.losses.mse import MeanSquaredError
from orchestrator.models.model import Model
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.registry import resolve

Q = cirq.LineQubit.range(2)


class Energy:
    """A loss of one's own: the mean output, whatever the targets."""

    task = "regression"
    degree = 1

    def n_outputs(self, n_classes: int) -> int:
        return 1

    def value_and_gradient(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        return float(np.mean(outputs)), np.full(outputs.shape, 1 / len(outputs))

    def predict(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        return {"prediction": outputs[:, 0]}

    def metrics(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        return {"loss": float(np.mean(outputs))}


# --- Trigonometric polynomials ------------------------------


def random_polynomial(rng: np.random.Generator, degree: int, spacing: float) -> tuple[Any, Any]:
    """A function written as sines and cosines, and its derivative."""
    a, b = rng.normal(size=(2, degree + 1))
    j = spacing * np.arange(degree + 1)

    def value(t: np.ndarray) -> np.ndarray:
        return np.cos(np.multiply.outer(t, j)) @ a + np.sin(np.multiply.outer(t, j)) @ b

    def slope(t: np.ndarray) -> np.ndarray:
        return -np.sin(np.multiply.outer(t, j)) @ (a * j) + np.cos(np.multiply.outer(t, j)) @ (b * j)

    return value, slope


@pytest.mark.parametrize("degree", [1, 2, 3, 8, 30])
@pytest.mark.parametrize("spacing", [1.0, 0.5, 1 / 3])
def test_reconstruction_and_minimum(degree: int, spacing: float) -> None:
    """Against the function itself; no point of a fine grid over the period lies lower."""
    rng = np.random.default_rng(degree)
    value, slope = random_polynomial(rng, degree, spacing)
    values = value(TrigonometricPolynomial.points(spacing, degree))
    found = TrigonometricPolynomial.through(values, spacing)
    t = rng.uniform(-20, 20, 50)
    np.testing.assert_allclose(found(t), value(t), atol=1e-11)
    np.testing.assert_allclose(found(t, 1), slope(t), atol=1e-10 * degree)
    weights = TrigonometricPolynomial.slope_weights(spacing, degree)
    assert weights @ values == pytest.approx(float(slope(np.zeros(1))[0]), abs=1e-10 * degree)
    least = found.minimum()
    assert -np.pi / spacing < least <= np.pi / spacing + 1e-12
    grid = np.linspace(-np.pi, np.pi, 20001) / spacing
    assert value(np.array([least]))[0] <= value(grid).min() + 1e-11
    assert slope(np.array([least]))[0] == pytest.approx(0, abs=1e-9 * degree**2)


def test_flat_and_touching_minima() -> None:
    """A constant moves nothing; a minimum of fourth order is found; a frequency that is not there does no harm."""
    assert TrigonometricPolynomial.through(np.full(5, 0.7), 1.0).minimum() == 0.0
    t = TrigonometricPolynomial.points(1.0, 2)
    found = TrigonometricPolynomial.through((1 - np.cos(t - 0.4)) ** 2, 1.0)
    # a value is off by 1e-16, so the place by its fourth root
    assert found.minimum() == pytest.approx(0.4, abs=1e-3)
    found = TrigonometricPolynomial.through(-np.cos(t - 3.0), 1.0)
    assert found.minimum() == pytest.approx(3.0, abs=1e-9)
    at_best = TrigonometricPolynomial.through(-np.cos(t), 1.0)
    assert at_best.minimum() == pytest.approx(0.0, abs=1e-9)
    assert TrigonometricPolynomial.through(np.array([0.3]), 1.0).minimum() == 0.0


@pytest.mark.parametrize(
    ("frequencies", "expected"),
    [([1.0], 1.0), ([0.5, 1.0], 0.5), ([2.0, 3.0], 1.0), ([1 / 3, 0.5], 1 / 6), ([0.1, 0.7, 2.3], 0.1), ([3.0, 3.0 + 1e-13], 3.0)],
)  # fmt: skip
def test_common_spacing(frequencies: list[float], expected: float) -> None:
    assert common_spacing(np.array(frequencies), 64) == pytest.approx(expected, rel=1e-9)


def test_frequencies_without_a_common_measure() -> None:
    with pytest.raises(CircuitError, match="no whole multiples"):
        common_spacing(np.array([1.0, 2**0.5]), 64)


# --- On models ------------------------------


@pytest.fixture(scope="module")
def coordinator() -> Coordinator:
    return coordinator_on("ideal")


def coordinator_on(name: str) -> Coordinator:
    from actors.serial import SerialDispatcher

    backend = resolve("backend", name)()
    return Coordinator(SerialDispatcher(backend), backend.capabilities)


def circuit() -> cirq.Circuit:
    """A shared parameter with slopes 1 and -1/2, a controlled rotation, a power of ISWAP, one with the slope 2."""
    a, b, c, d, x = sympy.symbols("a b c d x")
    return cirq.Circuit(
        cirq.ry(x)(Q[0]), cirq.rx(x + 0.4)(Q[1]), cirq.rx(a)(Q[0]), cirq.ry(b + 0.2).controlled()(*Q), cirq.ry(0.3 - a / 2)(Q[1]),
        cirq.ISWAP(*Q) ** (c / sympy.pi), cirq.rx(2 * d)(Q[0]), cirq.CNOT(*Q), cirq.ry(d)(Q[1]),
    )  # fmt: skip


def problem(
    loss: Any = None, shots: int | None = None, head: str = "none", **changes: Any
) -> GradientProblem:
    observables = ["0.7*Z0 + X1 - 0.4*Z0*Z1"] if head == "none" else ["Z0", "X1"]
    model = Model.from_circuit(
        circuit(), features=["x"], observables=observables, head=head, output_scale=1.3
    )
    if head == "linear":
        model = model.with_frozen(range(model.n_circuit_params, model.n_params))
    rng = np.random.default_rng(3)
    found = GradientProblem(
        model=model,
        loss=loss or MeanSquaredError(),
        params=rng.normal(size=model.n_params),
        features=rng.uniform(-1, 1, (3, 1)),
        targets=rng.normal(size=3),
        shots=shots,
        step=0,
        seed=11,
    )
    return replace(found, **changes)


def estimate(rule: Rotosolve, at: GradientProblem, coordinator: Coordinator) -> GradientEstimate:
    return drive(rule.estimate(at), coordinator.evaluate)


def loss_by_cirq(at: GradientProblem, params: np.ndarray) -> float:
    """The batch's loss, every expectation value by cirq from the circuit as it was written."""
    n = at.model.n_circuit_params
    strings, values = [cirq.DensePauliString(p).on(*Q) for p in at.model.readout.paulis], []
    for (x,) in at.features:
        point = dict(zip(at.model.circuit_param_names, params[:n].tolist(), strict=True)) | {"x": float(x)}
        found = cirq.Simulator(dtype=np.complex128).simulate_expectation_values(
            circuit(), strings, point, qubit_order=Q
        )
        values.append(np.real(found))
    return replace(at, params=params).backward(np.array(values)).loss


def slope(function: Callable[[float], float], h: float = 1e-3) -> float:
    """Five-point stencil: wrong by h⁴/30 of the fifth derivative, at most (2 * 3)⁵ here."""
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


CASES = [(MeanSquaredError(), "none"), (Energy(), "none"), (MeanSquaredError(), "linear")]


@pytest.mark.parametrize(("loss", "head"), CASES, ids=["mse", "energy", "mse, frozen head"])
def test_every_coordinate_goes_to_its_minimum(loss: Any, head: str, coordinator: Coordinator) -> None:
    """One coordinate a step: the loss and its slope where it stands, and the lowest point along it, all by cirq."""
    at, rule = problem(loss, head=head), Rotosolve(GradientConfig(coordinates=1))
    rule.check(at)
    for turn in range(at.model.n_circuit_params):
        found = estimate(rule, at, coordinator)
        assert found.update is not None
        assert np.flatnonzero(found.update).tolist() == [turn]
        direction = np.eye(at.model.n_params)[turn]

        def along(t: float, at: GradientProblem = at, direction: np.ndarray = direction) -> float:
            return loss_by_cirq(at, at.params + t * direction)

        assert found.loss == pytest.approx(along(0.0), abs=1e-10)
        # h⁴/30 of the fifth derivative: 1e-13 * 6**5 times a loss of some 10
        np.testing.assert_allclose(found.gradient, slope(along) * direction, atol=1e-8)
        assert not found.variance.any()
        reached = along(float(found.update[turn]))
        assert reached == pytest.approx(found.notes["loss_reached"], abs=1e-10)
        grid = np.linspace(0, 4 * np.pi, 60)  # the longest period: frequencies of 1/2
        assert reached <= min(along(t) for t in grid) + 1e-10
        at = replace(at, params=at.params + found.update, state=found.state)
    assert at.state["rotosolve/next"].tolist() == [0.0]


def test_a_step_does_all_coordinates_in_turn(coordinator: Coordinator) -> None:
    """The same as one after the other; the loss only falls."""
    at, single = problem(), problem()
    whole = estimate(Rotosolve(), at, coordinator)
    assert whole.update is not None
    for _ in range(at.model.n_circuit_params):
        part = estimate(Rotosolve(GradientConfig(coordinates=1)), single, coordinator)
        single = replace(single, params=single.params + part.update, state=part.state)
    np.testing.assert_allclose(at.params + whole.update, single.params, atol=1e-9)
    assert len(whole.evaluations) == at.model.n_circuit_params
    assert loss_by_cirq(at, at.params + whole.update) <= loss_by_cirq(at, at.params)


def test_ground_state(coordinator: Coordinator) -> None:
    """The least eigenvalue of a Hamiltonian, by numpy, of a circuit that reaches every real state of two qubits."""
    angles = list(sympy.symbols("t0:6"))
    ansatz = cirq.Circuit(
        cirq.ry(angles[0])(Q[0]), cirq.ry(angles[1])(Q[1]), cirq.CNOT(*Q), cirq.ry(angles[2])(Q[0]), cirq.ry(angles[3])(Q[1]),
        cirq.CNOT(*Q), cirq.ry(angles[4])(Q[0]), cirq.ry(angles[5])(Q[1]),
    )  # fmt: skip
    hamiltonian = cirq.Z(Q[0]) * cirq.Z(Q[1]) + 0.6 * cirq.X(Q[0]) + 0.3 * cirq.X(Q[1]) - 0.2 * cirq.Z(Q[0])
    model = Model.from_circuit(ansatz, features=[], observables=[hamiltonian])
    at = GradientProblem(
        model=model, loss=Energy(), params=model.initial_params(1), features=np.zeros((1, 0)), targets=np.zeros(1), shots=None,
        step=0, seed=0,
    )  # fmt: skip
    least = np.linalg.eigvalsh(hamiltonian.matrix(Q))[0]
    for _ in range(100):
        found = estimate(Rotosolve(), at, coordinator)
        assert found.loss >= least - 1e-12
        at = replace(at, params=at.params + found.update)
    assert found.loss == pytest.approx(least, abs=1e-8)


# --- With shots ------------------------------


@pytest.mark.parametrize("loss", [MeanSquaredError(), Energy()], ids=["mse", "energy"])
def test_noise_is_unbiased_and_as_predicted(loss: Any, coordinator: Coordinator) -> None:
    """Loss and slope of the first coordinate over 1500 draws; the variance is known from them to 3.7 %, and leaves out what is smaller
    by one over the shots."""
    rule, at = Rotosolve(GradientConfig(coordinates=1)), problem(loss, shots=100)
    found = [estimate(rule, replace(at, step=i), coordinator) for i in range(1500)]
    exact = estimate(rule, replace(at, shots=None), coordinator)
    for what in ("loss", "gradient"):
        draws = np.array([np.atleast_1d(getattr(f, what))[0] for f in found])
        expected = np.atleast_1d(getattr(exact, what))[0]
        assert abs(draws.mean() - expected) <= 4.5 * draws.std() / len(draws) ** 0.5
    slopes = np.array([f.gradient[0] for f in found])
    assert np.mean([f.variance[0] for f in found]) == pytest.approx(slopes.var(ddof=1), rel=0.17)


@pytest.mark.parametrize("shots", [None, 50])
def test_circuits_seeds_and_noise(shots: int | None, coordinator: Coordinator) -> None:
    at, rule, plans = problem(shots=shots), Rotosolve(), []

    def evaluate(plan: EvaluationPlan) -> Evaluation:
        plans.append(plan)
        return coordinator.evaluate(plan)

    found, predicted = drive(rule.estimate(at), evaluate), predict(rule, at)
    assert predicted.n_circuits == sum(e.n_circuits for e in found.evaluations)
    assert predicted.n_shots == sum(e.n_shots for e in found.evaluations)
    again = estimate(Rotosolve(), at, coordinator)
    assert found.update is not None
    assert again.update is not None
    assert found.update.tobytes() == again.update.tobytes()
    if shots:
        keys = np.concatenate([plan.noise_keys for plan in plans])
        assert len(np.unique(keys)) == len(keys)
        later = estimate(Rotosolve(), replace(at, step=1), coordinator)
        assert later.gradient.tobytes() != found.gradient.tobytes()


@pytest.mark.parametrize(("loss", "degree"), [(Energy(), 1), (MeanSquaredError(), 2)])
def test_points_are_as_few_as_the_frequencies_allow(loss: Any, degree: int, coordinator: Coordinator) -> None:
    """2R + 1 for R = largest over spacing: a (1 + 1/2) / (1/2), b and c, whose gates have 1/2 and 1, 1 / (1/2), d (2 + 1) / 1."""
    found = estimate(Rotosolve(), problem(loss), coordinator)
    n_points = [e.n_circuits // 3 for e in found.evaluations]
    assert n_points == [2 * degree * multiple + 1 for multiple in (3, 2, 2, 3)]


@pytest.mark.parametrize("backend", ["cirq", "noisy"])
def test_other_backends(backend: str, coordinator: Coordinator) -> None:
    at = problem()
    found = estimate(Rotosolve(), at, coordinator_on(backend))
    assert found.update is not None
    assert np.isfinite(found.update).all()
    if backend == "cirq":
        here = estimate(Rotosolve(), at, coordinator)
        np.testing.assert_allclose(
            found.gradient, here.gradient, atol=1e-5
        )  # it computes in single precision


def test_frozen_parameters_stay(coordinator: Coordinator) -> None:
    at = problem()
    found = estimate(Rotosolve(), replace(at, model=at.model.with_frozen([1, 3])), coordinator)
    assert found.update is not None
    assert np.flatnonzero(found.update).tolist() == [0, 2]
    assert not found.gradient[[1, 3]].any()
    nothing = estimate(Rotosolve(), replace(at, model=at.model.with_frozen(range(4))), coordinator)
    assert nothing.update is not None
    assert not nothing.update.any()
    assert nothing.loss == pytest.approx(loss_by_cirq(at, at.params), abs=1e-10)


# --- Refusals ------------------------------


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "cross_entropy"])
def test_other_losses_are_refused(loss: str) -> None:
    with pytest.raises(ConfigError, match=r"linear or quadratic.*'mse'") as caught:
        Rotosolve().check(problem(resolve("loss", loss)()))
    assert caught.value.suggestion == "parameter_shift"


def test_a_trainable_head_is_refused() -> None:
    at = problem(head="linear")
    Rotosolve().check(at)
    with pytest.raises(ConfigError, match=r"cannot train a head.*4 to 6 in model\.frozen"):
        Rotosolve().check(replace(at, model=at.model.with_frozen([4, 5])))


@pytest.mark.parametrize(
    ("operations", "reason"),
    [
        (lambda a, x: [cirq.ry(a * x)(Q[0])], "multiplied by a feature"),
        (lambda a, x: [cirq.ry(a + x)(Q[0]), cirq.rx(2**0.5 * a)(Q[0])], "no whole multiples"),
        (lambda a, x: [cirq.ry(a + x)(Q[0]), cirq.rx(a / 50)(Q[0])], "more than 64"),
    ],
)
def test_parameters_without_common_frequencies_are_refused(operations: Any, reason: str) -> None:
    a, x = sympy.symbols("a x")
    model = Model.from_circuit(cirq.Circuit(operations(a, x)), features=["x"], observables=["Z0"])
    at = problem(model=model, params=np.zeros(1))
    with pytest.raises(ConfigError, match=f"(parameter a).*{reason}.*parameter_shift"):
        Rotosolve().check(at)
