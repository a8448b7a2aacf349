"""What the scheduler decides beyond who is next: unlike workers, stragglers, rests, clients, workers that leave."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from textwrap import dedent

import numpy as np
import pytest

from actors.quarantine import LONGEST_REST_SECONDS, N_FAILURES
from actors.retry import RetryPolicy, WorkerLostError
from actors.scheduler import OVERDUE, OVERDUE_SECONDS, Assignment, GivenUp, Scheduler
from orchestrator.errors import CapabilityError, ExecutionError

BAD = ExecutionError("bad day")


def pairs(assignments: list[Assignment]) -> str:
    return " ".join(f"{a.worker}{a.job}{'*' if a.is_duplicate else ''}" for a in assignments)


class Simulation:
    """Workers in virtual time, each answering its jobs one after another, `slowness` times as long as drawn from `seconds`."""

    def __init__(
        self, slowness: dict[str, float], *, spread: float = 0.05, told: bool = True, **options: object
    ) -> None:
        self.machine = Scheduler(**options)  # type: ignore[arg-type]
        self.slowness, self.spread, self.told = slowness, spread, told
        self.rng = np.random.default_rng(1)
        self.now, self.n_jobs = 0.0, 0
        self.done_by: Counter[str] = Counter()
        self.free_at = dict.fromkeys(slowness, 0.0)
        self.events: list[tuple[float, int, str, float]] = []
        self.sizes: dict[int, float] = {}
        for worker in slowness:
            self.machine.worker_joined(worker, 0.0)

    def plan(self, n_jobs: int) -> float:
        """Seconds until `n_jobs` more of 1 s on average are done."""
        return self.plan_of([1.0] * n_jobs)

    def plan_of(self, sizes: list[float]) -> float:
        """Seconds until jobs that take so many seconds on average are done."""
        began_at, wanted = self.now, set(range(self.n_jobs, self.n_jobs + len(sizes)))
        self.sizes.update(zip(sorted(wanted), sizes, strict=True))
        self.n_jobs += len(sizes)
        for job in sorted(wanted):
            self.machine.job_added(job, self.sizes[job])
        self.send()
        while wanted:
            wakes_at = self.machine.wakes_at()
            assert self.events or wakes_at is not None, (
                "nothing would ever happen:\n" + self.machine.summary()
            )
            if wakes_at is not None and (not self.events or wakes_at < self.events[0][0]):
                assert wakes_at >= self.now
                self.now = wakes_at
            else:
                self.now, job, worker, seconds = heapq.heappop(self.events)
                if self.machine.job_done(worker, job, self.now, seconds if self.told else None):
                    wanted.remove(job)
                    self.done_by[worker] += 1
            self.send()
        return self.now - began_at

    def send(self) -> None:
        for a in self.machine.assignments(self.now):
            seconds = self.slowness[a.worker] * self.sizes[a.job] * float(self.rng.lognormal(0, self.spread))
            self.free_at[a.worker] = max(self.now, self.free_at[a.worker]) + seconds
            heapq.heappush(self.events, (self.free_at[a.worker], a.job, a.worker, seconds))


@pytest.mark.parametrize("told", [True, False])
def test_workers_are_loaded_by_their_speed_and_the_tail_is_short(told: bool) -> None:
    """One worker ten times as fast as the other: 55 jobs take 50 s together, 55 / 1.1, and at best one job's rounding more."""
    fleet = Simulation({"F": 1.0, "S": 10.0}, told=told)
    fleet.plan(55)
    fleet.done_by.clear()
    walls = [fleet.plan(55) for _ in range(20)]
    assert np.mean(walls) < 1.05 * 50
    assert 8.5 < fleet.done_by["F"] / fleet.done_by["S"] < 12


def test_shorter_jobs_at_the_end_make_a_short_tail() -> None:
    """Three rounds of eight workers, job times that differ by 30 %: with the last round as `jobs_for` cuts it, 10 % less and more."""
    walls = []
    for last_round in ([1.0] * 8, [0.5] * 8 + [0.25] * 16):
        fleet = Simulation(dict.fromkeys("ABCDEFGH", 1.0), spread=0.3)
        fleet.plan(80)
        walls.append(np.mean([fleet.plan_of([1.0] * 16 + last_round) for _ in range(100)]))
    assert walls[1] < 0.9 * walls[0]


