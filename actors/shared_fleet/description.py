"""What a backend is, as plain text by configuration key: a run may use a named fleet only if its backend is the fleet's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.protocols import Backend

_NOT_COMPARED = {
    "threads": "of the actors; no number depends on it",
    "book": "the fleet's own",
    "capabilities": "follow from the rest",
    "make_session": "for rehearsals",
}
_FLAT = ("inner", "mitigation")
"""Parts of a backend whose settings stand beside its own in the configuration."""
_SEED = "seed"
_MAX_DEPTH = 4


def describe(backend: Backend) -> dict[str, str]:
    """Settings of `backend` by configuration key, e.g. ``{"backend.name": "noisy", "backend.noise.name": "aria-1", ...}``.

    Of an object that is not plain (a session factory of a backend of one's own) only its type counts.
    """
    found = {"backend.name": backend.name}
    _describe(backend, "backend", found, _MAX_DEPTH)
    return found


def check_same(fleet: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Refuse a run whose backend is not that of fleet `fleet`.

    Raises:
        ConfigError: the first key that differs, with both values.
    """
    for key in (*ours, *theirs):
        mine, its = ours.get(key, "not set"), theirs.get(key, "not set")
        if mine != its:
            problem = f"fleet {fleet!r} has {its}: its answers would not be this run's; use a fleet started with the same backend"
            raise ConfigError(key, mine, problem, its)


def _describe(thing: object, key: str, found: dict[str, str], depth: int) -> None:
    for name, value in sorted(_settings(thing).items(), key=lambda item: (item[0] != "name", item[0])):
        if name in _NOT_COMPARED or name.startswith("_") or f"{key}.{name}" == "backend.name":
            continue
        if name in _FLAT:
            _describe(value, key, found, depth)
        elif name == _SEED:
            found["run.seed"] = str(value)
        else:
            _describe_value(value, f"{key}.{name}", found, depth)


def _describe_value(value: object, key: str, found: dict[str, str], depth: int) -> None:
    if isinstance(value, (str, int, float)) or value is None:
        found[key] = "none" if value is None else str(value)
    elif isinstance(value, (tuple, list)):
        if not value:
            found[key] = "[]"
        for place, one in enumerate(value):
            _describe_value(one, f"{key}[{place}]", found, depth)
    elif depth and _settings(value):
        _describe(value, key, found, depth - 1)
    else:
        found[key] = type(value).__qualname__


def _settings(thing: object) -> dict[str, Any]:
    """Attributes of an object, of a data class its fields (others are computed from them); of a class or a function, none."""
    if callable(thing):
        return {}
    if is_dataclass(thing):
        return {one.name: getattr(thing, one.name) for one in fields(thing)}
    return dict(getattr(thing, "__dict__", {}))
