"""The catalogue of prices: what every target charges, since when, and who says so. Data in ``prices.toml``, overridable by a file.

Prices are exact decimals, never floats. Three price models are known: `GateShot`, `TaskShot` and `Flat`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_type_hints

from orchestrator.errors import ConfigError, nearest

_BUILT_IN = Path(__file__).with_name("prices.toml")
_LIMITS = ("max_qubits", "max_shots", "min_shots_mitigated")


@dataclass(frozen=True, kw_only=True)
class PriceEntry:
    """What is common to all price models.

    Attributes:
        target: as in ``backend.target``, e.g. ``"qpu.aria-1"``.
        date: of the price list.
        source: who published it.
        max_qubits, max_shots, min_shots_mitigated: limits of the target, None where there is none; a quote refuses what they forbid.
    """

    model: ClassVar[str]

    target: str
    date: date
    source: str
    max_qubits: int | None = None
    max_shots: int | None = None
    min_shots_mitigated: int | None = None

    @property
    def reading(self) -> str:
        """In words, which reading of the price list is taken."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class GateShot(PriceEntry):
    """Dollars by gate and shot, and a minimum for every program.

    Attributes:
        price_1q_usd, price_2q_usd: of one gate in one shot.
        minimum_usd, minimum_mitigated_usd: without and with error mitigation.
        minimum: ``floor``: at least the minimum is charged; ``added``: it comes on top.
        minimum_per: what a program is: a circuit, or a job of many circuits.
    """

    model = "gate_shot"

    price_1q_usd: Decimal
    price_2q_usd: Decimal
    minimum_usd: Decimal = Decimal(0)
    minimum_mitigated_usd: Decimal = Decimal(0)
    minimum: Literal["added", "floor"] = "added"
    minimum_per: Literal["circuit", "job"] = "circuit"

    @property
    def reading(self) -> str:
        """The prices, and how the minimum is read."""
        gates = f"${self.price_1q_usd} a one-qubit gate and shot, ${self.price_2q_usd} a two-qubit one"
        how = "on top" if self.minimum == "added" else "at least"
        minimum = f"${self.minimum_usd} (${self.minimum_mitigated_usd} with mitigation)"
        return f"{gates}; {how} {minimum} for every {self.minimum_per}"


@dataclass(frozen=True, kw_only=True)
class TaskShot(PriceEntry):
    """Dollars by circuit, each a task of its own, and by shot. Gates and mitigation do not matter."""

    model = "task_shot"

    price_task_usd: Decimal
    price_shot_usd: Decimal

    @property
    def reading(self) -> str:
        """What a task is."""
        return (
            f"${self.price_task_usd} for every circuit, a task of its own, and ${self.price_shot_usd} a shot"
        )


@dataclass(frozen=True, kw_only=True)
class Flat(PriceEntry):
    """One price, whatever the gates and shots.

    Attributes:
        per: what it is for.
    """

    model = "flat"

    price_usd: Decimal
    per: Literal["circuit", "job"] = "circuit"

    @property
    def reading(self) -> str:
        """What is charged."""
        return f"${self.price_usd} a {self.per}" if self.price_usd else "free of charge"


_MODELS: dict[str, type[PriceEntry]] = {kind.model: kind for kind in (GateShot, TaskShot, Flat)}


@dataclass(frozen=True)
class Catalogue:
    """Price entries by target."""

    entries: Mapping[str, PriceEntry]

    @classmethod
    def default(cls) -> Catalogue:
        """The built-in list prices."""
        return cls(_read(_BUILT_IN, {}))

    @classmethod
    def load(cls, path: str | Path) -> Catalogue:
        """The built-in catalogue, its entries replaced or joined by those of a file.

        An entry with ``like = "qpu.aria-1"`` takes from that built-in target what it leaves out; its date and source are its own.

        Raises:
            ConfigError: no such file, not TOML, or an entry that is none; the text names the key.
        """
        built_in = _tables(_BUILT_IN)
        return cls({**cls.default().entries, **_read(Path(path), built_in)})

    def entry(self, target: str) -> PriceEntry:
        """What `target` charges.

        Raises:
            ConfigError: it is not in the catalogue.
        """
        found = self.entries.get(target)
        if found is None:
            problem = f"has no price in the catalogue; known: {', '.join(self.entries)}; add it in a file of your own as budget.prices"
            raise ConfigError("backend.target", target, problem, nearest(target, self.entries))
        return found


def _read(path: Path, built_in: Mapping[str, dict[str, Any]]) -> dict[str, PriceEntry]:
    return {target: _entry(target, table, built_in) for target, table in _tables(path).items()}


def _tables(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of a catalogue file as they stand there."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError("budget.prices", str(path), f"cannot be read as TOML: {error}") from None
    for name in found.keys() - {"targets"}:
        raise ConfigError(
            f"budget.prices: {name}", found[name], "no such key", nearest(name, ["targets"]) or "targets"
        )
    targets = found.get("targets", {})
    for target, table in targets.items() if isinstance(targets, dict) else [("targets", targets)]:
        if not isinstance(table, dict):
            raise ConfigError(
                f"budget.prices: {target}", table, 'is no entry: write [targets."NAME"] and its keys below it'
            )
    return dict(targets)


def _entry(target: str, table: Mapping[str, Any], built_in: Mapping[str, dict[str, Any]]) -> PriceEntry:
    given, where = dict(table), f"budget.prices: {target}"
    like = given.pop("like", None)
    if like is not None:
        if like not in built_in:
            raise ConfigError(
                f"{where}.like",
                like,
                f"no built-in target; known: {', '.join(built_in)}",
                nearest(like, built_in),
            )
        inherited = {key: value for key, value in built_in[like].items() if key not in ("date", "source")}
        given = inherited | given
    name = given.pop("model", None)
    if name not in _MODELS:
        raise ConfigError(
            f"{where}.model", name, f"must be one of {', '.join(_MODELS)}", nearest(name, _MODELS)
        )
    kind = _MODELS[name]
    known = {field.name: field for field in fields(kind) if field.name != "target"}
    for key in given.keys() - known.keys():
        raise ConfigError(f"{where}.{key}", given[key], f"no such key of a {name} entry", nearest(key, known))
    for key, field in known.items():
        if field.default is MISSING and key not in given:
            raise ConfigError(f"{where}.{key}", None, f"is missing: every {name} entry needs it")
    hints = get_type_hints(kind)
    return kind(
        target=target, **{key: _value(f"{where}.{key}", value, hints[key]) for key, value in given.items()}
    )


def _value(key: str, value: Any, wanted: Any) -> Any:
    """`value` if it is of the type that a field asks for; whole numbers are prices too."""
    is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    if wanted is Decimal:
        if not is_number or not Decimal(value).is_finite() or value < 0:
            raise ConfigError(key, value, "must be a number of dollars, not negative", "0")
        return Decimal(value)
    if key.rpartition(".")[2] in _LIMITS:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(key, value, "must be a whole number from 1 on", "1")
        return value
    if wanted is date:
        if type(value) is not date:
            raise ConfigError(key, value, "must be a date such as 2025-09-17")
        return value
    choices = get_args(wanted)
    if choices and value not in choices:
        raise ConfigError(key, value, f"must be one of {', '.join(choices)}", nearest(value, choices))
    if not isinstance(value, str) or not value:
        raise ConfigError(key, value, "must be a text")
    return value
