"""qfleet's pipelines: they connect decisions to files, services and people. One job each; ``Trainer`` is what a
Python user holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.callbacks import Callback
    from pipelines.data.circuit_reader import CircuitLog
    from pipelines.trainer import Trainer, TrainingInterrupted

__all__ = ["Callback", "CircuitLog", "Trainer", "TrainingInterrupted"]

_HOMES = {
    "Callback": "pipelines.callbacks",
    "CircuitLog": "pipelines.data.circuit_reader",
    "Trainer": "pipelines.trainer",
    "TrainingInterrupted": "pipelines.trainer",
}


def __getattr__(name: str) -> Any:
    """Public names on first use, so that ``qfleet --help`` imports nothing heavy."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
