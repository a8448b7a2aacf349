"""Figures of merit against scikit-learn's, intervals against published examples and against what they promise."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from orchestrator.losses.cross_entropy import BinaryCrossEntropy, CrossEntropy
from orchestrator.losses.mse import MeanSquaredError
from pipelines.evaluate.comparison import compared, mcnemar
from pipelines.evaluate.intervals import bootstrap, mean_interval, n_resamples, wilson
from pipelines.evaluate.measures import Predictions, measures

ROUNDING = 1e-12


def classes(rng: np.random.Generator, n: int, k: int, ties: bool = False) -> Predictions:
    """Logits that know something of the classes."""
    actual = rng.integers(0, k, n)
    if k == 2:
        logits = rng.normal(0, 1.5, (n, 1)) + (2.0 * actual[:, None] - 1)
    else:
        logits = rng.normal(0, 1, (n, k)) + 1.2 * (actual[:, None] == np.arange(k))
    logits = np.round(logits) if ties else logits
    return Predictions.of(BinaryCrossEntropy() if k == 2 else CrossEntropy(), logits, actual)


def values(rng: np.random.Generator, n: int) -> Predictions:
    actual = 1e4 + rng.normal(0, 2, n)
    return Predictions.of(MeanSquaredError(), (actual + rng.normal(0, 1, n))[:, None], actual)


def by_scikit_learn(told: Predictions) -> dict[str, float]:
    actual, predicted, probability = told.actual, told.predicted, told.probability
    if probability is None:
        return {
            "rmse": reference.root_mean_squared_error(actual, predicted),
            "mae": reference.mean_absolute_error(actual, predicted),
            "r2": reference.r2_score(actual, predicted),
        }
    labels = list(range(probability.shape[1]))
    found = {
        "accuracy": reference.accuracy_score(actual, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(actual, predicted),
        "macro_f1": reference.f1_score(actual, predicted, average="macro"),
        "log_loss": reference.log_loss(actual, probability, labels=labels),
    }
    if len(labels) == 2:
        return found | {
            "brier": reference.brier_score_loss(actual, probability[:, 1]),
            "roc_auc": reference.roc_auc_score(actual, probability[:, 1]),
        }
    return found | {"brier": reference.brier_score_loss(actual, probability, labels=labels)}


@pytest.mark.parametrize("kind", [2, 3, 5, "ties", "values"])
def test_measures_are_scikit_learns(kind: int | str) -> None:
    rng = np.random.default_rng(1)
    told = (
        values(rng, 80)
        if kind == "values"
        else classes(rng, 80, 2 if kind == "ties" else int(kind), kind == "ties")
    )
    found = {name: float(one[0]) for name, one in measures(told).items()}
    wanted = by_scikit_learn(told)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        # r2 and rmse lose digits to a mean of 1e4 in scikit-learn as well: 1e4² eps
        assert found[name] == pytest.approx(value, abs=1e-7 if kind == "values" else ROUNDING), name


@pytest.mark.parametrize("kind", [2, 4, "values"])
def test_counts_stand_for_repeated_samples(kind: int | str) -> None:
    rng = np.random.default_rng(2)
    told = values(rng, 25) if kind == "values" else classes(rng, 25, int(kind))
    rows = rng.integers(0, 25, (6, 25))
    counts = np.stack([np.bincount(row, minlength=25) for row in rows]).astype(float)
    found = measures(told, counts)
    for r, row in enumerate(rows):
        part = Predictions(
            told.task, told.predicted[row], None if told.probability is None else told.probability[row], told.actual[row]
        )  # fmt: skip
        with warnings.catch_warnings():  # scikit-learn's word for a class that is predicted and not there
            warnings.simplefilter("ignore")
            wanted = by_scikit_learn(part)
        for name, value in wanted.items():
            if not math.isnan(value):
                assert found[name][r] == pytest.approx(value, abs=1e-7 if kind == "values" else ROUNDING), (
                    name
                )


def test_what_is_not_defined_is_left_out() -> None:
    one_class = Predictions.of(BinaryCrossEntropy(), np.array([[1.0], [-1.0]]), np.array([1, 1]))
    assert math.isnan(measures(one_class)["roc_auc"][0])
    assert "roc_auc" not in bootstrap(one_class, 0)
    assert measures(Predictions.of(CrossEntropy(), np.eye(3), None)) == {}


@pytest.mark.parametrize(
    ("n_right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(n_right: int, n: int, low: float, high: float) -> None:
    """R. G. Newcombe, Statistics in Medicine 17, 857 (1998), table I, method 3."""
    found = wilson(n_right, n)
    assert found == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    mirrored = wilson(n - n_right, n)
    assert mirrored.low == pytest.approx(1 - found.high, abs=ROUNDING)


@pytest.mark.parametrize(("n_right", "n"), [(3, 2), (-1, 5), (0, 0)])
def test_wilson_of_no_share(n_right: int, n: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(n_right, n)


def test_bootstrap_is_as_wide_as_theory_says() -> None:
    """Log loss and squared error are means, with known standard errors; the AUC has DeLong's, which the bootstrap meets to some percent."""
    rng = np.random.default_rng(3)
    told = classes(rng, 400, 2)
    found = bootstrap(told, 7)
    given = told.probability[np.arange(400), told.actual]
    error = np.std(-np.log(given)) / 20
    # the quantiles of 2000 resamples: standard error of a 2.5 % quantile over the density there, relative to the width
    tolerance = 4 * math.sqrt(0.025 * 0.975 / n_resamples(400)) / 0.0584 / (2 * 1.96)
    low, high = found["log_loss"]
    assert (high - low) / (2 * 1.96 * error) == pytest.approx(1, abs=tolerance)
    low, high = found["roc_auc"]
    assert (high - low) / (2 * 1.96 * delong(told)) == pytest.approx(1, abs=tolerance + 0.05)
    assert bootstrap(told, 7) == found
    assert bootstrap(told, 8) != found


