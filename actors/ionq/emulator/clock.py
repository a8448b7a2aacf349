"""What time the emulator thinks it is: the machine's, faster than the machine's, or whatever a test says."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from orchestrator.errors import ConfigError


class Clock(Protocol):
    """Seconds since the emulator started."""

    def now(self) -> float:
        """Seconds since the start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` have passed on this clock, or at once if it does not go by itself."""
        ...

    async def silence(self, seconds: float) -> None:
        """Return when a client that hears nothing has waited for `seconds`: its timeouts may go by another clock."""
        ...


class RealClock:
    """The machine's clock.

    Args:
        speed: seconds of this clock in one of the machine's; a rehearsal of a slow queue takes 100.

    Raises:
        ConfigError: speed is not positive.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if not speed > 0.0:
            raise ConfigError("speed", speed, "must be positive", "1")
        self._speed, self._start = speed, time.monotonic()

    def now(self) -> float:
        """Seconds since the start."""
        return (time.monotonic() - self._start) * self._speed

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` have passed."""
        await asyncio.sleep(seconds / self._speed)

    async def silence(self, seconds: float) -> None:
        """The machine's seconds: a client's timeouts know nothing of our speed."""
        await asyncio.sleep(seconds)


class VirtualClock:
    """A clock that stands until it is advanced. Nobody waits on it: latency is not felt, queues move when it is told to."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Seconds that it has been advanced by."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return at once."""

    async def silence(self, seconds: float) -> None:
        """The machine's seconds: a client's timeouts know nothing of this clock."""
        await asyncio.sleep(seconds)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass.

        Raises:
            ConfigError: time does not run backwards.
        """
        if not seconds >= 0.0:
            raise ConfigError("advance", seconds, "time does not run backwards", "0")
        self._now += seconds


class Calendar:
    """Seconds of a clock as IonQ writes times.

    Args:
        began_at: when the clock stood at zero; None: now.
    """

    def __init__(self, began_at: datetime | None = None) -> None:
        self._start = began_at or datetime.now(UTC)

    def text(self, seconds: float) -> str:
        """ISO 8601, UTC, with milliseconds."""
        moment = self._start + timedelta(seconds=seconds)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


class TokenBucket:
    """A rate limit: `burst` requests at once, and `rate` more every second."""

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._filled_at = float(burst), clock.now()

    def take(self) -> float:
        """0 if a request may pass, else the seconds until one may."""
        now = self._clock.now()
        self._tokens = min(self._tokens + (now - self._filled_at) * self._rate, float(self._burst))
        self._filled_at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate
