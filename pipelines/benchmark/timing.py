"""How long a call takes: repeated within a budget, minimum and median. Standard library only, for peers run it too."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

AT_LEAST, AT_MOST = 7, 2000


@dataclass(frozen=True)
class Timing:
    """Times of the repeats of one call, in seconds. The minimum is the figure to compare: neighbours only ever add.

    Attributes:
        wall: elapsed.
        cpu: processor time of this process, which waiting for a shared core does not stretch.
    """

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def spread(self) -> float:
        """Interquartile range over the median; 0 where there is one repeat only."""
        if len(self.wall) < 2:
            return 0.0
        low, median, high = statistics.quantiles(self.wall, n=4, method="inclusive")
        return (high - low) / median

    def figures(self, n_circuits: int) -> dict[str, Any]:
        """The published figures of a call that computes `n_circuits` circuits."""
        scale = 1e6 / n_circuits
        return {
            "circuits_per_second": n_circuits / min(self.wall),
            "us_per_circuit": scale * min(self.wall),
            "us_per_circuit_median": scale * statistics.median(self.wall),
            "us_per_circuit_cpu": scale * min(self.cpu),
            "spread": self.spread,
            "repeats": len(self.wall),
        }


def timed(call: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def repeat(prepare: Callable[[int], Callable[[], object]], budget: float, at_least: int = AT_LEAST) -> Timing:
    """Time ``prepare(i)()`` for i = 0, 1, ... until `budget` seconds have gone by, and `at_least` times; preparing is not timed."""
    wall: list[float] = []
    cpu: list[float] = []
    deadline = time.perf_counter() + budget
    was_collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        while len(wall) < at_least or (time.perf_counter() < deadline and len(wall) < AT_MOST):
            call = prepare(len(wall))
            cpu_before = time.process_time()
            wall.append(timed(call))
            cpu.append(time.process_time() - cpu_before)
    finally:
        if was_collecting:
            gc.enable()
    return Timing(tuple(wall), tuple(cpu))
