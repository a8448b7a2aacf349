"""Shares of shots: as good as brute force, within their budget; and the gradient made with them: right in mean and in variance."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.config import GradientConfig
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError
from orchestrator.gradients.allocated import smoothness
from orchestrator.gradients.allocation import LEAST_SHOTS, allocate, best_total, levels
from orchestrator.gradients.base import GradientEstimate, drive, predict
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.gradients.problem import GradientProblem
from orchestrator.models.model import Model
from orchestrator.planning.plan import Evaluation, EvaluationPlan
from orchestrator.registry import resolve

Q = cirq.LineQubit.range(2)
METHODS = ["uniform", "variance", "gradient"]
N_ROWS = 1 + 2 + 4 + 2 + 2 + 2 + 2
"""Of the model below: undisplaced, a controlled rotation with four shifts, others with two."""


# --- From variances to whole numbers ------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_within_rounding_of_the_least(seed: int) -> None:
    """Against every allocation of 150 shots to four circuits. Rounding to levels costs up to 3 % (Kantorovich), whole numbers less
    than two shots a circuit."""
    rng, budget, n = np.random.default_rng(seed), 150, 4
    weights = rng.uniform(0.25, 1.0, n)
    found = allocate(np.ones(1), weights, budget).table[0]
    grid = np.array([s for s in itertools.product(range(2, budget), repeat=n - 1) if sum(s) <= budget - 2])
    every = np.column_stack([grid, budget - grid.sum(axis=1)])
    least = np.min(np.sum(weights**2 / every, axis=1))
    noise = np.sum(weights**2 / found)
    assert least <= noise * (1 + 1e-12)
    assert noise <= 1.0303 * least * budget / (budget - 2 * n)


@pytest.mark.parametrize("seed", range(20))
def test_budget_is_kept_and_used(seed: int) -> None:
    """Never more; and less by no more than one shot a circuit. Levels order the circuits as their weights do."""
    rng = np.random.default_rng(seed)
    samples, rows, n_settings = rng.exponential(size=5), rng.exponential(size=9), 1 + seed % 3
    least = LEAST_SHOTS * 45 * n_settings
    for budget in (least, least + 1, 3 * least, 1000 * least):
        found = allocate(samples, rows, budget, n_settings)
        used = n_settings * int(found.table.sum())
        assert budget - 45 * n_settings < used <= budget
        assert found.table.min() >= LEAST_SHOTS
        order = np.argsort(rows)
        assert np.all(np.diff(found.table[:, order], axis=1) >= 0)
        together = np.zeros((5, 9), np.int64)
        for block in found.blocks():
            together[np.ix_(block.samples, block.rows)] += block.shots
        np.testing.assert_array_equal(together, found.table)


def test_levels() -> None:
    weights = np.array([1.0, 2**-0.5, 0.5, 0.51, 0.0, 1e-9])
    np.testing.assert_array_equal(levels(weights, 2**0.5, 4), [0, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(levels(np.zeros(3), 2.0, 4), 0)


def test_too_small_a_budget_is_refused_with_the_least_that_works() -> None:
    with pytest.raises(ConfigError, match=r"23.*nearest valid: 24") as caught:
        allocate(np.ones(3), np.ones(4), 23)
    assert caught.value.suggestion == "24"
    assert allocate(np.ones(3), np.ones(4), 24).table.sum() == 24


@pytest.mark.parametrize("rate", [0.02, 0.3, None])
def test_best_total_has_the_greatest_descent_per_shot(rate: float | None) -> None:
    """Against the paper's formula for each component, and against a search along the total."""
    rng = np.random.default_rng(2)
    sigma, squared_norm, smooth = rng.exponential(size=6), 0.07, 2.5
    a = rate or 1 / smooth
    paper = 2 * smooth * a / (2 - smooth * a) * sigma * sigma.sum() / squared_norm
    found = best_total(sigma**2, squared_norm, smooth, rate)
    assert found == pytest.approx(paper.sum(), rel=1e-12)

    def gain(total: np.ndarray) -> np.ndarray:
        noise = sigma.sum() ** 2 / total
        return ((a - smooth * a**2 / 2) * squared_norm - smooth * a**2 / 2 * noise) / total

    assert gain(np.array([found]))[0] >= gain(found * np.geomspace(0.01, 100, 4001)).max() * (1 - 1e-12)


def test_a_rate_without_descent_counts_as_the_best_one() -> None:
    assert best_total(np.ones(3), 0.1, 2.0, 7.0) == best_total(np.ones(3), 0.1, 2.0, None)
    assert best_total(np.ones(3), 0.0, 2.0, None) == np.inf


# --- The gradient ------------------------------


