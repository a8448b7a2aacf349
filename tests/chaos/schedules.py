"""What strikes a training, and when: drawn from a seed, so that a schedule that fails can be played again."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from tests.chaos.workloads import FREE, PAID, Workload

COMMON = ("actor", "actor", "freeze", "node", "swap", "leave", "driver", "disk")
"""What strikes everywhere; actors twice as often as the rest."""
OF_PAID = ("book", "book_disk")
RARE = ("head", "tracking")
"""What costs seconds of its own: a new cluster, a new server."""
LATEST = 12
"""Steps before the end at which the last strike comes: what is killed must be at work."""


class Strike(NamedTuple):
    """`kind` strikes `delay` seconds after step `step` is done; `draw` in [0, 1) decides whom or how hard."""

    kind: str
    step: int
    delay: float
    draw: float


class Schedule(NamedTuple):
    """A whole training, and all that strikes it, in order."""

    seed: int
    workload: Workload
    is_tracked: bool
    strikes: tuple[Strike, ...]

    def __str__(self) -> str:
        told = ", ".join(f"{strike.kind}@{strike.step}" for strike in self.strikes)
        return f"schedule {self.seed} ({self.workload.name}{', tracked' if self.is_tracked else ''}): {told}"


def schedule(seed: int, kinds: Sequence[str] = (), *, has_rare: bool = True) -> Schedule:
    """Schedule number `seed`.

    Args:
        kinds: what strikes, in this order; none: three or four are drawn.
        has_rare: whether the head and the tracking server may be struck: each in every fifth schedule.
    """
    rng = Random(seed)
    workload = PAID if seed % 2 else FREE
    drawn = list(kinds)
    if not drawn:
        choices = [*COMMON, *(OF_PAID if workload.is_paid else ())]
        drawn = rng.sample(choices, rng.choice((3, 4)))
        if has_rare and seed % 5 in (2, 4):
            drawn.insert(rng.randrange(len(drawn) + 1), RARE[seed % 5 == 4])
    steps = sorted(rng.sample(range(2, workload.n_steps - LATEST), len(drawn)))
    strikes = (
        Strike(kind, step, 0.15 * rng.random(), rng.random()) for kind, step in zip(drawn, steps, strict=True)
    )
    return Schedule(seed, workload, "tracking" in drawn, tuple(strikes))
