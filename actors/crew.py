"""Crew: a few threads of this process that do what they are handed, in the order in which it came."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from orchestrator.errors import FleetError

T = TypeVar("T")


class Crew(Generic[T]):
    """`n_threads` threads that mostly wait (for a network, not for a processor).

    Unlike those of ``concurrent.futures`` they are daemons: neither `close` nor the end of the program waits for one that is stuck.
    """

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._lock = threading.Lock()
        self._is_closed = False
        self._calls: SimpleQueue[tuple[Future[T], Callable[..., T], tuple[Any, ...]] | None] = SimpleQueue()
        for number in range(n_threads):
            threading.Thread(target=self._work, name=f"qfleet-crew-{number}", daemon=True).start()

    def hand(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have ``call(*arguments)`` done; the future may be cancelled until a thread has taken it up.

        Raises:
            FleetError: the crew is closed.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._is_closed:
                raise FleetError("the dispatcher is closed: make a new one")
            self._calls.put((future, call, arguments))
        return future

    def close(self) -> None:
        """Let the threads end after what they were handed so far."""
        with self._lock:
            self._is_closed = True
            for _ in range(self._n_threads):
                self._calls.put(None)

    def _work(self) -> None:
        while (taken := self._calls.get()) is not None:
            future, call, arguments = taken
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call(*arguments))
            except BaseException as error:
                future.set_exception(error)
