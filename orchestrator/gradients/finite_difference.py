"""Finite differences of expectation values by every angle, forward or central.

A gate's expectation value is a trigonometric polynomial in its angle; with F its largest frequency and values in [-1, 1], Bernstein's
inequality bounds the k-th derivative by F**k. So a step h is wrong by at most ``F**2 h / 2`` (forward) or ``F**3 h**2 / 6`` (central).
With N shots the noise of a difference has a variance up to ``2 / (N h**2)`` or ``1 / (2 N h**2)``. The step chosen where none is
given makes bias squared plus variance least: ``(8 / N)**(1/4) / F`` or ``(9 / N)**(1/6) / F``. Exact values leave rounding for
noise: about 3e-8 and 9e-6 radians over F.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from orchestrator.circuits.template import CircuitTemplate
from orchestrator.config import GradientConfig
from orchestrator.gradients.linear import AngleRule
from orchestrator.jobs import Displacements
from orchestrator.planning.derivative import LinearDerivative

_ROUNDING = float(np.finfo(float).eps)


class FiniteDifference(AngleRule):
    """Biased by the step; for gates that no shift rule serves, and as a check. Parameter shift is better wherever it applies."""

    name = "finite_difference"

    def __init__(self, config: GradientConfig | None = None) -> None:
        super().__init__()
        config = config or GradientConfig()
        self._stencil, self._step = config.stencil, config.step

    def step_for(self, frequency: float, shots: int | None) -> float:
        """Displacement in radians for a gate whose largest frequency is `frequency`."""
        return self._step or best_step(self._stencil, shots) / frequency

    def bias_bound(self, frequency: float, shots: int | None) -> float:
        """How far the derivative of an expectation value in [-1, 1] can be off in the mean, per radian."""
        h = self.step_for(frequency, shots)
        return frequency**2 * h / 2 if self._stencil == "forward" else frequency**3 * h**2 / 6

    def advice(self, shots: int | None) -> str | None:
        """A warning where shots are drawn."""
        if shots is None:
            return None
        h = self.step_for(1.0, shots)
        return (
            f"finite differences of {shots} shots: with steps of {h:.2g} radians the derivative of each expectation value is biased by up "
            f"to {self.bias_bound(1.0, shots):.2g} and noisier than that of parameter_shift, which has no bias at the same cost"
        )

    def derivative(
        self, template: CircuitTemplate, angles: np.ndarray, shots: int | None = None
    ) -> LinearDerivative:
        """Displaced circuits of every angle: one more than the undisplaced one (forward), or two."""
        steps = np.array([self.step_for(max(template.gate_of_angle[a].frequencies), shots) for a in angles])
        n, position = len(angles), np.repeat(np.arange(len(angles)), 2)
        if self._stencil == "forward":
            row = np.stack([np.zeros(n, np.int64), np.arange(1, n + 1)], axis=1).ravel()
            coefficient = np.stack([-1 / steps, 1 / steps], axis=1).ravel()
            return LinearDerivative(Displacements.single(angles, steps), position, row, coefficient)
        deltas = np.stack([steps, -steps], axis=1).ravel()
        return LinearDerivative(
            Displacements.single(np.repeat(angles, 2), deltas),
            position,
            np.arange(1, 2 * n + 1),
            0.5 / deltas,
        )


def best_step(stencil: Literal["central", "forward"], shots: int | None) -> float:
    """The step of least error for a frequency of 1, in radians."""
    if stencil == "forward":
        return 2 * _ROUNDING**0.5 if shots is None else (8 / shots) ** 0.25
    return (3 * _ROUNDING) ** (1 / 3) if shots is None else (9 / shots) ** (1 / 6)
