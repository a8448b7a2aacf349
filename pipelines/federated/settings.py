"""What can be asked of federated averaging, and what is refused before anything starts."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError, nearest
from pipelines.compose import build_loss
from pipelines.piecewise import check_piecewise, check_read_whole

SPLITS = ("iid", "by-class", "dirichlet")
_MAX_CLIENTS = 10_000


@dataclass(frozen=True)
class FederatedSettings:
    """How the rounds go.

    Attributes:
        clients: that hold the data. rounds: of averaging. local_epochs: passes of a client over its shard in a round.
        split: how rows are dealt: ``iid``, ``by-class`` or ``dirichlet:ALPHA``, see `pipelines.federated.deal`.
        fraction: share of the clients asked in a round, at least one of them.
        min_clients: answers without which a round is not averaged.
        clip: largest Euclidean norm of a client's update; None: as it is.
        noise_multiplier: standard deviation, over `clip`, of the normal noise that a client adds to its clipped update.
        compare: also train centrally, and each client alone.

    Raises:
        ConfigError: a value that cannot work.
    """

    clients: int = 4
    rounds: int = 10
    local_epochs: int = 1
    split: str = "iid"
    fraction: float = 1.0
    min_clients: int = 1
    clip: float | None = None
    noise_multiplier: float | None = None
    compare: bool = True

    def __post_init__(self) -> None:
        for name, most in (("clients", _MAX_CLIENTS), ("rounds", None), ("local_epochs", None)):
            value = getattr(self, name)
            if value < 1 or (most is not None and value > most):
                limits = f"should be {f'1 to {most}' if most else 'at least 1'}"
                raise ConfigError(_option(name), value, limits, str(min(max(value, 1), most or value or 1)))
        if not 0 < self.fraction <= 1:
            raise ConfigError("--fraction", self.fraction, "is a share: above 0, at most 1", "1.0")
        if not 1 <= self.min_clients <= self.asked:
            problem = f"{self.asked} of {self.clients} clients are asked in a round"
            raise ConfigError(
                "--min-clients", self.min_clients, problem, str(min(max(self.min_clients, 1), self.asked))
            )
        _ = self.kind, self.alpha
        self._check_noise()

    @property
    def asked(self) -> int:
        """Clients asked in a round."""
        return max(1, round(self.fraction * self.clients))

    @property
    def kind(self) -> str:
        """One of `SPLITS`."""
        name = self.split.partition(":")[0]
        if name not in SPLITS or (name != "dirichlet" and ":" in self.split):
            near = nearest(name, SPLITS)
            problem = "must be iid, by-class or dirichlet:ALPHA"
            raise ConfigError(
                "--split", self.split, problem, "dirichlet:0.3" if near == "dirichlet" else near
            )
        return name

    @property
    def alpha(self) -> float | None:
        """Concentration of the Dirichlet distribution, None for the other splits."""
        if self.kind != "dirichlet":
            return None
        found = re.fullmatch(r"dirichlet:(.+)", self.split)
        try:
            alpha = float(found[1]) if found else math.nan
        except ValueError:
            alpha = math.nan
        if not (0 < alpha < math.inf):
            raise ConfigError("--split", self.split, "needs a positive concentration", "dirichlet:0.3")
        return alpha

    def _check_noise(self) -> None:
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ConfigError("--clip", self.clip, "is a norm: above 0", "1.0")
        if self.noise_multiplier is None:
            return
        if self.clip is None:
            problem = "is in units of --clip, which is not given"
            raise ConfigError("--noise-multiplier", self.noise_multiplier, problem)
        if not 0 <= self.noise_multiplier < math.inf:
            raise ConfigError("--noise-multiplier", self.noise_multiplier, "should be at least 0", "0.1")

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def check_config(config: TrainingConfig, settings: FederatedSettings) -> None:
    """Refuse configurations that clients cannot train with.

    Raises:
        ConfigError: a key that has no meaning over rounds, a loss that predicts nothing, or a backend that costs money.
    """
    problems = {
        "run.max_steps": "clients train whole epochs; set --rounds instead",
        "run.early_stopping_patience": "all rounds are done",
        "model.initial_run": "rounds begin with parameters from the seed",
    }
    paid = "clients train on simulators only: each would need a book of what it spends"
    check_piecewise(config, problems, paid)
    if build_loss(config).task == "regression" and settings.kind != "iid":
        problem = f"deals rows by their class, and {config.loss.name} learns values"
        raise ConfigError("--split", settings.split, problem, "iid")
    check_read_whole(config.data, "every client")
    if config.optimizer.schedule == "plateau":
        problem = "needs one history of losses, and a client's begins anew in every round"
        raise ConfigError("optimizer.schedule", "plateau", problem, "cosine")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
