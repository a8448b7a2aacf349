"""docs/gradients.md: a section for every registered rule, and the circuits that it says a rule takes are those that the rule asks for."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from orchestrator.config import GradientConfig, ModelConfig
from orchestrator.gradients.base import drive, predict
from orchestrator.gradients.problem import GradientProblem
from orchestrator.losses.mse import MeanSquaredError
from orchestrator.models.model import Model
from orchestrator.planning.shift_rule import shift_rule
from orchestrator.registry import GRADIENT_RULES, resolve
from pipelines.frontends import Executor

PAGE = (Path(__file__).parents[2] / "docs" / "gradients.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", PAGE, re.M | re.S))
IN_TABLE = dict(re.findall(r"^\| \[`(\w+)`\]\(#\w+\) \| `([^`]+)` \|", PAGE, re.M))
S = 5
A, B, C, D, X = sympy.symbols("a b c d x")
Q = cirq.LineQubit.range(2)


def pauli_rotations() -> Model:
    """Four parameters, each in one Pauli rotation that is felt, in two levels; strings of two settings."""
    circuit = cirq.Circuit(
        cirq.ry(X)(Q[0]), cirq.ry(A)(Q[0]), cirq.rx(B)(Q[1]), cirq.CNOT(*Q), cirq.ry(C)(Q[0]), cirq.ry(D)(Q[1])
    )  # fmt: skip
    return Model.from_circuit(circuit, features=[X], observables=["Z0 + 0.5*X0 + Z0*Z1"])


def shared_and_controlled() -> Model:
    """Two parameters: one in a controlled rotation of two frequencies, one in two Pauli rotations. One in none that is felt."""
    circuit = cirq.Circuit(
        cirq.ry(X)(Q[0]), cirq.rx(B)(Q[0]), cirq.ry(A).controlled()(*Q), cirq.rx(B)(Q[1]), cirq.rz(C)(Q[1])
    )  # fmt: skip
    return Model.from_circuit(circuit, features=[X], observables=["Z0 + Z1"])


def problem(model: Model, shots: int | None = None, has_jacobian: bool = False) -> GradientProblem:
    features, targets = np.full((S, model.n_features), 0.3), np.zeros(S)
    return GradientProblem(
        model,
        MeanSquaredError(),
        model.initial_params(1),
        features,
        targets,
        shots,
        step=0,
        seed=7,
        has_jacobian=has_jacobian,
    )


def asked_for(rule: str, at: GradientProblem, **options: Any) -> int:
    config = GradientConfig(rule=rule, **options)
    return predict(resolve("gradient rule", rule)(config), at).n_circuits


def said(expression: str, **values: int) -> int:
    """The page's expression with the numbers of a problem, counted by hand here."""
    return int(eval(expression, {"__builtins__": {}}, values))


def test_every_rule_has_a_section_and_a_cost() -> None:
    assert sorted(SECTIONS) == sorted(IN_TABLE) == sorted(GRADIENT_RULES)
    for name, text in SECTIONS.items():
        for part in ("```math", "- **Circuits**: ", "**Bias", "ariance**", "- **Source**: ", "- **When**: "):
            assert part in text, f"{name}: no {part}"
        assert f"- **Circuits**: `{IN_TABLE[name]}`" in text, f"{name}: the table says otherwise"


@pytest.mark.parametrize(
    ("rule", "shots"),
    [
        (rule, shots)
        for rule in sorted(GRADIENT_RULES)
        for shots in (None, 100)
        if shots is None or rule != "adjoint"
    ],
)
def test_the_table_says_what_a_step_takes(rule: str, shots: int | None) -> None:
    options: dict[str, Any] = {
        "stochastic_parameter_shift": {"fraction": 0.5},
        "guided_spsa": {"guide_fraction": 0.3, "perturbations": 3},
        "spsa": {"perturbations": 3},
        "qn_spsa": {"perturbations": 3},
    }.get(rule, {})
    at = problem(pauli_rotations(), shots)
    counted = said(IN_TABLE[rule], S=S, P=4, K=4, T=4, G=2 if shots else 1, M=3, k=2, n=2, B=2, D=2)
    assert asked_for(rule, at, **options) == counted


