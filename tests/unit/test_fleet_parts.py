"""The parts of the Ray fleet that need no Ray: versions, resources, circuits, clocks, and who comes and goes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.circuit_cache import CircuitCache
from actors.ray_fleet.accounts import Accounts, on_drivers_clock
from actors.ray_fleet.circuits import CircuitStore
from actors.ray_fleet.process import Hello
from actors.ray_fleet.resources import Amounts, Needs, capacity, lack, node_for, refusal
from actors.ray_fleet.roster import Roster
from actors.ray_fleet.versions import (
    SOURCE,
    fleet_mismatch,
    mismatch,
    source_digest,
    told_by_ray,
    versions,
)
from actors.registered_circuits import KnownCircuits
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate
from orchestrator.jobs import JobResult

# Versions

OURS = {"Python": "3.11.9", "ray": "2.60.0", "numpy": "2.4.6", "qfleet": "0.1", SOURCE: "abc"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"numpy": "2.3.1"}, "the worker on node n1 has numpy 2.3.1, the driver 2.4.6: install the same constraints.txt there"),
        ({"Python": "3.12.1"}, "has Python 3.12.1, the driver 3.11.9"),
        ({"qfleet": "not installed"}, None),  # it runs from a job's working directory: the source tells
        ({"qfleet": "0.2"}, "has qfleet 0.2, the driver 0.1"),
        ({SOURCE: "abd"}, "other source files of qfleet than the driver (digest abd there, abc here)"),
    ],
)  # fmt: skip
def test_versions_that_differ_are_told(change: dict[str, str], words: str | None) -> None:
    told = mismatch(OURS, OURS | change, "n1")
    assert told == words if words is None else words in str(told)


def test_a_package_that_is_missing_there_is_told() -> None:
    theirs = {name: version for name, version in OURS.items() if name != "numpy"}
    assert "has numpy not installed, the driver 2.4.6" in str(mismatch(OURS, theirs, "n1"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"qfleet": "not installed"}, None),
        ({"numpy": "2.3.1"}, "the fleet 'lab' has numpy 2.3.1, this run 2.4.6: install the same constraints.txt on both"),
        ({SOURCE: "abd"}, "the fleet 'lab' was started with other source files of qfleet than this run has (digest abd there, abc here)"),
    ],
)  # fmt: skip
def test_a_fleet_of_other_versions_is_told(change: dict[str, str], words: str | None) -> None:
    told = fleet_mismatch(OURS, OURS | change, "lab")
    assert told == words if words is None else words in str(told)


def test_versions_of_this_process() -> None:
    found = versions()
    assert {"Python", "ray", "numpy", "numba", "cirq", "qfleet"} == set(found)
    assert found["numpy"] == np.__version__
    assert len(source_digest()) == 16


def test_rays_own_refusal_is_put_into_words() -> None:
    text = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.11.9\n"
        "This process on 10.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.11.14\n"
    )
    assert told_by_ray(text) == (
        "the cluster runs Ray 2.59.0 on Python 3.11.9, this process Ray 2.60.0 on Python 3.11.14: "
        "install the same constraints.txt, for the same Python, on both"
    )
    assert told_by_ray("Could not find any running Ray instance") is None


# Resources


@pytest.mark.parametrize(
    ("needs", "nodes", "expected"),
    [
        (Needs(1.0), [{"CPU": 2.0}, {"CPU": 1.0}], 3),
        (Needs(2.0), [{"CPU": 3.0}, {"CPU": 3.0}], 2),  # what is left of a node is of no use
        (Needs(0.1), [{"CPU": 2.0}], 20),
        (Needs(1.0, {"qpu_ionq": 1.0}), [{"CPU": 8.0}, {"CPU": 4.0, "qpu_ionq": 2.0}], 2),
        (Needs(1.0, {"qpu_ionq": 1.0}), [{"CPU": 8.0}], 0),
        (Needs(1.0), [], 0),
    ],
)
def test_how_many_actors_nodes_hold(needs: Needs, nodes: list[Amounts], expected: int) -> None:
    assert capacity(needs, nodes) == expected


def test_what_is_missing_is_said() -> None:
    needs = Needs(1.0, {"qpu_ionq": 1.0, "memory": 2.0**31})
    total = {"CPU": 8.0, "qpu_ionq": 2.0, "memory": 2.0**33}
    assert lack(2, needs, total, {"CPU": 6.0}) == (
        "waiting for 2 more actors: each needs 1 CPU and 1 qpu_ionq and 2 GiB of memory; the cluster has 6 of 8 CPUs free, "
        "0 of 2 qpu_ionq free, 0 of 8 GiB of memory free"
    )
    assert lack(1, Needs(0.5), {"CPU": 1.0}, {}).startswith("waiting for 1 more actor: it needs 0.5 CPUs;")


def test_what_cannot_fit_is_refused_with_what_would() -> None:
    assert "set fleet.n_actors to at most 2" in refusal(3, Needs(1.0), [{"CPU": 2.0}])
    assert "no node has qpu: start one with it" in refusal(1, Needs(1.0, {"qpu": 1.0}), [{"CPU": 2.0}])
    assert "no node holds one of them" in refusal(1, Needs(4.0), [{"CPU": 2.0}, {"CPU": 2.0}])


def test_options_for_ray() -> None:
    needs = Needs(0.5, {"GPU": 0.25, "qpu": 1.0, "memory": 1e9})
    assert needs.options() == {
        "num_cpus": 0.5, "num_gpus": 0.25, "memory": 1e9, "resources": {"qpu": 1.0},
    }  # fmt: skip
    assert Needs(1.0).options() == {"num_cpus": 1.0}


@pytest.mark.parametrize(
    ("placement", "expected"),
    [("pack", ["b", "b", "b", "a", "a", None]), ("spread", ["b", "a", "b", "a", "b", None]), ("default", [None] * 6)],
)  # fmt: skip
def test_where_actors_are_put(placement: Any, expected: list[str | None]) -> None:
    nodes: dict[str, Amounts] = {"a": {"CPU": 2.0}, "b": {"CPU": 3.0}, "c": {"CPU": 0.5}}
    there: Counter[str] = Counter()
    order = []
    for _ in range(6):
        node = node_for(Needs(1.0, {}, placement), nodes, there)
        order.append(node)
        if node is not None:
            there[node] += 1
    assert order == expected


# Circuits


def circuit(name: str) -> MeasuredCircuit:
    return MeasuredCircuit(CircuitTemplate(2, 4, (), name), ("ZI",))


def test_circuits_are_kept_within_bounds_and_put_again_when_needed() -> None:
    puts: list[str] = []

    def put(one: MeasuredCircuit) -> str:
        puts.append(one.key)
        return f"ref {one.key}"

    store = CircuitStore(put, max_circuits=4, max_in_store=2)
    circuits = [circuit(str(i)) for i in range(6)]
    for one in circuits:
        store.add(one)
        assert store.reference(one) == store.reference(one) == f"ref {one.key}"
    assert len(store) == 4
    assert store.n_in_store == 2
    assert circuits[1].key not in store
    assert puts == [one.key for one in circuits]
    store.reference(circuits[2])
    assert puts[-1] == circuits[2].key
    store.get(circuits[3].key)  # used lately, so not the next to go
    store.add(circuit("new"))
    assert circuits[3].key in store
    assert circuits[2].key not in store
    store.forget_reference(circuits[5].key)
    store.reference(circuits[5])
    assert puts[-1] == circuits[5].key


def test_what_an_actor_knows_is_known_without_asking() -> None:
    """Against the actor's own cache, over a random walk: a circuit goes along when it is needed, and only then."""
    rng = np.random.default_rng(7)
    circuits = [circuit(str(i)) for i in range(12)]
    cache, known = CircuitCache(5), KnownCircuits(5)
    n_sent = 0
    for i in rng.integers(0, 12, 3000):
        if known.note(circuits[i].key):
            cache.add(circuits[i])
            n_sent += 1
        cache.lookup(circuits[i].key, lambda _: None)  # raises KeyError if it is not there
    assert cache.stats.lookups - cache.stats.hits == n_sent
    assert 0 < n_sent < 3000


