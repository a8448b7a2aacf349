"""Faults by a seeded plan: which call of which endpoint goes wrong, and how. See docs/emulator.md for the file.

Whether a call goes wrong depends on (seed, endpoint, how many calls of that endpoint there were) and on nothing else.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError, nearest

ENDPOINTS = ("submit", "status", "results", "list", "cancel", "delete", "cost", "estimate", "backends")
ANY = "any"
OF_CONNECTIONS = ("status", "drop", "stall", "not_json")
OF_JOBS = ("fail", "cancel", "child_fail")
OF_RESULTS = ("empty", "shuffle", "scale")
KINDS = (*OF_CONNECTIONS, *OF_JOBS, *OF_RESULTS)
FAILURE_CODES = (
    "InvalidInput", "CompilationError", "ContractExpiredError", "DebiasingError", "InternalError", "NotEnoughQubits", "OptimizationError",
    "PreflightError", "QuantumCircuitComplexityError", "QuantumComputerError", "QuotaExhaustedError", "SimulationError",
    "SimulationTimeout", "SystemCancel", "TooLongPredictedExecutionTime", "TooManyControls", "TooManyGates", "TooManyShots",
    "UnknownBillingError", "UnsupportedGate",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One rule of a plan.

    Attributes:
        endpoint: one of `ENDPOINTS`, or ``any``. kind: one of `KINDS`.
        calls: the calls of the endpoint that it hits, 1 the first; empty: any, by `probability`.
        target: of a failed job: only jobs of this target; empty: of any.
        when: ``before`` the request is worked on, or ``after`` (the work is done, its answer is lost).
        status, retry_after: of kind ``status``: HTTP status, and seconds for the header Retry-After.
        seconds: of kind ``stall``: how long nothing is answered.
        code, message: of a failed job; no code: ``failure: null``.
        child, parent: of kind ``child_fail``: which circuit fails, and how its batch ends (``failed`` or ``completed``).
        factor: of kind ``scale``: what all probabilities are multiplied by.
    """

    endpoint: str
    kind: str
    calls: tuple[int, ...] = ()
    probability: float = 1.0
    when: str = "before"
    status: int = 503
    retry_after: int | None = None
    seconds: float = 60.0
    code: str | None = None
    message: str = "injected by the emulator"
    child: int = 0
    parent: str = "failed"
    factor: float = 0.9999
    target: str = ""

    def __post_init__(self) -> None:
        _check_choice("endpoint", self.endpoint, (*ENDPOINTS, ANY))
        _check_choice("kind", self.kind, KINDS)
        _check_choice("when", self.when, ("before", "after"))
        _check_choice("parent", self.parent, ("failed", "completed"))
        if self.code is not None:
            _check_choice("code", self.code, FAILURE_CODES)
        for kinds, endpoint in ((OF_JOBS, "submit"), (OF_RESULTS, "results")):
            if self.kind in kinds and self.endpoint != endpoint:
                raise ConfigError(
                    "fault.endpoint", self.endpoint, f"{self.kind} is a fault of {endpoint}", endpoint
                )
        if not 0.0 <= self.probability <= 1.0:
            raise ConfigError("fault.probability", self.probability, "lies in [0, 1]", "1.0")
        if any(call < 1 for call in self.calls):
            raise ConfigError("fault.calls", self.calls, "counts from 1", "1")
        if not 400 <= self.status <= 599:
            raise ConfigError("fault.status", self.status, "is an HTTP error", "503")
        if not 0.0 <= self.seconds < float("inf"):
            raise ConfigError("fault.seconds", self.seconds, "is a time that passes", "60")
        if self.child < 0 or (self.retry_after or 0) < 0:
            raise ConfigError("fault", self, "child and retry_after are not negative", "0")


@dataclass(frozen=True)
class FaultPlan:
    """Rules, the first that hits a call deciding. seed: of the rules with a probability."""

    seed: int = 0
    rules: tuple[Fault, ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> FaultPlan:
        """The plan in a TOML file: ``seed`` and tables ``[[fault]]``.

        Raises:
            ConfigError: the file cannot be read, or holds a key or value that means nothing.
        """
        try:
            found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError("faults", str(path), f"cannot be read as TOML: {error}") from None
        return cls.from_mapping(found)

    @classmethod
    def from_mapping(cls, plan: Mapping[str, Any]) -> FaultPlan:
        """As `load`, from a mapping of the same form."""
        for key in plan.keys() - {"seed", "fault"}:
            raise ConfigError(
                f"faults: {key}", plan[key], "no such key", nearest(key, ("seed", "fault")) or "fault"
            )
        seed, tables = plan.get("seed", 0), plan.get("fault", [])
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise ConfigError("faults: seed", seed, "must be a whole number", "0")
        if not isinstance(tables, list):
            raise ConfigError("faults: fault", tables, "must be tables [[fault]]", "[[fault]]")
        return cls(seed, tuple(_rule(table) for table in tables))

    def decide(self, endpoint: str, count: int) -> Fault | None:
        """What goes wrong with the `count`-th call of `endpoint` (1 the first)."""
        for index, rule in enumerate(self.rules):
            if rule.endpoint not in (endpoint, ANY) or (rule.calls and count not in rule.calls):
                continue
            if rule.probability >= 1.0 or _uniform(self.seed, index, endpoint, count) < rule.probability:
                return rule
        return None


@dataclass
class FaultInjector:
    """A plan, and how many calls of each endpoint there were."""

    plan: FaultPlan
    calls: Counter[str] = field(default_factory=Counter)

    def next(self, endpoint: str) -> Fault | None:
        """Count a call of `endpoint`; what goes wrong with it."""
        self.calls[endpoint] += 1
        return self.plan.decide(endpoint, self.calls[endpoint])


def _uniform(seed: int, rule: int, endpoint: str, count: int) -> float:
    """In [0, 1), from its arguments alone."""
    digest = hashlib.blake2b(f"{seed} {rule} {endpoint} {count}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


_TYPES: dict[str, tuple[type, ...]] = {
    "probability": (float, int), "seconds": (float, int), "factor": (float, int), "status": (int,), "retry_after": (int,), "child": (int,),
    "calls": (list,),
}  # fmt: skip


def _rule(table: object) -> Fault:
    if not isinstance(table, dict):
        raise ConfigError("faults: fault", table, "must be tables [[fault]]", "[[fault]]")
    known = [f.name for f in fields(Fault)]
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"fault.{key}", value, "no such key", nearest(key, known))
        if isinstance(value, bool) or not isinstance(value, _TYPES.get(key, (str,))):
            raise ConfigError(
                f"fault.{key}", value, f"must be {' or '.join(t.__name__ for t in _TYPES.get(key, (str,)))}"
            )
    for key in ("endpoint", "kind"):
        if key not in table:
            raise ConfigError(f"fault.{key}", None, "is missing: every fault needs it")
    calls = table.get("calls", [])
    if any(not isinstance(call, int) or isinstance(call, bool) for call in calls):
        raise ConfigError("fault.calls", calls, "must be whole numbers", "[1]")
    return Fault(**(table | {"calls": tuple(calls)}))


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(
            f"fault.{key}",
            value,
            f"must be one of {', '.join(choices)}",
            nearest(value, choices) or choices[0],
        )
