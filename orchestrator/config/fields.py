"""Types of the configuration's values: ranges, registered names, tuples that TOML writes as lists."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from orchestrator.errors import UnknownNameError
from orchestrator.registry import LAYERS, check_name


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
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
SkippedShare = Annotated[float, Field(gt=0, lt=1)]
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
