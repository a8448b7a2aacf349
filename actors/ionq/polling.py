"""When to look at a job: rarely enough for the service, and often enough that its end is noticed soon."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator

_REMEMBERED = 15
_MARGIN = 0.005
"""Seconds after the expected end: the service's times are rounded to milliseconds."""
_EARLY = 0.75
"""No rare look falls later than at this part of the time that the quickest job took."""


class Polling:
    """Times of looking at jobs, of which a session has many alike. Safe to use from several threads.

    The pauses between two looks grow geometrically, so that an end is noticed at most (growth - 1) of the waiting time late, whatever the
    queue does. Once jobs have ended, the next is looked at where it should end by the median of the last ones, which then is noticed at
    once; and before the quickest of them would have ended only rarely, at doubling times, since each look costs a request.

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

    def looks(self) -> Iterator[float]:
        """When to look at a job again, in seconds after the first look, right after it was accepted; growing without end."""
        known = list(self._ended)
        expected = statistics.median(known) + _MARGIN if known else None
        quickest = min(known) if known else 0.0
        at, last, pause = 0.0, 0.0, self._first
        while True:
            following = at + pause
            if expected is not None and at < expected < following:
                yield expected
                last = expected
            if following >= quickest or 2 * last <= following < _EARLY * quickest:
                yield following
                last = following
            at, pause = following, min(self._growth * pause, self._most)
