"""Exactly once: from the intent to run circuits at IonQ to their recorded answer, whatever breaks in between.

The book (`actors/ionq/book.py`) is written before and after every step that costs money::

    reserve → POST → submitted → poll → results → completed

so that whoever comes back, after an error or a crash, knows where to go on: at *completed* the recorded answer is served; at
*submitted* the job is waited for by its id; at *reserved* the POST may or may not have got through, and IonQ's job list is searched
for the token before anything is sent. A job that is in the list nowhere, again and again for as long as an accepted one could take
to show up, never arrived. (Write-ahead logging with a client's request identifier: Gray and Reuter, "Transaction Processing", 1993.)

A job that failed or was canceled is in the list under its token for ever. Its circuits go out again under the next of a sequence of
tokens that follow from the first, so that one token never names two jobs and a resumed run names them alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from actors.ionq.book import Book
from actors.ionq.book_file import AnswerMissingError
from actors.ionq.book_ledger import BookStateError, Entry
from actors.ionq.clock import Clock
from actors.ionq.errors import (
    IonQError,
    JobCanceledError,
    JobFailedError,
    JobRejectedError,
    JobTimeoutError,
    NotFoundError,
    RateLimitedError,
    RequestRefusedError,
    SubmissionUnknownError,
    UnavailableError,
)
from actors.ionq.job_status import JobStatus
from actors.ionq.polling import Polling
from orchestrator.errors import InputError

# After these a POST has provably made no job. Any other exception leaves the reservation, and with it the look-up, in place.
NOTHING_SENT = (RequestRefusedError, RateLimitedError, UnavailableError, InputError)
Answer = list[dict[str, float]]


class Client(Protocol):
    """What a submission needs of `actors.ionq.client.IonQClient`."""

    def submit(self, body: str | bytes | Mapping[str, Any]) -> str:
        """Post a job at most once; the provider's id."""
        ...

    def find(self, token: str) -> str | None:
        """The provider's id of the job of this token."""
        ...

    def job(self, job_id: str) -> JobStatus:
        """How a job stands."""
        ...

    def results(
        self,
        job_id: str,
        is_batch: bool,
        n_circuits: int,
        sharpen: bool | None = None,
        child_ids: Sequence[str] | None = None,
    ) -> Answer:
        """Outcome probabilities of a completed job, in circuit order."""
        ...


@dataclass(frozen=True)
class Submission:
    """One IonQ job that is wanted.

    Attributes:
        token: its name, up to 40 hexadecimal digits: the same for the same circuits of the same run, and for no others.
        body: writes the body of the POST, whose name and metadata hold the token that it is given.
        n_circuits: circuits in it.
        is_batch: whether it is a multi-circuit job.
        micro_dollars: what it costs, in 1e-6 US dollars; reserved before and charged after.
        shots, target: for the book.
        sharpen: how IonQ puts error-mitigated results together; None: its default.
        check: raises BadAnswerError where an answer is of no use; it is not recorded then, and can be asked for again.
        question: writes what is asked, as it is kept beside the answer; None: nothing is kept.
    """

    token: str
    body: Callable[[str], str | bytes | Mapping[str, Any]]
    n_circuits: int
    is_batch: bool
    micro_dollars: int
    shots: int | None = None
    target: str | None = None
    sharpen: bool | None = None
    check: Callable[[Answer], None] | None = None
    question: Callable[[], str] | None = None


@dataclass(frozen=True)
class Patience:
    """How long a submission waits for what, all in seconds.

    Attributes:
        first_poll, max_poll, growth: the first and the largest time between two looks at a job, and the factor between.
            See `actors.ionq.polling`.
        grace: how long an accepted job may stay out of IonQ's list and lookups. It must be longer than a request can be under way after its
            sender is gone, or has given up.
        takeover: the same for a job that another process was about to send, if that process may be alive and only out of our sight: longer
            by the time that its call may take (`Limits`: total + connect + 2 read). Where it is known to be dead, `grace` will do.
        job: how long a job may take in all, its queue included.
        max_sends: how often a job is sent that provably did not arrive.
    """

    first_poll: float = 0.05
    max_poll: float = 2.0
    growth: float = 1.3
    grace: float = 15.0
    takeover: float = 205.0
    job: float = 86_400.0
    max_sends: int = 3


