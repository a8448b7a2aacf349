"""The submission book in a process of its own: actors race for the last dollars, errors cross as themselves, a killed driver frees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import cloudpickle

from actors.ionq.book import Book, SubmissionBook
from actors.ionq.book_file import AnswerMissingError, BookDamagedError, BookError, BookInUseError
from actors.ionq.book_ledger import BookStateError
from actors.ray_fleet import RayFleet
from actors.ray_fleet.book import BookServer, RemoteBook
from orchestrator.errors import BudgetError
from orchestrator.jobs import Job, JobResult
from tests.contract.test_dispatcher_conformance import CIRCUIT, CosineBackend, CosineSession, make_jobs

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(240)]

N_ACTORS, N_ATTEMPTS = 8, 30
PRICE, CAP = 12_416_601, 1_000_000_000
"""Micro-dollars: 80 submissions fit under the cap, 240 are tried."""


class CarelessBook:
    """What a book must not be: it looks whether there is money, and takes it a moment later."""

    def __init__(self) -> None:
        self.reserved = 0

    def call(self, method: str, token: str, micro_dollars: int, *rest: Any) -> None:
        reserved = self.reserved
        if reserved + micro_dollars > CAP:
            raise BudgetError(CAP, 0, reserved, micro_dollars)
        time.sleep(
            0.02
        )  # long enough for every racer, on however slow a machine, to look at the last dollars before they are gone
        self.reserved += micro_dollars


class Racer:
    """An actor that reserves for all it is worth."""

    def ready(self) -> None:
        pass

    def race(self, payload: bytes, number: int, starts_at: float) -> list[str]:
        """The tokens that it got."""
        book: Book = cloudpickle.loads(payload)
        time.sleep(max(starts_at - time.time(), 0))
        got = []
        for attempt in range(N_ATTEMPTS):
            token = f"{number:02x}{attempt:04x}"
            with suppress(BudgetError):
                book.reserve(token, PRICE)
                got.append(token)
        return got


@pytest.fixture(scope="module")
def racers(local_ray: None) -> Iterator[list[Any]]:
    actors = [ray.remote(Racer).options(num_cpus=0).remote() for _ in range(N_ACTORS)]
    ray.get([actor.ready.remote() for actor in actors], timeout=120)
    yield actors
    for actor in actors:
        ray.kill(actor)


def tokens_won(actors: list[Any], book: RemoteBook) -> list[str]:
    starts_at = time.time() + 0.2
    payload = cloudpickle.dumps(book)
    won = ray.get([actor.race.remote(payload, i, starts_at) for i, actor in enumerate(actors)], timeout=60)
    return [token for tokens in won for token in tokens]


def test_eight_actors_race_for_the_last_dollars_and_the_cap_holds_to_the_cent(
    racers: list[Any], tmp_path: Path
) -> None:
    with BookServer(tmp_path, CAP) as server:
        won = tokens_won(racers, server.book)
        totals = server.book.totals()
    assert len(won) == CAP // PRICE, "not one less than fits, and not one more"
    assert totals.reserved == len(won) * PRICE <= CAP
    with SubmissionBook(tmp_path, CAP) as book:
        assert {entry.token for entry in book.unfinished()} == set(won)


def test_the_race_is_lost_where_reserving_is_not_atomic(racers: list[Any]) -> None:
    """The same race must be able to fail, or it shows nothing."""
    careless = ray.remote(CarelessBook).options(num_cpus=0, max_concurrency=64).remote()
    worst = 0
    for _ in range(5):
        worst = max(worst, len(tokens_won(racers, RemoteBook(careless))))
        if worst * PRICE > CAP:
            break
    ray.kill(careless)
    assert worst * PRICE > CAP


def test_errors_cross_as_themselves(tmp_path: Path) -> None:
    with BookServer(tmp_path, 100) as server:
        book = server.book
        with pytest.raises(BudgetError) as caught:
            book.reserve("a0", 101)
        assert (caught.value.cap, caught.value.asked) == (100, 101)
        with pytest.raises(BookStateError, match="a0 is unknown"):
            book.submitted("a0", "job")
        with pytest.raises(BookInUseError):
            SubmissionBook(tmp_path, lock_seconds=0.0)
        book.reserve("b0", 10, 2, 100, "simulator")
        book.submitted("b0", "job-b")
        book.completed("b0", 9, [{"0": 0.5, "1": 0.5}, {"1": 1.0}])
        entry = book.look("b0")
        assert entry is not None
        assert (entry.state, entry.n_circuits, entry.provider_id) == ("completed", 2, "job-b")
        assert entry.answer == [{"0": 0.5, "1": 0.5}, {"1": 1.0}]
        assert book.totals()[:3] == (9, 0, 9)
        assert book.look("c0") is None
        (tmp_path / "answers" / "b0.json").unlink()
        with pytest.raises(AnswerMissingError) as lost:
            _ = entry.answer
        assert lost.value.provider_id == "job-b"
        book.reserve("c0", 1)
        book.released("c0", "absent")
        book.reserve("d0", 2)
        assert [entry.token for entry in book.unfinished()] == ["d0"]
    with SubmissionBook(tmp_path, lock_seconds=0.0) as here:  # closed: the lock is free
        assert here.totals()[:2] == (9, 2)
    with pytest.raises(BookError, match="process of the submission book is gone"):
        book.look("b0")


def test_a_damaged_book_is_the_drivers_error(tmp_path: Path) -> None:
    with BookServer(tmp_path):
        pass
    (tmp_path / "submissions.jsonl").write_bytes(b"{}\n")
    with pytest.raises(BookDamagedError) as caught:
        BookServer(tmp_path)
    assert caught.value.line == 1


class PayingSession(CosineSession):
    def __init__(self, book: Book) -> None:
        super().__init__()
        self.book = book

    def run(self, compiled: int, job: Job) -> JobResult:
        self.book.reserve(job.job_id, 1)
        self.book.submitted(job.job_id, f"at-{job.job_id}")
        answer = super().run(compiled, job)
        self.book.completed(job.job_id, 1, [{"0": float(answer.values[0, 0, 0])}])
        return answer


class PayingBackend(CosineBackend):
    def __init__(self, book: Book) -> None:
        self.book = book

    def open_session(self) -> CosineSession:
        return PayingSession(self.book)


def test_a_fleet_pays_through_the_book_and_stops_at_its_cap(tmp_path: Path) -> None:
    jobs = make_jobs(30, CIRCUIT)
    with (
        BookServer(tmp_path, 30) as server,
        RayFleet(PayingBackend(server.book), 2, cpus_per_actor=0.5) as fleet,
    ):
        fleet.register(CIRCUIT)
        answers = {result.job_id: result.values[0, 0, 0] for result in fleet.run(jobs)}
        assert server.book.totals()[:2] == (30, 0)
        for job_id, value in answers.items():
            assert server.book.answer(job_id) == [{"0": value}]
        with pytest.raises(BudgetError):
            list(fleet.run(make_jobs(31, CIRCUIT)[:1]))


DRIVER = """
import json, sys
from pathlib import Path
from actors.ray_fleet.book import BookServer

server = BookServer(Path(sys.argv[1]))
for i in range(10**6):
    server.book.reserve(f"{int(sys.argv[2]):x}0{i:x}", 1)
    print(json.dumps(f"{int(sys.argv[2]):x}0{i:x}"), flush=True)
"""


def test_a_killed_driver_leaves_its_book_to_the_next(tmp_path: Path) -> None:
    """Through `lock_seconds`: the book's process ends a moment after its driver."""
    address = ray.get_runtime_context().gcs_address
    told: list[str] = []
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    environment = os.environ | {"RAY_ADDRESS": address}
    for round_number in range(1, 3):
        with subprocess.Popen(
            [*command, str(round_number)], env=environment, stdout=subprocess.PIPE, text=True
        ) as driver:
            assert driver.stdout is not None
            told += [json.loads(driver.stdout.readline()) for _ in range(20)]
            driver.send_signal(signal.SIGKILL)
    with SubmissionBook(tmp_path, lock_seconds=30.0) as book:
        assert set(told) <= {entry.token for entry in book.unfinished()}
