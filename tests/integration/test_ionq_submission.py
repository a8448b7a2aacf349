"""One token, one job: the submitter over the real client, the real book and HTTP, through every row of the failure matrix."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.ionq.api_key import ApiKey
from actors.ionq.book import SubmissionBook
from actors.ionq.client import IonQClient
from actors.ionq.clock import SystemClock
from actors.ionq.errors import (
    IonQError,
    JobCanceledError,
    JobFailedError,
    PassingIonQError,
    StoppedError,
    SubmissionRefusedError,
)
from actors.ionq.submission import Patience, Submission, Submitter
from actors.ionq.transport import Limits
from tests.command import forking
from tests.integration import ionq_worker
from tests.integration.scripted_ionq import KEY, Fault, ScriptedIonQ, body_of, refuse

LIMITS = Limits(connect=1.0, read=0.25, total=2.0, first_delay=0.005, max_delay=0.02)
PATIENCE = Patience(first_poll=0.005, max_poll=0.02, grace=0.2)
PRICE = 10_000_000


@pytest.fixture
def server() -> Iterator[ScriptedIonQ]:
    with ScriptedIonQ(page_size=3) as server:
        yield server


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SubmissionBook]:
    with SubmissionBook(tmp_path) as book:
        yield book


def submission(token: str, n_circuits: int | None = 3) -> Submission:
    return Submission(
        token,
        lambda name: body_of(name, n_circuits),
        n_circuits or 1,
        n_circuits is not None,
        PRICE,
        shots=100,
    )


def submitter_for(server: ScriptedIonQ, book: SubmissionBook, clock: SystemClock | None = None) -> Submitter:
    clock = clock or SystemClock()
    client = IonQClient(server.url, limits=LIMITS, clock=clock, results_grace=0.5, key=ApiKey(KEY))
    return Submitter(client, book, clock, PATIENCE)


def answer_of(n_circuits: int) -> list[dict[str, float]]:
    return [{str(index): 1.0} for index in range(n_circuits)]


LOST = [
    Fault("drop", is_accepted=True),
    Fault("stall", is_accepted=True),
    Fault("cut", is_accepted=True),
    Fault("status", 200, "<html>", is_accepted=True),
    *(refuse(status, is_accepted=True) for status in (408, 409, 500, 502, 503, 504, 520)),
]
NEVER_ARRIVED = [
    Fault("drop"),
    Fault("stall"),
    *(refuse(status, "0") for status in (408, 409, 500, 502, 503, 504, 520)),
]


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: f"{fault.kind}-{fault.status}")
@pytest.mark.parametrize("n_hidden", [0, 3])
def test_accepted_then_lost(server: ScriptedIonQ, book: SubmissionBook, fault: Fault, n_hidden: int) -> None:
    server.script("POST jobs", fault)
    server.n_hidden_listings = n_hidden
    assert submitter_for(server, book).run(submission("ab")).answer == answer_of(3)
    assert server.count("POST jobs") == len(server.jobs) == 1
    assert book.totals().spent == PRICE


@pytest.mark.parametrize("fault", NEVER_ARRIVED, ids=lambda fault: f"{fault.kind}-{fault.status}")
def test_never_arrived(server: ScriptedIonQ, book: SubmissionBook, fault: Fault) -> None:
    server.script("POST jobs", fault)
    assert submitter_for(server, book).run(submission("ab")).answer == answer_of(3)
    methods = [each.method for each in server.requests if each.path == "/v0.4/jobs"]
    assert methods[0] == methods[-1] == "POST"
    assert methods.count("POST") == 2
    assert methods.count("GET") >= 2  # looked for between the two, more than once
    assert len(server.jobs) == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 422])
def test_refused(server: ScriptedIonQ, book: SubmissionBook, status: int) -> None:
    server.script("POST jobs", refuse(status))
    submitter = submitter_for(server, book)
    with pytest.raises(IonQError) as caught:
        submitter.run(submission("ab"))
    assert isinstance(caught.value, SubmissionRefusedError) or status == 401
    assert not isinstance(caught.value, PassingIonQError)
    assert server.count("POST jobs") == 1
    assert server.count("GET jobs") == 0
    assert book.totals().reserved == 0


def test_rate_limited(server: ScriptedIonQ, book: SubmissionBook) -> None:
    for endpoint in ("POST jobs", "GET job", "GET results"):
        server.script(endpoint, refuse(429, "0"), refuse(429, "0"))
    assert submitter_for(server, book).run(submission("ab")).answer == answer_of(3)
    assert server.count("POST jobs") == 3  # two of them definitely refused
    assert server.count("GET jobs") == 0
    assert len(server.jobs) == 1


@pytest.mark.parametrize("failure", [None, {"code": "InternalError", "message": "why"}])
def test_failed(server: ScriptedIonQ, book: SubmissionBook, failure: Any) -> None:
    server.final = {"status": "failed", "failure": failure}
    submitter = submitter_for(server, book)
    with pytest.raises(JobFailedError):
        submitter.run(submission("ab"))
    server.final = {"status": "completed", "failure": None}
    assert submitter.run(submission("ab")).answer == answer_of(3)
    names = [job["body"]["name"] for job in server.jobs.values()]
    assert len(set(names)) == len(names) == 2


def test_canceled(server: ScriptedIonQ, book: SubmissionBook) -> None:
    server.final = {"status": "canceled", "failure": None}
    with pytest.raises(JobCanceledError):
        submitter_for(server, book).run(submission("ab"))
    assert server.count("POST jobs") == 1


def test_a_session_that_closes_ends_its_waits(server: ScriptedIonQ, book: SubmissionBook) -> None:
    server.n_polls = 10**6
    clock = SystemClock()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            submitter_for(server, book, clock).run(submission("ab"))
        except StoppedError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not server.count("GET job"):
        pass
    clock.stop()
    thread.join(5)
    assert len(raised) == 1
    server.n_polls = 0
    assert submitter_for(server, book).run(submission("ab")).answer == answer_of(3)
    assert server.count("POST jobs") == 1


@pytest.mark.parametrize("seed", range(4))
def test_a_storm_over_many_jobs(server: ScriptedIonQ, book: SubmissionBook, seed: int) -> None:
    """Ten at a time through faults at every endpoint, retried as the fleet would: each answered right, none twice."""
    rng = random.Random(seed)
    server.n_polls = 2
    server.is_shuffled = True
    server.page_size = 1000
    passing = [
        refuse(429, "0"),
        refuse(503),
        Fault("drop"),
        Fault("cut"),
        Fault("status", 200, "no JSON"),
        None,
    ]
    for endpoint in ("GET jobs", "GET job", "GET results"):
        server.script(endpoint, *[rng.choice(passing) for _ in range(60)])  # type: ignore[list-item]
    posts = [None, None, refuse(429, "0"), *LOST[::2], *NEVER_ARRIVED[::3]]
    server.script("POST jobs", *[rng.choice(posts) for _ in range(20)])  # type: ignore[list-item]
    submitter = submitter_for(server, book)
    sizes = {f"{index:02x}": index % 4 + 1 for index in range(20)}
    answers: dict[str, Any] = {}

    def work(tokens: list[str]) -> None:
        for token in tokens:
            while token not in answers:
                try:
                    answers[token] = submitter.run(submission(token, sizes[token])).answer
                except PassingIonQError:
                    continue

    tokens = list(sizes)
    threads = [threading.Thread(target=work, args=(tokens[start::10],)) for start in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {token: answer_of(n_circuits) for token, n_circuits in sizes.items()}
    assert sorted(job["body"]["metadata"]["qfleet_token"] for job in server.jobs.values()) == tokens
    assert (book.totals().spent, book.totals().reserved) == (20 * PRICE, 0)


def test_killed_at_any_instant_and_resumed(server: ScriptedIonQ, tmp_path: Path) -> None:
    """SIGKILL, time and again, until a process lives to the end: every job once, within a cap without room for a second one."""
    server.page_size = 1000
    server.latency = 0.03  # most kills fall between the acceptance of a job and its answer
    rng = random.Random(5)
    context = forking()
    n_killed = 0
    while True:
        process = context.Process(target=ionq_worker.work, args=(server.url, tmp_path))
        n_begun = len(server.requests)
        process.start()
        while process.is_alive() and len(server.requests) == n_begun:
            time.sleep(0.001)
        process.join(rng.uniform(0.0, 0.12) if n_killed < 20 else 60)
        if not process.is_alive():
            break
        process.kill()
        process.join()
        n_killed += 1
    assert process.exitcode == 0
    assert n_killed >= 15
    tokens = [job["body"]["metadata"]["qfleet_token"] for job in server.jobs.values()]
    assert sorted(tokens) == [f"{index:02x}" for index in range(ionq_worker.N_JOBS)]
    with SubmissionBook(tmp_path) as book:
        assert book.totals().spent == ionq_worker.N_JOBS * ionq_worker.PRICE
        assert book.totals().reserved == 0