@pytest.fixture(scope="module")
def coordinator() -> Coordinator:
    from actors.serial import SerialDispatcher

    backend = resolve("backend", "ideal")()
    return Coordinator(SerialDispatcher(backend), backend.capabilities)


def problem(shots: int | None = 1, **changes: Any) -> GradientProblem:
    """A controlled rotation, a shared parameter, one with a large and one with a small slope, one that multiplies a feature; two
    measurement settings."""
    a, b, c, d, x = sympy.symbols("a b c d x")
    circuit = cirq.Circuit(
        cirq.ry(x + 0.3)(Q[0]), cirq.rx(2 * a)(Q[1]), cirq.ry(b + 0.2).controlled()(Q[0], Q[1]), cirq.CNOT(*Q),
        cirq.rx(a)(Q[0]), cirq.ry(c / 8)(Q[1]), cirq.ry(d * x)(Q[0]), cirq.rx(c / 8)(Q[0]),
    )  # fmt: skip
    model = Model.from_circuit(circuit, features=["x"], observables=["Z0", "X1 - 0.5*Z1"], head="linear")
    rng = np.random.default_rng(3)
    found = GradientProblem(
        model=model,
        loss=resolve("loss", "mse")(),
        params=rng.normal(size=model.n_params),
        features=rng.uniform(-1, 1, (4, 1)),
        targets=rng.normal(size=4),
        shots=shots,
        step=0,
        seed=11,
    )
    return replace(found, **changes)


def estimate(rule: ParameterShift, at: GradientProblem, coordinator: Coordinator) -> GradientEstimate:
    return drive(rule.estimate(at), coordinator.evaluate)


def rule(method: str, budget: int, **options: Any) -> ParameterShift:
    return ParameterShift(GradientConfig(shots_per_step=budget, shot_allocation=method, **options))


def warm_state(at: GradientProblem, method: str, budget: int, coordinator: Coordinator) -> dict[str, Any]:
    """What the rule knows after a few steps."""
    state: dict[str, Any] = {}
    for step in range(5):
        found = estimate(rule(method, budget), replace(at, state=state, step=10**6 + step), coordinator)
        state = found.state
    return state


@pytest.mark.parametrize("method", METHODS)
def test_mean_and_variance(method: str, coordinator: Coordinator) -> None:
    """Of many estimates after a few steps of learning: no bias by the circuit's parameters, and the variance as predicted."""
    at, budget = problem(), 60 * 4 * N_ROWS * 2
    at = replace(at, state=warm_state(at, method, budget, coordinator))
    found = [estimate(rule(method, budget), replace(at, step=i), coordinator) for i in range(1500)]
    exact = estimate(ParameterShift(), replace(at, shots=None), coordinator).gradient
    draws, n = np.array([f.gradient for f in found]), at.model.n_circuit_params
    error = draws.std(axis=0) / len(draws) ** 0.5
    assert np.all(np.abs(draws.mean(axis=0) - exact)[:n] <= 4.5 * error[:n])
    # a variance of 1500 draws is off by 3.7 %; products of two noises, left out of the prediction, are 1/30 to 1/60 of it
    np.testing.assert_allclose(
        np.mean([f.variance for f in found], axis=0), draws.var(axis=0, ddof=1), rtol=0.2
    )


@pytest.mark.parametrize("method", METHODS)
def test_shots_stay_within_the_budget(method: str, coordinator: Coordinator) -> None:
    least = LEAST_SHOTS * 4 * N_ROWS * 2
    at = problem()
    for budget in (least, least + 7, 12345):
        state = warm_state(at, "variance", 12345, coordinator)
        for known in ({}, state):
            found = estimate(rule(method, budget), replace(at, state=known), coordinator)
            assert sum(e.n_shots for e in found.evaluations) <= budget
            assert sum(e.n_circuits for e in found.evaluations) == 4 * N_ROWS * 2
            predicted = predict(rule(method, budget), replace(at, state=known))
            assert predicted.n_circuits == 4 * N_ROWS * 2
            assert predicted.n_shots <= budget
    with pytest.raises(ConfigError, match=f"nearest valid: {least}"):
        rule(method, least - 1).check(at)
    with pytest.raises(ConfigError, match=f"nearest valid: {least}"):
        estimate(rule(method, least - 1), at, coordinator)


def test_measured_variances_lower_the_noise(coordinator: Coordinator) -> None:
    """Slopes of 2 and of 1/8 at the same cost: shots by variance beat equal ones by far more than the noise of the comparison."""
    at, budget = problem(), 20000
    state = warm_state(at, "variance", budget, coordinator)
    noise = {}
    for method, known in (("uniform", {}), ("variance", state)):
        found = [
            estimate(rule(method, budget), replace(at, step=i, state=known), coordinator) for i in range(300)
        ]
        noise[method] = np.var([f.gradient for f in found], axis=0)[: at.model.n_circuit_params].sum()
    assert noise["variance"] < 0.85 * noise["uniform"]


