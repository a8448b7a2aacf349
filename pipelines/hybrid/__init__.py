"""``qfleet hybrid``: a circuit within a PyTorch network, beside the same network with a classical layer in the circuit's place.

`settings` says what can be asked for, `splits` and `image_splits` what is learnt from, `networks` what learns, `training` how (one network,
epoch by epoch, from wherever it stands), `study` all networks over all seeds, `baselines` what needs no network at all; `report` says what
came out. docs/hybrid.md shows both workloads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.frontends.extras import import_home

if TYPE_CHECKING:
    from pipelines.hybrid.study import trained_network

__all__ = ["trained_network"]


def __getattr__(name: str) -> Any:
    """Public names on first use.

    Raises:
        MissingExtraError: torch is not installed.
    """
    if name in __all__:
        return getattr(import_home("pipelines.hybrid.study"), name)
    raise AttributeError(f"module 'pipelines.hybrid' has no attribute {name!r}")