# Clocks

RESULT = JobResult("0" * 32, np.zeros(1), None, None, 1, 0, 0.0, False, 2.0, 101.0, 103.0, "actor-0", "ideal")


@pytest.mark.parametrize(
    ("started", "finished", "expected"),
    [
        (101.0, 103.0, (101.0, 103.0)),  # as it was
        (100.0 - 0.01, 103.0, (99.99, 103.0)),  # clocks that are kept right differ by so much
        (3701.0, 3703.0, (102.0, 104.0)),  # an hour ahead
        (-3499.0, -3497.0, (102.0, 104.0)),  # an hour behind
        (3701.0, 103.0, (102.0, 104.0)),  # put back in the middle of the job: its own measure of time is left
        (math.nan, 103.0, (102.0, 104.0)),
        (0.0, 1e12, (102.0, 104.0)),
    ],
)
def test_times_of_a_wrong_clock_are_moved_to_where_they_can_have_been(
    started: float, finished: float, expected: tuple[float, float]
) -> None:
    result = on_drivers_clock(replace(RESULT, started_at=started, finished_at=finished), 100.0, 104.0)
    assert (result.started_at, result.finished_at) == expected
    assert result.sent_at == 100.0
    assert result.values is RESULT.values


def test_a_drivers_clock_that_was_put_back_gives_no_negative_span() -> None:
    result = on_drivers_clock(RESULT, 100.0, -3500.0)
    assert result.started_at == result.finished_at == 100.0


