"""What the process does that a test kills: some submissions at a time, over the book of its folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from actors.ionq.api_key import ApiKey
from actors.ionq.book import SubmissionBook
from actors.ionq.client import IonQClient
from actors.ionq.clock import SystemClock
from actors.ionq.submission import Patience, Submission, Submitter
from tests.integration.scripted_ionq import KEY, body_of

N_JOBS = 80
PRICE = 10_000_000
PATIENCE = Patience(first_poll=0.005, max_poll=0.02, grace=0.1, takeover=0.1)


def work(url: str, folder: Path) -> None:
    """All submissions, four at a time, under a cap that allows each of them once."""
    clock = SystemClock()
    client = IonQClient(url, clock=clock, key=ApiKey(KEY))
    with SubmissionBook(folder, cap=N_JOBS * PRICE) as book, ThreadPoolExecutor(4) as pool:
        submitter = Submitter(client, book, clock, PATIENCE)
        for answer in pool.map(lambda index: submitter.run(submission(index)).answer, range(N_JOBS)):
            assert answer == [{"0": 1.0}, {"1": 1.0}]


def submission(index: int) -> Submission:
    return Submission(f"{index:02x}", lambda token: body_of(token, 2), 2, True, PRICE)
