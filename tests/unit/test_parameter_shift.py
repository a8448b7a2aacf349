"""The parameter-shift rule: published coefficients, exactness on any Fourier series, what it costs, what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.errors import CircuitError
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.models.angle_map import Angles
from orchestrator.planning.derivative import DirectDerivative
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.planning.shift_rule import shift_rule


def test_two_terms_of_a_pauli_rotation() -> None:
    """Mitarai et al. 2018, Schuld et al. 2019: [f(x + π/2) - f(x - π/2)] / 2."""
    ((shift, coefficient),) = shift_rule((1.0,))
    assert shift == pytest.approx(math.pi / 2, rel=1e-15)
    assert coefficient == pytest.approx(0.5, rel=1e-15)


def test_four_terms_of_a_controlled_rotation() -> None:
    """Anselmetti et al. 2021 (arXiv 2104.05695): shifts π/2 and 3π/2, coefficients (√2 ± 1) / (4 √2), the second negative."""
    (x1, y1), (x2, y2) = shift_rule((0.5, 1.0))
    assert (x1, x2) == pytest.approx((math.pi / 2, 3 * math.pi / 2), rel=1e-15)
    root = math.sqrt(2)
    assert (y1, y2) == pytest.approx(((root + 1) / (4 * root), -(root - 1) / (4 * root)), rel=1e-14)


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("spacing", [1.0, 0.5, 3.0])
def test_equidistant_rule_of_wierichs(n: int, spacing: float) -> None:
    """Eq. (22) of arXiv 2107.12390: f'(0) = sum_mu f((2mu-1)π/2R) (-1)^(mu-1) / (4R sin²((2mu-1)π/4R)), mu = 1..2R."""
    rule = shift_rule(tuple(spacing * np.arange(1, n + 1)))
    points = (2 * np.arange(1, 2 * n + 1) - 1) * np.pi / (2 * n)
    published = (-1.0) ** np.arange(2 * n) / (4 * n * np.sin(points / 2) ** 2)
    # points beyond π are the negative shifts, by periodicity
    for m, (shift, coefficient) in enumerate(rule):
        assert shift * spacing == pytest.approx(points[m], rel=1e-13)
        assert coefficient / spacing == pytest.approx(published[m], rel=1e-11)
        assert -coefficient / spacing == pytest.approx(published[2 * n - 1 - m], rel=1e-11)


def test_any_fourier_series_is_differentiated_exactly() -> None:
    rng = np.random.default_rng(1)
    eps = np.finfo(float).eps
    for trial in range(300):
        n = int(rng.integers(1, 6))
        irregular, in_eighths = rng.uniform(0.2, 1.5, n), rng.choice(np.arange(1, 17), n, replace=False) / 8.0
        frequencies = np.cumsum(irregular) if trial % 2 else np.sort(in_eighths)
        rule = shift_rule(tuple(frequencies.tolist()))
        a, b, c = rng.normal(size=n), rng.normal(size=n), rng.normal()

        def series(
            t: float, w: np.ndarray = frequencies, a: np.ndarray = a, b: np.ndarray = b, c: float = c
        ) -> float:
            return c + float(a @ np.cos(w * t) + b @ np.sin(w * t))

        t = float(rng.uniform(-5, 5))
        slope = float(frequencies @ (b * np.cos(frequencies * t) - a * np.sin(frequencies * t)))
        found = sum(y * (series(t + x) - series(t - x)) for x, y in rule)
        # rounding: of the values (relative to their size and argument), and of the solved coefficients (condition number)
        matrix = 2 * np.sin(np.outer(frequencies, [x for x, _ in rule]))
        size = np.abs(a).sum() + np.abs(b).sum() + abs(c)
        terms = sum(abs(y) for _, y in rule)
        bound = 50 * eps * size * (terms * 10 + np.linalg.cond(matrix) * np.linalg.norm(frequencies))
        assert abs(found - slope) < bound < 1e-7


def test_frequencies_too_close_are_refused() -> None:
    with pytest.raises(CircuitError, match="too close together"):
        shift_rule((1.0, 1.0 + 1e-9))


def angles_of(values: np.ndarray) -> Angles:
    """Angles of one sample, none depending on data."""
    return Angles(values, np.empty(0, np.int64), np.empty((1, 0)))


def fresh_symbols() -> Callable[[], sympy.Symbol]:
    count = iter(range(10**6))
    return lambda: sympy.Symbol(f"s{next(count)}")


def random_measured(random_circuit: Callable[..., cirq.Circuit], rng: np.random.Generator) -> MeasuredCircuit:
    template, _ = template_from_circuit(random_circuit(rng, 3, 7, fresh_symbols()))
    return MeasuredCircuit(template, ("ZII", "IXZ", "YYI"))