# Who comes and goes


class FakeLauncher:
    def __init__(self) -> None:
        self.strategies: list[Any] = []

    def start(self, name: str, strategy: Any = None) -> tuple[object, object]:
        self.strategies.append(strategy)
        return name, name


class FakeCluster:
    """Has places for `n_places` actors, in the order in which they are asked about."""

    def __init__(self, n_places: int) -> None:
        self.n_places = n_places
        self.n_free = 0.0
        self.placed: set[Any] = set()

    def nodes(self) -> dict[str, Amounts]:
        return {"a": {"CPU": 1.0}, "b": {"CPU": 2.0}}

    def total(self) -> Amounts:
        return {"CPU": float(self.n_places)}

    def free(self) -> Amounts:
        return {"CPU": self.n_free}

    def is_placed(self, handle: Any) -> bool:
        if len(self.placed) < self.n_places:
            self.placed.add(handle)
        return handle in self.placed

    def near(self, node_id: str) -> str:
        return node_id


def make_roster(n: int = 3, n_places: int = 9, max_replacements: int | None = None, **needs: Any) -> Roster:
    accounts = Accounts(10)
    return Roster(
        FakeLauncher(), Needs(1.0, **needs), n, max_replacements, 100.0, accounts, FakeCluster(n_places)  # type: ignore[arg-type]
    )  # fmt: skip


def get_ready(roster: Roster) -> None:
    for worker in roster.workers.values():
        if worker.is_starting:
            roster.heard_of(worker, Hello(7, "a", {}, ""))
            roster.joined(worker)


def kinds(roster: Roster) -> list[str]:
    return [f"{event.kind} {event.worker}".strip() for event in roster._accounts.events]


def test_actors_are_asked_for_join_are_lost_and_replaced() -> None:
    roster = make_roster(2)
    assert [worker.name for worker in roster.fill_up()] == ["actor-0", "actor-1"]
    assert roster.n_ready == 0
    get_ready(roster)
    assert roster.n_ready == 2
    assert roster.fill_up() == []
    assert roster.lose(roster.workers["actor-0"], "killed")
    assert [worker.name for worker in roster.fill_up()] == ["actor-2"]
    assert kinds(roster) == ["joined actor-0", "joined actor-1", "lost actor-0"]
    assert roster.last_loss == "killed"


