"""What a shared fleet knows and decides: equal jobs fly once, answers are kept within a bound, the silent are forgotten."""

from __future__ import annotations

import pickle
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from actors.backends.ideal import IdealBackend
from actors.backends.ionq import IonQBackend
from actors.mitigation.backend import Mitigated
from actors.mitigation.settings import Mitigation
from actors.registered_circuits import KnownCircuits
from actors.shared_fleet.answers import AnswerCache
from actors.shared_fleet.description import check_same, describe
from actors.shared_fleet.desk import Desk, UnknownClientError
from actors.shared_fleet.flights import Flights, Seat
from actors.shared_fleet.leases import Leases
from actors.shared_fleet.outbox import Answer, Outbox
from orchestrator.config import TrainingConfig, actor_overrides
from orchestrator.errors import ConfigError
from orchestrator.jobs import Displacements, Job
from orchestrator.protocols import Capabilities
from pipelines import cli, fleet
from pipelines.compose import build_backend
from pipelines.spending import SpendingNotAllowedError, check_allowed


def job(number: int, circuit: str = "circuit") -> Job:
    return Job(circuit, np.full(2, float(number)), np.arange(1), np.zeros((1, 1)), Displacements.none())


def payloads(parcel: Any) -> list[bytes]:
    return [answer.payload for answer in parcel.answers]


@pytest.fixture
def desk() -> Desk:
    made = Desk(lease_seconds=10.0, cache_bytes=10_000)
    for name in "ab":
        made.join(name, f"run {name}", now=0.0)
        made.uses(name, "circuit")
    return made


# Flights


def test_equal_jobs_fly_once_and_all_who_wait_are_told() -> None:
    flights = Flights()
    seats = [Seat("a", 0, 0), Seat("b", 0, 3), Seat("a", 1, 0)]
    assert [flights.board(job(1), seat) for seat in seats] == [True, False, False]
    assert len(flights) == 1
    assert flights.land(job(1).job_id) == seats
    assert flights.land(job(1).job_id) == []


def test_a_flight_is_called_off_when_the_last_has_left() -> None:
    flights = Flights()
    first, second = Seat("a", 0, 0), Seat("b", 0, 0)
    flights.board(job(1), first)
    flights.board(job(1), second)
    assert not flights.leave(job(1).job_id, [first])
    assert flights.leave(job(1).job_id, [second])
    assert flights.board(job(1), first), "it has to be begun again"


# The cache of answers


def test_the_least_recently_used_answers_go_and_the_bound_holds() -> None:
    cache = AnswerCache(max_bytes=3 * 300)
    for name in "abc":
        cache.keep(name, b"x" * 100)
    assert cache.find("a") == b"x" * 100
    cache.keep("d", b"y" * 100)
    assert [cache.find(name) is not None for name in "abcd"] == [True, False, True, True]
    assert cache.n_bytes == 900
    cache.keep("a", b"z" * 50)
    assert cache.find("a") == b"z" * 50
    assert cache.n_bytes == 850


def test_what_is_larger_than_the_cache_is_not_kept_and_drives_nothing_out() -> None:
    cache = AnswerCache(max_bytes=1000)
    cache.keep("a", b"x")
    cache.keep("b", b"x" * 1000)
    assert (cache.find("a"), cache.find("b"), len(cache)) == (b"x", None, 1)
    nothing = AnswerCache(0)
    nothing.keep("a", b"")
    assert len(nothing) == nothing.n_bytes == 0
    with pytest.raises(ValueError, match="max_bytes = -1"):
        AnswerCache(-1)


def test_a_million_answers_stay_within_the_bound() -> None:
    cache, drawn = AnswerCache(50_000), random.Random(1)
    for number in range(20_000):
        cache.keep(str(drawn.randrange(2_000)), bytes(drawn.randrange(500)))
        assert cache.n_bytes <= 50_000
        cache.find(str(number % 1_000))
    assert cache.n_bytes == sum(len(answer) + 200 for answer in cache._answers.values())


