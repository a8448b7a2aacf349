"""Messages between server and clients: plain numbers and arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Message = dict[str, Any]


def to_all(n_clients: int, message: Message) -> dict[int, Message]:
    """The same message to every client, as `Clients.ask` takes it."""
    return {client: message for client in range(n_clients)}  # noqa: C420 (a message is mutable; nobody changes it)


def payload_bytes(message: Mapping[str, Any]) -> int:
    """Of a message of numbers and arrays, 8 bytes a number."""
    return sum(8 * np.size(value) for value in message.values())
