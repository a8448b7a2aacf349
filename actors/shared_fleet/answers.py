"""AnswerCache: the newest answers of a fleet, as bytes, within a bound; the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict

_OVERHEAD_BYTES = 200
"""What an entry holds beside the answer: its key, and its place in the table."""


class AnswerCache:
    """Answers by job id.

    Args:
        max_bytes: of all entries together; 0: nothing is kept.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes = {max_bytes}: a size is not negative")
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._answers: OrderedDict[str, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def n_bytes(self) -> int:
        """Of all entries."""
        return self._n_bytes

    def find(self, job_id: str) -> bytes | None:
        """The answer to a job, which makes it the most recently used; None if it is not here (any more)."""
        answer = self._answers.get(job_id)
        if answer is not None:
            self._answers.move_to_end(job_id)
        return answer

    def keep(self, job_id: str, answer: bytes) -> None:
        """Remember an answer; one that is larger than the whole cache is not kept."""
        if len(answer) + _OVERHEAD_BYTES > self._max_bytes:
            return
        self._drop(job_id)
        self._answers[job_id] = answer
        self._n_bytes += len(answer) + _OVERHEAD_BYTES
        while self._n_bytes > self._max_bytes:
            self._drop(next(iter(self._answers)))

    def _drop(self, job_id: str) -> None:
        answer = self._answers.pop(job_id, None)
        if answer is not None:
            self._n_bytes -= len(answer) + _OVERHEAD_BYTES