def test_replacements_end_where_none_does_a_job_and_go_on_where_one_does() -> None:
    roster = make_roster(1, max_replacements=2)
    for number in range(3):
        roster.fill_up()
        roster.lose(roster.workers[f"actor-{number}"], "killed")
    assert roster.fill_up() == []
    assert roster.n_wanted == 0
    problem = roster.problem(1, 0.0)
    assert (
        problem == "every actor is lost (3 in all) and none may be replaced any more; the last loss: killed"
    )
    roster = make_roster(1, max_replacements=2)
    for number in range(10):
        roster.fill_up()
        roster.did_first_job()
        roster.lose(roster.workers[f"actor-{number}"], "killed")
    assert len(roster.fill_up()) == 1


def test_a_fleet_is_made_smaller_by_those_that_do_nothing_yet_and_then_the_youngest() -> None:
    roster = make_roster(3)
    roster.fill_up()
    get_ready(roster)
    roster.resize(4)
    roster.fill_up()
    assert [worker.name for worker in roster.resize(2)] == ["actor-3", "actor-2"]
    assert roster.n_ready == 2
    assert [s.state for s in roster.statuses([])] == ["ready", "ready", "leaving", "leaving"]
    assert roster.fill_up() == []
    roster.lose(roster.workers["actor-2"], "killed while it left")  # is not replaced
    assert roster.fill_up() == []
    assert roster.resize(2) == []


def test_what_is_waited_for_is_said_once_and_again_when_it_changes() -> None:
    roster = make_roster(4, n_places=1)
    roster.fill_up()
    start = next(iter(roster.workers.values())).spawned_at
    roster.notice_waiting(start + 1.0)
    assert kinds(roster) == [], "it may be about to start"
    for seconds in (4.0, 6.0, 8.0, 20.0):
        roster.notice_waiting(start + seconds)
    assert kinds(roster) == ["waiting"]
    assert "waiting for 3 more actors: each needs 1 CPU" in roster._accounts.events[0].text
    roster._cluster.n_places = 2  # type: ignore[attr-defined]
    roster.notice_waiting(start + 100.0)
    assert kinds(roster) == ["waiting", "waiting"]
    assert "waiting for 2 more actors" in roster._accounts.events[1].text


def test_an_actor_whose_process_is_slow_is_not_said_to_wait_for_resources() -> None:
    roster = make_roster(1, n_places=0)
    roster._cluster.n_free = 2.0  # type: ignore[attr-defined]
    roster.fill_up()
    start = next(iter(roster.workers.values())).spawned_at
    roster.notice_waiting(start + 14.0)
    assert kinds(roster) == []
    roster.notice_waiting(start + 16.0)
    assert kinds(roster) == ["waiting"], "no node has all that it needs, it seems"


def test_waiting_ends_where_it_is_of_no_use() -> None:
    roster = make_roster(2, n_places=1)
    roster.fill_up()
    first, second = roster.workers.values()
    now = first.spawned_at
    assert roster.problem(2, now + 99.0) is None
    told = roster.problem(2, now + 101.0)
    assert told is not None
    assert told.startswith("2 of 2 actors did not start within 100 s, waiting for 2 more actors")
    roster.heard_of(first, Hello(7, "a", {}, ""))
    roster.joined(first)
    assert roster.problem(1, now + 101.0) is None
    assert roster.overdue(now + 101.0) == [second]
    roster.heard_of(second, Hello(8, "a", {}, ""))
    assert "sessions were not open after 300 s" in str(roster.problem(2, second.asked_at + 301.0))


@pytest.mark.parametrize(
    ("placement", "expected"), [("pack", ["b", "b", "a", None]), ("spread", ["b", "a", "b", None])]
)
def test_actors_are_put_where_they_are_wanted(placement: str, expected: list[str | None]) -> None:
    roster = make_roster(4, placement=placement)
    roster.fill_up()
    assert roster._launcher.strategies == expected  # type: ignore[attr-defined]