# Leases


def test_a_lease_ends_with_silence_and_not_before() -> None:
    leases = Leases(10.0)
    leases.renew("a", 0.0)
    leases.renew("b", 5.0)
    assert leases.expired(10.0) == []
    assert leases.expired(10.1) == ["a"]
    leases.renew("a", 10.2)
    leases.renew("a", 3.0)  # told late, by another thread
    assert leases.silent_for("a", 12.2) == pytest.approx(2.0)
    leases.end("b")
    assert leases.expired(100.0) == ["a"]


# Outbox


def test_a_parcel_is_sent_again_until_it_is_acknowledged() -> None:
    outbox = Outbox(max_bytes=100)
    assert outbox.take(0).answers == ()
    for place in range(3):
        outbox.put(Answer(0, place, bytes(40), "run"))
    first = outbox.take(0)
    assert [answer.place for answer in first.answers] == [0, 1]
    assert outbox.take(0) is first
    second = outbox.take(first.number)
    assert [answer.place for answer in second.answers] == [2]
    assert outbox.take(first.number) is second
    assert outbox.take(second.number).answers == ()
    assert outbox.take(second.number).number == second.number


def test_an_answer_larger_than_a_parcel_goes_alone() -> None:
    outbox = Outbox(max_bytes=10)
    for size in (5, 50, 5):
        outbox.put(Answer(0, size, bytes(size), "run"))
    sizes, number = [], 0
    while parcel := outbox.take(number).answers:
        sizes.append([len(answer.payload) for answer in parcel])
        number += 1
    assert sizes == [[5], [50], [5]]


# The desk


def test_two_clients_with_one_job_are_answered_by_one_run(desk: Desk) -> None:
    assert [one.job_id for one in desk.submit("a", 0, [job(1), job(2)])] == [job(1).job_id, job(2).job_id]
    assert [one.job_id for one in desk.submit("b", 0, [job(2), job(3)])] == [job(3).job_id]
    assert desk.n_in_flight == 3
    assert desk.answered(job(2).job_id, b"two", is_failure=False) == {"a": False, "b": False}
    assert desk.answered(job(1).job_id, b"one", is_failure=False) == {"a": True}, "the last of its batch"
    assert [(x.place, x.payload, x.source) for x in desk.take("a", 0).answers] == [
        (1, b"two", "run"),
        (0, b"one", "run"),
    ]
    assert [(x.place, x.payload, x.source) for x in desk.take("b", 0).answers] == [(0, b"two", "joined")]
    totals = desk.totals()
    assert (totals.jobs_done, totals.joined, totals.cached) == (3, 1, 0)


def test_who_asks_later_is_answered_from_the_cache_and_failures_are_tried_anew(desk: Desk) -> None:
    desk.submit("a", 0, [job(1), job(2)])
    desk.answered(job(1).job_id, b"one", is_failure=False)
    assert desk.answered(job(2).job_id, b"failed", is_failure=True) == {"a": True}
    assert [one.job_id for one in desk.submit("b", 0, [job(1), job(2)])] == [job(2).job_id]
    assert [(x.place, x.source) for x in desk.take("b", 0).answers] == [(0, "cached")]
    assert desk.totals().cached == desk.totals().failed == 1


def test_equal_jobs_of_one_batch_are_each_answered(desk: Desk) -> None:
    assert len(desk.submit("a", 0, [job(1), job(1), job(1)])) == 1
    desk.answered(job(1).job_id, b"one", is_failure=False)
    assert payloads(desk.take("a", 0)) == [b"one"] * 3


def test_a_batch_that_is_sent_twice_is_taken_once(desk: Desk) -> None:
    assert len(desk.submit("a", 4, [job(1)])) == 1
    assert desk.submit("a", 4, [job(1)]) == []
    desk.answered(job(1).job_id, b"one", is_failure=False)
    assert payloads(desk.take("a", 0)) == [b"one"]
    assert desk.submit("a", 4, [job(1)]) == []
    assert payloads(desk.take("a", 1)) == []


