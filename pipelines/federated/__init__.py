"""``qfleet federated``: federated averaging over data shards that stay on their actors, measured against central training.

`settings` says what can be asked for, `deal` which client has which rows, `client` what a client does with them, `messages` what goes
between them and the server, `server` the rounds, `hosts` where clients live, `study` the comparison, `report` its words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.federated.command import federated
    from pipelines.federated.settings import FederatedSettings

__all__ = ["FederatedSettings", "federated"]

_HOMES = {"FederatedSettings": "settings", "federated": "command"}


def __getattr__(name: str) -> Any:
    """Public names on first use: options are read without what training needs."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"pipelines.federated.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'pipelines.federated' has no attribute {name!r}")
