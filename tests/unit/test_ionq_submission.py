"""Exactly once: a submission over the real book and a provider that fails at every point, with crashes at every point."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.ionq.book import SubmissionBook
from actors.ionq.book_ledger import BookStateError
from actors.ionq.errors import (
    AuthenticationError,
    BadAnswerError,
    IonQError,
    JobCanceledError,
    JobFailedError,
    JobRejectedError,
    JobTimeoutError,
    NotFoundError,
    RateLimitedError,
    StoppedError,
    SubmissionRefusedError,
    SubmissionUnknownError,
    UnavailableError,
)
from actors.ionq.job_status import JobStatus
from actors.ionq.submission import Patience, Submission, Submitter, next_token
from orchestrator.errors import BudgetError, CircuitError, QfleetError

TOKEN = "ab12"
PRICE = 1_234_567
ANSWER = [{"0": 0.25, "3": 0.75}, {"1": 1.0}]
SUBMISSION = Submission(TOKEN, lambda token: {"name": token}, 2, True, PRICE, shots=100, target="qpu.aria-1")


class Crash(BaseException):
    """The process ends here."""


class FakeClock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.time += seconds


class Provider:
    """A provider that keeps its jobs whatever happens to us, and fails as `faults` says.

    `faults[call]` are met in order: "before" raises before the call takes effect, "after" afterwards.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.jobs: dict[str, dict[str, Any]] = {}
        self.posts: list[str] = []
        self.n_calls = dict.fromkeys(("submit", "find", "job", "results"), 0)
        self.faults: dict[str, list[tuple[str, BaseException]]] = {}
        self.dwell = 1.0
        self.hidden_for = 0.0  # how long the list does not show a job
        self.fates: list[tuple[str, str | None]] = []  # of the next jobs: status and code

    def _meet(self, call: str, effect: Callable[[], Any]) -> Any:
        self.n_calls[call] += 1
        faults = self.faults.get(call)
        when, error = faults.pop(0) if faults else ("", None)
        if error is not None and when == "before":
            raise error
        value = effect()
        if error is not None:
            raise error
        return value

    def submit(self, body: Mapping[str, Any]) -> str:
        self.posts.append(body["name"])

        def accept() -> str:
            job_id = f"job-{len(self.jobs)}"
            fate = self.fates.pop(0) if self.fates else ("completed", None)
            self.jobs[job_id] = {"token": body["name"], "at": self.clock.time, "fate": fate}
            return job_id

        return self._meet("submit", accept)

    def find(self, token: str) -> str | None:
        def look() -> str | None:
            shown = [
                job_id
                for job_id, job in self.jobs.items()
                if job["token"] == token and self.clock.time >= job["at"] + self.hidden_for
            ]
            return shown[0] if shown else None

        return self._meet("find", look)

    def job(self, job_id: str) -> JobStatus:
        def look() -> JobStatus:
            job = self.jobs[job_id]
            if self.clock.time < job["at"] + self.dwell:
                return JobStatus(job_id, "started")
            status, code = job["fate"]
            return JobStatus(job_id, status, code, None, ("c0", "c1"), 100.0, 103.0, 110.0)

        return self._meet("job", look)

    def results(
        self,
        job_id: str,
        is_batch: bool,
        n_circuits: int,
        sharpen: bool | None = None,
        child_ids: Sequence[str] | None = None,
    ) -> list[dict[str, float]]:
        assert (is_batch, n_circuits, tuple(child_ids or ())) == (True, 2, ("c0", "c1"))
        return self._meet("results", lambda: [dict(each) for each in ANSWER])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def provider(clock: FakeClock) -> Provider:
    return Provider(clock)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SubmissionBook]:
    with SubmissionBook(tmp_path, cap=2 * PRICE) as book:
        yield book


@pytest.fixture
def submitter(provider: Provider, book: SubmissionBook, clock: FakeClock) -> Submitter:
    return Submitter(provider, book, clock)


def check_paid_once(provider: Provider, book: SubmissionBook, n_jobs: int = 1) -> None:
    totals = book.totals()
    assert (totals.spent, totals.reserved, totals.n_completed) == (PRICE, 0, 1)
    assert len(provider.jobs) == n_jobs
    tokens = [job["token"] for job in provider.jobs.values()]
    assert len(set(tokens)) == len(tokens), "two jobs under one token"