def test_what_is_withdrawn_is_called_off_unless_another_waits(desk: Desk) -> None:
    desk.submit("a", 0, [job(1), job(2), job(2)])
    desk.submit("b", 0, [job(1)])
    assert desk.withdraw("a", 0) == [job(2).job_id]
    assert desk.withdraw("a", 0) == []
    assert desk.answered(job(1).job_id, b"one", is_failure=False) == {"b": True}
    assert desk.answered(job(2).job_id, b"late", is_failure=False) == {}
    assert payloads(desk.take("a", 0)) == []
    assert desk.clients_table(0.0)[0]["jobs_waiting"] == 0


def test_a_batch_that_comes_after_its_withdrawal_is_not_begun(desk: Desk) -> None:
    desk.submit("a", 0, [job(1)])
    assert desk.withdraw("a", 1) == []
    assert desk.submit("a", 1, [job(2)]) == []
    assert [one.job_id for one in desk.submit("a", 2, [job(3)])] == [job(3).job_id]
    assert desk.n_in_flight == 2


def test_a_silent_client_leaves_nothing_behind(desk: Desk) -> None:
    desk.uses("a", "of a alone")
    desk.submit("a", 0, [job(1), job(2)])
    desk.submit("b", 0, [job(2)])
    desk.renew("b", 8.0)
    assert desk.expire(10.0) == []
    [(client, released)] = desk.expire(10.5)
    assert client == "a"
    assert released.flights == [job(1).job_id]
    assert released.circuits == ["of a alone"]
    assert desk.clients == ("b",)
    assert (desk.n_left, desk.n_expired) == (1, 1)
    for call in (lambda: desk.take("a", 0), lambda: desk.submit("a", 1, []), lambda: desk.renew("a", 11.0)):
        with pytest.raises(UnknownClientError, match="client a"):
            call()
    assert desk.leave("b").circuits == ["circuit"]
    assert desk.leave("b") == desk.leave("a") == ([], [])
    assert desk.n_in_flight == 0


def test_a_clients_circuits_are_bounded_and_both_sides_agree_which_are_there() -> None:
    """Against the client's own account, over a random walk: what it does not send along is there; another's use keeps a circuit."""
    drawn = random.Random(3)
    desk, known, there = Desk(10.0, 0, max_circuits=5), KnownCircuits(5), {"of b"}
    for name in "ab":
        desk.join(name, name, 0.0)
    desk.uses("b", "of b")
    for _ in range(2000):
        keys = list(
            dict.fromkeys(drawn.choice([*"0123456789", "of b"]) for _ in range(drawn.randrange(1, 9)))
        )
        there |= {key for key in keys if key not in known}
        assert there.issuperset(keys)
        for key in keys:
            known.note(key)
            desk.uses("a", key)
        gone = desk.outdated_circuits("a")
        assert not any(key in known for key in gone)
        there -= set(gone)
        assert "of b" in there
        assert len(there) <= 6
    assert set(desk.leave("a").circuits) == there - {"of b"}