def test_a_slow_worker_is_left_out_of_a_short_queue_but_not_of_a_long_one() -> None:
    fleet = Simulation({"F": 1.0, "S": 10.0}, spread=0.0)
    fleet.plan(100)
    fleet.done_by.clear()
    fleet.plan(4)
    assert fleet.done_by["S"] == 0
    fleet.plan(40)
    assert fleet.done_by["S"] >= 2


@pytest.mark.parametrize("spread", [0.0, 0.05, 0.5])
def test_like_workers_are_not_passed_over(spread: float) -> None:
    """However jobs differ, all of eight like workers get work in every plan of two jobs each."""
    fleet = Simulation(dict.fromkeys("ABCDEFGH", 1.0), spread=spread)
    for _ in range(20):
        before = Counter(fleet.done_by)
        fleet.plan(16)
        assert set(fleet.done_by - before) == set("ABCDEFGH")


def test_a_worker_that_was_slow_is_tried_again() -> None:
    fleet = Simulation({"A": 1.0, "B": 10.0}, spread=0.0)
    fleet.plan(100)
    fleet.slowness["B"] = 1.0
    for _ in range(300):
        fleet.plan(2)
    fleet.done_by.clear()
    for _ in range(20):
        fleet.plan(10)
    assert 0.7 < fleet.done_by["A"] / fleet.done_by["B"] < 1.4


def test_jobs_are_not_kept_for_fast_workers_that_have_stopped() -> None:
    """The fast one hangs: the slow one gets its job after the time in which the fast one should have done everything."""
    fleet = Simulation({"F": 1.0, "S": 10.0}, spread=0.0, max_in_flight=1)
    fleet.plan(60)
    machine, now = fleet.machine, fleet.now
    machine.job_added(1000)
    machine.job_added(1001)
    assert pairs(machine.assignments(now)) == "F1000"
    wakes_at = machine.wakes_at()
    assert wakes_at is not None
    assert now < wakes_at < now + 10
    assert machine.assignments((now + wakes_at) / 2) == []
    assert pairs(machine.assignments(wakes_at)) == "S1001"


def straggling(**options: object) -> Scheduler:
    """Two workers, known to take 1 s a job; A has had job 100 since t = 10."""
    machine = Scheduler(max_in_flight=1, **{"may_duplicate": True, **options})  # type: ignore[arg-type]
    for worker in "AB":
        machine.worker_joined(worker)
    for job in range(10):
        machine.job_added(job)
    for now in range(5):
        for a in machine.assignments(float(now)):
            assert machine.job_done(a.worker, a.job, now + 1.0, 1.0)
    machine.job_added(100)
    assert pairs(machine.assignments(10.0)) == "A100"
    return machine


def test_a_straggler_is_done_again_by_an_idle_worker_and_the_first_answer_counts() -> None:
    for first, second in ("AB", "BA"):
        machine = straggling()
        assert machine.wakes_at() == pytest.approx(10 + OVERDUE)
        assert machine.assignments(10 + OVERDUE - 0.01) == []
        assert pairs(machine.assignments(10 + OVERDUE)) == "B100*"
        assert machine.assignments(100.0) == []  # once is enough
        assert machine.job_done(first, 100, 101.0)
        assert not machine.job_done(second, 100, 102.0)
        assert (machine.n_done, machine.n_open, machine.n_duplicated) == (11, 0, 1)


def test_nothing_is_duplicated_where_it_would_cost() -> None:
    machine = straggling(may_duplicate=False)
    assert machine.wakes_at() is None
    assert machine.assignments(1e6) == []


def test_jobs_of_no_time_are_not_stragglers_at_once() -> None:
    machine = Scheduler(may_duplicate=True)
    for worker in "AB":
        machine.worker_joined(worker)
    for job in range(20):
        machine.job_added(job)
    for now in range(5):
        for a in machine.assignments(float(now)):
            machine.job_done(a.worker, a.job, now + 1e-4, 1e-4)
    machine.job_added(100)
    assert len(machine.assignments(10.0)) == 1
    assert machine.assignments(10 + 0.99 * OVERDUE_SECONDS) == []
    assert len(machine.assignments(10 + OVERDUE_SECONDS)) == 1


