"""The submission book of a run over Ray: one actor beside the driver owns it, and every actor of the fleet has a handle.

::

    actor-0 ─┐  RemoteBook                 ┌── BookProcess (an actor on the driver's node, no CPU reserved)
    actor-1 ─┼── reserve, submitted, ... ──►   SubmissionBook ──► <run folder>/submissions.jsonl, answers/
    driver  ─┘  totals                     └── many calls at once, which share a sync

The actor ends with the driver, however that ends, and with it its lock on the book.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.ionq.book import SubmissionBook
from actors.ionq.book_file import Answer, BookError
from actors.ionq.book_ledger import BookTotals, Entry, Reason
from actors.ray_fleet.connection import connect, release
from actors.ray_fleet.head import HeadWatch
from actors.ray_fleet.process import kill, wait_for
from orchestrator.errors import QfleetError

_N_CALLS = 64
"""Calls that the book answers at the same time; more wait their turn."""
_CALL_SECONDS = 300.0
"""Longest call, of which a sync to a slow disk may be most."""
_CLOSE_SECONDS = 10.0
"""What closing the book may take before its process is killed."""


class BookProcess:
    """What lives in the book's process."""

    def __init__(self) -> None:
        self._book: SubmissionBook | None = None

    def open(self, folder: str, cap: int | None) -> None:
        """Open the book. Here and not in __init__, so that an error reaches the driver as itself."""
        self._book = SubmissionBook(Path(folder), cap)

    def call(self, method: str, *arguments: Any) -> Any:
        """What ``book.method(*arguments)`` answers; entries without the way to their answers, which leads to this process's disk."""
        if self._book is None:
            raise BookError("the submission book is not open")
        answer = getattr(self._book, method)(*arguments)
        return replace(answer, load=None) if isinstance(answer, Entry) else answer


class RemoteBook:
    """A picklable handle of a book in another process; see `actors.ionq.book.Book`. Errors are those that the book raised.

    Where the process of the book is gone, every call raises a BookError.
    """

    def __init__(self, process: Any) -> None:
        self._process = process

    def __reduce__(self) -> tuple[type[RemoteBook], tuple[Any]]:
        return RemoteBook, (self._process,)

    def look(self, token: str) -> Entry | None:
        """What the book says of a submission; None: it was never reserved."""
        entry = self._call("look", token)
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
        self._call("reserve", token, micro_dollars, n_circuits, shots, target)

    def submitted(self, token: str, provider_id: str) -> None:
        """The provider has accepted it; see `Book`."""
        self._call("submitted", token, provider_id)

    def completed(
        self,
        token: str,
        micro_dollars: int,
        answer: Sequence[Mapping[str, float]],
        question: str | None = None,
    ) -> None:
        """It was answered; see `Book`."""
        self._call("completed", token, micro_dollars, answer, question)

    def released(self, token: str, reason: Reason) -> None:
        """It came to nothing; see `Book`."""
        self._call("released", token, reason)

    def answer(self, token: str) -> Answer:
        """The recorded answer; see `Book`."""
        answer: Answer = self._call("answer", token)
        return answer

    def unfinished(self) -> list[Entry]:
        """Submissions under way, in the order of their first reservation."""
        entries: list[Entry] = self._call("unfinished")
        return entries

    def totals(self) -> BookTotals:
        """Money and counts so far."""
        totals: BookTotals = self._call("totals")
        return totals

    def run_token(self) -> str:
        """What tells this run's submissions from those of others; see `Book`."""
        token: str = self._call("run_token")
        return token

    def _call(self, method: str, *arguments: Any) -> Any:
        return _answered(self._process.call.remote(method, *arguments))


class BookServer:
    """Opens the book of a run in an actor beside the driver, for as long as this object is open.

    Args:
        folder: the run's folder, on this machine.
        cap: micro-dollars that all submissions together may cost; None: no limit.
        address: Ray cluster to join, as for a fleet.

    Attributes:
        book: the handle, to be given to a backend.

    Raises:
        BookInUseError, BookDamagedError, BookError: as the book raised it; FleetError: Ray cannot be reached.
    """

    def __init__(self, folder: Path, cap: int | None = None, address: str | None = None) -> None:
        self._is_closed = False
        self._process: Any = None
        self._connection = connect(address)
        try:
            here = ray.get_runtime_context().get_node_id()
            self._process = (
                ray.remote(BookProcess)
                .options(
                    num_cpus=0,
                    max_restarts=0,
                    max_task_retries=0,
                    max_concurrency=_N_CALLS,
                    enable_task_events=False,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
                )
                .remote()
            )
            _answered(self._process.open.remote(str(folder.absolute()), cap))
        except BaseException:
            self.close()
            raise
        self.book = RemoteBook(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the book's process; what it was told is on disk. May be called again."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if (
                self._process is not None
                and ray.is_initialized()
                and HeadWatch.of_this_cluster().may_be_asked()
            ):
                # The lock is given back now, and not when the process has ended.
                ray.wait([self._process.call.remote("close")], timeout=_CLOSE_SECONDS)
                kill(self._process)
        finally:
            release(self._connection)


def _answered(reference: Any) -> Any:
    """What a call of the book's process answered.

    Raises:
        QfleetError: as the book raised it; BookError: its process is gone or does not answer; FleetError: so is the cluster.
    """
    try:
        wait_for(reference, _CALL_SECONDS)
        return ray.get(reference, timeout=0)
    except RayTaskError as error:  # first: Ray makes it an instance of its cause's class as well
        if isinstance(error.cause, QfleetError):
            raise error.cause from None
        raise BookError(f"the submission book failed: {type(error.cause).__name__}: {error.cause}") from None
    except RayError as error:
        raise BookError(
            f"the process of the submission book is gone or does not answer ({type(error).__name__}); nothing more is submitted: "
            "resume the run"
        ) from None
