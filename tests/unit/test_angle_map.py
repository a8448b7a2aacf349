"""AngleMap: angles as sympy computes them, and the chain rule as finite differences have it."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from orchestrator.errors import CircuitError
from orchestrator.models.angle_map import AngleMap

PARAMS = sympy.symbols("p0:4")
FEATURES = sympy.symbols("x0:3")


def random_expressions(rng: np.random.Generator, n_angles: int) -> list[sympy.Expr]:
    """Sums of terms: constants, parameters, monomials of the features, and products of both; some angles without any."""
    expressions = []
    for _ in range(n_angles):
        total = sympy.Float(rng.normal()) if rng.random() < 0.5 else sympy.Integer(0)
        for _ in range(rng.integers(0, 4)):
            term = (
                sympy.Float(rng.normal())
                if rng.random() < 0.5
                else sympy.Rational(int(rng.integers(1, 9)), 7) * sympy.pi
            )
            if rng.random() < 0.7:
                term *= PARAMS[rng.integers(len(PARAMS))]
            for _ in range(rng.integers(0, 4)):
                term *= FEATURES[rng.integers(len(FEATURES))]
            total += term
        expressions.append(sympy.expand(total))
    return expressions


def full_angles(mapping: AngleMap, params: np.ndarray, features: np.ndarray) -> np.ndarray:
    """[S, K], written out."""
    angles = mapping.angles(params, features)
    assert angles.shared.dtype == angles.data.dtype == np.float64
    assert angles.shared.shape == (mapping.n_angles,)
    assert angles.data.shape == (len(features), len(angles.columns))
    table = np.tile(angles.shared, (len(features), 1))
    table[:, angles.columns] = angles.data
    return table


def test_angles_are_what_sympy_says() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        expressions = random_expressions(rng, int(rng.integers(1, 7)))
        mapping = AngleMap.from_expressions(expressions, PARAMS, FEATURES)
        params, features = rng.normal(size=4), rng.uniform(-2, 2, (3, 3))
        found = full_angles(mapping, params, features)
        for s, row in enumerate(features):
            point = dict(zip([*PARAMS, *FEATURES], map(float, [*params, *row]), strict=True))
            # terms are at most a few hundred in size and at most five in number
            np.testing.assert_allclose(
                found[s], [float(e.subs(point)) for e in expressions], rtol=1e-13, atol=1e-12
            )


def test_pullback_is_the_transposed_derivative() -> None:
    """Angles are linear in the parameters, so a unit step in one parameter gives its exact column of the Jacobian."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        mapping = AngleMap.from_expressions(
            random_expressions(rng, int(rng.integers(1, 7))), PARAMS, FEATURES
        )
        params, features = rng.normal(size=4), rng.uniform(-2, 2, (3, 3))
        weights = rng.normal(size=(3, mapping.n_angles))
        base = full_angles(mapping, params, features)
        expected = [
            np.sum(weights * (full_angles(mapping, params + step, features) - base)) for step in np.eye(4)
        ]
        np.testing.assert_allclose(mapping.pullback(weights, features), expected, rtol=1e-12, atol=1e-10)


def test_data_columns_and_moved_by() -> None:
    p, x = PARAMS, FEATURES
    expressions = [p[0], x[0], p[1] * x[1], sympy.Float(0.3), p[0] + 2 * p[1], p[2] + x[2] ** 2]
    mapping = AngleMap.from_expressions(expressions, p, x)
    np.testing.assert_array_equal(mapping.data_columns, [1, 2, 5])

    def moved(*trainable: int) -> list[int]:
        return mapping.moved_by(np.isin(np.arange(4), trainable)).tolist()

    assert moved(0) == [0, 4]
    assert moved(1) == [2, 4]
    assert moved(2) == [5]
    assert moved(3) == moved() == []
    assert moved(0, 1, 2, 3) == [0, 2, 4, 5]


@pytest.mark.parametrize(("n_params", "n_features"), [(0, 1), (1, 0), (0, 0)])
def test_without_parameters_or_features(n_params: int, n_features: int) -> None:
    params, features = PARAMS[:n_params], FEATURES[:n_features]
    mapping = AngleMap.from_expressions([*params, *features, sympy.Float(0.5)], params, features)
    values, rows = np.full(n_params, 0.25), np.full((2, n_features), 0.75)
    expected = [[0.25] * n_params + [0.75] * n_features + [0.5]] * 2
    np.testing.assert_array_equal(full_angles(mapping, values, rows), expected)
    gradient = mapping.pullback(np.ones((2, mapping.n_angles)), rows)
    np.testing.assert_array_equal(gradient, [2.0] * n_params)
    assert gradient.dtype == np.float64


def test_no_angles_and_no_samples() -> None:
    nothing = AngleMap.from_expressions([], PARAMS, FEATURES)
    assert full_angles(nothing, np.zeros(4), np.zeros((2, 3))).shape == (2, 0)
    np.testing.assert_array_equal(nothing.pullback(np.zeros((2, 0)), np.zeros((2, 3))), np.zeros(4))
    mapping = AngleMap.from_expressions([PARAMS[0] * FEATURES[0]], PARAMS, FEATURES)
    assert full_angles(mapping, np.ones(4), np.zeros((0, 3))).shape == (0, 1)
    np.testing.assert_array_equal(mapping.pullback(np.zeros((0, 1)), np.zeros((0, 3))), np.zeros(4))


@pytest.mark.parametrize(
    "expressions", [[FEATURES[1], FEATURES[0]], [FEATURES[1] ** 2 * FEATURES[0], FEATURES[2]]]
)
def test_monomials(expressions: list[sympy.Expr]) -> None:
    """Both ways of encoding: plain features, and products of powers (negative features included)."""
    mapping = AngleMap.from_expressions(expressions, [], FEATURES)
    features = np.array([[-1.5, 2.0, 0.0], [0.5, -3.0, 4.0]])
    expected = [
        [float(e.subs(dict(zip(FEATURES, row, strict=True)))) for e in expressions]
        for row in features.tolist()
    ]
    np.testing.assert_allclose(full_angles(mapping, np.empty(0), features), expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (PARAMS[0] ** 2, "not linear in the parameters"),
        (PARAMS[0] * PARAMS[1], "not linear in the parameters"),
        (sympy.sin(PARAMS[0]), "not a polynomial"),
        (sympy.sin(FEATURES[0]) * PARAMS[0], "not a polynomial"),
        (PARAMS[0] / FEATURES[0], "not a polynomial"),
        (sympy.sqrt(FEATURES[0]), "not a polynomial"),
        (sympy.I * PARAMS[0], "not a real number"),
        (sympy.Symbol("stranger") + PARAMS[0], "stranger .* neither a parameter nor a feature"),
    ],
)
def test_refusals_show_the_expression(expression: sympy.Expr, message: str) -> None:
    with pytest.raises(CircuitError, match=message) as caught:
        AngleMap.from_expressions([expression], PARAMS, FEATURES)
    assert str(expression) in str(caught.value)
