"""Where clients live: in this process, or on Ray actors; the same answers either way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from orchestrator.config import FleetConfig
from pipelines.federated.client import ClientMaker, FederatedClient
from pipelines.federated.messages import Message, to_all


class Clients(Protocol):
    """All clients.

    Attributes:
        n_lost: hosts lost so far.
    """

    n_lost: int

    def introduce(self, method: str, message: Message) -> Mapping[int, Message]:
        """Ask all clients, now and whenever one comes back on another host; see `ask`."""
        ...

    def ask(self, method: str, messages: Mapping[int, Message], *, least: int) -> dict[int, Message]:
        """Answers by client, in their order; a client whose host is lost is left out.

        Args:
            method: of the client. messages: by client. least: so many have to answer; until then the others are asked again.

        Raises:
            FleetError: fewer answer, however often they are asked; QfleetError: what a client raised.
        """
        ...

    def close(self) -> None:
        """End them."""
        ...


class LocalClients:
    """Clients in this process, one after the other."""

    def __init__(self, make: ClientMaker, n_clients: int) -> None:
        self.n_lost = 0
        self._clients: dict[int, FederatedClient] = {number: make(number) for number in range(n_clients)}

    def introduce(self, method: str, message: Message) -> Mapping[int, Message]:
        """See `Clients`."""
        return self.ask(method, to_all(len(self._clients), message), least=len(self._clients))

    def ask(self, method: str, messages: Mapping[int, Message], *, least: int) -> dict[int, Message]:
        """See `Clients`."""
        return {
            client: getattr(self._clients[client], method)(messages[client]) for client in sorted(messages)
        }

    def close(self) -> None:
        """See `Clients`."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()


def open_clients(make: ClientMaker, n_clients: int, fleet: FleetConfig) -> Clients:
    """The clients, on at most ``fleet.n_actors`` actors; or here, where the dispatcher is serial.

    Raises:
        FleetError: the actors cannot be had. InputError: the data are refused (by `LocalClients` at once, else by the first question).
    """
    if fleet.dispatcher == "serial":
        return LocalClients(make, n_clients)
    from actors.ray_fleet.federated import RayClients

    return RayClients(
        make,
        n_clients,
        min(n_clients, fleet.n_actors),
        cpus_per_actor=fleet.cpus_per_actor,
        address=fleet.address,
    )
