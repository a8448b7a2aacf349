"""Optimizers: closed forms, an independent textbook Adam, clipping, decoupled weight decay."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from orchestrator.config import OptimizerConfig
from orchestrator.optimizers.build import build_optimizer
from orchestrator.optimizers.transform import GradientTransform, chain, clip_by_norm, clip_by_value, stateless

RNG = np.random.default_rng(1)
GRADIENTS = RNG.normal(size=(30, 5)) * 10.0 ** RNG.integers(-6, 3, (30, 5))
START = RNG.normal(size=5)


def path(config: OptimizerConfig, gradients: np.ndarray = GRADIENTS, start: np.ndarray = START) -> np.ndarray:
    """Parameters after each of the gradients, [N, P]."""
    transform = build_optimizer(config)
    params, state, found = start.copy(), transform.init(start), []
    for gradient in gradients:
        update, state = transform.update(gradient, state, params, config.learning_rate)
        params = params + update
        found.append(params)
    return np.array(found)


def textbook_adam(
    gradients: np.ndarray, start: np.ndarray, rate: float, b1: float, b2: float, epsilon: float
) -> np.ndarray:
    """Algorithm 1 of Kingma & Ba, one component at a time, moments as the sums they stand for."""
    found = np.empty_like(gradients)
    for i in range(gradients.shape[1]):
        theta = start[i]
        for t in range(1, len(gradients) + 1):
            g = gradients[:t, i].tolist()
            m = math.fsum((1 - b1) * b1 ** (t - 1 - j) * g[j] for j in range(t)) / (1 - b1**t)
            v = math.fsum((1 - b2) * b2 ** (t - 1 - j) * g[j] ** 2 for j in range(t)) / (1 - b2**t)
            theta = theta - rate * m / (math.sqrt(v) + epsilon)
            found[t - 1, i] = theta
    return found


@pytest.mark.parametrize(
    ("b1", "b2", "epsilon"), [(0.9, 0.999, 1e-8), (0.0, 0.9, 1e-3), (0.5, 0.0, 1e-8), (0.0, 0.0, 1e-8)]
)
def test_adam_is_the_textbooks(b1: float, b2: float, epsilon: float) -> None:
    config = OptimizerConfig(name="adam", learning_rate=0.03, beta1=b1, beta2=b2, epsilon=epsilon)
    np.testing.assert_allclose(
        path(config), textbook_adam(GRADIENTS, START, 0.03, b1, b2, epsilon), rtol=1e-11, atol=1e-12
    )


def test_adams_first_step_has_the_length_of_the_rate() -> None:
    first = path(OptimizerConfig(name="adam", learning_rate=0.03, epsilon=1e-16))[0]
    np.testing.assert_allclose(first - START, -0.03 * np.sign(GRADIENTS[0]), rtol=1e-9)


def test_sgd_is_a_discounted_sum() -> None:
    rate, momentum = 0.1, 0.8
    found = path(OptimizerConfig(name="sgd", learning_rate=rate, momentum=momentum))
    weights = np.array(
        [[sum(momentum**k for k in range(t - j + 1)) if j <= t else 0 for j in range(30)] for t in range(30)]
    )
    np.testing.assert_allclose(found, START - rate * weights @ GRADIENTS, rtol=1e-12, atol=1e-12)


def test_sgd_without_momentum_is_gradient_descent() -> None:
    found = path(OptimizerConfig(name="sgd", learning_rate=0.1, momentum=0.0))
    np.testing.assert_allclose(found, START - 0.1 * np.cumsum(GRADIENTS, axis=0), rtol=1e-13, atol=1e-13)


def test_nesterov_looks_ahead() -> None:
    """Sutskever's form: step at y = x + momentum·v; in the look-ahead variable y it is the update used here."""
    rate, momentum = 0.05, 0.9
    config = OptimizerConfig(name="sgd", learning_rate=rate, momentum=momentum, nesterov=True)
    transform = build_optimizer(config)

    def slope(y: np.ndarray) -> np.ndarray:
        return np.array([1.0, 10.0]) * y

    y, state = np.array([1.0, -2.0]), transform.init(np.zeros(2))
    x, v = y.copy(), np.zeros(2)
    for _ in range(20):
        v = momentum * v - rate * slope(x + momentum * v)
        x = x + v
        update, state = transform.update(slope(y), state, y, rate)
        y = y + update
        np.testing.assert_allclose(y, x + momentum * v, rtol=1e-12, atol=1e-14)