def test_whole_rule_equals_direct_derivative(
    random_circuit: Callable[..., cirq.Circuit], dense: SimpleNamespace
) -> None:
    """Against the generator inserted into a dense circuit, for every angle, every kind of gate."""
    rng = np.random.default_rng(2)
    coordinator = dense.coordinator()
    for _ in range(10):
        circuit = random_measured(random_circuit, rng)
        wanted = np.arange(circuit.template.n_angles)
        angles = angles_of(rng.uniform(-3, 3, len(wanted)))
        shifted = EvaluationPlan(
            circuit, angles, wanted, ParameterShift().derivative(circuit.template, wanted)
        )
        direct = EvaluationPlan(circuit, angles, wanted, DirectDerivative())
        # coefficients are below 2, values within rounding of a few dozen gates
        np.testing.assert_allclose(
            coordinator.evaluate(shifted).jacobian, coordinator.evaluate(direct).jacobian, atol=1e-11
        )


def test_cost_is_two_circuits_per_frequency(
    random_circuit: Callable[..., cirq.Circuit], dense: SimpleNamespace
) -> None:
    rng = np.random.default_rng(3)
    circuit = random_measured(random_circuit, rng)
    every = np.arange(circuit.template.n_angles)
    for wanted in (every, every[::2], every[:0]):
        derivative = ParameterShift().derivative(circuit.template, wanted)
        expected = 1 + 2 * sum(len(circuit.template.gate_of_angle[k].frequencies) for k in wanted)
        angles = angles_of(rng.uniform(-3, 3, len(every)))
        plan = EvaluationPlan(circuit, angles, wanted, derivative)
        assert plan.n_circuits == expected
        sampled = EvaluationPlan(
            circuit, angles, wanted, derivative, shots=10, noise_keys=noise_keys(1, "t", circuit)
        )
        assert sampled.n_circuits == expected * len(circuit.groups)
        for p in (plan, sampled):
            evaluation = dense.coordinator().evaluate(p)
            assert evaluation.n_circuits == p.n_circuits
            assert evaluation.n_shots == p.n_circuits * (p.shots or 0)


def test_row_of_zero_displacements_comes_first() -> None:
    template, _ = template_from_circuit(cirq.Circuit(cirq.rx(sympy.Symbol("a"))(cirq.LineQubit(0))))
    derivative = ParameterShift().derivative(template, np.array([0]))
    assert derivative.displacements.indptr.tolist() == [0, 0, 1, 2]
    np.testing.assert_allclose(derivative.displacements.deltas, [np.pi / 2, -np.pi / 2])


def test_shot_noise_of_the_jacobian_is_as_predicted(dense: SimpleNamespace) -> None:
    """Over 300 independent draws: the mean is the exact derivative within its standard error, the scatter is the predicted one."""
    a, b = sympy.symbols("a b")
    q = cirq.LineQubit.range(2)
    template, _ = template_from_circuit(cirq.Circuit(cirq.ry(a)(q[0]), cirq.rx(b).controlled()(q[0], q[1])))
    circuit = MeasuredCircuit(template, ("ZI", "IZ", "XZ"))
    wanted = np.arange(2)
    angles = angles_of(np.array([0.9, -1.3]))
    derivative = ParameterShift().derivative(template, wanted)
    coordinator = dense.coordinator()
    exact = coordinator.evaluate(EvaluationPlan(circuit, angles, wanted, derivative)).jacobian
    n, shots = 300, 50
    keys = noise_keys(7, "test", circuit)
    answers = [
        coordinator.evaluate(
            EvaluationPlan(circuit, angles, wanted, derivative, shots=shots, step=step, noise_keys=keys)
        )
        for step in range(n)
    ]
    draws = np.array([answer.jacobian for answer in answers])[:, 0]
    predicted = np.mean([answer.jacobian_variances for answer in answers], axis=0)[0]
    scatter = draws.var(axis=0, ddof=1)
    # 6 derivatives: 4.5 standard errors are passed by chance once in 25,000 runs, and the seed is fixed
    assert (np.abs(draws.mean(axis=0) - exact[0]) <= 4.5 * np.sqrt(predicted / n)).all()
    # a sample variance of n near-normal draws has the relative error sqrt(2 / n)
    felt = predicted > 1e-12
    assert felt.sum() >= 5
    np.testing.assert_allclose(scatter[felt], predicted[felt], rtol=4.5 * math.sqrt(2 / n))
    np.testing.assert_allclose(scatter[~felt], 0, atol=1e-12)
