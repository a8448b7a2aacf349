"""SubmissionBook: a run's write-ahead journal of what it submits and pays, and the cap on it. One object a run, for any number of threads.

Every event is on disk before the call that told it returns. One thread applies and writes them, so that no interrupt can strike
between the two and events of several callers share one sync (group commit: DeWitt et al., "Implementation techniques for main memory
database systems", SIGMOD 1984). A caller that goes away while it waits changes nothing: its event stands or falls as a whole.

Where the disk refuses, the book is broken: nothing is admitted any more, and opening it anew tells what it holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Protocol, Self

from actors.ionq.book_file import Answer, AnswerFiles, BookError, BookFile
from actors.ionq.book_ledger import BookStateError, BookTotals, Entry, Ledger, Reason
from orchestrator.errors import QfleetError


class Book(Protocol):
    """What a submitter needs of a book, here or in another process."""

    def look(self, token: str) -> Entry | None:
        """What the book says of a submission; None: it was never reserved."""
        ...

    def reserve(
        self,
        token: str,
        micro_dollars: int,
        n_circuits: int = 1,
        shots: int | None = None,
        target: str | None = None,
    ) -> None:
        """Set money aside for a submission that is about to be sent; on disk when this returns.

        Exactly one of several callers gets a reservation of one token; who is refused looks it up.

        Args:
            token: 1 to 40 hexadecimal digits; unknown to the book so far, or released.
            micro_dollars: the most that it can cost, in 1e-6 US dollars.
            n_circuits, shots, target: for the record.

        Raises:
            BudgetError: the cap would be exceeded; BookStateError: it is under way or done; BookError: the disk refused.
        """
        ...

    def submitted(self, token: str, provider_id: str) -> None:
        """The provider has accepted it under `provider_id`; telling it again changes nothing.

        Raises:
            BookStateError: it is not reserved, or known under another id; BookError: the disk refused.
        """
        ...

    def completed(
        self,
        token: str,
        micro_dollars: int,
        answer: Sequence[Mapping[str, float]],
        question: str | None = None,
    ) -> None:
        """It was answered and cost `micro_dollars`; the answer is on disk before the event is. A later call replaces both.

        Args:
            answer: outcome (decimal) -> probability, one per circuit in circuit order.
            question: what was asked, as of `actors.ionq.question`; kept with the answer, so that it can be replayed.

        Raises:
            BookStateError: it is not submitted; BookError: the disk refused.
        """
        ...

    def released(self, token: str, reason: Reason) -> None:
        """It came to nothing and costs nothing: its money is free again.

        Args:
            reason: refused, failed, canceled, or absent (it provably never arrived).

        Raises:
            BookStateError: it is not under way; BookError: the disk refused.
        """
        ...

    def answer(self, token: str) -> Answer:
        """The recorded answer of a completed submission, read from disk.

        Raises:
            AnswerMissingError: its file is lost: fetch it from the provider; BookStateError: it has no answer.
        """
        ...

    def unfinished(self) -> list[Entry]:
        """Submissions under way, reserved or submitted, in the order of their first reservation."""
        ...

    def totals(self) -> BookTotals:
        """Money and counts so far."""
        ...

    def run_token(self) -> str:
        """What tells the submissions of this run from those of any other; the same for as long as the book lives."""
        ...


@dataclass(eq=False)
class _Request:
    """An event on its way to the disk."""

    event: dict[str, Any]
    done: threading.Event = field(default_factory=threading.Event)
    is_new: bool = False
    error: QfleetError | None = None


class SubmissionBook:
    """The book of a run; see `Book` for what it answers to. The single writer of its files.

    Args:
        folder: the run's folder.
        cap: micro-dollars that all submissions together may cost, those under way included; None: no limit.
        lock_seconds: how long to wait for an earlier writer that is about to end.

    Raises:
        BookInUseError: another process holds it; BookDamagedError: a line is damaged; BookError: the disk refuses.
    """

    def __init__(self, folder: Path, cap: int | None = None, lock_seconds: float = 10.0) -> None:
        self._file = BookFile(folder, lock_seconds)
        try:
            self._ledger = Ledger(str(self._file.path), self._file.events, cap)
        except BaseException:
            self._file.close()
            raise
        self._file.events.clear()
        self._answers = AnswerFiles(folder)
        self._answers.remove_leftovers()
        self._lock = threading.Lock()  # of all that follows, and of the ledger
        self._saved = self._n_served = 0
        self._is_closed = False
        self._broken: str | None = None
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="qfleet-book", daemon=True)
        self._writer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def look(self, token: str) -> Entry | None:
        """What the book says of a submission; None: it was never reserved."""
        with self._lock:
            self._check_usable()
            entry = self._ledger.entries.get(token)
        return None if entry is None else replace(entry, load=self.answer)

    def reserve(
        self,
        token: str,
        micro_dollars: int,
        n_circuits: int = 1,
        shots: int | None = None,
        target: str | None = None,
    ) -> None:
        """Set money aside for a submission; see `Book`."""
        self._record(
            "reserved", token, micro_dollars=micro_dollars, n_circuits=n_circuits, shots=shots, target=target
        )

    def submitted(self, token: str, provider_id: str) -> None:
        """The provider has accepted it; see `Book`."""
        self._record("submitted", token, provider_id=provider_id)

    def completed(
        self,
        token: str,
        micro_dollars: int,
        answer: Sequence[Mapping[str, float]],
        question: str | None = None,
    ) -> None:
        """It was answered; see `Book`."""
        entry = self.look(token)
        if entry is None or entry.state not in (
            "submitted",
            "completed",
        ):  # before a file of that name is written
            state = "unknown" if entry is None else entry.state
            raise BookStateError(
                f"submission {token} is {state}: only one that was submitted can be completed"
            )
        digest = self._answers.write(token, answer, question)
        self._record("completed", token, micro_dollars=micro_dollars, digest=digest)

    def released(self, token: str, reason: Reason) -> None:
        """It came to nothing; see `Book`."""
        self._record("released", token, reason=reason)

    def answer(self, token: str) -> Answer:
        """The recorded answer; see `Book`. Counted as saved."""
        with self._lock:
            entry = self._ledger.entries.get(token)
        if entry is None or entry.digest is None or entry.provider_id is None:
            raise BookStateError(f"submission {token} has no answer in the book")
        answer = self._answers.read(token, entry.provider_id, entry.digest)
        if answer:  # a job that was paid for in vain is recorded without circuits, and saves nothing
            with self._lock:
                self._saved += entry.micro_dollars
                self._n_served += 1
        return answer

    def unfinished(self) -> list[Entry]:
        """Submissions under way, in the order of their first reservation."""
        with self._lock:
            return [e for e in self._ledger.entries.values() if e.state in ("reserved", "submitted")]

    def totals(self) -> BookTotals:
        """Money and counts so far."""
        with self._lock:
            states = [entry.state for entry in self._ledger.entries.values()]
            balance = self._ledger.budget.balance
            saved, n_served = self._saved, self._n_served
        return BookTotals(
            spent=balance.spent,
            reserved=balance.reserved,
            saved=saved,
            cap=balance.cap,
            n_reserved=states.count("reserved"),
            n_submitted=states.count("submitted"),
            n_completed=states.count("completed"),
            n_released=states.count("released"),
            n_served=n_served,
        )

    def run_token(self) -> str:
        """What tells this run's submissions from those of others; see `Book`."""
        return self._file.run_token

    def close(self) -> None:
        """Write what has been told, and let another process have the book. May be called again."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._requests.put(None)
        self._writer.join()
        self._file.close()

    def _record(self, kind: str, token: str, **fields: Any) -> None:
        """Have an event written, and return when it is on disk."""
        request = _Request({"event": kind, "token": token, **fields, "at": round(time.time(), 3)})
        with self._lock:
            self._check_usable()
            self._requests.put(request)
        request.done.wait()
        if request.error is not None:
            raise request.error

    def _check_usable(self) -> None:
        if self._is_closed:
            raise BookError(f"{self._file.path} is closed")
        if self._broken is not None:
            raise BookError(self._broken)

    # On the writer's thread

    def _write(self) -> None:
        while batch := self._next_batch():
            with self._lock:
                for request in batch:
                    self._admit(request)
            try:
                news = [request.event for request in batch if request.is_new]
                if news and self._broken is None:
                    self._file.append(news)
            except Exception as error:
                self._broken = str(error)
            for request in batch:
                if self._broken is not None and request.error is None:
                    request.error = BookError(self._broken)
                request.done.set()

    def _admit(self, request: _Request) -> None:
        try:
            request.is_new = self._ledger.apply(request.event)
        except QfleetError as error:
            request.error = error

    def _next_batch(self) -> list[_Request]:
        """All requests that wait, at least one; empty when the book is closed."""
        batch: list[_Request] = []
        request = self._requests.get()
        while request is not None:
            batch.append(request)
            try:
                request = self._requests.get_nowait()
            except Empty:
                return batch
        if batch:
            self._requests.put(None)  # for the next turn
        return batch
