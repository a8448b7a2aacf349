"""Learning-rate schedules against what their names promise."""

from __future__ import annotations

import math

import pytest

from orchestrator.config import OptimizerConfig
from orchestrator.optimizers.schedules import constant, cosine, exponential, plateau, step

CONFIG = OptimizerConfig(learning_rate=0.8, schedule_factor=0.5, schedule_epochs=3)


def test_constant() -> None:
    assert [constant(CONFIG, e, 9, []) for e in range(9)] == [0.8] * 9


def test_step() -> None:
    assert [step(CONFIG, e, 9, []) for e in range(9)] == pytest.approx([0.8] * 3 + [0.4] * 3 + [0.2] * 3)


def test_exponential() -> None:
    assert [exponential(CONFIG, e, 4, []) for e in range(4)] == pytest.approx([0.8, 0.4, 0.2, 0.1])


def test_cosine() -> None:
    config = OptimizerConfig(learning_rate=0.8, minimum_learning_rate=0.2)
    assert [cosine(config, e, 5, []) for e in range(5)] == pytest.approx(
        [0.8, 0.5 + 0.3 * math.cos(math.pi / 4), 0.5, 0.5 - 0.3 * math.cos(math.pi / 4), 0.2]
    )
    assert cosine(config, 0, 1, []) == pytest.approx(0.8), "a single epoch has the initial rate"
    assert cosine(config, 7, 5, []) == pytest.approx(0.2), "beyond the end it stays at the minimum"


@pytest.mark.parametrize(
    ("history", "drops"),
    [
        ([], 0),
        ([3.0, 2.0, 1.0, 0.5], 0),
        ([1.0, 1.0, 1.0], 0),
        ([1.0, 1.0, 1.0, 1.0], 1),
        ([1.0, 2.0, 3.0, 0.9, 1.0, 1.0], 0),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 2),
        ([1.0, 2.0, 3.0, 4.0, 0.5, 6.0, 7.0, 8.0], 2),
        ([1.0, float("nan"), float("nan"), float("nan")], 1),
    ],
)
def test_plateau(history: list[float], drops: int) -> None:
    assert plateau(CONFIG, len(history), 99, history) == pytest.approx(0.8 * 0.5**drops)
