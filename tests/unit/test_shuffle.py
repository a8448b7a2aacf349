"""The order of very many samples: a permutation, the same in any parts, close to a random one; and a training that goes through it."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.training import loop
from orchestrator.training.shuffle import ShuffledOrder


def keys(number: int) -> np.ndarray:
    return np.random.Philox(key=[number, 1]).random_raw(8)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 255, 256, 257, 1000, 4095, 4097, 100_003])
def test_it_is_a_permutation_in_any_parts(n: int) -> None:
    order = ShuffledOrder(n, keys(n))
    whole = order[:]
    assert len(order) == n
    assert whole.dtype == np.int64
    assert np.array_equal(np.sort(whole), np.arange(n))
    size = max(7, n // 50)
    parts = [order[start : start + size] for start in range(0, n, size)]
    assert np.array_equal(np.concatenate(parts), whole)
    some = np.random.default_rng(n).integers(0, n, 9)
    assert np.array_equal(order[some], whole[some])


def test_places_and_neighbours_are_as_of_random_permutations() -> None:
    n, n_orders = 96, 1000  # 96: cycle walking, in a domain of 256
    orders = np.array([ShuffledOrder(n, keys(number))[:] for number in range(n_orders)])
    counts = np.zeros((n, n))
    np.add.at(counts, (np.broadcast_to(np.arange(n), orders.shape), orders), 1)
    expected = n_orders / n
    # Rows and columns sum to n_orders: (n - 1)^2 degrees of freedom, of standard deviation sqrt(2) each
    chi2, freedom = ((counts - expected) ** 2 / expected).sum(), (n - 1) ** 2
    assert abs(chi2 - freedom) < 5 * np.sqrt(2 * freedom)
    follows = (np.diff(orders, axis=1) == 1).sum(axis=1)
    # n - 1 pairs of places, each with a successor in the second of them by chance 1 / n; about a Poisson number
    assert abs(follows.mean() - (n - 1) / n) < 5 * np.sqrt(1.0 / n_orders)
    assert len({order.tobytes() for order in orders}) == n_orders


def test_a_billion_samples_take_no_memory() -> None:
    n = 3_000_000_000
    order = ShuffledOrder(n, keys(1))
    found = order[2_000_000_000:2_000_010_000]
    assert len(np.unique(found)) == 10_000
    assert found.min() >= 0
    assert found.max() < n
    # uniform on [0, n): the mean of 10,000 has a standard deviation of n / sqrt(12 * 10,000)
    assert abs(found.mean() - n / 2) < 5 * n / np.sqrt(120_000)


def test_small_epochs_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.Generator(np.random.Philox(key=[3, 1], counter=[0, 0, 0, 7]))
    found = loop.epoch_order(3, 7, 50)
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, rng.permutation(50))
    monkeypatch.setattr(loop, "_LARGE", 50)
    orders = [loop.epoch_order(3, epoch, 50)[:] for epoch in range(20)]
    assert all(np.array_equal(np.sort(order), np.arange(50)) for order in orders)
    assert len({order.tobytes() for order in orders}) == 20
    assert np.array_equal(loop.epoch_order(3, 7, 50)[:], orders[7])
    assert not np.array_equal(loop.epoch_order(4, 7, 50)[:], orders[7])
