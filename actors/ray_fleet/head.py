"""Whether the head of the Ray cluster is there. Ray itself waits 60 s for it and then ends the driver's process, work unsaved."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import ray

from orchestrator.errors import FleetError

_PROBE_SECONDS = 1.0
"""How long the head may take to accept a connection."""
_PATIENCE_SECONDS = 15.0
"""How long it may be silent: a head that is restarted with its memory (Ray's GCS fault tolerance) is back by then, and what is left of
Ray's 60 s is enough to save the run."""


class HeadWatch:
    """Asks the head for a sign of life, where nothing else has come from the cluster.

    Args:
        address: host:port of the cluster's global control service.
        patience_seconds: how long it may be silent.
        listens: whether something does at (host, port). now: monotonic seconds.

    Attributes:
        is_lost: it has been silent for longer, and what is asked of Ray may never be answered.
    """

    def __init__(
        self,
        address: str,
        patience_seconds: float = _PATIENCE_SECONDS,
        listens: Callable[[str, int], bool] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.is_lost = False
        self._address = address
        self._patience_seconds = patience_seconds
        self._listens = listens or _listens
        self._now = now
        self._silent_since: float | None = None
        self._asked_at = 0.0

    @staticmethod
    def of_this_cluster() -> HeadWatch:
        """The one watch of the cluster that this process is connected to; Ray starts a cluster if it is connected to none."""
        address = ray.get_runtime_context().gcs_address
        return _watches.setdefault(address, HeadWatch(address))

    def answers(self) -> bool:
        """Whether the head is there now.

        Raises:
            FleetError: it has been silent for too long.
        """
        host, _, port = self._address.rpartition(":")
        asked_at = self._now()
        if self._listens(host.strip("[]"), int(port)):
            self._silent_since, self.is_lost = None, False
            return True
        since = self._silent_since  # other threads ask as well
        if since is None or asked_at - self._asked_at > self._patience_seconds:  # nobody has asked for long
            since = self._silent_since = asked_at
        self._asked_at = asked_at
        self.is_lost = self._now() - since >= self._patience_seconds
        if self.is_lost:
            raise FleetError(
                f"the head of the Ray cluster at {self._address} is gone: it has not answered for {self._patience_seconds:g} s; "
                "start a cluster there again and resume the run, or resume it elsewhere with --address HOST:PORT"
            )
        return False

    def may_be_asked(self) -> bool:
        """Whether a call that waits for the head's answer gets one; asks it, unless it is known to be lost."""
        if self.is_lost:
            return False
        try:
            return self.answers()
        except FleetError:
            return False


_watches: dict[str, HeadWatch] = {}


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_PROBE_SECONDS):
            return True
    except (OSError, OverflowError, UnicodeError):  # the last two: no such port, or no such name, can be
        return False