def test_that_error_crosses_processes() -> None:
    copy = pickle.loads(pickle.dumps(UnknownClientError("a")))
    assert (type(copy), str(copy)) == (UnknownClientError, str(UnknownClientError("a")))


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_each_job_is_answered_once_and_nothing_is_left(seed: int) -> None:
    """A random walk of submissions, answers, withdrawals, departures and lost parcels, against a plain account of what is owed."""
    drawn = random.Random(seed)
    desk = Desk(lease_seconds=10.0, cache_bytes=drawn.choice([0, 1_000, 100_000]))
    flying: dict[str, int] = {}
    owed: dict[str, dict[tuple[int, int], int]] = {}
    last: dict[str, int] = {}
    batch = 0
    for step in range(300):
        event = drawn.random()
        if (event < 0.1 and len(owed) < 5) or not owed:
            name = f"client {step}"
            desk.join(name, name, 0.0)
            owed[name], last[name] = {}, 0
        name = drawn.choice(list(owed))
        if event < 0.4:
            numbers = [drawn.randrange(12) for _ in range(drawn.randrange(5))]
            batch += 1
            owed[name] |= {(batch, place): number for place, number in enumerate(numbers)}
            for begun in desk.submit(name, batch, [job(number) for number in numbers]):
                assert begun.job_id not in flying, "begun twice"
                flying[begun.job_id] = int(begun.shared_angles[0])
        elif event < 0.7 and flying:
            job_id = drawn.choice(list(flying))
            answer = str(flying.pop(job_id)).encode()
            desk.answered(job_id, answer, is_failure=drawn.random() < 0.2)
        elif event < 0.8 and owed[name]:
            gone = drawn.choice(list(owed[name]))[0]
            owed[name] = {key: number for key, number in owed[name].items() if key[0] != gone}
            for job_id in desk.withdraw(name, gone):
                del flying[job_id]
        elif event < 0.85:
            for job_id in desk.leave(name).flights:
                del flying[job_id]
            del owed[name], last[name]
        else:
            read(desk, name, owed[name], last, acknowledges=drawn.random() < 0.7)
        assert desk.n_in_flight == len(flying)
        waiting: dict[Any, Any] = {row["client"]: row["jobs_waiting"] for row in desk.clients_table(0.0)}
        assert all(waiting[client] <= len(open_jobs) for client, open_jobs in owed.items())
    for job_id, number in flying.items():
        desk.answered(job_id, str(number).encode(), is_failure=False)
    for name, open_jobs in owed.items():
        while desk.take(name, last[name]).answers:
            read(desk, name, open_jobs, last, acknowledges=True)
        assert not open_jobs
    assert desk.n_in_flight == 0


def read(
    desk: Desk, name: str, owed: dict[tuple[int, int], int], last: dict[str, int], *, acknowledges: bool
) -> None:
    """Read a parcel; what was withdrawn meanwhile is dropped, and what is not acknowledged comes again."""
    parcel = desk.take(name, last[name])
    if not acknowledges:
        assert desk.take(name, last[name]) == parcel
        return
    for answer in parcel.answers:
        number = owed.pop((answer.batch, answer.place), None)
        assert number is None or answer.payload == str(number).encode()
    last[name] = parcel.number


# What a backend is


def of(*overrides: str) -> dict[str, str]:
    return describe(build_backend(TrainingConfig().with_overrides(overrides)))


