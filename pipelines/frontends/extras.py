"""Optional packages: imported when they are asked for, and named in words when they are not there."""

from __future__ import annotations

import importlib
from types import ModuleType

from orchestrator.errors import MissingExtraError as MissingExtraError

_EXTRAS = {"torch": "torch", "pennylane": "pennylane"}
"""Import name of a package -> the extra of pyproject.toml that brings it."""


def import_home(module: str) -> ModuleType:
    """Import one of our modules.

    Raises:
        MissingExtraError: it needs an optional package that is not there.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        raise MissingExtraError(package, _EXTRAS[package]) from None
