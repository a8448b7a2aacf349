"""Space: which keys of the configuration are searched, and what each may be.

A space file looks like a configuration, with what a key may be in place of what it is::

    [optimizer]
    learning_rate = { low = 0.003, high = 0.3, log = true }

    [model]
    n_layers = { low = 1, high = 4 }                             # whole numbers, for a key that takes them
    feature_map = { choices = ["angle", "zz"] }
    feature_repeats = { low = 1, high = 3, when = { "model.feature_map" = ["zz"] } }
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from orchestrator.config import Section, TrainingConfig, read_toml
from orchestrator.errors import ConfigError, nearest

_FIELDS = ("choices", "low", "high", "step", "log", "when")
_NOT_SEARCHED = {
    "run.name": "names a run",
    "run.directory": "names a folder",
    "run.seed": "decides the split and the start: trials of different seeds would be compared by luck",
    "fleet": "changes no number",
    "checkpoint": "changes no number",
    "tracking": "changes no number",
    "budget": "is what the search keeps to; see --max-usd",
    "data.name": "decides which samples are scored: their values do not compare",
    "data.path": "decides which samples are scored: their values do not compare",
    "data.dimension": "decides which samples are scored: their values do not compare",
    "data.target": "decides what is scored: values do not compare",
    "data.classes": "decides which samples are scored: their values do not compare",
    "data.max_samples": "decides which samples are scored: their values do not compare",
    "data.filter": "decides which samples are scored: their values do not compare",
    "data.streaming": "decides how samples are read",
    "data.readers": "decides how samples are read",
    "data.memory_limit_gb": "decides how samples are read",
    "data.test_fraction": "decides which samples are scored: their values do not compare",
    "data.validation_fraction": "decides which samples are scored: their values do not compare",
} | {
    f"backend.{name}": "decides where circuits run and what they cost; compare backends with qfleet compare"
    for name in ("name", "target", "targets", "host", "allow_cloud", "record", "then", "fallback")
}
Values = dict[str, Any]
"""``section.key`` -> value; None: the key is left out."""


class Suggests(Protocol):
    """What draws values: a trial of Optuna's."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of `choices`."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number."""


@dataclass(frozen=True)
class Dimension:
    """One key that is searched.

    Attributes:
        key: ``section.key``.
        choices: what it may be, in their order; empty: a number from `low` to `high`, both included.
        step: between numbers; None: any, or 1 where they are whole. is_log: drawn evenly by its logarithm.
        is_whole: the key takes whole numbers.
        when: other searched keys and the values of theirs with which this one is searched; else it stays as it is.
    """

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    is_log: bool = False
    is_whole: bool = False
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether it is searched beside these values of the keys before it."""
        return all(key in values and values[key] in allowed for key, allowed in self.when.items())

    def suggest(self, trial: Suggests) -> Any:
        """What `trial` draws for it."""
        if self.choices:
            # by number, because a choice may be a list, which Optuna does not take
            return self.choices[trial.suggest_categorical(self.key, tuple(range(len(self.choices))))]
        if self.is_whole:
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.key, int(self.low), int(self.high), step=step, log=self.is_log)
        return trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.is_log)

    def recorded(self, value: Any) -> Any:
        """The value as it stands in a study of Optuna's: a choice by its number."""
        return self.choices.index(value) if self.choices else value

    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all others when it is checked."""
        if self.choices:
            return self.choices
        return (int(self.low), int(self.high)) if self.is_whole else (self.low, self.high)

    @property
    def text(self) -> str:
        """What it may be, in words."""
        if self.choices:
            said = ", ".join(shown(choice) for choice in self.choices)
        else:
            said = f"{shown(self.low)} to {shown(self.high)}"
            said += " (logarithmic)" if self.is_log else ""
            said += f" in steps of {shown(self.step)}" if self.step is not None else ""
        for key, allowed in self.when.items():
            said += f", where {key} = {' or '.join(shown(value) for value in allowed)}"
        return said


@dataclass(frozen=True)
class Space:
    """The keys that are searched, in the order in which they are drawn."""

    dimensions: tuple[Dimension, ...]

    @classmethod
    def from_toml(cls, path: str | Path, base: TrainingConfig) -> Space:
        """The space of a file; see the module.

        Raises:
            ConfigError: no such file or key, or a value that the key does not take; the text names the nearest that is valid.
        """
        return cls.from_dict(read_toml(path), base)

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any], base: TrainingConfig) -> Space:
        """The space of nested plain values, as TOML gives them; what is not searched stays as in `base`."""
        dimensions = [_dimension(key, said, base) for key, said in _entries(tables)]
        if not dimensions:
            raise ConfigError(
                "--space",
                dict(tables),
                "names no key to search, e.g. [optimizer] learning_rate = {low = 0.003, high = 0.3}",
            )
        return cls(_ordered(dimensions))

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values that `from_dict` takes."""
        tables: dict[str, Any] = {}
        for one in self.dimensions:
            section, _, name = one.key.partition(".")
            said: dict[str, Any] = {"choices": ["none" if c is None else c for c in one.choices]}
            if not one.choices:
                low, high = one.ends()
                said = {"low": low, "high": high, "log": one.is_log}
                if one.step is not None:
                    said["step"] = int(one.step) if one.is_whole else one.step
            if one.when:
                said["when"] = {key: list(values) for key, values in one.when.items()}
            tables.setdefault(section, {})[name] = said
        return tables

    def suggest(self, trial: Suggests) -> Values:
        """What `trial` draws for the keys that are active, one after the other."""
        values: Values = {}
        for dimension in self.dimensions:
            if dimension.is_active(values):
                values[dimension.key] = dimension.suggest(trial)
        return values

    def recorded(self, values: Mapping[str, Any]) -> Values:
        """The values as they stand in a study of Optuna's."""
        return {one.key: one.recorded(values[one.key]) for one in self.dimensions if one.key in values}

    def config(self, base: TrainingConfig, values: Mapping[str, Any]) -> TrainingConfig:
        """`base` with these values.

        Raises:
            ConfigError: they do not go together.
        """
        tables = base.to_dict()
        for key, value in values.items():
            section, _, name = key.partition(".")
            tables.setdefault(section, {}).pop(name, None)
            if value is not None:
                tables[section][name] = value
        return TrainingConfig.from_dict(tables)

    @property
    def size(self) -> float:
        """How many combinations there are at most; infinite where a number is not stepped."""
        return math.prod(_count(one) for one in self.dimensions)


