"""Losses: values from closed forms in high precision, in the tails too; predictions and metrics."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest

from orchestrator.losses.cross_entropy import BinaryCrossEntropy, CrossEntropy
from orchestrator.losses.mse import MeanSquaredError


def exact_binary(logit: float, target: int) -> tuple[float, float]:
    """-log p(target) and its derivative, to the last digit of a float."""
    with localcontext(prec=350):  # 1 + exp(-700) needs 305 digits
        z = Decimal(logit)
        positive = 1 / (1 + (-z).exp())
        negative = 1 / (1 + z.exp())
        return float(-(positive if target else negative).ln()), float(-negative if target else positive)


@pytest.mark.parametrize("logit", [0.0, 1e-9, 0.3, -2.0, 15.0, -40.0, 40.0, 300.0, -300.0, 700.0])
@pytest.mark.parametrize("target", [0, 1])
def test_binary_cross_entropy_keeps_its_digits(logit: float, target: int) -> None:
    value, gradient = BinaryCrossEntropy().value_and_gradient(np.array([[logit]]), np.array([target]))
    expected = exact_binary(logit, target)
    assert value == pytest.approx(expected[0], rel=1e-14, abs=0)
    assert gradient[0, 0] == pytest.approx(expected[1], rel=1e-14, abs=0)


def test_binary_cross_entropy_does_not_overflow() -> None:
    logits = np.array([[1e308], [-1e308]])
    with np.errstate(all="raise", under="ignore"):
        value, gradient = BinaryCrossEntropy().value_and_gradient(logits, np.array([1, 0]))
        worst, steepest = BinaryCrossEntropy().value_and_gradient(logits / 1e3, np.array([0, 1]))
    assert value == 0.0
    np.testing.assert_array_equal(gradient, 0)
    assert worst == pytest.approx(1e305)
    np.testing.assert_array_equal(steepest, [[0.5], [-0.5]])


def test_cross_entropy_against_high_precision() -> None:
    rng = np.random.default_rng(1)
    for scale in (1.0, 10.0, 100.0):
        logits, targets = scale * rng.normal(size=(20, 4)), rng.integers(0, 4, 20)
        value, gradient = CrossEntropy().value_and_gradient(logits, targets)
        with localcontext(prec=60):
            powers = [[Decimal(z).exp() for z in row] for row in logits.tolist()]
            losses = [-(row[t] / sum(row)).ln() for row, t in zip(powers, targets.tolist(), strict=True)]
            assert value == pytest.approx(float(sum(losses) / 20), rel=1e-13)
            for row, t, found in zip(powers, targets.tolist(), gradient, strict=True):
                exact = [float((p / sum(row) - (j == t)) / 20) for j, p in enumerate(row)]
                np.testing.assert_allclose(found, exact, atol=1e-16 * 20)


def test_cross_entropy_does_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        value, _ = CrossEntropy().value_and_gradient(
            np.array([[1e300, 0.0], [0.0, -1e300]]), np.array([0, 0])
        )
    assert value == 0.0


def test_two_class_cross_entropy_is_the_binary_one() -> None:
    rng = np.random.default_rng(2)
    logits, targets = rng.normal(size=(10, 2)), rng.integers(0, 2, 10)
    two, _ = CrossEntropy().value_and_gradient(logits, targets)
    one, _ = BinaryCrossEntropy().value_and_gradient(logits[:, 1:] - logits[:, :1], targets)
    assert two == pytest.approx(one, rel=1e-14)


def test_classification_predictions_and_metrics() -> None:
    outputs = np.array([[2.0], [-1.0], [0.5], [-3.0]])
    targets = np.array([1, 0, 0, 1])
    answer = BinaryCrossEntropy().predict(outputs)
    np.testing.assert_array_equal(answer["prediction"], [1, 0, 1, 0])
    np.testing.assert_allclose(answer["probability"][:, 1], 1 / (1 + np.exp(-outputs[:, 0])), rtol=1e-15)
    np.testing.assert_allclose(answer["probability"].sum(axis=1), 1, rtol=1e-15)
    metrics = BinaryCrossEntropy().metrics(outputs, targets)
    assert metrics["accuracy"] == 0.5
    assert metrics["loss"] == BinaryCrossEntropy().value_and_gradient(outputs, targets)[0]

    logits = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, -2.0]])
    answer = CrossEntropy().predict(logits)
    np.testing.assert_array_equal(answer["prediction"], [1, 0])
    np.testing.assert_allclose(
        answer["probability"], np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-14
    )
    assert CrossEntropy().metrics(logits, np.array([1, 1]))["accuracy"] == 0.5


def test_mean_squared_error() -> None:
    outputs, targets = np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 4.0, 1.0])
    value, gradient = MeanSquaredError().value_and_gradient(outputs, targets)
    assert value == pytest.approx(13 / 3)
    np.testing.assert_allclose(gradient, [[0], [-4 / 3], [2]])
    metrics = MeanSquaredError().metrics(outputs, targets)
    assert metrics == pytest.approx({"loss": 13 / 3, "rmse": (13 / 3) ** 0.5, "r2": 1 - 13 / 6})
    assert MeanSquaredError().metrics(targets[:, None], targets)["r2"] == 1.0
    assert MeanSquaredError().metrics(outputs, np.ones(3))["r2"] == 0.0
    np.testing.assert_array_equal(MeanSquaredError().predict(outputs)["prediction"], [1, 2, 4])
