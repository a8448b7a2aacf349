"""What is compared: ``--vary`` and ``--setting`` as a list of settings, each a configuration of its own with a readable name."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.config import TrainingConfig
from orchestrator.config.training import apply_overrides
from orchestrator.errors import ConfigError, InputError, nearest
from pipelines.compose import on_backend

MAX_MEMBERS = 1000
"""Trainings of one study: more would not be read by anybody."""
SEED = "run.seed"
_NOT_COMPARED = ("tracking", "checkpoint")
_PAIRS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Setting:
    """One of those compared.

    Attributes:
        name: of its trainings' folders, without the seed; empty where there is but one setting.
        label: for people.
        overrides: ``section.key=value``, beyond what all have in common.
        config: all of it; its seed is that of the first training.
    """

    name: str
    label: str
    overrides: tuple[str, ...]
    config: TrainingConfig

    @property
    def title(self) -> str:
        """Its name, where one is needed."""
        return self.name or "as-configured"

    @property
    def values(self) -> dict[str, str]:
        """What was set, by key."""
        return {
            key.strip(): value.strip() for key, _, value in (each.partition("=") for each in self.overrides)
        }

    def member(self, seed: int) -> str:
        """Name of its training with `seed`."""
        return f"{self.name}-seed-{seed}" if self.name else f"seed-{seed}"

    def with_seed(self, seed: int) -> TrainingConfig:
        """The configuration of that training."""
        return self.config.model_copy(update={"run": self.config.run.model_copy(update={"seed": seed})})


def settings_of(
    config: TrainingConfig,
    vary: Mapping[str, Sequence[object]],
    named: Mapping[str, Sequence[str]] | None = None,
) -> list[Setting]:
    """Every combination of what varies, in the order given, the last key the fastest.

    Args:
        config: what they have in common. Where ``backend.name`` varies, each backend gets those of its settings that it has.
        vary: values by ``section.key``; texts as after ``--set``.
        named: ``section.key=value`` by label, for what is set together; combined with all of `vary`.

    Raises:
        InputError: a key or value is refused, or there is no value; or two settings are one and the same.
    """
    for key, values in vary.items():
        check_key("vary", key)
        if key == SEED or not values:
            problem = "every setting has the same seeds: ask for n_seeds" if values else "has no value"
            raise ConfigError(f"vary[{key!r}]", list(values), problem)
    groups: list[list[tuple[str, str, tuple[str, ...]]]] = []
    if named:
        groups.append([(_slug(label), label, tuple(overrides)) for label, overrides in named.items()])
    short = _short_names(list(vary))
    for key, values in vary.items():
        texts = [_as_text(value) for value in values]
        names = [f"{short[key]}-{_slug(text)}" for text in texts]
        groups.append(
            [
                (name, _label(short[key], text), (f"{key}={text}",))
                for name, text in zip(names, texts, strict=True)
            ]
        )
    if math.prod(len(group) for group in groups) > MAX_MEMBERS:
        raise _too_many(math.prod(len(group) for group in groups))
    found: list[Setting] = []
    for parts in itertools.product(*groups):
        overrides = tuple(override for part in parts for override in part[2])
        name, label = "-".join(part[0] for part in parts), ", ".join(part[1] for part in parts)
        found.append(Setting(name, label or "as configured", overrides, changed(config, overrides)))
    _refuse_twins(found)
    return _told_apart(found)


def read_vary(arguments: Iterable[str]) -> dict[str, list[str]]:
    """``SECTION.KEY=A,B,C`` as values by key. Commas within quotes, brackets and braces belong to a value.

    Raises:
        ConfigError: not of that form, a key twice, or a single value.
    """
    found: dict[str, list[str]] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        key = key.strip()
        check_key("--vary", key if equals else argument)
        values = split_values(text)
        if key in found:
            raise ConfigError("--vary", argument, f"{key} varies already: name all its values at once")
        if len(values) < 2 or not all(values):
            problem = "expected two values or more, e.g. model.ansatz=three_rotation,hardware_efficient; one value is set by --set"
            raise ConfigError("--vary", argument, problem)
        found[key] = values
    return found


def read_named(arguments: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    """``LABEL SECTION.KEY=VALUE ...`` as overrides by label.

    Raises:
        ConfigError: not of that form, or a label twice.
    """
    found: dict[str, list[str]] = {}
    for label, *overrides in arguments:
        if label in found or "=" in label or not _slug(label):
            problem = (
                "there is one of that label"
                if label in found
                else "expected a label first, e.g. --setting aria backend.name=noisy"
            )
            raise ConfigError("--setting", label, problem)
        for override in overrides:
            key, equals, _ = override.partition("=")
            check_key(f"--setting {label}", key.strip() if equals else override)
            if key.strip() == SEED:
                raise ConfigError(
                    f"--setting {label}", override, "every setting has the same seeds; see --seeds"
                )
        found[label] = overrides
    return found


def check_key(option: str, key: str) -> None:
    """Refuse a key that is none, or that decides nothing that could be compared.

    Raises:
        ConfigError: with the nearest that can be.
    """
    known = [
        each
        for each in TrainingConfig().flattened()
        if each.partition(".")[0] not in _NOT_COMPARED and each not in ("run.name", "run.directory")
    ]
    if key in known:
        return
    by_name = {each.partition(".")[2]: each for each in known}
    near = nearest(key, known) or by_name.get(nearest(key, by_name) or "")
    section = key.partition(".")[0]
    is_there = section in _NOT_COMPARED or key in ("run.name", "run.directory")
    raise ConfigError(option, key, "decides nothing to compare" if is_there else "no such key", near)


def split_values(text: str) -> list[str]:
    """The values between the commas that stand outside of quotes, brackets and braces."""
    values, start, closing, quote = [], 0, [""], ""
    for i, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in _PAIRS:
            closing.append(_PAIRS[letter])
        elif letter == closing[-1]:
            closing.pop()
        elif letter == "," and len(closing) == 1:
            values.append(text[start:i].strip())
            start = i + 1
    return [*values, text[start:].strip()]


def changed(config: TrainingConfig, overrides: Sequence[str]) -> TrainingConfig:
    """`config` with overrides; another backend is given those of the old one's settings that it has.

    Raises:
        InputError: a key or value is refused.
    """
    name = apply_overrides({}, overrides).get("backend", {}).get("name")
    moved = on_backend(config, name) if isinstance(name, str) else config
    return moved.with_overrides(overrides)


def seeds_of(
    config: TrainingConfig, n_seeds: int | None, varied: Sequence[str] | None, default: int
) -> list[int]:
    """The seeds that every setting is trained with: so many from the configured one on, or those that ``--vary run.seed`` names.

    Raises:
        ConfigError: both are given, fewer than one, or no seeds.
    """
    if varied is not None:
        if n_seeds is not None:
            raise ConfigError("--seeds", n_seeds, "--vary run.seed names the seeds: leave one of the two out")
        seeds = [config.with_overrides([f"{SEED}={seed}"]).run.seed for seed in varied]
        if len(set(seeds)) < len(seeds):
            raise ConfigError(
                "--vary", f"{SEED}={','.join(varied)}", "the same seed twice is the same training twice"
            )
        return seeds
    n = default if n_seeds is None else n_seeds
    if n < 1:
        raise ConfigError("--seeds", n, "must be at least 1", "1")
    return [config.run.seed + i for i in range(n)]


def check_number(n_settings: int, n_seeds: int) -> None:
    """Refuse more trainings than anybody would read.

    Raises:
        InputError: the text says how many would do.
    """
    if n_settings * n_seeds > MAX_MEMBERS:
        raise _too_many(n_settings * n_seeds, n_settings)


def _too_many(n: int, n_settings: int | None = None) -> InputError:
    near = (
        ""
        if n_settings is None or n_settings > MAX_MEMBERS
        else f"; nearest valid: --seeds {MAX_MEMBERS // n_settings}"
    )
    return InputError(f"{n:,} trainings are asked for, and {MAX_MEMBERS:,} is the most of one study{near}")


def _refuse_twins(settings: Sequence[Setting]) -> None:
    seen: dict[str, Setting] = {}
    for setting in settings:
        content = json.dumps(setting.config.to_dict(), sort_keys=True)
        if content in seen:
            raise InputError(
                f"the settings {seen[content].label!r} and {setting.label!r} are one and the same training: leave one out"
            )
        seen[content] = setting


def _told_apart(settings: list[Setting]) -> list[Setting]:
    """With names that are short enough for folders, and all different."""
    taken: set[str] = set()
    found = []
    for number, setting in enumerate(settings, start=1):
        name = setting.name[:70].rstrip("-._")
        if name != setting.name or name in taken:
            name = f"{name}-{number}"
        taken.add(name)
        found.append(Setting(name, setting.label, setting.overrides, setting.config))
    return found


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key; its section where that says nothing or is not alone."""
    last = [key.rpartition(".")[2] for key in keys]
    found = {}
    for key in keys:
        section, _, name = key.partition(".")
        if name == "name":
            name = section
        elif last.count(name) > 1:
            name = f"{section}.{name}"
        found[key] = name
    return found


def _label(key: str, text: str) -> str:
    """A name says enough by itself; a number, a switch or a list needs its key."""
    says_enough = re.fullmatch(r"[A-Za-z][\w.:-]{2,}", text) and text.lower() not in ("none", "true", "false")
    return text if says_enough else f"{key} {text}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-._")


def _as_text(value: object) -> str:
    """As after ``--set``: JSON's lists, numbers and booleans are TOML's as well."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)
