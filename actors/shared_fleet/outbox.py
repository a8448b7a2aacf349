"""Outbox: answers that wait for one client, handed out in parcels. One that is not acknowledged is sent again."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Answer(NamedTuple):
    """The answer to job number `place` of batch `batch` of a client.

    Attributes:
        payload: pickled JobResult or FailedJob.
        source: "run" for this client, "joined" (run for another, and under way when it was asked for) or "cached" (answered before).
    """

    batch: int
    place: int
    payload: bytes
    source: str


class Parcel(NamedTuple):
    """Some answers, the oldest first.

    Attributes:
        number: to be acknowledged; parcels of a client are counted from 1. 0: there was none yet.
    """

    number: int
    answers: tuple[Answer, ...]


class Outbox:
    """What waits for one client.

    Args:
        max_bytes: of the payloads of a parcel; a single larger answer is a parcel of its own.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[Answer] = deque()
        self._sent = Parcel(0, ())

    def put(self, answer: Answer) -> None:
        """One more answer."""
        self._waiting.append(answer)

    def drop(self, batch: int) -> None:
        """Nobody reads the answers to this batch any more."""
        self._waiting = deque(answer for answer in self._waiting if answer.batch != batch)

    def take(self, acknowledged: int) -> Parcel:
        """The last parcel again if it is not acknowledged yet, else the next; without answers if nothing waits."""
        if self._sent.answers and acknowledged < self._sent.number:
            return self._sent
        answers: list[Answer] = []
        n_bytes = 0
        while self._waiting and (not answers or n_bytes + len(self._waiting[0].payload) <= self._max_bytes):
            answers.append(self._waiting.popleft())
            n_bytes += len(answers[-1].payload)
        number = self._sent.number + 1 if answers else self._sent.number
        self._sent = Parcel(number, tuple(answers))
        return self._sent