def shown(value: Any) -> str:
    """A value, short, for people."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)


def slug(values: Mapping[str, Any], length: int) -> str:
    """The values as a part of a folder's name: ``n_layers-2.learning_rate-0.0312``."""
    parts = (f"{key.partition('.')[2]}-{shown(value)}" for key, value in values.items())
    return re.sub(r"[^A-Za-z0-9._]+", "-", ".".join(parts))[:length].rstrip("-._")


def _count(one: Dimension) -> float:
    if one.choices:
        return len(one.choices)
    if one.step is None and not one.is_whole:
        return math.inf
    return math.floor((one.high - one.low) / (one.step or 1) + 1e-9) + 1


def _entries(tables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(section.key, what it may be) of all tables."""
    for section, keys in tables.items():
        known = TrainingConfig.model_fields
        if section not in known:
            raise ConfigError(section, keys, "no such section of the configuration", nearest(section, known))
        if not isinstance(keys, Mapping):
            raise ConfigError(section, keys, f"is a section: write [{section}] and its keys below it")
        for name, said in keys.items():
            names = _section(section).model_fields
            if name not in names:
                raise ConfigError(
                    f"{section}.{name}", said, "no such key of the configuration", nearest(name, names)
                )
            yield f"{section}.{name}", said


def _section(name: str) -> type[Section]:
    found = TrainingConfig.model_fields[name].annotation
    assert isinstance(found, type)
    assert issubclass(found, Section)
    return found


def _dimension(key: str, said: Any, base: TrainingConfig) -> Dimension:
    for refused in (key, key.partition(".")[0]):
        if refused in _NOT_SEARCHED:
            raise ConfigError(key, said, f"is not searched: it {_NOT_SEARCHED[refused]}")
    example = "{choices = [..]}, {low, high}, {low, high, log = true} or {low, high, step}"
    if not isinstance(said, Mapping):
        raise ConfigError(key, said, f"say what it may be: {example}", f"{{choices = [{said!r}]}}")
    for name in said:
        if name not in _FIELDS:
            raise ConfigError(f"{key}.{name}", said[name], f"a range is {example}", nearest(name, _FIELDS))
    if ("choices" in said) == ("low" in said or "high" in said):
        raise ConfigError(key, dict(said), f"give either choices or low and high: {example}")
    found = _of_choices(key, said) if "choices" in said else _of_range(key, said)
    for value in found.ends():
        _check_value(key, value, base)
    return found


def _of_choices(key: str, said: Mapping[str, Any]) -> Dimension:
    extra = [name for name in said if name not in ("choices", "when")]
    if extra:
        raise ConfigError(f"{key}.{extra[0]}", said[extra[0]], "goes with low and high, not with choices")
    choices = said["choices"]
    if not isinstance(choices, list) or not choices:
        raise ConfigError(f"{key}.choices", choices, "a list of what the key may be")
    section, _, name = key.partition(".")
    is_optional = _section(section).model_fields[name].default is None
    found = tuple(None if is_optional and choice == "none" else choice for choice in choices)
    for i, choice in enumerate(found):
        if choice in found[:i]:
            raise ConfigError(f"{key}.choices", choice, "stands there twice")
    return Dimension(key, choices=found, when=_conditions(key, said))


def _of_range(key: str, said: Mapping[str, Any]) -> Dimension:
    for name in ("low", "high", "step"):
        value = said.get(name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number and (name != "step" or value is not None):
            raise ConfigError(f"{key}.{name}", value, "should be a number")
    low, high, step, log = said["low"], said["high"], said.get("step"), said.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{key}.log", log, "should be true or false", "true")
    if low >= high:
        raise ConfigError(f"{key}.low", low, f"should be below high = {high}", str(high))
    if log and low <= 0:
        raise ConfigError(f"{key}.low", low, "a logarithmic range begins above 0", "0.001")
    if step is not None and (log or not 0 < step <= high - low):
        problem = "goes with a range that is not logarithmic, and is above 0 and at most high - low"
        raise ConfigError(f"{key}.step", step, problem, f"{high - low:g}")
    is_whole = not _accepts(key, float(low) + 0.5) and not _accepts(key, float(low))
    if is_whole and any(isinstance(value, float) for value in (low, high, step)):
        raise ConfigError(
            key, dict(said), "takes whole numbers", f"{{low = {math.ceil(low)}, high = {math.floor(high)}}}"
        )
    return Dimension(key, (), low, high, step, log, is_whole, _conditions(key, said))


def _conditions(key: str, said: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    when = said.get("when", {})
    if not isinstance(when, Mapping) or not all(
        isinstance(values, list) and values for values in when.values()
    ):
        raise ConfigError(
            f"{key}.when", when, 'other keys and lists of their values: {"model.ansatz" = ["three_rotation"]}'
        )
    return {other: tuple(values) for other, values in when.items()}


def _ordered(dimensions: list[Dimension]) -> tuple[Dimension, ...]:
    """Each after those that it depends on, else as they stand."""
    by_key = {one.key: one for one in dimensions}
    for one in dimensions:
        for other, allowed in one.when.items():
            if other not in by_key or other == one.key:
                raise ConfigError(f"{one.key}.when", other, "is not searched itself", nearest(other, by_key))
            choices = by_key[other].choices
            for value in allowed:
                if value not in choices:
                    problem = f"is no choice of {other}"
                    raise ConfigError(f"{one.key}.when", value, problem, nearest(value, map(str, choices)))
    placed: dict[str, Dimension] = {}
    while len(placed) < len(dimensions):
        ready = [
            one for one in dimensions if one.key not in placed and all(key in placed for key in one.when)
        ]
        if not ready:
            left = next(one for one in dimensions if one.key not in placed)
            raise ConfigError(
                f"{left.key}.when", list(left.when), "conditions that depend on each other in a circle"
            )
        placed |= {one.key: one for one in ready}
    return tuple(placed.values())


def _accepts(key: str, value: Any) -> bool:
    """Whether the section takes the value when all its other keys have their defaults."""
    section, _, name = key.partition(".")
    try:
        _section(section)(**{name: value})
    except ConfigError:
        return False
    return True


def _check_value(key: str, value: Any, base: TrainingConfig) -> None:
    """Refuse what the key takes neither in `base` nor by itself; in other company than that of `base` it may be right.

    Raises:
        ConfigError: as the configuration refuses it.
    """
    try:
        Space(()).config(base, {key: value})
    except ConfigError:
        if not _accepts(key, value):
            raise