def test_gradient_method_spends_as_the_signal_falls(coordinator: Coordinator) -> None:
    """The first step knows no gradient and uses all it may. Then the shots go with one over
    the squared norm, from the fewest possible to the whole budget; the weights, and with them the levels, stay."""
    at, budget = problem(), 2 * 10**8
    first = estimate(rule("gradient", budget), at, coordinator)
    assert 0.99 * budget < sum(e.n_shots for e in first.evaluations) <= budget

    def used(shrunk: float, **options: Any) -> int:
        state = first.state | {"allocation/gradient": first.state["allocation/gradient"] * shrunk}
        later = estimate(
            rule("gradient", budget, **options), replace(at, state=state, step=1), coordinator
        ).evaluations
        return sum(e.n_shots for e in later[1:])

    assert used(1.0) == LEAST_SHOTS * 4 * (N_ROWS - 1) * 2
    assert used(1e-2) == pytest.approx(used(1e-3) / 100, rel=0.02)
    assert used(1e-3, allocation_rate=1e-3) < 0.1 * used(1e-3)
    assert used(0.0) > 0.9 * budget


def test_no_two_evaluations_share_their_noise(coordinator: Coordinator) -> None:
    at, plans = problem(state={}), []

    def evaluate(plan: EvaluationPlan) -> Evaluation:
        plans.append(plan)
        return coordinator.evaluate(plan)

    drive(rule("variance", 9000).estimate(at), evaluate)
    assert len(plans) > 3
    keys = np.concatenate([plan.noise_keys for plan in plans])
    assert len(np.unique(keys)) == len(keys)
    assert len({plan.shots for plan in plans[1:]}) > 1


def test_same_state_same_bits(coordinator: Coordinator) -> None:
    at = problem()
    at = replace(at, state=warm_state(at, "gradient", 9000, coordinator))
    one, other = (estimate(rule("gradient", 9000), at, coordinator) for _ in range(2))
    assert one.gradient.tobytes() == other.gradient.tobytes()
    assert one.state.keys() == other.state.keys()
    for key, value in one.state.items():
        assert value.dtype == np.float64
        assert value.ndim == 1
        assert value.tobytes() == other.state[key].tobytes()


def test_a_frozen_circuit_gives_its_budget_to_the_head(coordinator: Coordinator) -> None:
    at = problem()
    frozen = replace(at, model=at.model.with_frozen(range(at.model.n_circuit_params)))
    found = estimate(rule("variance", 1001), frozen, coordinator)
    assert [e.n_shots for e in found.evaluations] == [1000]


def test_exact_values_and_other_rules_are_refused() -> None:
    with pytest.raises(ConfigError, match="exact values"):
        rule("variance", 10**6).check(problem(shots=None))
    with pytest.raises(ConfigError, match="shares out no shots"):
        GradientConfig(rule="spsa", shots_per_step=1000)


# --- The bound of second derivatives ------------------------------


def loss_by_cirq(at: GradientProblem, params: np.ndarray) -> float:
    circuit = at.model.template.circuit()
    strings = [cirq.DensePauliString(p).on(*Q) for p in at.model.readout.paulis]
    angles, values = at.model.angles(params, at.features), []
    for row in angles.data:
        point = angles.shared.copy()
        point[angles.columns] = row
        found = cirq.Simulator(dtype=np.complex128).simulate_expectation_values(
            circuit, strings, {f"a{k}": float(v) for k, v in enumerate(point)}, qubit_order=Q
        )
        values.append(np.real(found))
    return replace(at, params=params).backward(np.array(values)).loss


@pytest.mark.parametrize("seed", range(3))
def test_smoothness_bounds_the_second_derivatives(seed: int, coordinator: Coordinator) -> None:
    """The matrix by second differences of the loss by cirq, wrong by some h**2 = 1e-6."""
    at = problem(shots=None, params=np.random.default_rng(seed).normal(size=7))
    n, h = at.model.n_circuit_params, 1e-3
    steps = h * np.eye(at.model.n_params)[:n]
    matrix = np.zeros((n, n))
    for i, j in itertools.combinations_with_replacement(range(n), 2):
        corners = [
            s * t * loss_by_cirq(at, at.params + s * steps[i] + t * steps[j])
            for s in (1, -1)
            for t in (1, -1)
        ]
        matrix[i, j] = matrix[j, i] = sum(corners) / (4 * h**2)
    values = coordinator.evaluate(at.plan()).values
    assert np.linalg.norm(matrix, 2) <= smoothness(at, at.backward(values), values) * (1 + 1e-4)
