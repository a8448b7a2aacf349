"""When to look at a job: rarely enough for the service, and often enough that its end is noticed soon."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator

_REMEMBERED = 15
_MARGIN = 0.005
"""Seconds after the expected end: the service's times are rounded to milliseconds."""


class Polling:
    """Times of looking at jobs, of which a session has many alike. Safe to use from several threads.

    The pauses grow geometrically, so that an end is noticed at most (growth - 1) of the waiting time late, whatever the queue does. One
    more look falls to where a job should end by the median of those that ended last, which then is noticed at once.

    Args:
        first, most, growth: the first and the largest pause in seconds, and the factor between two.
    """

    def __init__(self, first: float, most: float, growth: float) -> None:
        self._first, self._most, self._growth = first, most, growth
        self._ended: deque[float] = deque(maxlen=_REMEMBERED)

    def ended(self, seconds: float | None) -> None:
        """A job ended so long after it was accepted, by the service's clock; None: it does not say."""
        if seconds is not None and seconds > 0:
            self._ended.append(seconds)

    def pauses(self) -> Iterator[float]:
        """Seconds from the first look at a job, right after it was accepted, to the second, from there to the third, and so on."""
        known = list(self._ended)
        expected = statistics.median(known) + _MARGIN if known else None
        at, pause = 0.0, self._first
        while True:
            following = at + pause
            if expected is not None and at < expected < following:
                yield expected - at
                yield following - expected
            else:
                yield pause
            at, pause = following, min(self._growth * pause, self._most)
