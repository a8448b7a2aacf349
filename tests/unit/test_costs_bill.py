"""Prices of jobs, against the figures of the price lists and against a plain calculation with decimals."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from orchestrator.costs.bill import job_price, price_bounds
from orchestrator.costs.catalogue import Catalogue, Flat, GateShot, PriceEntry, TaskShot
from orchestrator.costs.gate_counts import GateCounts
from orchestrator.costs.money import in_usd, micro_down, micro_up, usd_text
from orchestrator.errors import CircuitError

PRICES = Catalogue.default()
ARIA, BRAKET = PRICES.entry("qpu.aria-1"), PRICES.entry("braket.aria-1")
EXAMPLE = GateCounts(n_1q=48, n_2q=16)  # 8 qubits, 2 layers
SHOTS = 1024


def aria(**reading: Any) -> PriceEntry:
    return replace(ARIA, **reading)


def test_worked_example_on_aria_with_the_minimum_as_a_floor() -> None:
    floor = aria(minimum="floor")
    # 1024 x (48 x $0.000220 + 16 x $0.000975) = $26.78784
    assert job_price(floor, [EXAMPLE], SHOTS, False) == 26_787_840
    assert job_price(floor, [EXAMPLE] * 97, SHOTS, False) == 2_598_420_480
    assert 97 * round(26.78784, 2) == pytest.approx(
        2_598.63
    )  # $2,599 where each circuit is rounded to a cent
    assert job_price(floor, [EXAMPLE], SHOTS, True) == 97_500_000
    assert job_price(floor, [EXAMPLE] * 97, SHOTS, True) == 9_457_500_000  # $9,458


def test_worked_example_on_braket() -> None:
    for is_mitigated in (False, True):
        assert job_price(BRAKET, [EXAMPLE], SHOTS, is_mitigated) == 31_020_000
        assert job_price(BRAKET, [EXAMPLE] * 97, SHOTS, is_mitigated) == 3_008_940_000  # $3,009


def test_default_reading_is_the_dearest() -> None:
    readings = [
        {"minimum": minimum, "minimum_per": per}
        for minimum in ("added", "floor")
        for per in ("circuit", "job")
    ]
    assert isinstance(ARIA, GateShot)
    rng = np.random.default_rng(1)
    for _ in range(100):
        counts = [GateCounts(*map(int, pair)) for pair in rng.integers(0, 90, (rng.integers(1, 9), 2))]
        for is_mitigated in (False, True):
            prices = [job_price(aria(**r), counts, 1024, is_mitigated) for r in readings]
            assert job_price(ARIA, counts, 1024, is_mitigated) == max(prices) == prices[0]


def by_hand(entry: GateShot, counts: list[GateCounts], shots: int, is_mitigated: bool) -> int:
    """In decimals, circuit by circuit, every circuit rounded up to a micro-dollar."""

    def up(dollars: Decimal) -> int:
        return math.ceil(dollars * 1_000_000)

    minimum = up(entry.minimum_mitigated_usd if is_mitigated else entry.minimum_usd)
    circuits = [up(shots * (entry.price_1q_usd * c.n_1q + entry.price_2q_usd * c.n_2q)) for c in counts]
    if entry.minimum_per == "job":
        return sum(circuits) + minimum if entry.minimum == "added" else max(sum(circuits), minimum)
    if entry.minimum == "added":
        return sum(circuits) + minimum * len(circuits)
    return sum(max(circuit, minimum) for circuit in circuits)


@pytest.mark.parametrize("minimum", ["added", "floor"])
@pytest.mark.parametrize("per", ["circuit", "job"])
@pytest.mark.parametrize("is_mitigated", [False, True])
def test_gate_shot_prices(minimum: Any, per: Any, is_mitigated: bool) -> None:
    rng = np.random.default_rng(2)
    entry = replace(PRICES.entry("qpu.forte-1"), minimum=minimum, minimum_per=per)
    assert isinstance(entry, GateShot)
    for _ in range(200):
        counts = [GateCounts(*map(int, pair)) for pair in rng.integers(0, 200, (rng.integers(1, 30), 2))]
        shots = int(rng.integers(1, 10_001))
        assert job_price(entry, counts, shots, is_mitigated) == by_hand(entry, counts, shots, is_mitigated)


def test_a_fraction_of_a_micro_dollar_is_rounded_up_once_a_circuit() -> None:
    entry = replace(PRICES.entry("qpu.forte-1"), minimum_usd=Decimal(0))
    one = GateCounts(1, 0)  # 164.5 micro-dollars a shot
    assert job_price(entry, [one], 1, False) == 165
    assert job_price(entry, [one] * 2, 1, False) == 330
    assert job_price(entry, [one], 2, False) == 329


def test_flat_prices() -> None:
    assert job_price(PRICES.entry("simulator"), [EXAMPLE] * 97, None, True) == 0
    entry = PRICES.entry("simulator")
    assert isinstance(entry, Flat)
    assert job_price(replace(entry, price_usd=Decimal("0.5"), per="job"), [EXAMPLE] * 7, 10, False) == 500_000
    assert (
        job_price(replace(entry, price_usd=Decimal("0.5"), per="circuit"), [EXAMPLE] * 7, 10, False)
        == 3_500_000
    )


@pytest.mark.parametrize(
    ("counts", "shots"), [([], 10), ([EXAMPLE], None), ([EXAMPLE], 0), ([GateCounts(-1, 2)], 10)]
)
def test_what_cannot_be_priced_is_refused(counts: list[GateCounts], shots: int | None) -> None:
    with pytest.raises(CircuitError):
        job_price(ARIA, counts, shots, False)


@pytest.mark.parametrize("minimum", ["added", "floor"])
@pytest.mark.parametrize("per", ["circuit", "job"])
@pytest.mark.parametrize("model", ["gate_shot", "task_shot", "flat"])
def test_bounds_hold_for_shots_shared_out_at_random(model: str, minimum: Any, per: Any) -> None:
    """Points in random blocks of equal shots, priced job by job, cost between the least and the most; the ends are not far off."""
    rng = np.random.default_rng(3)
    entry: PriceEntry = {
        "gate_shot": aria(minimum=minimum, minimum_per=per),
        "task_shot": BRAKET,
        "flat": replace(PRICES.entry("simulator"), price_usd=Decimal("0.07"), per=per),
    }[model]
    for _ in range(60):
        of_point = [GateCounts(*map(int, pair)) for pair in rng.integers(0, 80, (rng.integers(1, 4), 2))]
        sizes, shots = rng.integers(1, 12, 5), rng.integers(2, 3000, 5)
        limit = int(rng.integers(1, 20))
        paid = n_jobs = 0
        for size, each in zip(sizes, shots, strict=True):
            circuits = of_point * int(size)
            jobs = [circuits[i : i + limit] for i in range(0, len(circuits), limit)]
            paid += sum(job_price(entry, job, int(each), False) for job in jobs)
            n_jobs += len(jobs)
        n_points, total = int(sizes.sum()), int((sizes * shots).sum()) * len(of_point)
        low, high = price_bounds(entry, of_point, n_points, (total, total), (n_jobs, n_jobs), False)
        assert low <= paid <= high
        if model == "task_shot" or minimum == "added" or model == "flat":
            assert high - low <= n_points * len(of_point), "rounding is all that is not known"


def test_money() -> None:
    assert micro_up(Fraction(1, 3)) == 333_334
    assert micro_down(Fraction(1, 3)) == 333_333
    assert micro_up(0.1) == micro_down(0.1) == 100_000  # as it prints, not as it is stored
    assert micro_down(12.4166) == 12_416_600
    assert in_usd(12_416_600) == 12.4166
    assert usd_text(1_234_567_890_001) == "$1,234,567.890001"
    assert usd_text(-5) == "-$0.000005"
    assert isinstance(BRAKET, TaskShot)
