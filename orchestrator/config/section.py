"""Section: what every section of the configuration is, and how pydantic's complaint becomes a ConfigError."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.errors import ConfigError, nearest


class Section(BaseModel):
    """Base of every section: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    section_name: ClassVar[str] = ""

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise config_error(type(self), error) from None


def config_error(section: type[Section], error: ValidationError) -> ConfigError:
    """The first thing pydantic found wrong, as our own error with the nearest valid choice."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in (section.section_name, *first["loc"][:1]) if str(part))
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return ConfigError(key, first["input"], "no such key", nearest(name, section.model_fields))
    if first["type"] == "literal_error":
        choices = [
            part.strip().strip("'") for part in first["ctx"]["expected"].replace(" or ", ", ").split(",")
        ]
        return ConfigError(
            key,
            first["input"],
            f"must be one of {', '.join(choices)}",
            nearest(first["input"], choices),
        )
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    bounds = [str(first["ctx"][bound]) for bound in ("ge", "le") if bound in first.get("ctx", {})]
    return ConfigError(key or "config", first["input"], message, bounds[0] if bounds else None)