def test_a_calm_submission(submitter: Submitter, provider: Provider, book: SubmissionBook) -> None:
    delivery = submitter.run(SUBMISSION)
    assert (delivery.answer, delivery.token, delivery.micro_dollars) == (ANSWER, TOKEN, PRICE)
    assert delivery.latency is not None
    assert delivery.latency.submit == delivery.latency.fetch == 0
    assert (delivery.latency.queue, delivery.latency.execution) == (3, 7)
    assert 1 <= delivery.latency.wait <= 1.3 + 0.05  # noticed at most 30 % late
    entry = book.look(TOKEN)
    assert entry is not None
    assert (entry.n_circuits, entry.shots, entry.target) == (2, 100, "qpu.aria-1")
    assert provider.n_calls["find"] == 0
    check_paid_once(provider, book)


def test_a_recorded_answer_costs_nothing(
    submitter: Submitter, provider: Provider, book: SubmissionBook
) -> None:
    submitter.run(SUBMISSION)
    calls = dict(provider.n_calls)
    again = submitter.run(SUBMISSION)
    assert (again.answer, again.micro_dollars, again.latency) == (ANSWER, PRICE, None)
    assert provider.n_calls == calls
    assert book.totals().saved == PRICE


def test_an_answer_of_no_use_is_not_recorded(
    submitter: Submitter, provider: Provider, book: SubmissionBook
) -> None:
    """What was read wrongly once is read again, under the same token and for the same money."""
    verdicts = iter([BadAnswerError("the probabilities sum to 0.7"), None])

    def check(answer: list[dict[str, float]]) -> None:
        assert answer == ANSWER
        verdict = next(verdicts)
        if verdict is not None:
            raise verdict

    checked = replace(SUBMISSION, check=check)
    with pytest.raises(BadAnswerError):
        submitter.run(checked)
    entry = book.look(TOKEN)
    assert entry is not None
    assert entry.state == "submitted"
    assert submitter.run(checked).answer == ANSWER
    assert submitter.run(checked).answer == ANSWER  # from the book, where only what was checked is
    assert provider.posts == [TOKEN]
    check_paid_once(provider, book)


def test_polls_become_rarer(submitter: Submitter, provider: Provider) -> None:
    provider.dwell = 3600.0
    submitter.run(SUBMISSION)
    assert 3600 / 2 < provider.n_calls["job"] < 3600 / 2 + 20


# Unknown outcomes


def test_accepted_then_lost_is_sent_once(
    submitter: Submitter, provider: Provider, book: SubmissionBook, clock: FakeClock
) -> None:
    provider.faults["submit"] = [("after", SubmissionUnknownError("lost"))]
    assert submitter.run(SUBMISSION).answer == ANSWER
    assert provider.posts == [TOKEN]
    check_paid_once(provider, book)


def test_a_job_that_shows_up_late_is_not_sent_again(
    submitter: Submitter, provider: Provider, book: SubmissionBook
) -> None:
    provider.faults["submit"] = [("after", SubmissionUnknownError("lost"))]
    provider.hidden_for = Patience().grace
    submitter.run(SUBMISSION)
    assert provider.posts == [TOKEN]
    check_paid_once(provider, book)


def test_a_job_that_never_arrived_is_sent_again_after_the_grace(
    submitter: Submitter, provider: Provider, book: SubmissionBook
) -> None:
    provider.faults["submit"] = [
        ("before", SubmissionUnknownError("lost", retry_after=7.0)),
        ("before", SubmissionUnknownError("lost")),
    ]
    submitter.run(SUBMISSION)
    assert provider.posts == [TOKEN] * 3
    assert provider.jobs["job-0"]["at"] == 2 * Patience().grace + 7
    check_paid_once(provider, book)


