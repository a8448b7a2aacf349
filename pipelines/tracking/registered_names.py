"""What a registered model and an alias may be called: refused here, in words, before a server would refuse it at the end of a run."""

from __future__ import annotations

import re

from orchestrator.errors import InputError

_MAX = 255
_NOT_IN_NAMES = r"[/:\\'\"`]+"


def check_names(name: str, alias: str | None = None) -> None:
    """Refuse what MLflow refuses, and names that could not be asked for in its filter language.

    Raises:
        InputError: with the nearest name that it takes.
    """
    if not name.strip() or re.search(_NOT_IN_NAMES, name) or name in (".", "..") or len(name) > _MAX:
        nearest = re.sub(_NOT_IN_NAMES, "-", name).strip("-. ")[:_MAX] or "model"
        raise InputError(
            f"a model cannot be registered as {name!r}: names have no slash, colon or quotation mark; nearest valid: {nearest!r}"
        )
    if alias is None:
        return
    if not re.fullmatch(r"[\w-]+", alias) or len(alias) > _MAX:
        nearest = re.sub(r"[^\w-]+", "-", alias).strip("-")[:_MAX] or "champion"
        raise InputError(
            f"{alias!r} is no alias: letters, digits, '_' and '-' only; nearest valid: {nearest!r}"
        )
    if alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias):
        raise InputError(
            f"the alias {alias!r} is MLflow's own: models:/{name}/latest is the newest version and models:/{name}/1 the first; "
            "choose another, e.g. 'champion'"
        )