def test_a_straggler_that_fails_in_the_end_leaves_its_duplicate_alone() -> None:
    machine = straggling(policy=RetryPolicy(max_attempts=1))
    machine.assignments(10 + OVERDUE)
    assert machine.job_failed("A", 100, BAD, 20.0) is None
    assert machine.assignments(20.0) == []
    assert machine.job_done("B", 100, 21.0)
    machine = straggling(policy=RetryPolicy(max_attempts=1))
    machine.assignments(10 + OVERDUE)
    assert machine.worker_lost("A", now=20.0) == []
    assert machine.job_failed("B", 100, BAD, 21.0) == GivenUp(100, 2, BAD)


def test_a_duplicate_that_fails_or_dies_costs_nothing() -> None:
    machine = straggling()
    machine.assignments(10 + OVERDUE)
    machine.worker_lost("B", now=14.0)
    assert machine.assignments(15.0) == []
    assert machine.job_done("A", 100, 16.0)


def test_what_cannot_be_done_anywhere_is_not_left_to_the_duplicate() -> None:
    machine = straggling()
    machine.assignments(10 + OVERDUE)
    refusal = CapabilityError("too many qubits")
    assert machine.job_failed("A", 100, refusal, 20.0) == GivenUp(100, 1, refusal)
    assert not machine.job_done("B", 100, 21.0)


def test_a_job_goes_to_no_worker_that_would_take_longer_than_it_has_lasted() -> None:
    """F takes 1 s a job and S 10 s: after 3 s F's job is overdue, but only after 10 s is S the better guess."""
    fleet = Simulation({"F": 1.0, "S": 10.0}, spread=0.0, max_in_flight=1, may_duplicate=True)
    fleet.plan(60)
    machine, began_at = fleet.machine, fleet.now
    while fleet.events:  # answers to duplicates
        _, job, worker, _ = heapq.heappop(fleet.events)
        machine.job_done(worker, job, began_at)
    machine.job_added(1000)
    assert pairs(machine.assignments(began_at)) == "F1000"
    assert machine.assignments(began_at + 4) == []
    wakes_at = machine.wakes_at()
    assert wakes_at is not None
    assert wakes_at - began_at == pytest.approx(10, rel=0.05)
    assert pairs(machine.assignments(wakes_at)) == "S1000*"


def failing(n_workers: int) -> Scheduler:
    machine = Scheduler(max_in_flight=1, policy=RetryPolicy(max_attempts=100))
    for worker in "ABC"[:n_workers]:
        machine.worker_joined(worker)
    for job in range(1000):
        machine.job_added(job)
    return machine


def turn(machine: Scheduler, now: float, bad: str) -> None:
    """Everything that is sent is answered at once, by failures of the workers named in `bad`."""
    for a in machine.assignments(now):
        if a.worker in bad:
            machine.job_failed(a.worker, a.job, BAD, now)
        else:
            machine.job_done(a.worker, a.job, now)


def test_a_worker_that_keeps_failing_rests_twice_as_long_each_time() -> None:
    machine, now, rests, turns = failing(2), 0.0, [], []
    for _ in range(8):
        turns.append(0)
        while not turns[-1] or ("A" not in machine.resting() and turns[-1] < 10):
            turn(machine, now, bad="A")
            turns[-1] += 1
        until = machine.resting()["A"]
        rests.append(until - now)
        for time in (now, until - 1e-6):  # it is left alone until then
            for a in machine.assignments(time):
                assert a.worker == "B"
                machine.job_done("B", a.job, time)
        now = until
    assert rests == [1, 2, 4, 8, 16, 32, LONGEST_REST_SECONDS, LONGEST_REST_SECONDS]
    assert turns == [N_FAILURES] + 7 * [1], "after a rest one failure is enough"


def test_one_success_ends_the_suspicion() -> None:
    machine = failing(2)
    for _ in range(20):
        for bad in ("A",) * (N_FAILURES - 1) + ("",):
            turn(machine, 0.0, bad)
        assert machine.resting() == {}


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_where_everything_fails_nobody_rests_and_the_error_is_told(n_workers: int) -> None:
    machine = Scheduler(max_in_flight=2, policy=RetryPolicy(max_attempts=4))
    for worker in "ABC"[:n_workers]:
        machine.worker_joined(worker)
    for job in range(20):
        machine.job_added(job)
    given_up = []
    while machine.n_open:
        made = machine.assignments(0.0)
        assert made
        given_up += [machine.job_failed(a.worker, a.job, BAD, 0.0) for a in made]
    assert sorted(g.job for g in given_up if g) == list(range(20))
    assert {g.n_failures for g in given_up if g} == {4}


