"""The price of a job: gate counts, shots and a catalogue entry in, whole micro-dollars out. The quote and the emulator both ask here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from orchestrator.costs.catalogue import Flat, GateShot, PriceEntry, TaskShot
from orchestrator.costs.gate_counts import GateCounts
from orchestrator.costs.money import micro_up
from orchestrator.errors import CircuitError


def job_price(entry: PriceEntry, counts: Sequence[GateCounts], shots: int | None, is_mitigated: bool) -> int:
    """What one job costs, in micro-dollars, every circuit's price rounded up once.

    Args:
        entry: what the target charges.
        counts: billing counts of each circuit of the job, at least one.
        shots: of each circuit; None (exact values) for a flat price only.
        is_mitigated: the target's error mitigation is on; where no price depends on it, it does not matter.

    Raises:
        CircuitError: no circuit, a negative count, or no shots where shots are charged.
    """
    if not counts or any(min(count) < 0 for count in counts):
        raise CircuitError(
            f"a job of {len(counts)} circuits with the gate counts {list(counts[:3])} cannot be priced"
        )
    if isinstance(entry, Flat):
        return micro_up(entry.price_usd) * (len(counts) if entry.per == "circuit" else 1)
    if shots is None or shots < 1:
        raise CircuitError(f"shots = {shots}: {entry.target} charges by shot; nearest valid: 1")
    if isinstance(entry, TaskShot):
        return len(counts) * micro_up(Fraction(entry.price_task_usd) + shots * Fraction(entry.price_shot_usd))
    assert isinstance(entry, GateShot)
    return _by_gates(entry, counts, shots, is_mitigated)


def price_bounds(
    entry: PriceEntry,
    of_point: Sequence[GateCounts],
    n_points: int,
    shots: tuple[int, int],
    n_jobs: tuple[int, int],
    is_mitigated: bool,
) -> tuple[int, int]:
    """The least and the most, in micro-dollars, that circuits cost whose shots are only known in sum.

    Prices are linear in shots but for the minimum, and the circuits of a point have equal shots, so their sum decides. A floor costs the
    larger of itself and the shots at least, and both together at most; rounding up adds less than one micro-dollar a circuit.

    Args:
        of_point: counts of the circuits of a point, one for each measurement group.
        n_points: how many there are.
        shots, n_jobs: of all circuits together, the least and the most.
    """
    n_circuits = n_points * len(of_point)
    if isinstance(entry, Flat):
        price = micro_up(entry.price_usd)
        low, high = (n_circuits, n_circuits) if entry.per == "circuit" else n_jobs
        return price * low, price * high
    if isinstance(entry, TaskShot):
        rate, minimum, is_floor, charged = Fraction(entry.price_shot_usd), entry.price_task_usd, False, None
    else:
        assert isinstance(entry, GateShot)
        rate = sum((_of_shot(entry, count) for count in of_point), Fraction(0)) / len(of_point)
        minimum = entry.minimum_mitigated_usd if is_mitigated else entry.minimum_usd
        is_floor, charged = entry.minimum == "floor", None if entry.minimum_per == "circuit" else n_jobs
    fewest, most = charged or (n_circuits, n_circuits)
    low, high = micro_up(rate * shots[0]), micro_up(rate * shots[1]) + n_circuits
    least = max(low, fewest * micro_up(minimum)) if is_floor else low + fewest * micro_up(minimum)
    return least, high + most * micro_up(minimum)


def _of_shot(entry: GateShot, count: GateCounts) -> Fraction:
    """Dollars of one shot of a circuit."""
    return Fraction(entry.price_1q_usd) * count.n_1q + Fraction(entry.price_2q_usd) * count.n_2q


def _by_gates(entry: GateShot, counts: Sequence[GateCounts], shots: int, is_mitigated: bool) -> int:
    minimum = micro_up(entry.minimum_mitigated_usd if is_mitigated else entry.minimum_usd)
    per_circuit = entry.minimum_per == "circuit"
    used = 0
    for count, n_circuits in Counter(counts).items():
        price = micro_up(shots * _of_shot(entry, count))
        used += n_circuits * (_with_minimum(entry, price, minimum) if per_circuit else price)
    return used if per_circuit else _with_minimum(entry, used, minimum)


def _with_minimum(entry: GateShot, used: int, minimum: int) -> int:
    return used + minimum if entry.minimum == "added" else max(used, minimum)
