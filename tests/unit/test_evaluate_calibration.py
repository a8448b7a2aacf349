"""Calibration: of a predictor that is calibrated, and of ones whose error is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.evaluate.calibration import bins_of, calibration, default_bins

N, REPEATS = 600, 150


def drawn(seed: int, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and who is right where the chance of it is the confidence less `gap`."""
    rng = np.random.default_rng([seed, 5])
    confidence = rng.uniform(0.6, 0.95, N)
    return confidence, rng.random(N) < confidence - gap


@pytest.fixture(scope="module", params=[0.0, 0.15, -0.04])
def repeated(request: pytest.FixtureRequest) -> tuple[float, np.ndarray, np.ndarray]:
    """(gap, debiased squared errors, their standard errors) of many sets."""
    found = [calibration(*drawn(seed, request.param), seed) for seed in range(REPEATS)]
    return (
        request.param,
        np.array([one.debiased for one in found]),
        np.array([one.squared_se for one in found]),
    )


def test_the_debiased_error_is_without_bias(repeated: tuple[float, np.ndarray, np.ndarray]) -> None:
    gap, debiased, _ = repeated
    assert abs(debiased.mean() - gap**2) < 4 * debiased.std(ddof=1) / math.sqrt(REPEATS)


def test_its_standard_error_is_what_it_says(repeated: tuple[float, np.ndarray, np.ndarray]) -> None:
    """A standard deviation of 150 draws is known to 1 in sqrt(300), a little worse for the skew of squares."""
    _, debiased, errors = repeated
    predicted = math.sqrt(float(np.mean(errors**2)))
    assert predicted / debiased.std(ddof=1) == pytest.approx(1, abs=4 * 1.3 / math.sqrt(2 * REPEATS))


def test_a_calibrated_predictor_is_seldom_accused() -> None:
    found = [calibration(*drawn(seed, 0.0), seed) for seed in range(REPEATS)]
    accused = sum(one.verdict != "no miscalibration seen" for one in found)
    assert abs(accused - 0.05 * REPEATS) <= 4 * math.sqrt(REPEATS * 0.05 * 0.95)
    # its ECE is never 0, and is what chance alone makes it
    eces = np.array([one.ece for one in found])
    assert abs(eces.mean() - np.mean([one.by_chance for one in found])) < 4 * eces.std() / math.sqrt(REPEATS)
    assert eces.mean() > 0.03


@pytest.mark.parametrize(("gap", "verdict"), [(0.2, "overconfident"), (-0.05, "underconfident")])
def test_a_miscalibrated_one_is_told(gap: float, verdict: str) -> None:
    confidence, is_right = (
        np.concatenate(parts) for parts in zip(*(drawn(s, gap) for s in range(5)), strict=True)
    )
    found = calibration(confidence, is_right, 0)
    assert found.verdict == verdict
    error = math.sqrt(0.25 / len(confidence))  # of a share, at most
    assert found.ece == pytest.approx(abs(gap), abs=4 * error + found.by_chance / 2)
    assert found.rms == pytest.approx(abs(gap), abs=4 * error)


def test_bins_have_equal_mass_and_keep_ties_together() -> None:
    place = bins_of(np.random.default_rng(0).random(150), 15)
    assert np.bincount(place).tolist() == [10] * 15
    tied = np.repeat([0.5, 0.7, 0.9], [40, 5, 55])
    place = bins_of(tied, 10)
    for value in (0.5, 0.7, 0.9):
        assert len(set(place[tied == value])) == 1
    assert set(place) == set(range(place.max() + 1))
    assert bins_of(np.full(7, 0.8), 5).tolist() == [0] * 7
    assert [default_bins(n) for n in (1, 39, 40, 300, 10**6)] == [1, 1, 2, 15, 15]


def test_every_bin_says_what_is_in_it() -> None:
    confidence, is_right = drawn(1, 0.0)
    found = calibration(confidence, is_right, 0)
    assert sum(one.n for one in found.bins) == N
    assert sum(one.n * one.right for one in found.bins) == pytest.approx(is_right.sum())
    assert sum(one.n * one.confidence for one in found.bins) == pytest.approx(confidence.sum())
    gaps = [one.n * abs(one.right - one.confidence) for one in found.bins]
    assert found.ece == pytest.approx(sum(gaps) / N)
    for one, after in zip(found.bins[:-1], found.bins[1:], strict=True):
        assert one.low <= one.high <= after.low
        assert one.interval.low <= one.right <= one.interval.high


def test_one_sample_is_no_reason_to_fail() -> None:
    found = calibration(np.array([0.7]), np.array([True]), 0)
    assert found.ece == pytest.approx(0.3)
    assert (found.debiased, found.squared_se) == (0.0, 0.0)
