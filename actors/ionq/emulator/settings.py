"""How an emulator behaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from actors.ionq.emulator.clock import Clock, RealClock
from actors.ionq.emulator.faults import FaultPlan
from actors.ionq.emulator.targets import NOISE_QUBITS, TARGETS
from actors.ionq.emulator.timing import Execution, Queue
from orchestrator.costs.catalogue import Catalogue
from orchestrator.errors import ConfigError, nearest


@dataclass(frozen=True)
class EmulatorSettings:
    """How an emulator behaves; the default is a service that is at once done with everything.

    Attributes:
        port: on 127.0.0.1; 0 takes a free one. seed: of the shots of machines.
        latency_seconds: of every request.
        queue_seconds: from the acceptance of a job to its end; drawn for each job where it is a distribution, see `timing`.
        queues: the same for single targets, by name, in place of `queue_seconds`.
        execution: how long jobs run after that, on machines one at a time; None: the last quarter of `queue_seconds`, side by side.
        noise: noise model of simulator jobs that ask for none; None: ideal.
        is_noiseless: machines have none of their noise, whose simulation costs more than all else that is done for a job: to time
            clients.
        faults: what goes wrong. ledger: file of JSON lines, see `ledger`. prices: what jobs cost.
        key: the API key that is demanded; None takes any.
        rate, burst: requests a second, and at once; None: no limit.
        clock: what time it is.
        began_at: the date at which the clock stood at zero; None: when the emulator starts.
        patience_seconds: how long a request waits for the simulation of a job whose time in the queue is over: what a client sees
            of a job is a matter of the clock, not of how fast this machine simulates.

    Raises:
        ConfigError: a value is out of range.
    """

    port: int = 0
    seed: int = 0
    latency_seconds: float = 0.0
    queue_seconds: Queue = 0.0
    queues: Mapping[str, Queue] = field(default_factory=dict)
    execution: Execution | None = None
    noise: str | None = None
    is_noiseless: bool = False
    faults: FaultPlan = field(default_factory=FaultPlan)
    ledger: Path | None = None
    prices: Catalogue = field(default_factory=Catalogue.default)
    key: str | None = field(default=None, repr=False)
    rate: float | None = None
    burst: int = 10
    clock: Clock = field(default_factory=RealClock)
    began_at: datetime | None = None
    patience_seconds: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError("port", self.port, "must be 0 to 65535", "0")
        for target in self.queues:
            if target not in TARGETS:
                raise ConfigError("queues", target, "no such target", nearest(target, TARGETS))
        for name in ("latency_seconds", "queue_seconds", "execution", "patience_seconds"):
            value = getattr(self, name)
            if isinstance(value, (int, float)) and not (value >= 0.0 and math.isfinite(value)):
                raise ConfigError(name, value, "must be a number of seconds from 0 on", "0")
        if self.noise is not None and self.noise not in NOISE_QUBITS:
            raise ConfigError(
                "noise",
                self.noise,
                f"must be one of {', '.join(NOISE_QUBITS)}",
                nearest(self.noise, NOISE_QUBITS),
            )
        if self.rate is not None and not self.rate > 0.0:
            raise ConfigError("rate", self.rate, "must be positive", "1")
        if self.burst < 1:
            raise ConfigError("burst", self.burst, "must be at least 1", "1")
        if self.key == "":
            raise ConfigError("key", self.key, "must not be empty")

    @property
    def typical_queue_seconds(self) -> float:
        """What is said of the queue where one number is asked for: the median."""
        queue = self.queue_seconds
        return queue if isinstance(queue, (int, float)) else queue.median
