"""The scheduler as a state machine: events in, assignments out, the whole state printed by summary()."""

from __future__ import annotations

import random
from textwrap import dedent

import pytest

from actors.retry import RetryPolicy, UnknownCircuitError, WorkerLostError
from actors.scheduler import Assignment, GivenUp, Scheduler
from orchestrator.errors import CapabilityError, ExecutionError


def scheduler(n_workers: int, n_jobs: int, max_in_flight: int = 2, max_attempts: int = 4) -> Scheduler:
    made = Scheduler(max_in_flight, RetryPolicy(max_attempts))
    for worker in "ABCDEFGH"[:n_workers]:
        made.worker_joined(worker)
    for job in range(n_jobs):
        made.job_added(job)
    return made


def pairs(assignments: list[Assignment]) -> str:
    return " ".join(f"{a.worker}{a.job}" for a in assignments)


def is_summary(machine: Scheduler, expected: str) -> bool:
    assert machine.summary() == dedent(expected).strip()
    return True


def test_every_worker_gets_a_first_job_before_any_gets_a_second():
    machine = scheduler(3, 5)
    assert pairs(machine.assignments()) == "A0 B1 C2 A3 B4"
    assert is_summary(
        machine,
        """
        A: 0 3
        B: 1 4
        C: 2
        again: -
        queued: -
        done: 0, retried: 0
        """,
    )


def test_work_is_pulled_so_the_fast_worker_gets_more():
    machine = scheduler(2, 8)
    assert pairs(machine.assignments()) == "A0 B1 A2 B3"
    assert machine.assignments() == []
    for job in (0, 2):
        assert machine.job_done("A", job)
    assert pairs(machine.assignments()) == "A4 A5"
    assert machine.job_done("A", 4)
    assert machine.job_done("B", 1)
    assert pairs(machine.assignments()) == "A6 B7"


def test_jobs_of_a_lost_worker_go_to_the_front_in_their_order():
    machine = scheduler(2, 7)
    machine.assignments()
    assert machine.worker_lost("A") == []
    assert is_summary(
        machine,
        """
        B: 1 3
        again: 0 2
        queued: 4 5 6
        done: 0, retried: 2
        """,
    )
    machine.worker_joined("C")
    assert pairs(machine.assignments()) == "C0 C2"


def test_a_worker_that_joins_late_is_used_at_once():
    machine = scheduler(0, 3)
    assert machine.assignments() == []
    machine.worker_joined("Z")
    assert pairs(machine.assignments()) == "Z0 Z1"


def test_results_are_delivered_once_whoever_they_come_from():
    machine = scheduler(2, 2, max_in_flight=1)
    machine.assignments()
    machine.worker_lost("A")
    assert machine.job_done("A", 0)  # late, but the first: it saves doing the job again
    assert machine.assignments() == []
    assert not machine.job_done("A", 0)
    assert machine.job_done("B", 1)
    assert not machine.job_done("B", 1)
    assert not machine.job_done("nobody", 17)
    assert (machine.n_done, machine.n_open) == (2, 0)


def test_a_late_result_makes_the_copy_in_flight_a_duplicate_and_frees_its_slot():
    machine = scheduler(2, 3, max_in_flight=1)
    assert pairs(machine.assignments()) == "A0 B1"
    machine.worker_lost("A")
    machine.job_done("B", 1)
    assert pairs(machine.assignments()) == "B0"
    assert machine.job_done("A", 0)
    assert machine.assignments() == []  # B still works on its copy
    assert not machine.job_done("B", 0)
    assert pairs(machine.assignments()) == "B2"


def test_only_the_job_being_worked_on_is_charged_with_the_loss():
    machine = scheduler(0, 2, max_attempts=2)
    machine.worker_joined("A")
    machine.assignments()
    lost = WorkerLostError("out of memory")
    assert machine.worker_lost("A", lost) == []
    machine.worker_joined("B")
    assert pairs(machine.assignments()) == "B0 B1"
    assert machine.worker_lost("B", lost) == [GivenUp(0, 2, lost)]
    machine.worker_joined("C")
    assert pairs(machine.assignments()) == "C1"


def test_every_job_that_a_lost_worker_was_at_is_charged():
    machine = Scheduler(max_in_flight=3, policy=RetryPolicy(max_attempts=1), n_at_once=2)
    machine.worker_joined("A")
    for job in range(3):
        machine.job_added(job)
    machine.assignments()
    lost = WorkerLostError("gone")
    assert machine.worker_lost("A", lost) == [GivenUp(0, 1, lost), GivenUp(1, 1, lost)]
    machine.worker_joined("B")
    assert pairs(machine.assignments()) == "B2"


def test_a_failed_job_is_tried_elsewhere():
    machine = scheduler(2, 3, max_in_flight=1)
    machine.assignments()
    assert machine.job_failed("A", 0, ExecutionError("bad day")) is None
    assert pairs(machine.assignments()) == "A2"  # not 0: it just failed there
    machine.job_done("B", 1)
    assert pairs(machine.assignments()) == "B0"
    machine.job_done("A", 2)
    machine.job_failed("B", 0, ExecutionError("bad day"))
    assert pairs(machine.assignments()) == "A0"  # it failed everywhere, so anywhere


def test_a_failed_job_returns_to_the_only_worker_that_is_left():
    machine = scheduler(2, 2, max_in_flight=1)
    machine.assignments()
    machine.job_failed("A", 0, ExecutionError("bad day"))
    assert machine.assignments() == []  # waits for B
    machine.worker_lost("B")
    assert pairs(machine.assignments()) == "A1"
    machine.job_done("A", 1)
    assert pairs(machine.assignments()) == "A0"


