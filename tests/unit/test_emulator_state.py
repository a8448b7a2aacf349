"""What the emulator keeps: jobs as a function of the clock, pages, the ledger, the rate limit, and the plan of faults."""

from __future__ import annotations

import asyncio
import json
import time
import tomllib
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from actors.ionq.emulator.circuits import CircuitReader
from actors.ionq.emulator.clock import RealClock, TokenBucket, VirtualClock
from actors.ionq.emulator.faults import ENDPOINTS, KINDS, Fault, FaultInjector, FaultPlan
from actors.ionq.emulator.jobs import Failure, Job, Jobs
from actors.ionq.emulator.ledger import Entry, Ledger
from actors.ionq.emulator.refusal import Refusal
from actors.ionq.emulator.settings import EmulatorSettings
from actors.ionq.emulator.submission import read_submission
from orchestrator.errors import CapabilityError, ConfigError


def accepted(
    jobs: Jobs,
    fault: Fault | None = None,
    error: Exception | None = None,
    is_done: bool = True,
    at: float = 0.0,
) -> Job:
    """A batch of two circuits that dwells 8 seconds in the queue."""
    body = {
        "backend": "qpu.aria-1",
        "type": "ionq.multi-circuit.v1",
        "shots": 100,
        "input": {"gateset": "qis", "qubits": 1, "circuits": [{"circuit": [{"gate": "h", "target": 0}]}] * 2},
    }
    answer: Future[list[str]] = Future()
    if error is not None:
        answer.set_exception(error)
    elif is_done:
        answer.set_result(['{"0": 1.0}'] * 2)
    return jobs.add(read_submission(json.dumps(body), CircuitReader()), at, 8.0, 1_000_000, fault, answer)


def statuses(job: Job) -> list[str]:
    return [job.status(now) for now in (0.0, 1.9, 2.0, 5.9, 6.0, 7.9, 8.0, 100.0)]


QUEUE = ["submitted", "submitted", "ready", "ready", "started", "started"]


def test_a_job_goes_through_the_queue_by_the_clock() -> None:
    assert statuses(accepted(Jobs())) == [*QUEUE, "completed", "completed"]


def test_a_job_whose_simulation_is_not_done_is_still_running() -> None:
    job = accepted(Jobs(), is_done=False)
    assert statuses(job) == [*QUEUE, "started", "started"]
    job.answer.cancel()  # the machine was stopped
    assert job.status(100.0) == "started"


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (
            Fault("submit", "fail", code="QuantumComputerError", message="no ions"),
            Failure("QuantumComputerError", "no ions"),
        ),
        (Fault("submit", "fail"), None),
    ],
)
def test_a_failed_job_says_why_or_does_not(fault: Fault, failure: Failure | None) -> None:
    job = accepted(Jobs(), fault)
    assert statuses(job) == [*QUEUE, "failed", "failed"]
    assert job.failure(7.9) is None
    assert job.failure(8.0) == failure


def test_what_cannot_be_simulated_fails() -> None:
    job = accepted(Jobs(), error=CapabilityError("too wide"))
    assert job.failure(8.0) == Failure("SimulationError", "too wide")
    assert accepted(Jobs(), error=ZeroDivisionError("a defect")).failure(8.0) == Failure(
        "InternalError", "a defect"
    )


def test_canceled_by_the_service_or_by_the_user() -> None:
    assert statuses(accepted(Jobs(), Fault("submit", "cancel"))) == [*QUEUE, "canceled", "canceled"]
    job = accepted(Jobs())
    job.canceled_at = 3.0
    assert job.status(4.0) == job.child_status(0, 4.0) == "canceled"


def test_one_circuit_of_a_batch_fails() -> None:
    job = accepted(Jobs(), Fault("submit", "child_fail", child=1, code="TooManyGates", message="m"))
    assert job.status(8.0) == "failed"
    assert (job.child_status(0, 8.0), job.child_status(1, 8.0)) == ("completed", "failed")
    assert job.child_failure(1, 8.0) == Failure("TooManyGates", "m")
    assert job.child_failure(0, 8.0) is None
    job = accepted(Jobs(), Fault("submit", "child_fail", child=7, parent="completed"))
    assert job.status(8.0) == "completed"
    assert job.failed_child == 1  # the last one, if there are not so many


