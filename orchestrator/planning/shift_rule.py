"""The general parameter-shift rule, at the level of gate angles (Wierichs et al., arXiv 2107.12390).

An expectation value depends on the angle of a gate ``exp(i a G)`` as a finite Fourier series whose frequencies are
the differences of G's eigenvalues. With R frequencies, R pairs of shifts give the exact derivative: ``f'(a) = sum_m
y_m [f(a + x_m) - f(a - x_m)]`` with y solving ``sum_m y_m 2 sin(w_j x_m) = w_j`` for every frequency. Pauli rotations
(R = 1) get the familiar two terms, controlled rotations (R = 2) four. Expectation values are shifted, never the loss,
and angles, never shared parameters.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from orchestrator.circuits.template import CircuitTemplate
from orchestrator.errors import CircuitError
from orchestrator.jobs import Displacements
from orchestrator.planning.derivative import LinearDerivative

_WORST_CONDITION = 1e6


def shift_derivative(template: CircuitTemplate, angles: np.ndarray) -> LinearDerivative:
    """Shifted circuits of every one of `angles` (int64 [Kj]), with their coefficients; row 0 is undisplaced.

    Raises:
        CircuitError: a gate's frequencies lie so close together that no shifts tell them apart.
    """
    position, which, shift, coefficient = [], [], [], []
    for i, angle in enumerate(angles):
        for x, y in shift_rule(template.gate_of_angle[angle].frequencies):
            position += [i, i]
            which += [angle, angle]
            shift += [x, -x]
            coefficient += [y, -y]
    displacements = Displacements.single(np.array(which, np.int64), np.array(shift, np.float64))
    rows = np.arange(1, len(which) + 1)
    return LinearDerivative(
        displacements, np.array(position, np.int64), rows, np.array(coefficient, np.float64)
    )


@functools.cache
def shift_rule(frequencies: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    """Pairs (shift x_m in radians, coefficient y_m) for a gate with these positive frequencies.

    The shifts are (2m - 1) π / (2 R w) with w the spacing, which for equidistant frequencies is the rule of least variance.
    """
    n = len(frequencies)
    omega = np.asarray(frequencies)
    shifts = (2 * np.arange(1, n + 1) - 1) * math.pi / (2 * n) / (omega[-1] / n)
    matrix = 2.0 * np.sin(np.outer(omega, shifts))
    if np.linalg.cond(matrix) > _WORST_CONDITION:
        raise CircuitError(
            f"no parameter-shift rule for a gate with the frequencies {frequencies}: they lie too close together"
        )
    return tuple(zip(shifts.tolist(), np.linalg.solve(matrix, omega).tolist(), strict=True))