def test_equal_configurations_have_equal_backends_whatever_their_threads() -> None:
    check_same("lab", of(), of("fleet.cpus_per_actor=2.0", "backend.threads=2"))
    noisy = ("backend.name=noisy", "backend.noise=aria-1", "backend.shots=100")
    check_same("lab", of(*noisy), of(*noisy, "run.seed=7"))


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        ((), ("backend.name=noisy", "backend.shots=10"), ["backend.name = 'noisy'", "fleet 'lab' has ideal"]),
        ((), ("backend.precision=single",), ["backend.precision = 'single'", "has double"]),
        (
            ("backend.name=noisy", "backend.noise=aria-1", "backend.shots=10"),
            ("backend.name=noisy", "backend.noise=forte-1", "backend.shots=10"),
            ["backend.noise.name = ", "forte", "aria"],
        ),
        (
            ("backend.name=ionq", "backend.target=qpu.aria-1", "backend.shots=10"),
            ("backend.name=ionq", "backend.target=qpu.forte-1", "backend.shots=10"),
            ["backend.target = 'qpu.forte-1'", "has qpu.aria-1"],
        ),
        (
            ("backend.noise_scales=[1, 3, 5]", "backend.shots=10"),
            ("backend.noise_scales=[1, 3]", "backend.shots=10"),
            ["backend.noise_scales[2] = 'not set'", "has 5.0"],
        ),
        ((), ("backend.readout_mitigation=true", "backend.shots=10"), ["backend.calibration_shots", "4096"]),
    ],
)
def test_another_backend_is_refused_by_key_and_both_values(
    theirs: tuple[str, ...], ours: tuple[str, ...], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_same("lab", of(*theirs), of(*ours))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_calibration_is_of_one_seed() -> None:
    """Shots of the calibration are keyed by the run's seed, so another seed's run would not have its own bits."""
    one, other = (Mitigated(IdealBackend(), Mitigation(readout=True), seed) for seed in (0, 1))
    with pytest.raises(ConfigError, match=r"run\.seed = '1'"):
        check_same("lab", describe(one), describe(other))


def test_the_book_is_no_part_of_a_backend() -> None:
    book: Any = object()
    plain: Any = IonQBackend()
    with_book: Any = replace(plain, book=book)
    assert describe(with_book) == describe(plain)


@dataclass
class Own:
    """A backend of one's own, with something that has no plain value."""

    secret: Any
    _cache: int = 0
    name = "own"
    capabilities = Capabilities(is_exact=True, has_shots=False, has_jacobian=False, max_qubits=2)

    def open_session(self) -> Any:
        raise NotImplementedError


def test_of_what_is_not_plain_only_the_type_counts() -> None:
    assert describe(Own(object())) == describe(Own(object(), _cache=3))
    assert describe(Own(random.Random())) != describe(Own(object()))


# Money


def test_a_run_on_a_fleet_that_pays_sets_no_cap_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IONQ_API_KEY", "key")
    paid = TrainingConfig().with_overrides(
        [
            "backend.name=ionq",
            "backend.target=qpu.aria-1",
            "backend.shots=600",
            "backend.host=http://127.0.0.1:1",
        ]
    )
    with pytest.raises(SpendingNotAllowedError):
        check_allowed(paid, build_backend(paid), None)
    shared = paid.with_overrides(["fleet.name=lab"])
    check_allowed(shared, build_backend(shared), None)  # the fleet was allowed to when it was started
    with pytest.raises(ConfigError, match=r"--yes-spend = 5\.0: the fleet 'lab'"):
        check_allowed(shared, build_backend(shared), 5.0)
    capped = shared.with_overrides(["budget.max_usd=3.0"])
    with pytest.raises(ConfigError, match=r"budget\.max_usd = 3\.0"):
        check_allowed(capped, build_backend(capped), None)
    serial = shared.with_overrides(["fleet.dispatcher=serial"])
    with pytest.raises(SpendingNotAllowedError):
        check_allowed(serial, build_backend(serial), None)


def test_actors_on_the_command_line_are_a_fleet_of_ones_own() -> None:
    shared = TrainingConfig().with_overrides(["fleet.name=lab"])
    assert shared.fleet.is_shared
    assert not shared.with_overrides(actor_overrides(3)).fleet.is_shared
    assert not shared.with_overrides(["fleet.dispatcher=serial"]).fleet.is_shared


@pytest.mark.parametrize("address", [None, "local"])
def test_a_fleet_that_is_shared_needs_a_cluster_that_lives_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str | None
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "c.toml").write_text("")
    options = [] if address is None else ["--address", address]
    for command in (
        ["start", "lab", str(tmp_path / "c.toml"), *options],
        ["status", *options],
        ["stop", "lab"],
    ):
        with pytest.raises(ConfigError, match=r"fleet\.address = .*start one with `ray start --head`"):
            fleet.run(cli.parsed(["fleet", *command]))
    with pytest.raises(ConfigError, match=r"fleet\.name = '-lab'.*nearest valid: 'lab'"):
        fleet.run(cli.parsed(["fleet", "start", "--", "-lab", str(tmp_path / "c.toml")]))
    with pytest.raises(ConfigError, match=r"--cache = -1"):
        fleet.run(cli.parsed(["fleet", "start", "lab", str(tmp_path / "c.toml"), "--cache", "-1"]))
