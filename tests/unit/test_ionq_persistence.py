"""How long a submission is kept at, and when a job is looked at: on a clock that the test turns."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from actors.ionq.errors import (
    BadAnswerError,
    IonQError,
    JobFailedError,
    JobRejectedError,
    RateLimitedError,
    StoppedError,
    SubmissionUnknownError,
    UnavailableError,
)
from actors.ionq.persistence import Persistence, keep_at
from actors.ionq.polling import Polling


class FakeClock:
    def __init__(self) -> None:
        self.time = 0.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds


def failing(clock: FakeClock, error: IonQError, until: float, takes: float = 0.0) -> Callable[[], str]:
    """An attempt that fails with `error` after `takes` seconds, until it is `until`."""

    def attempt() -> str:
        clock.time += takes
        if clock.time < until:
            raise error
        return "done"

    return attempt


@pytest.mark.parametrize("kind", [UnavailableError, RateLimitedError, BadAnswerError, SubmissionUnknownError])
def test_an_outage_of_an_hour_is_outlasted(kind: type[IonQError]) -> None:
    clock = FakeClock()
    attempt = failing(clock, kind("out"), until=3000.0, takes=30.0)
    assert keep_at(attempt, clock, Persistence(outage=3600.0), jitter=lambda: 0.0) == "done"
    assert clock.pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert max(clock.pauses) == 60.0
    assert clock.time < 3000.0 + 60.0 + 30.0  # noticed within a pause and a call


def test_an_endless_outage_ends_in_the_error_itself() -> None:
    clock, error = FakeClock(), UnavailableError("out")
    with pytest.raises(UnavailableError) as caught:
        keep_at(
            failing(clock, error, float("inf"), takes=120.0), clock, Persistence(outage=3600.0), lambda: 0.0
        )
    assert caught.value is error
    assert 3600.0 - 180.0 < clock.time <= 3600.0 + 120.0


def test_waiting_for_a_job_is_no_trouble() -> None:
    """Ten hours in a queue, with an outage after each of them that costs a call of 190 s and a pause."""
    clock = FakeClock()
    attempt = failing(clock, UnavailableError("out"), until=36_000.0, takes=3600.0)
    assert keep_at(attempt, clock, Persistence(outage=3600.0), lambda: 0.0) == "done"
    clock = FakeClock()
    attempt = failing(clock, UnavailableError("out"), until=36_000.0, takes=3600.0)
    with pytest.raises(UnavailableError):
        keep_at(attempt, clock, Persistence(outage=600.0), lambda: 0.0)


def test_failed_jobs_are_replaced_a_few_times() -> None:
    for n_failures, is_enough in ((3, True), (4, False)):
        clock, calls = FakeClock(), itertools.count()

        def attempt(calls: itertools.count[int] = calls, n: int = n_failures) -> int:
            number = next(calls)
            if number < n:
                raise JobFailedError("failed")
            return number

        if is_enough:
            assert keep_at(attempt, clock, Persistence(), lambda: 0.0) == 3
        else:
            with pytest.raises(JobFailedError):
                keep_at(attempt, clock, Persistence(), lambda: 0.0)


@pytest.mark.parametrize("error", [JobRejectedError("no"), StoppedError("closed")])
def test_what_does_not_pass_is_raised_at_once(error: IonQError) -> None:
    clock = FakeClock()
    with pytest.raises(type(error)):
        keep_at(failing(clock, error, float("inf")), clock, Persistence())
    assert clock.pauses == []


def test_the_service_is_not_asked_before_it_wants_to_be() -> None:
    clock = FakeClock()
    error = RateLimitedError("slowly", retry_after=7.0)
    keep_at(failing(clock, error, until=1.0), clock, Persistence(), lambda: 0.0)
    assert clock.pauses == [7.0]


def test_pauses_grow() -> None:
    found = looks(Polling(0.05, 2.0, 1.3), 60.0)
    assert found[:4] == pytest.approx([0.05, 0.115, 0.1995, 0.30935])
    gaps = [b - a for a, b in itertools.pairwise(found)]
    assert max(gaps) == pytest.approx(2.0)
    assert all(b - a <= 0.3 * a + 0.05 + 1e-9 for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("scale", [0.02, 0.2, 3.0, 40.0])
def test_one_look_falls_to_the_expected_end_and_few_before(scale: float) -> None:
    polling = Polling(0.05, 2.0, 1.3)
    plain = looks(polling, 4 * scale)
    for seconds in (scale, None, 1.05 * scale, 25 * scale, 0.95 * scale):
        polling.ended(seconds)
    found = looks(polling, 4 * scale)
    assert found == sorted(set(found))
    expected = 1.025 * scale + 0.005  # the median of four
    assert min(abs(at - expected) for at in found) < 1e-9
    quickest = 0.95 * scale
    after = [at for at in plain if at >= quickest]
    assert [at for at in found if at >= quickest and at != pytest.approx(expected)] == pytest.approx(after)
    early = [at for at in found if at < quickest]
    assert set(early) <= set(plain)
    assert all(b >= 2 * a for a, b in itertools.pairwise(early))
    assert all(at < 0.75 * quickest for at in early)


def looks(polling: Polling, until: float) -> list[float]:
    """When a job is looked at, up to `until` seconds."""
    return list(itertools.takewhile(lambda at: at < until, polling.looks()))
