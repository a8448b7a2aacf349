"""MemoryBook: the book of a session whose submissions cost nothing. It forgets what is answered, and with the process everything.

What is under way is known, so that a lost response is looked up here too, and no circuit runs twice while the process lives.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from actors.ionq.book_file import Answer
from actors.ionq.book_ledger import BookStateError, BookTotals, Entry, Ledger, Reason


class MemoryBook:
    """A `Book` for any number of threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ledger = Ledger("the book in memory", (), None)
        self._n_completed = 0
        self._run_token = secrets.token_hex(16)

    def run_token(self) -> str:
        """Drawn anew for every book in memory."""
        return self._run_token

    def look(self, token: str) -> Entry | None:
        """What is known of a submission that is under way, or came to nothing."""
        with self._lock:
            return self._ledger.entries.get(token)

    def reserve(
        self,
        token: str,
        micro_dollars: int,
        n_circuits: int = 1,
        shots: int | None = None,
        target: str | None = None,
    ) -> None:
        """Note that a submission is about to be sent; see `Book`."""
        self._apply(
            "reserved", token, micro_dollars=micro_dollars, n_circuits=n_circuits, shots=shots, target=target
        )

    def submitted(self, token: str, provider_id: str) -> None:
        """The provider has accepted it; see `Book`."""
        self._apply("submitted", token, provider_id=provider_id)

    def completed(
        self,
        token: str,
        micro_dollars: int,
        answer: Sequence[Mapping[str, float]],
        question: str | None = None,
    ) -> None:
        """It was answered, and is forgotten."""
        with self._lock:
            if self._ledger.entries.pop(token, None) is None:
                raise BookStateError(
                    f"submission {token} is unknown: only one that was submitted can be completed"
                )
            self._n_completed += 1

    def released(self, token: str, reason: Reason) -> None:
        """It came to nothing; see `Book`."""
        self._apply("released", token, reason=reason)

    def answer(self, token: str) -> Answer:
        """There is none: nothing is kept.

        Raises:
            BookStateError: always.
        """
        raise BookStateError(f"submission {token} has no answer: this book keeps none")

    def unfinished(self) -> list[Entry]:
        """Submissions under way."""
        with self._lock:
            return [e for e in self._ledger.entries.values() if e.state in ("reserved", "submitted")]

    def totals(self) -> BookTotals:
        """Counts; nothing costs anything."""
        with self._lock:
            states = [entry.state for entry in self._ledger.entries.values()]
            n_completed = self._n_completed
        return BookTotals(
            spent=0,
            reserved=0,
            saved=0,
            cap=None,
            n_reserved=states.count("reserved"),
            n_submitted=states.count("submitted"),
            n_completed=n_completed,
            n_released=states.count("released"),
            n_served=0,
        )

    def _apply(self, kind: str, token: str, **fields: Any) -> None:
        with self._lock:
            self._ledger.apply({"event": kind, "token": token, **fields})