def test_a_forgotten_circuit_is_no_reason_to_go_elsewhere():
    machine = scheduler(2, 1)
    machine.assignments()
    machine.job_failed("A", 0, UnknownCircuitError("A", "key"))
    assert pairs(machine.assignments()) == "A0"


def test_a_job_is_given_up_after_its_last_attempt_and_at_once_when_the_input_is_wrong():
    machine = scheduler(1, 2, max_in_flight=1, max_attempts=3)
    error = ExecutionError("always")
    for _ in range(2):
        assert pairs(machine.assignments()) == "A0"
        assert machine.job_failed("A", 0, error) is None
    machine.assignments()
    assert machine.job_failed("A", 0, error) == GivenUp(0, 3, error)
    assert pairs(machine.assignments()) == "A1"
    refusal = CapabilityError("too many qubits")
    assert machine.job_failed("A", 1, refusal) == GivenUp(1, 1, refusal)
    assert machine.n_open == 0


def test_withdrawn_jobs_are_not_sent_and_their_answers_dropped_but_their_slots_are_kept_until_then():
    machine = scheduler(1, 4)
    machine.assignments()
    machine.withdraw(range(4))
    machine.job_added(9)
    assert machine.assignments() == []
    assert not machine.job_done("A", 0)
    assert pairs(machine.assignments()) == "A9"
    assert machine.job_failed("A", 1, ExecutionError("late")) is None
    machine.worker_lost("A")
    machine.worker_joined("B")
    assert pairs(machine.assignments()) == "B9"


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="max_in_flight = 0"):
        Scheduler(0)
    machine = scheduler(1, 1)
    with pytest.raises(ValueError, match="worker A is here"):
        machine.worker_joined("A")
    with pytest.raises(ValueError, match="job 0 is here"):
        machine.job_added(0)


class Chaos:
    """Draws random events, and keeps its own simple account of who holds what."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.limit = self.rng.choice([1, 2, 3])
        self.machine = Scheduler(self.limit, RetryPolicy(max_attempts=10**6))
        self.held: dict[str, list[int]] = {}
        self.late: list[tuple[str, int]] = []  # results of workers that were declared lost
        self.delivered: list[int] = []
        self.withdrawn: set[int] = set()
        self.n_jobs = self.n_workers = 0

    def join(self) -> None:
        self.held[f"w{self.n_workers}"] = []
        self.machine.worker_joined(f"w{self.n_workers}")
        self.n_workers += 1

    def add(self) -> None:
        self.machine.job_added(self.n_jobs)
        self.n_jobs += 1

    def lose(self) -> None:
        worker = self.rng.choice(list(self.held))
        self.late += [(worker, job) for job in self.held.pop(worker)]
        assert self.machine.worker_lost(worker) == []

    def finish(self, fails: bool) -> None:
        busy = [worker for worker, jobs in self.held.items() if jobs]
        if not busy:
            return
        worker = self.rng.choice(busy)
        job = self.held[worker].pop(self.rng.randrange(len(self.held[worker])))
        if fails:
            assert self.machine.job_failed(worker, job, ExecutionError("bad day")) is None
        elif self.machine.job_done(worker, job):
            self.delivered.append(job)

    def arrive_late(self) -> None:
        if self.late:
            worker, job = self.late.pop(self.rng.randrange(len(self.late)))
            if self.machine.job_done(worker, job):
                self.delivered.append(job)

    def withdraw(self) -> None:
        jobs = {self.rng.randrange(self.n_jobs)} - set(self.delivered) if self.n_jobs else set()
        self.machine.withdraw(jobs)
        self.withdrawn |= jobs

    def step(self) -> None:
        events = [self.add] * 6 + [self.join] * 2 + [self.arrive_late, self.withdraw]
        events += [lambda: self.finish(False)] * 5 + [lambda: self.finish(True)]
        if self.held:
            events.append(self.lose)
        self.rng.choice(events)()
        self.send()

    def send(self) -> None:
        for a in self.machine.assignments():
            assert a.job not in self.delivered
            assert a.job not in self.withdrawn
            assert a.job not in self.held[a.worker]
            self.held[a.worker].append(a.job)
            assert len(self.held[a.worker]) <= self.limit
        if self.machine.n_open and not any(len(jobs) for jobs in self.held.values()):
            assert not self.held, "jobs wait, and so do the workers:\n" + self.machine.summary()


@pytest.mark.parametrize("seed", range(60))
def test_random_events_lose_nothing_and_deliver_everything_once(seed: int):
    chaos = Chaos(seed)
    for _ in range(300):
        chaos.step()
    if not chaos.held:
        chaos.join()
    chaos.send()
    while chaos.machine.n_open:
        chaos.finish(fails=False)
        chaos.send()
    while chaos.late:
        chaos.arrive_late()
    assert len(chaos.delivered) == len(set(chaos.delivered))
    assert set(chaos.delivered) | chaos.withdrawn == set(range(chaos.n_jobs))
    assert set(chaos.delivered) & chaos.withdrawn == set()
    assert chaos.machine.n_done == len(chaos.delivered)


def test_the_same_events_give_the_same_assignments():
    def trace(seed: int) -> str:
        chaos = Chaos(seed)
        lines = []
        for _ in range(200):
            chaos.step()
            lines.append(chaos.machine.summary())
        return "\n".join(lines)

    assert trace(1) == trace(1)