def test_sending_ends_with_the_reservation_kept(
    submitter: Submitter, provider: Provider, book: SubmissionBook
) -> None:
    provider.faults["submit"] = [("before", SubmissionUnknownError("lost"))] * 3
    with pytest.raises(SubmissionUnknownError):
        submitter.run(SUBMISSION)
    assert len(provider.posts) == 3
    assert book.totals().reserved == PRICE
    begin = provider.clock.time
    submitter.run(SUBMISSION)
    assert (
        provider.jobs["job-0"]["at"] == begin + Patience().grace
    )  # looked for first; nobody else can be sending it
    check_paid_once(provider, book)


def test_without_a_list_nothing_is_sent_again(
    submitter: Submitter, provider: Provider, book: SubmissionBook
) -> None:
    provider.faults["submit"] = [("after", SubmissionUnknownError("lost"))]
    provider.faults["find"] = [("before", UnavailableError("down"))] * 2
    for _ in range(2):
        with pytest.raises(UnavailableError):
            submitter.run(SUBMISSION)
    submitter.run(SUBMISSION)
    assert provider.posts == [TOKEN]
    check_paid_once(provider, book)


def test_a_job_that_another_process_may_be_sending_is_waited_for_longer(
    provider: Provider, book: SubmissionBook, clock: FakeClock
) -> None:
    """A worker out of sight but alive sends as late as its call may take; whoever takes over finds that job."""
    book.reserve(TOKEN, PRICE)
    patience = Patience(grace=15.0, takeover=205.0)

    class LateSender(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.time > 180 and not provider.jobs:
                provider.submit({"name": TOKEN})

    provider.clock = LateSender()
    Submitter(provider, book, provider.clock, patience).run(SUBMISSION)
    assert provider.posts == [TOKEN]
    check_paid_once(provider, book)


def test_of_two_that_reserve_at_once_one_waits_for_the_other(
    provider: Provider, book: SubmissionBook
) -> None:
    class Raced:
        """Another worker reserves between our look and our reservation."""

        def __getattr__(self, name: str) -> Any:
            return getattr(book, name)

        def reserve(self, token: str, *details: Any) -> None:
            book.reserve(token, PRICE)
            book.reserve(token, *details)

    submitter = Submitter(provider, Raced(), provider.clock)  # type: ignore[arg-type]
    with pytest.raises(BookStateError):
        submitter.run(SUBMISSION)
    assert provider.posts == []
    submitter.run(SUBMISSION)
    assert provider.jobs["job-0"]["at"] == Patience().takeover
    check_paid_once(provider, book)


def test_a_job_that_a_dead_process_did_not_send_is_sent_after_the_takeover(
    submitter: Submitter, provider: Provider, book: SubmissionBook
) -> None:
    book.reserve(TOKEN, PRICE)
    submitter.run(SUBMISSION)
    assert provider.jobs["job-0"]["at"] == Patience().takeover
    check_paid_once(provider, book)


# Refusals


@pytest.mark.parametrize(
    "error",
    [
        SubmissionRefusedError("bad"),
        AuthenticationError("key"),
        RateLimitedError("fast"),
        UnavailableError("no connection"),
        CircuitError("NaN"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal_frees_the_money(
    submitter: Submitter, provider: Provider, book: SubmissionBook, error: QfleetError
) -> None:
    provider.faults["submit"] = [("before", error)]
    with pytest.raises(type(error)):
        submitter.run(SUBMISSION)
    assert book.totals().reserved == 0
    submitter.run(SUBMISSION)
    assert provider.posts == [TOKEN, TOKEN]  # the same token: no job ever had it
    assert provider.n_calls["find"] == 0
    check_paid_once(provider, book)


def test_the_cap_stops_before_anything_is_sent(
    submitter: Submitter, provider: Provider, book: SubmissionBook
) -> None:
    with pytest.raises(BudgetError):
        submitter.run(replace(SUBMISSION, micro_dollars=2 * PRICE + 1))
    assert provider.posts == []
    assert book.totals().reserved == 0


# Jobs that come to nothing


@pytest.mark.parametrize(
    ("fate", "kind", "reason"),
    [
        (("failed", "QuantumComputerError"), JobFailedError, "failed"),
        (("failed", None), JobFailedError, "failed"),
        (("failed", "TooManyShots"), JobRejectedError, "failed"),
        (("canceled", None), JobCanceledError, "canceled"),
    ],
)
def test_a_failed_job_is_sent_anew_under_the_next_token(
    submitter: Submitter,
    provider: Provider,
    book: SubmissionBook,
    fate: tuple[str, str | None],
    kind: type[IonQError],
    reason: str,
) -> None:
    provider.fates = [fate, fate]
    for _ in range(2):
        with pytest.raises(kind):
            submitter.run(SUBMISSION)
        assert book.totals().reserved == 0
    delivery = submitter.run(SUBMISSION)
    third = next_token(next_token(TOKEN))
    assert provider.posts == [TOKEN, next_token(TOKEN), third]
    assert delivery.token == third
    assert len(third) == 40
    entry = book.look(TOKEN)
    assert entry is not None
    assert entry.reason == reason
    check_paid_once(provider, book, n_jobs=3)
    assert submitter.run(SUBMISSION).answer == ANSWER
    assert len(provider.posts) == 3


def test_a_failed_circuit_of_a_completed_job_counts_as_paid(
    submitter: Submitter, provider: Provider, book: SubmissionBook
) -> None:
    provider.faults["results"] = [("before", JobFailedError("one of them", job_id="c1"))]
    with pytest.raises(JobFailedError):
        submitter.run(SUBMISSION)
    assert (book.totals().spent, book.totals().reserved) == (PRICE, 0)
    assert submitter.run(SUBMISSION).answer == ANSWER
    assert book.totals().spent == 2 * PRICE
    assert provider.posts == [TOKEN, next_token(TOKEN)]


@pytest.mark.parametrize("call", ["job", "results"])
def test_an_answer_that_cannot_be_had_now_is_fetched_later(
    submitter: Submitter, provider: Provider, book: SubmissionBook, call: str
) -> None:
    provider.faults[call] = [("before", BadAnswerError("what?")), ("before", UnavailableError("down"))]
    for _ in range(2):
        with pytest.raises(IonQError):
            submitter.run(SUBMISSION)
    submitter.run(SUBMISSION)
    assert provider.posts == [TOKEN]
    check_paid_once(provider, book)


def test_a_lost_answer_file_is_fetched_again_for_nothing(
    submitter: Submitter, provider: Provider, book: SubmissionBook, tmp_path: Path
) -> None:
    submitter.run(SUBMISSION)
    (tmp_path / "answers" / f"{TOKEN}.json").unlink()
    again = submitter.run(SUBMISSION)
    assert (again.answer, again.micro_dollars) == (ANSWER, PRICE)
    assert provider.posts == [TOKEN]
    check_paid_once(provider, book)


def test_a_job_may_be_unknown_at_first_but_not_for_ever(submitter: Submitter, provider: Provider) -> None:
    provider.faults["job"] = [("before", NotFoundError("nobody"))] * 3
    submitter.run(SUBMISSION)
    provider.faults["job"] = [("before", NotFoundError("nobody"))] * 1000
    with pytest.raises(NotFoundError):
        submitter.run(replace(SUBMISSION, token="cd"))
    assert len(provider.posts) == 2


def test_a_job_that_takes_too_long_is_left_to_a_resumed_run(
    provider: Provider, book: SubmissionBook, clock: FakeClock
) -> None:
    provider.dwell = 1000.0
    with pytest.raises(JobTimeoutError, match="still started"):
        Submitter(provider, book, clock, Patience(job=500.0)).run(SUBMISSION)
    assert clock.time <= 500
    Submitter(provider, book, clock).run(SUBMISSION)
    assert provider.posts == [TOKEN]
    check_paid_once(provider, book)


def test_a_stopped_wait_leaves_the_job_running(
    submitter: Submitter, provider: Provider, book: SubmissionBook, clock: FakeClock
) -> None:
    class StoppedClock(FakeClock):
        def sleep(self, seconds: float) -> None:
            raise StoppedError("closed")

    with pytest.raises(StoppedError):
        Submitter(provider, book, StoppedClock()).run(SUBMISSION)
    submitter.run(SUBMISSION)
    assert provider.posts == [TOKEN]
    check_paid_once(provider, book)


def test_the_body_carries_the_token_and_goes_out_under_no_other(
    provider: Provider, book: SubmissionBook
) -> None:
    asked: list[str] = []

    def body(token: str) -> dict[str, str]:
        asked.append(token)
        return {"name": token}

    provider.fates = [("failed", None)]
    submitter = Submitter(provider, book, provider.clock)
    with pytest.raises(JobFailedError):
        submitter.run(replace(SUBMISSION, body=body))
    submitter.run(replace(SUBMISSION, body=body))
    assert asked == [TOKEN, next_token(TOKEN)]


# Crashes


class Crashing:
    """Passes calls on and crashes at the chosen ones, before they take effect or after."""

    def __init__(self, inner: Any, points: Iterator[int], crashes: set[int]) -> None:
        self._inner, self._points, self._crashes = inner, points, crashes

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if next(self._points) in self._crashes:
                raise Crash
            value = getattr(self._inner, name)(*arguments)
            if next(self._points) in self._crashes:
                raise Crash
            return value

        return call


def run_with_crashes(
    folder: Path, provider: Provider, crashes: set[int], cap: int = PRICE
) -> tuple[Any, int]:
    """The answer, reached by as many processes as it takes, each with the book reopened from disk; and the points passed."""
    points = itertools.count()
    while True:
        with SubmissionBook(folder, cap) as book:
            submitter = Submitter(
                Crashing(provider, points, crashes),  # type: ignore[arg-type]
                Crashing(book, points, crashes),  # type: ignore[arg-type]
                provider.clock,
            )
            try:
                return submitter.run(SUBMISSION).answer, next(points)
            except Crash:
                continue


def test_a_crash_at_any_point_and_at_any_two(tmp_path: Path) -> None:
    """No cap to spare: a second reservation would be refused."""
    calm = Provider(FakeClock())
    calm.dwell = 0.06
    _, n_points = run_with_crashes(tmp_path / "calm", calm, set())
    assert (
        n_points >= 14
    )  # look, reserve, submit, submitted, job (twice), results, completed; before and after each
    pairs = [{k} for k in range(n_points)] + [{k, k + d} for k in range(n_points) for d in (1, 3, 4, 7, 12)]
    for number, crashes in enumerate(pairs):
        provider = Provider(FakeClock())
        provider.dwell = 0.06
        provider.hidden_for = 10.0
        folder = tmp_path / str(number)
        answer, _ = run_with_crashes(folder, provider, crashes)
        assert answer == ANSWER
        assert provider.posts == [TOKEN], crashes
        with SubmissionBook(folder, PRICE) as book:
            check_paid_once(provider, book)


@pytest.mark.parametrize("seed", range(60))
def test_a_storm_of_faults_and_crashes(tmp_path: Path, seed: int) -> None:
    """Whatever comes: no two jobs under one token, one answer, one price; jobs beyond the first only where one failed."""
    rng = random.Random(seed)
    clock = FakeClock()
    provider = Provider(clock)
    provider.dwell = rng.choice([0.0, 0.1, 5.0])
    provider.hidden_for = rng.uniform(0, Patience().grace)
    provider.fates = [("failed", rng.choice([None, "InternalError"])) for _ in range(rng.randrange(3))]
    n_failed = len(provider.fates)
    errors: dict[str, list[BaseException]] = {
        "submit": [SubmissionUnknownError("lost")],
        "find": [UnavailableError("down"), BadAnswerError("what?")],
        "job": [UnavailableError("down"), BadAnswerError("what?"), NotFoundError("nobody")],
        "results": [BadAnswerError("what?"), UnavailableError("down")],
    }
    for call, kinds in errors.items():
        faults = [(rng.choice(["before", "after"]), rng.choice(kinds)) for _ in range(rng.randrange(6))]
        provider.faults[call] = faults
    crashes = {rng.randrange(60) for _ in range(rng.randrange(12))}
    points = itertools.count()
    for _ in range(60):
        with SubmissionBook(tmp_path, PRICE) as book:
            wrapped = (Crashing(each, points, crashes) for each in (provider, book))
            try:
                answer = Submitter(*wrapped, clock).run(SUBMISSION).answer  # type: ignore[arg-type, call-arg]
                break
            except (Crash, IonQError):
                continue
    assert answer == ANSWER
    with SubmissionBook(tmp_path, PRICE) as book:
        check_paid_once(provider, book, n_jobs=1 + n_failed)
