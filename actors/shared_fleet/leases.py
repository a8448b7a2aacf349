"""Leases: who has been heard of lately. A client that falls silent, because its process is gone, is forgotten after a while."""

from __future__ import annotations


class Leases:
    """The last sign of life of each client.

    Args:
        seconds: how long a client may be silent.
    """

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f"seconds = {seconds}: a lease lasts for some time")
        self.seconds = seconds
        self._heard_at: dict[str, float] = {}

    def renew(self, client: str, now: float) -> None:
        """`client` has been heard of at `now`, seconds of a steady clock."""
        self._heard_at[client] = max(now, self._heard_at.get(client, now))

    def end(self, client: str) -> None:
        """Nothing more is expected of `client`."""
        self._heard_at.pop(client, None)

    def silent_for(self, client: str, now: float) -> float:
        """Seconds since the last sign of life."""
        return max(0.0, now - self._heard_at[client])

    def expired(self, now: float) -> list[str]:
        """Clients that have been silent for longer than they may."""
        return [client for client, heard_at in self._heard_at.items() if now - heard_at > self.seconds]
