"""Statistics of repeated trainings, against scipy, published examples, and simulated trainings of which the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pipelines.studies.statistics import holm, mean_and_error, paired_test, pareto_front

N_TRIALS = 1000


def test_holm_on_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (5, 5), (1, 9), (30, 12)])
def test_one_seed_of_classes_is_the_binomial_test(better: int, worse: int) -> None:
    gain = np.repeat([1.0, -1.0, 0.0], [better, worse, 7])
    found = paired_test([gain], n_train=100, same_samples=True, is_classes=True)
    n = better + worse
    expected = stats.binomtest(better, n, 0.5).pvalue if n else 1.0
    assert found.p == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("same_samples", [False, True])
def test_few_samples_that_all_agree_are_no_more_than_a_sign_test(same_samples: bool) -> None:
    gains = [np.ones(3), np.ones(3)]
    found = paired_test(gains, n_train=12, same_samples=same_samples, is_classes=True)
    assert found.p == pytest.approx(stats.binomtest(3, 3, 0.5).pvalue)
    nothing = paired_test([np.zeros(3)] * 2, n_train=12, same_samples=same_samples, is_classes=True)
    assert (nothing.p, nothing.low, nothing.high) == (1.0, 0.0, 0.0)


def test_one_seed_of_values_is_the_paired_t_test() -> None:
    gain = np.random.default_rng(1).normal(0.2, 1.0, 30)
    found = paired_test([gain], n_train=100, same_samples=True, is_classes=False)
    expected = stats.ttest_1samp(gain, 0.0)
    low, high = expected.confidence_interval()
    assert (found.p, found.low, found.high) == pytest.approx((expected.pvalue, low, high), rel=1e-9)


def test_corrected_resampled_t_is_nadeau_and_bengios() -> None:
    """With a spread over seeds far above what the samples alone give, so that these do not matter."""
    means = np.array([0.3, -0.1, 0.25, 0.05, 0.2])
    gains = [np.full(40, mean) for mean in means]
    found = paired_test(gains, n_train=160, same_samples=False, is_classes=True)
    t = means.mean() / math.sqrt((1 / 5 + 40 / 160) * means.var(ddof=1))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 4), rel=1e-9)
    assert found.low + found.high == pytest.approx(2 * means.mean())


def test_seeds_that_happen_to_agree_prove_nothing() -> None:
    gain = np.zeros(10)
    gain[0] = 1.0  # one sample of ten, in each of two seeds
    found = paired_test([gain, gain.copy()], n_train=40, same_samples=False, is_classes=True)
    assert found.p > 0.4
    assert found.low < 0 < found.high


def trial(rng: np.random.Generator, effect: float, *, same_samples: bool) -> float:
    """p of two kinds of trainings on splits of one data set: rows that are hard, trainings that turn out well or badly, and luck."""
    n_rows, n_test, n_seeds = 200, 40, 5
    hardness = rng.normal(0.0, 1.0, (2, n_rows))  # of a row, for each of the two
    fixed = rng.choice(n_rows, n_test, replace=False)
    gains = []
    for _ in range(n_seeds):
        rows = fixed if same_samples else rng.choice(n_rows, n_test, replace=False)
        luck = rng.normal(0.0, 0.3, 2)
        right = [
            rng.normal(0.0, 0.5, n_test) + hardness[i, rows] + luck[i] + (effect if i == 0 else 0.0) > 0.0 for i in (0, 1)
        ]  # fmt: skip
        gains.append(right[0].astype(float) - right[1].astype(float))
    return paired_test(gains, n_train=n_rows - n_test, same_samples=same_samples, is_classes=True).p


@pytest.mark.parametrize("same_samples", [False, True])
def test_equals_are_told_apart_in_no_more_than_five_of_a_hundred(same_samples: bool) -> None:
    rng = np.random.default_rng(7)
    rate = np.mean([trial(rng, 0.0, same_samples=same_samples) < 0.05 for _ in range(N_TRIALS)])
    assert rate <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / N_TRIALS)


@pytest.mark.parametrize("same_samples", [False, True])
def test_what_differs_much_is_told_apart(same_samples: bool) -> None:
    rng = np.random.default_rng(8)
    assert np.mean([trial(rng, 3.0, same_samples=same_samples) < 0.05 for _ in range(100)]) > 0.8


def test_the_front_is_what_nothing_beats() -> None:
    rng = np.random.default_rng(9)
    costs, merits = rng.integers(1, 6, 40).tolist(), rng.integers(1, 6, 40).tolist()
    for i, on_front in enumerate(pareto_front(costs, merits)):
        beaten = any(
            costs[j] <= costs[i] and merits[j] >= merits[i] and (costs[j] < costs[i] or merits[j] > merits[i]) for j in range(40)
        )  # fmt: skip
        assert on_front is not beaten


def test_mean_and_error() -> None:
    assert mean_and_error([1.0]) == (1.0, None)
    assert mean_and_error([1.0, 2.0, 3.0]) == (2.0, pytest.approx(stats.sem([1.0, 2.0, 3.0])))