def test_pages_are_stable_while_jobs_come_in() -> None:
    jobs = Jobs()
    first = [accepted(jobs) for _ in range(5)]
    page, after = jobs.page(None, None, 2, 0.0)
    assert page == [first[4], first[3]]
    accepted(jobs)
    page, after = jobs.page(None, after, 2, 0.0)
    assert page == [first[2], first[1]]
    page, after = jobs.page(None, after, 2, 0.0)
    assert page == [first[0]]
    assert after is None
    assert jobs.page("completed", None, 100, 0.0) == ([], None)
    assert len(jobs.page("completed", None, 100, 8.0)[0]) == 6
    for status, cursor in (("done", None), (None, "x")):
        with pytest.raises(Refusal, match=r"nearest valid|not given out"):
            jobs.page(status, cursor, 1, 0.0)


def test_deleted_jobs_and_their_circuits_are_gone() -> None:
    jobs = Jobs()
    job = accepted(jobs)
    assert jobs.find(job.child_ids[1]) == (job, 1)
    jobs.delete(job)
    for job_id in (job.id, *job.child_ids):
        with pytest.raises(Refusal, match="not found") as refused:
            jobs.find(job_id)
        assert refused.value.status == 404


# --- Ledger --------------------------------------------------------------------------------------------------------------------


def entry(number: int, token: str | None = None, name: str | None = None, price: int = 5) -> Entry:
    return Entry(f"id{number}", token, name, "qpu.aria-1", 1, 1, 0, 100, False, False, price)


def test_duplicates_are_those_of_a_token_or_a_name() -> None:
    ledger = Ledger()
    for number, (token, name) in enumerate(
        [
            ("a", "qfleet-a"),
            ("b", "qfleet-b"),
            (None, None),
            (None, None),
            ("a", "qfleet-a"),
            (None, "qfleet-b"),
            ("a", "other"),
        ]
    ):
        ledger.accept(entry(number, token, name))
    assert ledger.totals()["duplicates"] == 3
    assert ledger.totals()["jobs_accepted"] == 7


def test_the_file_holds_what_came_and_how_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"event": "of an earlier run"}\n')
    ledger = Ledger(path)
    ledger.accept(entry(1, price=1_234_567))
    ledger.accept(entry(2))
    ledger.settle("id1", "completed", 1_234_567)
    ledger.settle("id1", "completed", 1_234_567)  # seen again
    ledger.settle("id2", "failed", 0)
    assert ledger.totals()["billed_usd"] == 1.234567
    assert ledger.totals()["jobs"] == {"submitted": 0, "completed": 1, "failed": 1, "canceled": 0}
    ledger.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["event"], line.get("id"), line.get("status")) for line in lines] == [
        ("of an earlier run", None, None),
        ("accepted", "id1", "submitted"),
        ("accepted", "id2", "submitted"),
        ("ended", "id1", "completed"),
        ("ended", "id2", "failed"),
    ]


# --- Time ----------------------------------------------------------------------------------------------------------------------


def test_a_virtual_clock_moves_when_told_to() -> None:
    clock = VirtualClock()
    started = time.perf_counter()
    asyncio.run(clock.sleep(3600.0))
    assert time.perf_counter() - started < 5.0
    assert clock.now() == 0.0
    clock.advance(12.5)
    assert clock.now() == 12.5
    with pytest.raises(ConfigError, match="backwards"):
        clock.advance(-1.0)


def test_a_fast_clock_is_fast() -> None:
    clock = RealClock(speed=1000.0)
    before, started = clock.now(), time.monotonic()
    asyncio.run(clock.sleep(20.0))
    assert clock.now() - before >= 20.0
    assert time.monotonic() - started < 10.0
    with pytest.raises(ConfigError, match="positive"):
        RealClock(0.0)


