"""What can be asked of a training on a stream, and what is refused before anything starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError
from pipelines.continual.streams import stream_kind
from pipelines.piecewise import check_piecewise

MAX_ROWS = 10_000_000


@dataclass(frozen=True)
class Replay:
    """How the past is replayed.

    Attributes:
        capacity: rows that are kept; 0: no replay. n_per_batch: old rows in each batch; None: as many as it has new ones.
        passes: over each chunk.

    Raises:
        ConfigError: a value that cannot work.
    """

    capacity: int = 200
    n_per_batch: int | None = None
    passes: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.capacity <= MAX_ROWS:
            raise ConfigError(
                "capacity",
                self.capacity,
                f"should be 0 to {MAX_ROWS} rows",
                str(min(max(self.capacity, 0), MAX_ROWS)),
            )
        if self.n_per_batch is not None and self.n_per_batch < 1:
            raise ConfigError("n_per_batch", self.n_per_batch, "should be at least 1, or capacity = 0", "1")
        if self.passes < 1:
            raise ConfigError("passes", self.passes, "should be at least 1", "1")


@dataclass(frozen=True)
class ContinualSettings:
    """What is streamed and how it is learnt.

    Attributes:
        stream: see `pipelines.continual.streams`. tasks: where the stream does not say how many. chunk: rows at a time.
        capacity, passes, n_per_batch: see `Replay`. compare: also train centrally.

    Raises:
        ConfigError: a value that cannot work.
    """

    stream: str = "rotated:45"
    tasks: int = 3
    chunk: int = 64
    capacity: int = 200
    n_per_batch: int | None = None
    passes: int = 5
    compare: bool = True

    def __post_init__(self) -> None:
        stream_kind(self.stream)
        if self.chunk < 1:
            raise ConfigError("--chunk", self.chunk, "should be at least 1 row", "64")
        if self.capacity < 1:
            problem = "should be at least 1 row; the stream is learnt without replay as well, in any case"
            raise ConfigError("--buffer", self.capacity, problem, "200")
        _ = self.replay

    @property
    def replay(self) -> Replay:
        """Of the arm that replays."""
        return Replay(self.capacity, self.n_per_batch, self.passes)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def check_config(config: TrainingConfig) -> None:
    """Refuse what a stream has no use for.

    Raises:
        ConfigError: an autoencoder, a schedule, stale gradients, a limit of steps, or a backend that costs money.
    """
    problems = {
        "run.max_steps": "a stream ends when no chunk comes",
        "run.early_stopping_patience": "every chunk is learnt",
        "model.initial_run": "a stream begins with parameters from the seed",
    }
    check_piecewise(
        config, problems, "streams are learnt on simulators only: no book keeps what they would spend"
    )
    if config.optimizer.schedule != "constant":
        problem = "needs to know where training ends, and a stream does not"
        raise ConfigError("optimizer.schedule", config.optimizer.schedule, problem, "constant")
    if config.training.max_staleness:
        problem = "steps of a stream wait for each other"
        raise ConfigError("training.max_staleness", config.training.max_staleness, problem, "0")
