"""Ctrl-C and SIGTERM during training: stop between two steps, with the state whole.

While jobs are out the state is not touched, so the interrupt is raised at once; while a step is being applied it waits until that
is done. Either way what is saved stands between two steps.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Context in which SIGINT and SIGTERM become a KeyboardInterrupt at a safe place.

    Args:
        is_safe: whether a KeyboardInterrupt may be raised right now.
    """

    def __init__(self, is_safe: Callable[[], bool]) -> None:
        self._is_safe = is_safe
        self._is_pending = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Handlers belong to the main thread; elsewhere (some notebooks) interrupts stay as they are.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if error is None:
            self.check()  # one that came after the last step

    def check(self) -> None:
        """Raise a KeyboardInterrupt that had to wait; called between two steps."""
        if self._is_pending:
            self._is_pending = False
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_safe():
            raise KeyboardInterrupt
        self._is_pending = True
