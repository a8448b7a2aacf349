"""Time as the IonQ client sees it, so that tests can turn it and a closing session can end every wait."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from actors.ionq.errors import StoppedError


class Clock(Protocol):
    """Seconds that pass."""

    def now(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`.

        Raises:
            StoppedError: nobody waits for the result any more.
        """
        ...


class SessionClock(Clock, Protocol):
    """A clock whose sleepers can be told that nobody waits any more."""

    def stop(self) -> None:
        """Make every sleep raise StoppedError."""
        ...


class SystemClock:
    """The machine's clock; `stop` ends every sleep, now and later, in all threads."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait, unless stopped."""
        if self._stopped.wait(seconds):
            raise StoppedError("stopped waiting for IonQ: the session is closed")

    def stop(self) -> None:
        """Make every sleep raise StoppedError."""
        self._stopped.set()