def test_weight_decay_is_decoupled() -> None:
    """What it takes away depends on the parameters alone, never on the scale of the gradient (AdamW, not L2)."""
    for name in ("adam", "sgd"):
        plain = OptimizerConfig(name=name, learning_rate=0.1)
        decayed = OptimizerConfig(name=name, learning_rate=0.1, weight_decay=0.3)
        for gradient in (GRADIENTS[:1], 1e3 * GRADIENTS[:1], 0 * GRADIENTS[:1]):
            difference = path(decayed, gradient)[0] - path(plain, gradient)[0]
            np.testing.assert_allclose(
                difference, -0.1 * 0.3 * START, rtol=1e-9, atol=1e-9 * abs(gradient).max()
            )


def update_of(transform: GradientTransform, gradient: np.ndarray) -> np.ndarray:
    return transform.update(gradient, transform.init(gradient), gradient, 0.1)[0]


def test_clipping() -> None:
    gradient = np.array([3.0, -4.0])
    np.testing.assert_array_equal(update_of(clip_by_value(3.5), gradient), [3, -3.5])
    np.testing.assert_allclose(update_of(clip_by_norm(1.0), gradient), [0.6, -0.8], rtol=1e-15)
    np.testing.assert_array_equal(update_of(clip_by_norm(5.0), gradient), gradient)
    np.testing.assert_array_equal(update_of(clip_by_norm(1.0), np.zeros(2)), 0)


def test_clipping_comes_before_the_direction() -> None:
    sgd = OptimizerConfig(name="sgd", learning_rate=1.0, momentum=0.0, clip_value=3.5, clip_norm=1.0)
    step = path(sgd, np.array([[3.0, -40.0]]), np.zeros(2))[0]
    np.testing.assert_allclose(step, -np.array([3, -3.5]) / math.hypot(3, 3.5), rtol=1e-15)
    adam = OptimizerConfig(name="adam", clip_norm=1e-3, epsilon=1e-12)
    np.testing.assert_allclose(
        path(adam)[0] - START, path(OptimizerConfig(epsilon=1e-12))[0] - START, rtol=1e-3
    )


def test_chain_keeps_states_apart() -> None:
    def counter(step: float) -> GradientTransform:
        return GradientTransform(
            lambda params: {"n": np.zeros(1)},
            lambda gradient, state, params, rate: (gradient + step * state["n"], {"n": state["n"] + 1}),
        )

    transform = chain(counter(1.0), stateless(lambda g, p, r: 2 * g), *[counter(100.0)] * 11)
    state = transform.init(np.zeros(1))
    assert len(state) == 12, "0/n and 10/n are different states"
    for n in range(3):
        update, state = transform.update(np.ones(1), state, np.zeros(1), 0.1)
        assert update == 2 * (1 + n) + 1100 * n


@pytest.mark.parametrize(
    "make", [lambda: OptimizerConfig(name="adam"), lambda: OptimizerConfig(name="sgd", nesterov=True)]
)
def test_update_changes_nothing_it_was_given(make: Callable[[], OptimizerConfig]) -> None:
    transform = build_optimizer(make())
    state = transform.init(START)
    _, state = transform.update(GRADIENTS[0], state, START, 0.1)
    kept = {key: value.copy() for key, value in state.items()}
    gradient, params = GRADIENTS[1].copy(), START.copy()
    transform.update(gradient, state, params, 0.1)
    np.testing.assert_array_equal(gradient, GRADIENTS[1])
    np.testing.assert_array_equal(params, START)
    for key, value in kept.items():
        np.testing.assert_array_equal(state[key], value)