def test_while_all_rest_the_first_to_be_back_gets_the_work() -> None:
    machine = failing(3)
    while len(machine.resting()) < 2:
        turn(machine, 0.0 if not machine.resting() else 0.5, bad="AB")
    machine.worker_lost("C", WorkerLostError("gone"), 0.5)
    assert machine.assignments(0.5) == []
    first = min(machine.resting().values())
    assert machine.wakes_at() == first
    assert [a.worker for a in machine.assignments(first)] == [
        name for name in "AB" if name not in machine.resting()
    ]


def test_clients_share_the_workers_by_size() -> None:
    machine = Scheduler(max_in_flight=1)
    machine.worker_joined("A")
    for job in range(10_000):
        machine.job_added(job, 1.0, "many")
    for job in range(10_000, 10_010):
        machine.job_added(job, 3.0, "few")
    order = []
    for _ in range(45):
        (a,) = machine.assignments()
        order.append(a.job)
        machine.job_done("A", a.job)
    few = [place for place, job in enumerate(order) if job >= 10_000]
    assert len(few) == 10, "ten large jobs of one are done before 36 small ones of the other"
    assert np.diff(few).max() <= 4, "one of 3 for three of 1"
    assert [job for job in order if job >= 10_000] == list(range(10_000, 10_010))


def test_a_client_that_was_away_gets_its_turn_and_no_more() -> None:
    machine = Scheduler(max_in_flight=1)
    machine.worker_joined("A")
    for job in range(1000):
        machine.job_added(job, 1.0, "steady")
    for _ in range(500):
        (a,) = machine.assignments()
        machine.job_done("A", a.job)
    for job in range(1000, 1100):
        machine.job_added(job, 1.0, "late")
    order = []
    for _ in range(40):
        (a,) = machine.assignments()
        order.append(a.job)
        machine.job_done("A", a.job)
    assert 19 <= sum(job >= 1000 for job in order) <= 21


def test_a_worker_that_leaves_ends_what_it_has_and_gets_nothing_more() -> None:
    machine = Scheduler()
    machine.worker_joined("A")
    machine.worker_joined("B")
    for job in range(6):
        machine.job_added(job)
    assert pairs(machine.assignments()) == "A0 B1 A2 B3"
    machine.worker_leaving("A")
    assert machine.workers == ("B",)
    assert not machine.is_idle("A")
    assert machine.job_done("A", 0)
    assert machine.job_done("A", 2)
    assert machine.is_idle("A")
    assert not machine.is_idle("B")
    assert machine.assignments() == []
    machine.job_done("B", 1)
    machine.job_failed("B", 3, BAD)
    assert pairs(machine.assignments()) == "B3 B4"  # it failed everywhere that counts
    assert (
        machine.summary()
        == dedent(
            """
        A (leaving): -
        B: 3 4
        again: -
        queued: 5
        done: 3, retried: 1
        """
        ).strip()
    )
    assert machine.worker_lost("A") == []
    assert machine.workers == ("B",)


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_jobs_without_a_size_are_refused(size: float) -> None:
    with pytest.raises(ValueError, match="a positive number is wanted"):
        Scheduler().job_added(0, size)


