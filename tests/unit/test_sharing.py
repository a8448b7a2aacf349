"""Which of several targets gets the next job: a small simulation of queues, and the breaker."""

from __future__ import annotations

import heapq
import pickle
from dataclasses import replace
from typing import Any

import pytest

from actors.backends.ionq import IonQBackend
from actors.backends.pooled import PooledBackend, quality_weight
from actors.backends.sharing import FAILURES, PAUSE_SECONDS, Sharing
from orchestrator.config import BackendConfig, TrainingConfig
from orchestrator.costs.gate_counts import GateCounts
from orchestrator.errors import ConfigError, InputError
from pipelines.compose import build_backend
from pipelines.spending import SpendingNotAllowedError, check_allowed

ARIA, FORTE = IonQBackend(target="qpu.aria-1"), IonQBackend(target="qpu.forte-1")


def simulated(
    seconds: list[float], slots: list[int], n_jobs: int, weights: list[float], n_threads: int = 40
) -> tuple[list[int], float]:
    """Jobs of each target, and when the last is done, with `n_threads` jobs handed over at a time."""
    sharing = Sharing(slots)
    now, done = 0.0, [0] * len(slots)
    queues: list[list[float]] = [[] for _ in slots]
    waiting = [0] * len(slots)
    events: list[tuple[float, int, int]] = []
    left, n_out, number = n_jobs, 0, 0

    def start(target: int) -> None:
        nonlocal number
        while waiting[target] and len(queues[target]) < sharing.places(target, weights, now):
            waiting[target] -= 1
            queues[target].append(now)
            number += 1
            heapq.heappush(events, (now + seconds[target], number, target))

    while left or n_out:
        while left and n_out < n_threads:
            target = sharing.choose(weights, now)
            assert target is not None
            sharing.taken(target)
            waiting[target] += 1
            left, n_out = left - 1, n_out + 1
            start(target)
        now, _, target = heapq.heappop(events)
        queues[target].pop()
        sharing.left(target)
        sharing.answered(target, seconds[target])
        done[target] += 1
        n_out -= 1
        for each in range(len(slots)):
            start(each)
    return done, now


@pytest.mark.parametrize("seconds", [[1.0, 3.0], [2.0, 2.0], [1.5, 1.0]])
@pytest.mark.parametrize("slots", [[10, 10], [10, 4]])
def test_long_queues_are_shared_by_speed(seconds: list[float], slots: list[int]) -> None:
    """The time is within the last round of the shortest possible, n over the summed speeds."""
    n = 2000
    done, ends_at = simulated(seconds, slots, n, [1.0, 1.0])
    speeds = [s / m for s, m in zip(slots, seconds, strict=True)]
    assert done[0] / n == pytest.approx(speeds[0] / sum(speeds), abs=0.02)
    assert ends_at <= n / sum(speeds) + 2 * max(seconds)


def test_what_is_left_waits_for_the_fast_target() -> None:
    """Once both are known: twelve jobs, ten places at a target that takes 1 s, none at one that takes 30 s."""
    sharing = Sharing([10, 10])
    for target, seconds in ((0, 1.0), (1, 30.0)):
        sharing.answered(target, seconds)
    given = []
    for _ in range(12):
        target = sharing.choose([1.0, 1.0], 0.0)
        assert target is not None
        sharing.taken(target)
        given.append(target)
    assert given == [0] * 12


@pytest.mark.parametrize("weight", [1.5, 2.0, 3.3])
def test_long_queues_are_shared_by_weight_too(weight: float) -> None:
    done, _ = simulated([1.0, 1.0], [10, 10], 2000, [1.0, weight])
    wanted = 10 / round(10 / weight)  # places are whole
    assert done[0] / done[1] == pytest.approx(wanted, rel=0.05)


def test_a_target_far_behind_is_kept_in_reserve() -> None:
    """Six times as slow: of the jobs in sight, forty for twenty places, none would be done sooner there."""
    sharing = Sharing([10, 10])
    sharing.answered(0, 1.0)
    sharing.answered(1, 6.0)
    for _ in range(40):
        assert sharing.choose([1.0, 1.0], 0.0) == 0
        sharing.taken(0)


def test_a_target_that_fails_is_out_for_a_while_and_then_on_trial() -> None:
    sharing, even = Sharing([4, 4]), [1.0, 1.0]
    sharing.answered(0, 1.0)
    sharing.answered(1, 2.0)
    for _ in range(FAILURES - 1):
        sharing.failed(0, 10.0)
    assert sharing.choose(even, 10.0) == 0
    sharing.failed(0, 10.0)
    assert sharing.choose(even, 10.0) == 1
    assert sharing.is_out(0, 10.0 + PAUSE_SECONDS - 1)
    later = 10.0 + PAUSE_SECONDS
    assert sharing.choose(even, later) == 0
    sharing.taken(0)
    assert sharing.choose(even, later) == 1, "one job at a time, until that is answered"
    sharing.failed(0, later)
    sharing.left(0)
    assert sharing.is_out(0, later + 2 * PAUSE_SECONDS - 1), "twice as long"
    assert not sharing.is_out(0, later + 2 * PAUSE_SECONDS)
    sharing.answered(0, 1.0)
    assert not sharing.is_out(0, later + 2 * PAUSE_SECONDS)


