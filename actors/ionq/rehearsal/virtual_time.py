"""VirtualTime: the time of a rehearsal, which stands while anybody works and jumps while everybody waits.

A discrete-event simulation whose processes are threads (the process-interaction view: Fishman, "Discrete-Event Simulation", 2001, ch. 2).
Each job of the dispatcher is a participant from its first to its last attempt. At most one participant works at a time, the others wait
until a moment; the next to work is the one whose moment comes first, of several the one that was announced first. So what happens, and in
which order, does not depend on the scheduler of the machine, and the same seeds give the same times to the bit.

Time may move only when no participant can still come into play: the driver announces its jobs before it hands them out, and of n jobs
that are not done, min(n, width) are with a thread. A request to the emulator is work of the participant that sent it; where the emulator
makes it wait, it waits on behalf of that participant.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from actors.ionq.errors import StoppedError


@dataclass
class _Participant:
    """A job that has begun. rank: among those announced. ahead: how far it has come, if further than the others; quiet_until: until
    when nothing that it does can touch, or be touched by, anybody else."""

    rank: int
    ahead: float = -math.inf
    quiet_until: float = -math.inf


class VirtualTime:
    """Seconds since the start of a rehearsal, for the client (it is a `Clock`) and for the emulator.

    Args:
        width: how many jobs can be under way at the same time: the threads of the dispatcher.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._lock = threading.Condition()
        self._seconds = 0.0
        self._ranks: dict[str, int] = {}
        self._n_pending = 0  # announced and not done
        self._n_inside = 0  # of those, begun
        self._working: int | None = None  # rank of the participant that works
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._is_winding_down = self._is_stopped = False
        self._mine = threading.local()

    # --- the driver

    def announce(self, names: Sequence[str]) -> None:
        """Say which jobs will be handed out, before the first of them is; none of an earlier call may be under way."""
        with self._lock:
            self._ranks = {name: rank for rank, name in enumerate(names)}
            self._n_pending = len(names)

    def wind_down(self) -> None:
        """Let what is under way come to its end, and nothing begin any more."""
        with self._lock:
            self._is_winding_down = True
            self._go_on()

    def wait_until_idle(self) -> None:
        """Return when nothing is under way."""
        with self._lock:
            self._lock.wait_for(lambda: not self._n_inside)

    @property
    def seconds(self) -> float:
        """What time it is for everybody."""
        return self._seconds

    # --- participants

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Be the job announced under `name`, until the block ends.

        Raises:
            StoppedError: nothing may begin any more.
        """
        me = _Participant(self._ranks[name])
        with self._lock:
            self._n_inside += 1
        self._mine.participant = me
        try:
            self._wait_until(self._seconds, me)
            if self._is_winding_down:
                raise StoppedError("the rehearsal has come to its end")
            yield
        finally:
            self._mine.participant = None
            with self._lock:
                self._n_inside -= 1
                self._n_pending -= 1
                if self._working == me.rank:
                    self._working = None
                self._go_on()
                self._lock.notify_all()

    def now(self) -> float:
        """Seconds as the caller feels them; a participant may be ahead of the others."""
        me = self._me()
        return self._seconds if me is None else max(self._seconds, me.ahead)

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass.

        Raises:
            StoppedError: the rehearsal is stopped.
        """
        me = self._me()
        if me is None:
            raise RuntimeError("only a job of the rehearsal can let its time pass")
        wake_at = self.now() + seconds
        if wake_at < me.quiet_until and not self._is_stopped:
            me.ahead = wake_at
        else:
            self._wait_until(wake_at, me)

    def stop(self) -> None:
        """Make every sleep raise StoppedError, now and later."""
        with self._lock:
            self._is_stopped = True
            waiting, self._waiting = self._waiting, []
        for _, _, wake in waiting:
            wake()

    def be_quiet_until(self, moment: float, passing: float) -> None:
        """Say that nothing happens to the caller before `moment`: its sleeps until then concern nobody else. `passing` seconds pass."""
        me = self._me()
        assert me is not None
        me.quiet_until, me.ahead = moment, self.now() + passing

    def catch_up(self) -> None:
        """Wait until everybody is where the caller is."""
        me = self._me()
        if me is not None and me.ahead > self._seconds:
            self._wait_until(me.ahead, me)

    # --- the emulator

    def hold(self, seconds: float, wake: Callable[[], None]) -> bool:
        """Have the participant that works wait inside a request: `wake` is called in `seconds`.

        Returns:
            False where none works: the request is nobody's, and goes on at once.
        """
        with self._lock:
            if self._working is None or self._is_stopped:
                return False
            rank, self._working = self._working, None
            heapq.heappush(self._waiting, (self._seconds + seconds, rank, wake))
            self._go_on()
            return True

    def _me(self) -> _Participant | None:
        me: _Participant | None = getattr(self._mine, "participant", None)
        return me

    def _wait_until(self, moment: float, me: _Participant) -> None:
        woken = threading.Event()
        with self._lock:
            if not self._is_stopped:
                if self._working == me.rank:
                    self._working = None
                heapq.heappush(self._waiting, (moment, me.rank, woken.set))
                self._go_on()
        if not self._is_stopped:
            woken.wait()
        if self._is_stopped:
            raise StoppedError("stopped waiting for IonQ: the rehearsal is stopped")

    def _go_on(self) -> None:
        """Let the next participant work, if everybody waits; the lock is held."""
        n_expected = self._n_inside if self._is_winding_down else min(self._n_pending, self._width)
        if self._working is not None or not self._waiting or len(self._waiting) < n_expected:
            return
        moment, rank, wake = heapq.heappop(self._waiting)
        self._seconds, self._working = max(self._seconds, moment), rank
        wake()