def test_the_rate_limit_is_a_bucket() -> None:
    clock = VirtualClock()
    bucket = TokenBucket(2.0, 3, clock)
    assert [bucket.take() for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock.advance(0.25)
    assert bucket.take() == 0.25
    clock.advance(0.25)
    assert bucket.take() == 0.0
    clock.advance(100.0)
    assert [bucket.take() > 0 for _ in range(4)] == [False, False, False, True]


# --- Faults --------------------------------------------------------------------------------------------------------------------


def test_a_plan_depends_on_the_seed_the_endpoint_and_the_count_alone() -> None:
    plan = FaultPlan.from_mapping(
        {"seed": 3, "fault": [{"endpoint": "any", "kind": "drop", "probability": 0.2}]}
    )
    hits = {e: [n for n in range(1, 2001) if plan.decide(e, n)] for e in ("submit", "status")}
    for found in hits.values():
        assert abs(len(found) - 400) < 5 * (2000 * 0.2 * 0.8) ** 0.5
    assert hits["submit"] != hits["status"]
    injector = FaultInjector(plan)
    mixed: dict[str, list[int]] = {"submit": [], "status": []}
    for n in range(1, 301):
        for endpoint in ("submit", "status", "status"):
            if injector.next(endpoint):
                mixed[endpoint].append(injector.calls[endpoint])
        assert injector.calls["submit"] == n
    assert mixed["submit"] == [n for n in hits["submit"] if n <= 300]
    assert mixed["status"] == [n for n in hits["status"] if n <= 600]
    other = FaultPlan(4, plan.rules)
    assert hits["submit"] != [n for n in range(1, 2001) if other.decide("submit", n)]


def test_calls_are_named_and_the_first_rule_decides(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        '[[fault]]\nendpoint = "submit"\nkind = "drop"\ncalls = [2]\nwhen = "after"\n\n'
        '[[fault]]\nendpoint = "submit"\nkind = "status"\nstatus = 502\ncalls = [2, 3]\nretry_after = 1\n'
    )
    plan = FaultPlan.load(path)
    found = [plan.decide("submit", n) for n in range(1, 5)]
    assert [fault and fault.kind for fault in found] == [None, "drop", "status", None]
    assert found[1] is not None
    assert found[1].when == "after"
    assert plan.decide("status", 2) is None


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"faults": []}, "did you mean 'fault'"),
        ({"seed": "x"}, "must be a whole number"),
        ({"fault": [{"endpoint": "submit"}]}, "fault.kind.*is missing"),
        ({"fault": [{"endpoint": "post", "kind": "drop"}]}, "must be one of submit"),
        ({"fault": [{"endpoint": "submit", "kind": "dropp"}]}, "did you mean 'drop'"),
        ({"fault": [{"endpoint": "submit", "kind": "drop", "call": [1]}]}, "did you mean 'calls'"),
        ({"fault": [{"endpoint": "submit", "kind": "drop", "calls": [0]}]}, "counts from 1"),
        ({"fault": [{"endpoint": "submit", "kind": "drop", "probability": 1.5}]}, "lies in"),
        ({"fault": [{"endpoint": "submit", "kind": "status", "status": 200}]}, "HTTP error"),
        ({"fault": [{"endpoint": "status", "kind": "fail"}]}, "fault of submit"),
        ({"fault": [{"endpoint": "submit", "kind": "shuffle"}]}, "fault of results"),
        (
            {"fault": [{"endpoint": "submit", "kind": "fail", "code": "InternalErr"}]},
            "did you mean 'InternalError'",
        ),
        (
            {"fault": [{"endpoint": "submit", "kind": "drop", "when": "later"}]},
            "must be one of before, after",
        ),
        ({"fault": [{"endpoint": "submit", "kind": "stall", "seconds": True}]}, "must be float"),
    ],
)
def test_a_plan_that_means_nothing_is_refused(plan: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FaultPlan.from_mapping(plan)


def test_the_documentation_names_every_endpoint_and_kind() -> None:
    text = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text(encoding="utf-8")
    for name in (*ENDPOINTS, *KINDS):
        assert f"`{name}`" in text, name
    [example] = [block for block in text.split("```toml\n")[1:] if "[[fault]]" in block]
    assert FaultPlan.from_mapping(tomllib.loads(example.split("```")[0])).rules


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 70_000}, "0 to 65535"),
        ({"latency_seconds": -1.0}, "from 0 on"),
        ({"queue_seconds": float("nan")}, "from 0 on"),
        ({"noise": "aria1"}, "did you mean 'aria-1'"),
        ({"rate": 0.0}, "must be positive"),
        ({"burst": 0}, "at least 1"),
        ({"key": ""}, "must not be empty"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EmulatorSettings(**options)


def test_the_key_is_in_no_repr() -> None:
    assert "hunter2" not in repr(EmulatorSettings(key="hunter2"))
