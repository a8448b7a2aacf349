"""The cluster that ``qfleet submit`` and ``qfleet jobs`` speak to: its address, and the jobs there by what people call them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from actors.cluster_jobs import RUN_KEY, JobsApi, JobState
from orchestrator.errors import ConfigError, InputError, nearest

_DEFAULT = "http://127.0.0.1:8265"
"""Where the head serves its jobs API, on the head itself and where ``ray dashboard`` forwards it."""


def address_of(given: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The jobs API's address: the given one, else RAY_API_SERVER_ADDRESS, else RAY_ADDRESS where that is one, else this machine's.

    Raises:
        ConfigError: not an http address; the text has the nearest.
    """
    address = given or environment.get("RAY_API_SERVER_ADDRESS")
    if address is None:
        elsewhere = environment.get(
            "RAY_ADDRESS", ""
        )  # mostly the address of Ray itself, which is another port
        address = elsewhere if elsewhere.startswith(("http://", "https://")) else _DEFAULT
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        near = f"http://{parts.hostname}:8265" if parts.hostname else _DEFAULT
        raise ConfigError(
            "--address", address, "the jobs API is an http address, on the head's port 8265", near
        )
    return parts.geturl().rstrip("/")


def connect(given: str | None) -> JobsApi:
    """The jobs API of the cluster at the given or usual address.

    Raises:
        ConfigError: not an address; ClusterError: no answer, or no access.
    """
    address = address_of(given)
    from actors.ray_fleet.jobs import RayJobs

    return RayJobs(address)


def find(states: Sequence[JobState], wanted: str, address: str) -> JobState:
    """The job of that id, or else the newest whose run has that name or whose id begins so; ``latest`` is the newest of all.

    Raises:
        InputError: there is none; the text names the nearest.
    """
    for matches in (
        lambda s: s.id == wanted,
        lambda s: s.metadata.get(RUN_KEY) == wanted,
        lambda s: wanted == "latest" or (bool(wanted) and s.id.startswith(wanted)),
    ):
        if found := [state for state in states if matches(state)]:
            return found[-1]
    names = [name for s in states for name in (s.id, s.metadata.get(RUN_KEY)) if name]
    close = nearest(wanted, names)
    known = ", ".join(s.id for s in states[-3:])
    hint = f"did you mean {close!r}?" if close else f"jobs there: {known or 'none'}"
    raise InputError(f"the cluster at {address} knows no job {wanted!r}; {hint}")