@pytest.mark.parametrize(
    ("rule", "options", "expression"),
    [
        ("parameter_shift", {}, "G * S * (1 + 2 * T)"),
        ("finite_difference", {}, "G * S * (1 + 2 * K)"),
        ("finite_difference", {"stencil": "forward"}, "G * S * (1 + K)"),
        ("guided_spsa", {}, "G * (n * (1 + 2 * T) + (S - n) * 2 * M)"),
    ],
)
def test_several_frequencies_and_shared_parameters(
    rule: str, options: dict[str, Any], expression: str
) -> None:
    assert f"`{expression}`" in SECTIONS[rule]
    counted = said(expression, S=S, K=3, T=4, G=1, M=1, n=2)
    assert asked_for(rule, problem(shared_and_controlled()), **options) == counted


@pytest.mark.parametrize(
    ("metric", "has_jacobian", "expression"),
    [
        ("full", False, "G * S * (1 + 2 * T) + S * 2 * K * (K + 1)"),
        ("block", True, "S + S * B"),
        ("full", True, "S + S * 2 * K"),
    ],
)
def test_metrics(metric: str, has_jacobian: bool, expression: str) -> None:
    assert f"`{expression}`" in SECTIONS["natural_gradient"]
    at = problem(pauli_rotations(), has_jacobian=has_jacobian)
    counted = said(expression, S=S, T=4, K=4, B=2, G=1)
    assert asked_for("natural_gradient", at, metric=metric) == counted


@pytest.mark.parametrize(("n_qubits", "expression"), [(4, "S"), (10, "2 * S")])
def test_many_strings_of_a_large_circuit_take_two_sweeps(n_qubits: int, expression: str) -> None:
    """(4 - 1) 2^4 < 2^11 <= (10 - 1) 2^10."""
    assert f"`{expression}`" in SECTIONS["adjoint"]
    model = Model.from_config(ModelConfig(n_qubits=n_qubits, n_layers=1, observables="each", head="linear"))
    assert asked_for("adjoint", problem(model, has_jacobian=True)) == said(expression, S=S)


@pytest.mark.parametrize("frequencies", [(1.0,), (0.5, 1.0), (1.0, 2.0, 3.0)])
def test_the_shift_rule_is_the_formula(frequencies: tuple[float, ...]) -> None:
    n = len(frequencies)
    for j, (shift, _) in enumerate(shift_rule(frequencies), start=1):
        assert shift == pytest.approx((2 * j - 1) * math.pi / (2 * frequencies[-1]), rel=1e-15)
    # the derivative of sin(w a) at 0 is w, of cos(w a) 0: the pairs are odd, and so give 0 of themselves
    for w in frequencies:
        found = sum(2 * y * math.sin(w * x) for x, y in shift_rule(frequencies))
        assert found == pytest.approx(w, rel=1e-12 * n)


def test_shots_bias_what_is_quadratic_in_the_values() -> None:
    """With output w v the derivative of the squared error by w is 2 (w v - y) v: in the mean of N shots 2 w (1 - v^2) / N too much. By a
    circuit's parameter, whose displaced circuits have shots of their own, it is right in the mean."""
    shots, n_draws, target, weight = 10, 500, np.array([0.2]), 1.5
    model = Model.from_config(ModelConfig(n_qubits=1, n_layers=1, ansatz="hardware_efficient", head="linear"))
    params = np.array([0.4, 0.0, weight, 0.0])
    features, rule = np.array([[0.5]]), resolve("gradient rule", "parameter_shift")(GradientConfig())

    def drawn(executor: Executor, shots: int | None, step: int) -> np.ndarray:
        at = GradientProblem(
            model, MeanSquaredError(), params, features, target, shots, step=step, seed=7, has_jacobian=False
        )
        return drive(rule.estimate(at), executor.evaluate).gradient

    with Executor("ideal") as exact, Executor("ideal", shots=shots) as sampled:
        true = drawn(exact, None, 0)
        draws = np.array([drawn(sampled, shots, step) for step in range(n_draws)])
    value = math.cos(0.5 + 0.4)
    assert true[2] == pytest.approx(2 * (weight * value - target[0]) * value)
    off, error = draws.mean(axis=0) - true, draws.std(axis=0) / math.sqrt(n_draws)
    predicted = 2 * weight * (1 - value**2) / shots
    assert abs(off[2] - predicted) < 4 * error[2] < predicted
    assert abs(off[0]) < 4 * error[0]
