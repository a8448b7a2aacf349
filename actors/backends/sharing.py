"""Which of several targets gets the next job: the one that is expected to be done with it soonest. No thread, no clock, no network.

With m the running mean of a target's seconds a job, s the jobs it answers at the same time and k those it holds, a further job is expected
to end after ``m max(1, (k + 1) / s)`` seconds (list scheduling by earliest finish time: H. Topcuoglu, S. Hariri and M.-Y. Wu, IEEE Trans.
Parallel Distrib. Syst. 13 (2002) 260). So in a long queue the shares become proportional to the speeds s / m, and what is left at the end
of a step waits for a fast target rather than going to a slow one. A weight w for each target, its price for example, multiplies the time;
and a target holds jobs at the same time in inverse proportion to it, so that in a long queue too the shares go by s / (w m).
What is seen of a queue is what the session was handed, twice the places of all targets: a target that is more than some four times as
far as the best is kept in reserve, which costs less than a fifth of the speed.

A target whose jobs fail one after the other is taken out, and asked for a single job when it has been out for a while (the circuit
breaker of M. Nygard, "Release It!", 2007).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

_MEMORY = 0.7
"""Share of a running mean that a job leaves: machines' queues change within hours, and a job takes minutes."""
FAILURES = 3
"""Failed jobs in a row after which a target is taken out."""
PAUSE_SECONDS = 60.0
"""How long a target is out before it is tried again; twice as long each time that this fails."""
MAX_PAUSE_SECONDS = 1800.0


@dataclass
class _Target:
    """What is known of one target.

    Attributes:
        slots: jobs that it answers at the same time. n_held: jobs it holds, waiting or under way.
        seconds: running mean of a job's time; None: not known yet.
        n_failures: failed jobs since the last that was answered. pause: how long it is or was out. out_until: on the caller's clock.
    """

    slots: int
    n_held: int = 0
    seconds: float | None = None
    n_failures: int = 0
    pause: float = PAUSE_SECONDS
    out_until: float = 0.0

    @property
    def has_failed(self) -> bool:
        """Whether its last jobs all failed; it is out, or on trial."""
        return self.n_failures >= FAILURES


class Sharing:
    """Chooses targets, by their numbers. Not for several threads at once.

    Args:
        slots: jobs that each target answers at the same time.
    """

    def __init__(self, slots: Sequence[int]) -> None:
        self._targets = [_Target(n) for n in slots]

    def choose(self, weights: Sequence[float], now: float, without: Collection[int] = ()) -> int | None:
        """The target for a job; None if there is none but those in `without`.

        Where all are out, the one whose time comes first: it must not be for this class that nothing goes on.

        Args:
            weights: positive, one for each target; its expected seconds are multiplied by it.
            now: seconds, on a clock that never goes back.
        """
        left = [i for i in range(len(self._targets)) if i not in without]
        if not left:
            return None
        able = [i for i in left if not self.is_out(i, now)]
        if not able:
            return min(left, key=lambda i: self._targets[i].out_until)
        return min(able, key=lambda i: weights[i] * self.expected_seconds(i, weights, now))

    def expected_seconds(self, target: int, weights: Sequence[float], now: float) -> float:
        """Until a further job of `target` is done; of one that nothing is known of, as if it were as fast as the fastest."""
        known = [one.seconds for one in self._targets if one.seconds is not None]
        own = self._targets[target]
        seconds = own.seconds if own.seconds is not None else min(known, default=1.0)
        return seconds * max(1.0, (own.n_held + 1) / self.places(target, weights, now))

    def places(self, target: int, weights: Sequence[float], now: float) -> int:
        """Jobs that `target` works on at the same time, by its weight beside the least of those that are not out; at least one."""
        others = [weights[i] for i in range(len(weights)) if i == target or not self.is_out(i, now)]
        return max(1, round(self._targets[target].slots * min(others) / weights[target]))

    def is_out(self, target: int, now: float) -> bool:
        """Whether `target` gets no jobs at present; after its time is over it gets one, and more if that is answered."""
        one = self._targets[target]
        return one.has_failed and (now < one.out_until or one.n_held > 0)

    def taken(self, target: int) -> None:
        """A job was given to `target`."""
        self._targets[target].n_held += 1

    def left(self, target: int) -> None:
        """A job of `target` has come to its end, whatever that was."""
        self._targets[target].n_held -= 1

    def answered(self, target: int, seconds: float) -> None:
        """One of its jobs was answered after `seconds`."""
        one = self._targets[target]
        one.seconds = seconds if one.seconds is None else _MEMORY * one.seconds + (1 - _MEMORY) * seconds
        one.n_failures, one.pause = 0, PAUSE_SECONDS

    def failed(self, target: int, now: float) -> None:
        """One of its jobs failed."""
        one = self._targets[target]
        was_on_trial = one.has_failed and now >= one.out_until
        one.n_failures += 1
        if one.n_failures == FAILURES:
            one.out_until = now + one.pause
        elif was_on_trial:
            one.pause = min(2 * one.pause, MAX_PAUSE_SECONDS)
            one.out_until = now + one.pause
