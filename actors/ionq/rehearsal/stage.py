"""Stage: the emulator, its clock and the sessions of one rehearsal, put together. Nothing of it leaves this machine; no key is needed."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from actors.backends.ionq import IonQBackend
from actors.ionq.api_key import ApiKey
from actors.ionq.emulator import Emulator, EmulatorSettings, Fault
from actors.ionq.rehearsal.client import RehearsalClient
from actors.ionq.rehearsal.virtual_time import VirtualTime
from actors.ionq.session import IonQSession, limits_of
from actors.ionq.submission import next_token

if TYPE_CHECKING:
    from actors.ionq.book import Book

_BEGAN_AT = datetime(2000, 1, 1, tzinfo=UTC)
"""The same for all rehearsals: a client rounds the differences of dates, and looks at its jobs by them."""
_SIMULATION_SECONDS = 600.0
"""How long a request may wait for this machine to simulate, which takes no time of the rehearsal."""


class EmulatorClock:
    """The emulator's view of a virtual time."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time

    def now(self) -> float:
        """Seconds since the start."""
        return self._time.seconds

    async def sleep(self, seconds: float) -> None:
        """Make the job wait whose request is at hand."""
        loop, is_over = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the server has ended, and its loop
                loop.call_soon_threadsafe(is_over.set)

        if self._time.hold(seconds, wake):
            await is_over.wait()

    async def silence(self, seconds: float) -> None:
        """The client's timeouts go by this clock."""
        await self.sleep(seconds)


class Stage:
    """One rehearsal's emulator, running between ``with`` and its end.

    Args:
        backend: as configured; where it sends circuits is replaced, and its `jobs_in_flight` are those of the whole fleet.
        settings: of the emulator; its clock is replaced, and no request is silent for longer than the client would wait.
        seed: of the jitter in the client's pauses.

    Attributes:
        time: what the rehearsal takes.
    """

    def __init__(self, backend: IonQBackend, settings: EmulatorSettings, seed: int) -> None:
        self._backend = backend
        self.time = VirtualTime(backend.jobs_in_flight)
        # Two, because the client draws for every request, and how many there are must not change the session's pauses.
        self._of_client, self._of_session = random.Random(f"client {seed}"), random.Random(f"session {seed}")
        rules = tuple(_bounded(rule, backend.request_seconds) for rule in settings.faults.rules)
        self._asks_always = (
            any(rule.endpoint in ("status", "any") for rule in rules) or settings.rate is not None
        )
        self._settings = replace(
            settings,
            faults=replace(settings.faults, rules=rules),
            clock=EmulatorClock(self.time),
            began_at=_BEGAN_AT,
            patience_seconds=_SIMULATION_SECONDS,
        )
        self._emulator = Emulator(self._settings)

    def __enter__(self) -> Self:
        self._emulator.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.time.stop()
        self._emulator.__exit__(kind, error, trace)

    def backend(self, book: Book | None) -> IonQBackend:
        """The backend, its sessions on this stage."""
        return replace(
            self._backend,
            host=self._emulator.url,
            allow_cloud=False,
            book=book,
            make_session=self._session,
        )

    def totals(self) -> dict[str, Any]:
        """The emulator's ledger, see ``Emulator.totals``."""
        return self._emulator.totals()

    def n_resent(self) -> int:
        """Jobs that were sent in the place of one that had failed or was canceled."""
        tokens = {entry["token"] for entry in self._emulator.entries()}
        return sum(next_token(token) in tokens for token in tokens if token)

    def _session(self, backend: IonQBackend) -> IonQSession:
        client = RehearsalClient(
            self._emulator.url,
            self.time,
            self._settings.latency_seconds,
            None if self._asks_always else self._emulator.ends_at,
            limits=replace(limits_of(backend), read=_SIMULATION_SECONDS),
            key=ApiKey("rehearsal"),
            jitter=self._of_client.random,
        )
        return IonQSession(backend, clock=self.time, client=client, jitter=self._of_session.random)


def _bounded(rule: Fault, seconds: float) -> Fault:
    """`rule`, silent for no longer than a client waits: then it gives the request up for lost."""
    return replace(rule, seconds=min(rule.seconds, seconds)) if rule.kind == "stall" else rule