class Latency(NamedTuple):
    """Where the time of a submission went, in seconds; None where the provider gave no times.

    Attributes:
        submit: until the provider's id was known and in the book.
        wait: from then until the job was seen to be completed.
        fetch: until the results were in the book.
        queue, execution: by the provider's clock; parts of the two before.
    """

    submit: float
    wait: float
    fetch: float
    queue: float | None
    execution: float | None


@dataclass(frozen=True)
class Delivery:
    """The answer to a submission.

    Attributes:
        answer: outcome (decimal) -> probability, one dict a circuit, in circuit order.
        token: the token under which it was answered.
        micro_dollars: what it cost, whenever that was paid, so that the sum over a run's work is its bill however often it was resumed.
        latency: None if the answer was in the book already.
        target: who answered it, as far as the book was told.
    """

    answer: Answer
    token: str
    micro_dollars: int
    latency: Latency | None
    target: str | None = None


class Submitter:
    """Carries submissions through. Safe to use from several threads, as far as client, book and clock are.

    Args:
        client: IonQ's API.
        book: the run's book.
        clock: time.
        patience: how long to wait for what.
    """

    def __init__(self, client: Client, book: Book, clock: Clock, patience: Patience | None = None) -> None:
        self._client = client
        self._book = book
        self._clock = clock
        self._patience = patience or Patience()
        self._polling = Polling(self._patience.first_poll, self._patience.max_poll, self._patience.growth)
        self._sent_here: set[str] = set()  # reserved by us, and no call of ours is sending them any more

    def run(self, submission: Submission) -> Delivery:
        """The answer to `submission`, asked for and paid once in all calls of all time for its token.

        Raises:
            BudgetError: the cap does not allow it; nothing was sent.
            JobFailedError: it failed for a reason that may pass; calling again sends it anew, under the next token.
            JobRejectedError, JobCanceledError, RequestRefusedError, InputError: it is not to be had like this; nothing is charged.
            SubmissionUnknownError, UnavailableError, RateLimitedError, BadAnswerError, JobTimeoutError, StoppedError, BookError: it is
                not settled; calling again goes on where the book says.
        """
        token, entry, answer = self._where_it_stands(submission.token)
        if answer is not None:
            price, target = (0, None) if entry is None else (entry.micro_dollars, entry.target)
            return Delivery(answer, token, price, None, target)
        if entry is not None and entry.state != "completed" and entry.target not in (None, submission.target):
            raise BookStateError(
                f"submission {token} is under way at {entry.target}, and was to be asked of {submission.target}"
            )
        begin = self._clock.now()
        job_id = self._job_id(token, entry, submission)
        submitted_at = self._clock.now()
        status = self._completed_job(token, job_id)
        seen_at = self._clock.now()
        price = submission.micro_dollars if entry is None else entry.micro_dollars
        answer = self._results(token, status, submission, price)
        question = None if submission.question is None else submission.question()
        self._book.completed(token, price, answer, question)
        latency = Latency(
            submitted_at - begin,
            seen_at - submitted_at,
            self._clock.now() - seen_at,
            _difference(status.started_at, status.submitted_at),
            _difference(status.completed_at, status.started_at),
        )
        return Delivery(answer, token, price, latency, submission.target if entry is None else entry.target)

    def under_way(self, first_token: str) -> Entry | None:
        """What the book says of a submission that is reserved or sent and not answered; None if nothing is. No answer is read for it."""
        token = first_token
        while (entry := self._book.look(token)) is not None:
            if entry.state in ("reserved", "submitted"):
                return entry
            token = next_token(token)
        return None

    def _where_it_stands(self, first_token: str) -> tuple[str, Entry | None, Answer | None]:
        """The first token of the sequence that is not used up, its entry if it is under way or done, and its recorded answer."""
        token = first_token
        while True:
            entry = self._book.look(token)
            if entry is None or entry.state in ("reserved", "submitted"):
                return token, entry, None
            if entry.state == "completed":
                try:
                    answer = self._book.answer(token)
                except AnswerMissingError:
                    return token, entry, None
                if answer:
                    return token, entry, answer
            elif entry.reason in ("refused", "absent"):  # no job ever had this token
                return token, None, None
            token = next_token(token)

    def _job_id(self, token: str, entry: Entry | None, submission: Submission) -> str:
        """The provider's id of the job, which is sent unless it exists; in the book when this returns."""
        if entry is not None and entry.provider_id is not None:
            return entry.provider_id
        if entry is None:
            self._book.reserve(
                token,
                submission.micro_dollars,
                submission.n_circuits,
                submission.shots,
                submission.target,
            )
            self._sent_here.add(token)
            job_id = self._sent(token, submission)
        else:
            wait = self._patience.grace if token in self._sent_here else self._patience.takeover
            job_id = self._search(token, wait) or self._sent(token, submission)
        self._book.submitted(token, job_id)
        self._sent_here.discard(token)
        return job_id

    def _sent(self, token: str, submission: Submission) -> str:
        """Send the job until it is accepted; again only where it provably did not arrive."""
        n_sends = 0
        while True:
            n_sends += 1
            try:
                return self._client.submit(submission.body(token))
            except SubmissionUnknownError as error:
                found = self._search(token, self._patience.grace)
                if found is not None:
                    return found
                if n_sends >= self._patience.max_sends:
                    raise
                self._clock.sleep(min(error.retry_after or 0.0, self._patience.grace))
            except NOTHING_SENT:
                self._sent_here.discard(token)
                self._book.released(token, "refused")
                raise

    def _search(self, token: str, wait: float) -> str | None:
        """The id of the token's job; None if it is still in no list after `wait` seconds."""
        deadline = self._clock.now() + wait
        delay = self._patience.first_poll
        while True:
            is_last = self._clock.now() >= deadline
            found = self._client.find(token)
            if found is not None or is_last:
                return found
            self._clock.sleep(max(min(delay, deadline - self._clock.now()), 0.0))
            delay = min(2 * delay, self._patience.max_poll)

    def _completed_job(self, token: str, job_id: str) -> JobStatus:
        """Wait until the job is completed."""
        begin = self._clock.now()
        status: JobStatus | None = None
        looks = self._polling.looks()
        while True:
            try:
                status = self._client.job(job_id)
            except NotFoundError:
                if status is not None or self._clock.now() - begin > self._patience.grace:
                    raise
            if status is not None:
                if status.is_completed:
                    self._polling.ended(_difference(status.completed_at, status.submitted_at))
                    return status
                self._release_if_unsuccessful(token, status)
            waited = self._clock.now() - begin
            at = next(look for look in looks if look > waited)  # a slow answer delays no later look
            if at > self._patience.job:
                state = status.status if status else "unknown"
                raise JobTimeoutError(f"the job is still {state} after {waited:.0f} s", job_id=job_id)
            self._clock.sleep(at - waited)

    def _release_if_unsuccessful(self, token: str, status: JobStatus) -> None:
        """Free the money of a job that failed or was canceled, which IonQ does not charge, and raise."""
        try:
            status.raise_if_unsuccessful()
        except IonQError:
            self._book.released(token, "canceled" if status.status == "canceled" else "failed")
            raise

    def _results(self, token: str, status: JobStatus, submission: Submission, price: int) -> Answer:
        try:
            answer = self._client.results(
                status.job_id,
                submission.is_batch,
                submission.n_circuits,
                submission.sharpen,
                status.child_ids,
            )
        except (JobFailedError, JobRejectedError, JobCanceledError):
            # One circuit failed in a job that IonQ calls completed and may charge: its money counts as spent, for no answer.
            self._book.completed(token, price, [])
            raise
        if submission.check is not None:
            submission.check(answer)
        return answer


def next_token(token: str) -> str:
    """The token under which the circuits of `token` go out again once its job has failed or was canceled; 40 hexadecimal digits."""
    return hashlib.sha1(f"after {token}".encode(), usedforsecurity=False).hexdigest()


def _difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else later - earlier
