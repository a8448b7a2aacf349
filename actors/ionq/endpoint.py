"""Which host is asked, and the refusal of every host but this machine until the user allows the cloud."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from orchestrator.errors import ConfigError, nearest

CLOUD = "https://api.ionq.co"
HOST_VARIABLES = (
    "CIRQ_IONQ_REMOTE_HOST",
    "IONQ_REMOTE_HOST",
)  # the first that is set counts, as in cirq_ionq


@dataclass(frozen=True)
class Endpoint:
    """Where the API is.

    Attributes:
        url: scheme, host and port, without a path.
        is_loopback: whether it is this machine, so that no proxy is asked.
    """

    url: str
    is_loopback: bool


def resolve_endpoint(
    host: str | None = None, allow_cloud: bool = False, environment: Mapping[str, str] | None = None
) -> Endpoint:
    """The endpoint at `host`, or else of the environment, or else IonQ's cloud.

    Args:
        host: a URL, whose path is ignored as cirq_ionq does.
        allow_cloud: whether a host other than this machine may be asked.

    Raises:
        ConfigError: it is not a URL, not allowed, or would carry the API key in the clear.
    """
    key, value = _named(host, os.environ if environment is None else environment)
    try:
        parts = urlsplit(value)
        port = parts.port  # raises when it is not a number
    except ValueError as error:
        raise ConfigError(key, value, f"is not a URL: {error}", "http://127.0.0.1:8000") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        scheme = nearest(parts.scheme, ("http", "https")) or "http"
        raise ConfigError(
            key, value, "is not a URL of http or https", f"{scheme}://{parts.hostname or '127.0.0.1:8000'}"
        )
    if "@" in parts.netloc:
        raise ConfigError(key, value, "must hold no user or password; the API key comes from the environment")
    netloc = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    url = f"{parts.scheme}://{netloc}" + ("" if port is None else f":{port}")
    if is_loopback(parts.hostname):
        return Endpoint(url, True)
    if not allow_cloud:
        raise ConfigError(
            key,
            value,
            "is not this machine, and circuits there may cost money: set backend.allow_cloud = true to allow it, "
            "or start `qfleet emulator` and name its URL",
            "http://127.0.0.1:8000",
        )
    if parts.scheme != "https":
        raise ConfigError(
            key, value, "would send the API key unencrypted", "https" + url.removeprefix("http")
        )
    return Endpoint(url, False)


def is_loopback(hostname: str) -> bool:
    """Whether `hostname` is this machine whatever a name server says: 127.0.0.0/8, ::1 or localhost."""
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return hostname.lower() == "localhost"


def _named(host: str | None, environment: Mapping[str, str]) -> tuple[str, str]:
    """Where the host is said, and the host."""
    if host:
        return "backend.host", host
    for name in HOST_VARIABLES:
        if environment.get(name):
            return name, environment[name]
    return "backend.host", CLOUD