def test_where_all_are_out_the_first_to_come_back_is_asked() -> None:
    sharing = Sharing([1, 1])
    for target, now in ((0, 5.0), (1, 1.0)):
        for _ in range(FAILURES):
            sharing.failed(target, now)
    assert sharing.choose([1.0, 1.0], 6.0) == 1
    assert sharing.choose([1.0, 1.0], 6.0, without={1}) == 0
    assert sharing.choose([1.0, 1.0], 6.0, without={0, 1}) is None


def test_a_target_that_is_out_holds_no_other_back() -> None:
    """The dear target's places are few beside the cheap one, and all of them when that is out."""
    sharing, weights = Sharing([10, 10]), [1.0, 5.0]
    assert sharing.places(1, weights, 0.0) == 2
    for _ in range(FAILURES):
        sharing.failed(0, 0.0)
    assert sharing.places(1, weights, 0.0) == 10


def test_quality_is_the_shots_that_gate_errors_cost() -> None:
    """Values damped by f need 1 / f**2 times the shots; a gate of rate r damps by 1 - r (cirq and IonQ agree on the convention)."""
    counts = [GateCounts(100, 40)]
    assert quality_weight(ARIA, counts) == pytest.approx((1 - 0.0133) ** -80 * (1 - 0.0005) ** -200)
    assert quality_weight(FORTE, counts) == pytest.approx((1 - 0.00494933) ** -80 * (1 - 0.00026667) ** -200)
    assert quality_weight(IonQBackend(), counts) == 1.0
    assert quality_weight(IonQBackend(noise="forte-1"), counts) == quality_weight(FORTE, counts)
    with pytest.raises(ConfigError, match=r"qpu\.new.*gate errors are not known"):
        PooledBackend((_named("qpu.new"), FORTE), "quality")


def _named(target: str) -> IonQBackend:
    backend = replace(ARIA)
    object.__setattr__(backend, "target", target)
    return backend


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_qubits", 25),
        ("is_paid", True),
        ("is_exact", False),
        ("jobs_in_flight", 40),
        ("circuits_per_job", 100),
        ("has_jacobian", False),
    ],
)
def test_a_pool_can_do_what_all_of_its_members_can(name: str, value: Any) -> None:
    assert getattr(PooledBackend((ARIA, FORTE)).capabilities, name) == value


def test_one_target_is_no_pool() -> None:
    with pytest.raises(InputError, match="nearest valid: 2"):
        PooledBackend((ARIA,))


def test_a_configuration_of_several_targets_is_a_pool() -> None:
    config = TrainingConfig(
        backend=BackendConfig(
            name="ionq",
            targets=("qpu.aria-1", "qpu.forte-1"),
            shots=600,
            circuits_per_job=7,
            share_by="price",
        )
    )
    found = pickle.loads(pickle.dumps(build_backend(config)))
    assert isinstance(found, PooledBackend)
    assert (found.targets, found.share_by) == (("qpu.aria-1", "qpu.forte-1"), "price")
    assert [member.circuits_per_job for member in found.members] == [7, 7]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "ideal"}, "has no targets"),
        ({"name": "ionq", "target": "qpu.aria-2"}, "leave one of the two out"),
        ({"name": "ionq", "noise": "aria-1"}, "has its own noise"),
        ({"name": "ionq", "gateset": "native"}, "native"),
        ({"name": "ionq", "readout_mitigation": True}, "one machine"),
        ({"name": "ionq", "noise_scales": (1.0, 3.0)}, "one machine"),
    ],
)
def test_what_several_targets_cannot_do_together_is_refused(settings: dict[str, Any], message: str) -> None:
    targets = ("qpu.aria-1", "qpu.forte-1")
    with pytest.raises(ConfigError, match=message):
        build_backend(TrainingConfig(backend=BackendConfig(targets=targets, shots=600, **settings)))


def test_all_targets_are_named_to_whoever_must_allow_the_expense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IONQ_REMOTE_HOST", "http://127.0.0.1:9")
    config = TrainingConfig(
        backend=BackendConfig(name="ionq", targets=("qpu.aria-1", "qpu.forte-1"), shots=600)
    )
    with pytest.raises(SpendingNotAllowedError, match=r"qpu\.aria-1, qpu\.forte-1"):
        check_allowed(config, build_backend(config), None)
