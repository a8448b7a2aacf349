"""What error mitigation is asked for, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from actors.mitigation.extrapolation import EXTRAPOLATIONS, Extrapolation
from orchestrator.errors import ConfigError, nearest

if TYPE_CHECKING:
    from orchestrator.circuits.folding import Folding

LARGEST_SCALE = 25.0
"""Circuits grow as much; beyond, nothing but noise is left of what is measured."""
FOLDINGS: tuple[Folding, ...] = ("two_qubit", "all")


@dataclass(frozen=True)
class Mitigation:
    """The estimators that stand in for a plain expectation value.

    Attributes:
        noise_scales: noise scales of zero-noise extrapolation, rising from 1; empty: none is done.
        extrapolation: "linear" or "richardson".
        noise_folding: which gates are folded to scale their noise: on two or more qubits ("two_qubit"), or "all".
        readout: whether readout errors are measured and undone.
        calibration_shots: of each of the two circuits that measure them.

    Raises:
        ConfigError: the scales do not rise from 1, or are too few or too large; an unknown extrapolation or folding; no shots.
    """

    noise_scales: tuple[float, ...] = ()
    extrapolation: Extrapolation = "linear"
    noise_folding: Folding = "two_qubit"
    readout: bool = False
    calibration_shots: int = 4096

    def __post_init__(self) -> None:
        _check_scales(self.noise_scales)
        _check_name("extrapolation", self.extrapolation, EXTRAPOLATIONS)
        _check_name("noise_folding", self.noise_folding, FOLDINGS)
        if self.calibration_shots < 2:
            problem = "two shots at least, to see how a qubit is read"
            raise ConfigError("backend.calibration_shots", self.calibration_shots, problem, "2")

    @property
    def is_on(self) -> bool:
        """Whether anything is done."""
        return self.readout or self.extrapolates

    @property
    def extrapolates(self) -> bool:
        """Whether circuits are run under scaled noise."""
        return bool(self.noise_scales)

    @property
    def circuits_per_point(self) -> int:
        """Circuits run in place of one."""
        return max(len(self.noise_scales), 1)

    @property
    def n_calibration_circuits(self) -> int:
        """Circuits that a session runs to see how qubits are read."""
        return 2 if self.readout else 0


def _check_scales(scales: tuple[float, ...]) -> None:
    key, shown = "backend.noise_scales", list(scales)
    if not scales:
        return
    if len(scales) < 2:
        raise ConfigError(key, shown, "a line needs two points at least", "[1, 3]")
    if not all(math.isfinite(scale) for scale in scales) or scales[0] != 1:
        raise ConfigError(key, shown, "the first scale is 1, the circuit as it is", "[1, 3, 5]")
    if any(after <= before for before, after in pairwise(scales)):
        nearest_valid = sorted({max(scale, 1.0) for scale in scales})
        suggestion = str(nearest_valid) if len(nearest_valid) > 1 else "[1, 3, 5]"
        raise ConfigError(key, shown, "each scale must be larger than the one before", suggestion)
    if scales[-1] > LARGEST_SCALE:
        raise ConfigError(key, shown, f"circuits grow as much; at most {LARGEST_SCALE:g}", "[1, 3, 5]")


def _check_name(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(
            f"backend.{name}", value, f"must be one of {', '.join(known)}", nearest(value, known)
        )
