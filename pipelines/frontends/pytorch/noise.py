"""What keys the shot noise of a layer's calls."""

from __future__ import annotations

import threading
from typing import Any


class NoiseStream:
    """A stream of noise, and how many calls have taken from it.

    Whatever shares a layer's parameters shares this object too (replicas of `torch.nn.DataParallel`, `copy.copy`), so no two calls see the
    same noise, from whichever thread. Deep copies and pickles have one of their own, which goes on from where this one is.

    Attributes:
        stream, n_calls: see above.
    """

    def __init__(self, stream: int, n_calls: int = 0) -> None:
        self.stream, self.n_calls = stream, n_calls
        self._lock = threading.Lock()

    def next_call(self) -> int:
        """The number of a call, which no other call gets."""
        with self._lock:
            number, self.n_calls = self.n_calls, self.n_calls + 1
        return number

    def __reduce__(self) -> tuple[Any, ...]:
        return NoiseStream, (self.stream, self.n_calls)
