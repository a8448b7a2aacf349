"""Types of the configuration's values: ranges, registered names, tuples that TOML writes as lists."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from orchestrator.errors import UnknownNameError, nearest
from orchestrator.registry import LAYERS, check_name

_DEVICE = re.compile(r"auto|cpu|cuda(:(0|[1-9][0-9]*))?")
_FLEET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _registered(kind: str, *also: str) -> AfterValidator:
    def check(name: str) -> str:
        if name not in also:
            try:
                check_name(kind, name)
            except UnknownNameError as error:
                known = UnknownNameError(kind, name, (*also, *error.choices))
                raise ValueError(str(known)) from None
        return name

    return AfterValidator(check)


def _thread_count(value: object) -> object:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not is_count and value != "auto":
        raise ValueError("must be 'auto' or a whole number from 1 on")
    return value


def _device(name: str) -> str:
    if not _DEVICE.fullmatch(name):
        is_graphics = re.search("gpu|cuda|nvidia", name.lower()) is not None
        nearest_valid = "cuda" if is_graphics else nearest(name, ("auto", "cpu")) or "auto"
        raise ValueError(f"must be auto, cpu, cuda or cuda:N; nearest valid: {nearest_valid!r}")
    return name


def fleet_name(name: str) -> str:
    """`name`, if a fleet may be called so; ValueError, with the nearest that may be, if not."""
    if not _FLEET_NAME.fullmatch(name):
        nearest_valid = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-")[:64] or "shared"
        raise ValueError(
            "letters, digits, '.', '_' and '-', at most 64, a letter or digit first; nearest valid: "
            f"{nearest_valid!r}"
        )
    return name


def _resources(amounts: dict[str, float]) -> dict[str, float]:
    """What Ray would refuse, or what has a key of its own."""
    for name, amount in amounts.items():
        if name == "CPU":
            raise ValueError(
                f"CPU = {amount:g} has a key of its own; nearest valid: fleet.cpus_per_actor = {amount:g}"
            )
        if not name or name.startswith("node:"):
            raise ValueError(
                f"{name!r} is no name of a resource; nearest valid: one given to ray start --resources"
            )
        if not 0 < amount < float("inf"):
            raise ValueError(
                f"{name} = {amount:g} should be greater than 0; nearest valid: 1, or leave it out"
            )
        if amount > 1 and amount != int(amount):
            raise ValueError(f"{name} = {amount:g} should be whole above 1; nearest valid: {round(amount)}")
    return amounts


FeatureMapName = Annotated[str, _registered("feature map")]
AnsatzName = Annotated[str, _registered("ansatz")]
LayerName = Annotated[str, _registered("ansatz", *LAYERS)]
EntanglementName = Annotated[str, _registered("entanglement")]
HeadName = Annotated[str, _registered("head")]
LossName = Annotated[str, _registered("loss")]
OptimizerName = Annotated[str, _registered("optimizer")]
ScheduleName = Annotated[str, _registered("schedule")]
GradientRuleName = Annotated[str, _registered("gradient rule", "auto")]
BackendName = Annotated[str, _registered("backend")]
NoiseModelName = Annotated[str, _registered("noise model")]
PositiveInt = Annotated[int, Field(ge=1)]
FleetName = Annotated[str, AfterValidator(fleet_name)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Resources = Annotated[dict[str, float], AfterValidator(_resources)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
SkippedShare = Annotated[float, Field(gt=0, lt=1)]
DeviceName = Annotated[str, AfterValidator(_device)]
ThreadCount = Annotated[int | str, BeforeValidator(_thread_count)]
IntTuple = Annotated[tuple[int, ...], Field(strict=False)]
ShotLevels = Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False)]
Selection = Annotated[tuple[int | str, ...], Field(strict=False)]
LayerNames = Annotated[tuple[LayerName, ...], Field(strict=False, min_length=1)]
Shape = Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1, max_length=2)]
NoiseScales = Annotated[tuple[float, ...], Field(strict=False)]
StrTuple = Annotated[tuple[str, ...], Field(strict=False)]
Pair = Annotated[tuple[int, int], Field(strict=False)]
Pairs = Annotated[tuple[Pair, ...], Field(strict=False)]
# by its type and not by trial, so that a misspelled name is told of names and a malformed pair of pairs
Entanglement = Annotated[
    Annotated[EntanglementName, Tag("name")] | Annotated[Pairs, Tag("pairs")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "pairs"),
]