class Walk:
    """Random events at random times, with an account of its own of who holds what."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.limit = self.rng.choice([1, 2, 3])
        self.is_free = self.rng.random() < 0.5
        self.machine = Scheduler(self.limit, RetryPolicy(max_attempts=4), may_duplicate=self.is_free)
        self.now = 0.0
        self.held: dict[str, list[int]] = {}
        self.leaving: set[str] = set()
        self.ended: set[int] = set()  # delivered, given up or withdrawn
        self.n_jobs = self.n_workers = self.n_duplicates = 0

    def join(self) -> None:
        self.held[f"w{self.n_workers}"] = []
        self.machine.worker_joined(f"w{self.n_workers}", self.now)
        self.n_workers += 1

    def add(self) -> None:
        self.machine.job_added(self.n_jobs, self.rng.uniform(0.1, 10), self.rng.choice("xyz"))
        self.n_jobs += 1

    def end(self, job: int) -> None:
        assert job not in self.ended
        self.ended.add(job)

    def lose(self) -> None:
        worker = self.rng.choice(list(self.held))
        del self.held[worker]
        self.leaving.discard(worker)
        for given_up in self.machine.worker_lost(worker, WorkerLostError("gone"), self.now):
            self.end(given_up.job)

    def leave(self) -> None:
        worker = self.rng.choice(list(self.held))
        self.leaving.add(worker)
        self.machine.worker_leaving(worker)

    def withdraw(self) -> None:
        jobs = {self.rng.randrange(self.n_jobs)} - self.ended if self.n_jobs else set()
        self.machine.withdraw(jobs)
        self.ended |= jobs

    def answer(self) -> None:
        busy = [worker for worker, jobs in self.held.items() if jobs]
        if not busy:
            return
        worker = self.rng.choice(busy)
        job = self.held[worker].pop(0)
        is_broken = int(worker[1:]) % 3 == 0
        if self.rng.random() < (0.8 if is_broken else 0.1):
            given_up = self.machine.job_failed(worker, job, BAD, self.now)
            if given_up is not None:
                self.end(given_up.job)
        elif self.machine.job_done(worker, job, self.now, self.rng.choice([None, 0.1, 1.0])):
            self.end(job)

    def step(self) -> None:
        self.now += self.rng.choice([0.0, 0.01, 1.0, 5.0])
        events = [self.add] * 5 + [self.answer] * 10 + [self.join, self.withdraw]
        if len(self.held) > 1:
            events += [self.lose, self.leave]
        self.rng.choice(events)()
        self.send()

    def send(self) -> None:
        for a in self.machine.assignments(self.now):
            holders = [worker for worker, jobs in self.held.items() if a.job in jobs]
            assert a.job not in self.ended
            assert a.worker not in self.leaving
            assert a.worker not in self.machine.resting()
            assert a.worker not in holders
            assert len(holders) == a.is_duplicate
            assert self.is_free or not holders
            self.held[a.worker].append(a.job)
            assert len(self.held[a.worker]) <= self.limit
            self.n_duplicates += a.is_duplicate
        wakes_at = self.machine.wakes_at()
        assert wakes_at is None or wakes_at > self.now
        is_served = any(self.held.values()) or wakes_at is not None
        assert is_served or not self.machine.n_open or not set(self.held) - self.leaving, (
            self.machine.summary()
        )
        for worker, jobs in self.held.items():
            assert self.machine.is_idle(worker) == (not jobs)


def test_random_walks_end_every_job_once_and_hold_no_paid_job_twice() -> None:
    n_duplicates = n_rests = 0
    for seed in range(80):
        walk = Walk(seed)
        for _ in range(300):
            walk.step()
            n_rests += bool(walk.machine.resting())
        walk.join()
        for _ in range(100_000):
            walk.send()
            if not walk.machine.n_open:
                break
            walk.now = max(walk.now, walk.machine.wakes_at() or 0.0) + 0.1
            walk.answer()
        assert walk.machine.n_open == 0, walk.machine.summary()
        assert walk.ended == set(range(walk.n_jobs))
        assert walk.machine.n_duplicated == walk.n_duplicates
        n_duplicates += walk.n_duplicates
    assert min(n_duplicates, n_rests) > 100, "the walks went where they should"


def test_memory_is_that_of_what_is_open() -> None:
    """Jobs, clients and workers come and go; what is kept of them does not grow."""
    machine = Scheduler(may_duplicate=True)
    for worker in range(20):
        machine.worker_joined(f"w{worker}")
    sizes = []
    for turn_number in range(40):
        for i in range(100):
            machine.job_added(100 * turn_number + i, 1.0, f"client {turn_number} {i % 7}")
        while machine.n_open:
            for a in machine.assignments(float(turn_number)):
                machine.job_done(a.worker, a.job, turn_number + 0.5, 0.1)
        machine.worker_lost(f"w{turn_number}")
        machine.worker_joined(f"w{turn_number + 20}")
        sizes.append(entries(machine))
    assert max(sizes[20:]) <= 1.2 * max(sizes[10:20])
    assert max(sizes) < 3000


def entries(thing: object, depth: int = 4) -> int:
    """Entries of all containers that `thing` holds."""
    if isinstance(thing, dict):
        return len(thing) + sum(entries(value, depth - 1) for value in thing.values() if depth)
    if isinstance(thing, (list, tuple, set, frozenset)) or type(thing).__name__ == "deque":
        return len(thing) + sum(entries(value, depth - 1) for value in thing if depth)  # type: ignore[arg-type, attr-defined, misc]
    if type(thing).__module__.startswith("actors."):
        names = getattr(thing, "__slots__", None) or vars(thing)
        return sum(entries(getattr(thing, name), depth - 1) for name in names if depth)
    return 0
