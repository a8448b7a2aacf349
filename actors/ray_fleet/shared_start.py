"""Starting, finding and stopping fleets that live in a Ray cluster by their names."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

import ray
from ray import cloudpickle
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.ray_fleet.connection import connect, release
from actors.ray_fleet.process import kill, n_threads_for, thread_options
from actors.ray_fleet.shared import answer_of, check_address
from actors.ray_fleet.shared_names import NAMESPACE, Welcome, actor_name, find_server, fleet_names
from actors.ray_fleet.shared_server import FleetServer, MakeBackend
from orchestrator.errors import ConfigError, FleetError

LEASE_SECONDS = 20.0
"""How long a client may be silent."""
CACHE_BYTES = 256 * 2**20
"""Of answers that are kept for those who ask later."""
_START_SECONDS = 600.0
_STOP_SECONDS = 15.0
_STATUS_SECONDS = 10.0


class NamedFleets:
    """The fleets of one Ray cluster. They live on when this is closed, and when this process ends.

    Args:
        address: of the cluster; None: ``RAY_ADDRESS``, or the Ray that this process is connected to.

    Raises:
        ConfigError: no cluster is named. FleetError: it cannot be reached.
    """

    def __init__(self, address: str | None = None) -> None:
        check_address(address)
        self._connection = connect(address)
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_closed:
            self._is_closed = True
            release(self._connection)

    def names(self) -> list[str]:
        """Of the fleets there are."""
        return fleet_names()

    def start(
        self,
        name: str,
        make_backend: MakeBackend,
        options: dict[str, Any],
        *,
        lease_seconds: float = LEASE_SECONDS,
        cache_bytes: int = CACHE_BYTES,
        stays_here: bool = False,
    ) -> Welcome:
        """Start fleet `name`, and wait until its actors are ready.

        Args:
            make_backend: picklable; called in the server's process.
            options: of the RayFleet, by name.
            stays_here: the server must be on this machine, because it keeps files there.

        Raises:
            ConfigError: the name is taken, or cannot be one. QfleetError: the fleet could not be started; nothing is left of it.
        """
        full_name = actor_name(name)
        if name in self.names():
            raise _taken(name)
        here = ray.get_runtime_context().get_node_id()
        payload = cloudpickle.dumps(make_backend)
        made = ray.remote(FleetServer).options(
            name=full_name,
            namespace=NAMESPACE,
            lifetime="detached",
            num_cpus=0,
            max_restarts=0,
            max_task_retries=0,
            enable_task_events=False,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=not stays_here),
            **thread_options(n_threads_for(1)),
        )
        try:
            server = made.remote(name, payload, options, lease_seconds, cache_bytes)
        except ValueError:  # another process was faster
            raise _taken(name) from None
        try:
            welcome: Welcome = answer_of(server.ready.remote(), _START_SECONDS)
            return welcome
        except RayError as error:
            kill(server)
            raise FleetError(f"the server of fleet {name!r} did not start: {error}") from None
        except BaseException:
            kill(server)
            raise

    def status(self, name: str) -> dict[str, Any]:
        """What the fleet's server says, plain values; a server that does not answer is a state, too.

        Raises:
            FleetError: there is no such fleet.
        """
        server = find_server(name)
        try:
            status: dict[str, Any] = answer_of(server.status.remote(), _STATUS_SECONDS)
            return status
        except RayError as error:
            return {"name": name, "state": "does not answer", "error": type(error).__name__}

    def stop(self, name: str) -> None:
        """Close the fleet, and end its server and actors. Runs that use it end with a FleetError, and can be resumed.

        Raises:
            FleetError: there is no such fleet.
        """
        server = find_server(name)
        ray.wait([server.stop.remote()], timeout=_STOP_SECONDS)
        kill(server)
        deadline = time.monotonic() + _STOP_SECONDS
        while name in self.names() and time.monotonic() < deadline:
            time.sleep(0.05)


def _taken(name: str) -> ConfigError:
    problem = "there is a fleet of that name: stop it with `qfleet fleet stop`, or take another name"
    return ConfigError("fleet.name", name, problem, f"{name[:62]}-2")
