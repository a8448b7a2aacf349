"""How long jobs wait and run: a queue time drawn for each job, and execution times from the gates of its circuits."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from orchestrator.costs.gate_counts import GateCounts
from orchestrator.errors import ConfigError

_Z90 = NormalDist().inv_cdf(0.9)


@dataclass(frozen=True)
class Lognormal:
    """Queue times whose logarithm is normal: never negative, and with the long tail that queues have.

    Attributes:
        median, p90: seconds that half of the jobs, and nine in ten, do not exceed.

    Raises:
        ConfigError: the median is not positive, or p90 below it.
    """

    median: float
    p90: float

    def __post_init__(self) -> None:
        if not 0.0 < self.median < math.inf:
            raise ConfigError("queue", self.median, "the median is a positive number of seconds", "60")
        if not self.median <= self.p90 < math.inf:
            raise ConfigError(
                "queue", self.p90, "nine in ten wait at least as long as half do", f"{self.median:g}"
            )

    def draw(self, seed: int, number: int) -> float:
        """Seconds of job number `number`: from the arguments alone, independent from job to job."""
        sigma = math.log(self.p90 / self.median) / _Z90
        return self.median * math.exp(sigma * NormalDist().inv_cdf(_uniform(seed, number)))


@dataclass(frozen=True)
class Recorded:
    """Queue times that were seen, drawn with replacement (Efron, "Bootstrap methods", Ann. Statist. 1979).

    Attributes:
        seconds: one of each job.

    Raises:
        ConfigError: there are none, or one is no time.
    """

    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.seconds:
            raise ConfigError("queue", [], "no queue times are recorded", "120,900")
        for each in self.seconds:
            if not 0.0 <= each < math.inf:
                raise ConfigError("queue", each, "must be a number of seconds from 0 on", "0")

    @property
    def median(self) -> float:
        """What half of the jobs do not exceed."""
        return statistics.median_low(self.seconds)

    def draw(self, seed: int, number: int) -> float:
        """Seconds of job number `number`: from the arguments alone, independent from job to job."""
        return self.seconds[int(_uniform(seed, number) * len(self.seconds))]


Queue = float | Lognormal | Recorded


def _uniform(seed: int, number: int) -> float:
    """In (0, 1), from the arguments alone."""
    digest = hashlib.blake2b(f"queue {seed} {number}".encode(), digest_size=8).digest()
    return ((int.from_bytes(digest) >> 12) + 0.5) / 2**52


def queue_from_text(text: str) -> Queue:
    """``"120"``: every job waits 120 s; ``"120,900"``: half wait up to 120 s, nine in ten up to 900 s.

    Raises:
        ConfigError: it is neither.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 2:
        return Lognormal(*numbers)
    if len(numbers) != 1 or not 0.0 <= numbers[0] < math.inf:
        raise ConfigError("queue", text, "must be seconds, or the median and the 90th percentile", "120,900")
    return numbers[0]


@dataclass(frozen=True)
class GateTimes:
    """Execution time from gates, one after the other, as trapped ions run them.

    Attributes:
        one_qubit, two_qubit: seconds of a gate; the defaults are those published of Aria.
        per_shot: seconds of cooling, preparation and readout of a shot; an assumption: nothing is published.
    """

    one_qubit: float = 135e-6
    two_qubit: float = 600e-6
    per_shot: float = 1e-3

    def seconds(self, counts: Sequence[GateCounts], shots: int) -> float:
        """Of a job: every circuit, `shots` times."""
        of_gates = sum(self.one_qubit * count.n_1q + self.two_qubit * count.n_2q for count in counts)
        return shots * (of_gates + self.per_shot * len(counts))


Execution = float | GateTimes


def execution_from_text(text: str) -> Execution:
    """``"gates"``: from the gates, see `GateTimes`; ``"30"``: every job runs for 30 s.

    Raises:
        ConfigError: it is neither.
    """
    if text == "gates":
        return GateTimes()
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        raise ConfigError("execution", text, "must be seconds of a job, or 'gates'", "gates")
    return seconds
