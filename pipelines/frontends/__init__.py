"""qfleet from other people's tools: layers for PyTorch, estimators for scikit-learn, a device for PennyLane.

Each is optional and imported on first use; all hand plans to an `Executor`, which holds the backend and the fleet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.frontends.extras import import_home

if TYPE_CHECKING:
    from pipelines.frontends.executor import Executor

__all__ = ["Executor"]

_HOMES = {"Executor": "pipelines.frontends.executor"}


def __getattr__(name: str) -> Any:
    """Public names on first use: neither torch nor PennyLane need be there for the others.

    Raises:
        MissingExtraError: the package that the frontend is for is not installed; the text says how to.
    """
    if name in _HOMES:
        return getattr(import_home(_HOMES[name]), name)
    raise AttributeError(f"module 'pipelines.frontends' has no attribute {name!r}")
