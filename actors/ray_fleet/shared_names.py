"""What both sides of a shared fleet say to each other, and by what name its server is found."""

from __future__ import annotations

from typing import Any, NamedTuple

import ray

from actors.shared_fleet.outbox import Parcel
from orchestrator.config.fields import fleet_name
from orchestrator.errors import ConfigError, FleetError, nearest

NAMESPACE = "qfleet"
"""Ray namespace of all servers."""
_PREFIX = "qfleet-fleet-"


class Welcome(NamedTuple):
    """What a client is told when it joins.

    Attributes:
        description: of the fleet's backend, see `actors.shared_fleet.description`.
        n_workers: actors that are ready. job_overhead_seconds: of the fleet, a job.
        lease_seconds: how long the client may be silent.
    """

    description: dict[str, str]
    n_workers: int
    job_overhead_seconds: float
    lease_seconds: float


class FleetTotals(NamedTuple):
    """Of all clients, since the fleet was started."""

    n_workers: int
    jobs_retried: int
    workers_lost: int


class Collected(NamedTuple):
    """What a client reads at once; `error` is what stands in the way of everything."""

    parcel: Parcel
    totals: FleetTotals


def actor_name(name: str) -> str:
    """Ray's name of the server of fleet `name`.

    Raises:
        ConfigError: it cannot be a name.
    """
    try:
        return _PREFIX + fleet_name(name)
    except ValueError as error:
        raise ConfigError("fleet.name", name, str(error)) from None


def fleet_names() -> list[str]:
    """Names of the fleets of the cluster that this process is connected to, sorted."""
    from ray.util import list_named_actors

    found = [entry for entry in list_named_actors(all_namespaces=True) if entry["namespace"] == NAMESPACE]
    return sorted(entry["name"].removeprefix(_PREFIX) for entry in found if entry["name"].startswith(_PREFIX))


def find_server(name: str) -> Any:
    """The handle of the server of fleet `name`.

    Raises:
        FleetError: there is none; the text names those there are.
    """
    try:
        return ray.get_actor(actor_name(name), namespace=NAMESPACE)
    except ValueError:
        names = fleet_names()
        close = nearest(name, names)
        hint = f"did you mean {close!r}? " if close else ""
        there = f"there are: {', '.join(names)}" if names else "there is none"
        raise FleetError(
            f"no fleet {name!r} in this Ray cluster; {hint}{there}. Start it: qfleet fleet start {name} CONFIG"
        ) from None
