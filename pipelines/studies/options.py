"""What ``qfleet resume`` changes of a study: where its circuits run. Nothing of that changes a number."""

from __future__ import annotations

from orchestrator.config import TrainingConfig, actor_overrides
from orchestrator.errors import ConfigError


def fleet_overrides(config: TrainingConfig, n_actors: int | None, address: str | None) -> list[str]:
    """Overrides of the fleet section, as the command line asks.

    Raises:
        ConfigError: an address where there are no actors.
    """
    found = [] if n_actors is None else actor_overrides(n_actors)
    if address is None:
        return found
    if config.fleet.dispatcher == "serial" and not found:
        problem = "names a Ray cluster, and this study runs in one process; add --actors N, or leave it out"
        raise ConfigError("--address", address, problem)
    return [*found, f"fleet.address={address}"]
