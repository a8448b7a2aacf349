"""A real function of one angle with frequencies 0, h, 2h .. Rh: found from 2R + 1 values, minimised in closed form.

With ``z = exp(i h t)`` the function is ``sum_j c_j z**j``, j from -R to R, and equidistant points over a period give the c_j by a discrete
Fourier transform (D. Wierichs et al., arXiv 2107.12390). Where its derivative is zero, z is a root of the polynomial
``sum_j j c_j z**(j + R)``: the eigenvalues of its companion matrix on the unit circle are all extrema there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from orchestrator.errors import CircuitError

_NEWTON_STEPS = 3
_SAME = 1e-9
"""Frequencies that agree so far, relative to the largest, count as equal."""


@dataclass(frozen=True, eq=False)
class TrigonometricPolynomial:
    """``f(t) = sum_j coefficients[j + R] exp(i j h t)``.

    Attributes:
        spacing: h, per radian.
        coefficients: complex128 [2R + 1].
    """

    spacing: float
    coefficients: np.ndarray

    @staticmethod
    def points(spacing: float, degree: int) -> np.ndarray:
        """float64 [2R + 1]: where values are wanted, from 0 on."""
        n = 2 * degree + 1
        return 2.0 * math.pi * np.arange(n) / (n * spacing)

    @classmethod
    def through(cls, values: np.ndarray, spacing: float) -> TrigonometricPolynomial:
        """The one that has `values`, float64 [2R + 1], at `points`."""
        transform = np.exp(-2j * np.pi * np.outer(_orders(len(values)), np.arange(len(values))) / len(values))
        return cls(spacing, np.einsum("jm,m->j", transform, values) / len(values))

    def __call__(self, t: np.ndarray, derivative: int = 0) -> np.ndarray:
        """Its values, or those of a derivative, at float64 [N]."""
        rates = 1j * self.spacing * _orders(len(self.coefficients))
        waves = np.exp(np.multiply.outer(np.asarray(t), rates))
        return np.real(np.einsum("nj,j->n", waves, self.coefficients * rates**derivative))

    def minimum(self) -> float:
        """The angle of the least value, in ``(-pi / h, pi / h]``; 0 where it is as low as any other to rounding."""
        orders = _orders(len(self.coefficients))
        roots = np.roots((orders * self.coefficients)[::-1])
        found = np.angle(roots[roots != 0]) / self.spacing
        for _ in range(_NEWTON_STEPS):  # eigenvalues near each other are known to half the digits
            bend = self(found, 2)
            step = np.divide(-self(found, 1), bend, out=np.zeros_like(found), where=bend > 0)
            found = found + np.clip(step, -0.1 / self.spacing, 0.1 / self.spacing)
        candidates = np.concatenate([[0.0], found])
        values = self(candidates)
        scale = float(np.sum(np.abs(self.coefficients)))
        values[0] -= 8 * np.finfo(float).eps * scale  # no move for nothing
        best = float(candidates[np.argmin(values)])
        period = 2.0 * math.pi / self.spacing
        return best - period * math.ceil(best / period - 0.5)

    @staticmethod
    def slope_weights(spacing: float, degree: int) -> np.ndarray:
        """float64 [2R + 1]: the derivative at 0 as a combination of the values at `points`."""
        n = 2 * degree + 1
        orders = _orders(n)
        waves = np.exp(-2j * np.pi * np.outer(orders, np.arange(n)) / n)
        return np.real(np.einsum("j,jm->m", 1j * spacing * orders, waves)) / n


def _orders(n: int) -> np.ndarray:
    return np.arange(n) - n // 2


def common_spacing(frequencies: np.ndarray, largest: int) -> float:
    """The greatest number of which all `frequencies` (positive) are whole multiples up to `largest`.

    Raises:
        CircuitError: there is none.
    """
    spacing = float(frequencies.max())
    for frequency in frequencies.tolist():
        low, high = sorted((spacing, frequency))
        while low > _SAME * float(frequencies.max()):  # Euclid's
            low, high = high % low, low
            if high - low < _SAME * float(frequencies.max()):
                low = 0.0
        spacing = high
    if float(frequencies.max()) / spacing > largest + 0.5:
        listed = ", ".join(f"{f:.6g}" for f in np.unique(np.round(frequencies, 9)))
        raise CircuitError(
            f"the frequencies {listed} are no whole multiples (up to {largest}) of a common one"
        )
    return spacing