def delong(told: Predictions) -> float:
    """Standard error of the area under the curve (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 837 (1988))."""
    score = told.probability[:, 1]
    positive, negative = score[told.actual == 1], score[told.actual == 0]
    won = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return float(
        np.sqrt(won.mean(axis=1).var(ddof=1) / len(positive) + won.mean(axis=0).var(ddof=1) / len(negative))
    )


def test_large_sets_are_resampled_less_often() -> None:
    assert (n_resamples(100), n_resamples(200_000), n_resamples(10**8)) == (2000, 1000, 200)


def test_mean_interval_is_that_of_a_normal() -> None:
    gain = np.random.default_rng(0).normal(0.2, 1, 500)
    low, high = mean_interval(gain, 0)
    assert (high - low) / (2 * 1.96 * gain.std() / math.sqrt(500)) == pytest.approx(1, abs=0.12)
    assert low < gain.mean() < high


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [(9, 2, 0.06543), (2, 9, 0.06543), (0, 0, 1.0), (5, 5, 1.0), (0, 6, 0.03125)],
)
def test_mcnemar(first: int, second: int, p_value: float) -> None:
    """The first as in the documentation of R's exact2x2; the others by hand."""
    assert mcnemar(first, second) == pytest.approx(p_value, rel=1e-4)


def test_mcnemar_against_whole_numbers() -> None:
    for n in (3, 40, 201):
        for k in (0, n // 3, n // 2):
            exact = min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)
            assert mcnemar(k, n - k) == pytest.approx(exact, rel=1e-9)


def test_compared_counts_pairs() -> None:
    loss, actual = BinaryCrossEntropy(), np.array([1, 1, 1, 1, 0, 0, 0, 0, 1, 0])
    sure = 2.0 * actual[:, None] - 1.0
    worse = sure.copy()
    worse[:7] *= -1
    own, other = Predictions.of(loss, sure, actual), Predictions.of(loss, worse, actual)
    found = compared("old", own, other, {}, 0)
    assert (found.only_own_right, found.only_other_right) == (7, 0)
    assert found.p_value == pytest.approx(2 / 2**7)
    assert found.differences[0].value == pytest.approx(0.7)
    assert found.differences[1].value == pytest.approx(0.7)  # log(1+e) - log(1+1/e) = 1 for each of the seven
    assert found.verdict == "better than old"
    assert compared("new", other, own, {}, 0).verdict == "worse than new"
    assert compared("same", own, own, {}, 0).verdict == "no difference seen"


def test_r2_of_equal_targets_is_left_out_of_its_interval() -> None:
    """One in nine resamples of three samples has one of them only; a spread that is rounding would make R² minus 1e16."""
    actual = np.array([-2.2, 0.05, 0.68])
    told = Predictions("regression", actual + 0.1, None, actual)
    assert bootstrap(told, 1)["r2"].low > 0.8
    equal = Predictions("regression", np.array([0.1, 0.2, 0.3]), None, np.full(3, 0.1))
    assert np.isnan(measures(equal)["r2"]).all()
