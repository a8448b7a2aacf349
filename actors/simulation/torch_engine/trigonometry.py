"""Cosine and sine by elementwise arithmetic alone.

The libraries' own take different code paths for the vectors and for the rest of a tensor, and differ between devices. Reduction to
[-pi/4, pi/4] in three steps (W. J. Cody and W. Waite, "Software Manual for the Elementary Functions", Prentice-Hall 1980), then Taylor's
polynomials.
"""

from __future__ import annotations

import math

import torch

_PARTS = (
    float.fromhex("0x1.921fb544p+0"),
    float.fromhex("0x1.0b4611a6p-34"),
    float.fromhex("0x1.3198a2e037073p-69"),
)
"""Add up to pi/2; the first two have 33 bits, so that their products with whole numbers below 2**20 are exact."""
_SINE = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(9))
_COSINE = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(9))
"""The next terms are below 1e-17 at pi/4."""


def cos_sin(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of float64 `x` (radians), each wrong by at most some 2e-16 for ``|x| < 1e6``.

    Beyond, the error grows as that of the angle does, whose last digit is worth 1e-16 of it.
    """
    quarter = torch.round(x * (2 / math.pi))
    for part in _PARTS:
        x = x - quarter * part
    square = x * x
    sine, cosine = x * _polynomial(_SINE, square), _polynomial(_COSINE, square)
    turn = quarter - 4 * torch.floor(quarter * 0.25)  # 0, 1, 2 or 3
    is_odd = (turn == 1) | (turn == 3)
    cos, sin = torch.where(is_odd, sine, cosine), torch.where(is_odd, cosine, sine)
    return torch.where((turn == 1) | (turn == 2), -cos, cos), torch.where(turn >= 2, -sin, sin)


def _polynomial(coefficients: tuple[float, ...], x: torch.Tensor) -> torch.Tensor:
    value = torch.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value
