"""Dollars to whole micro-dollars (1e-6 USD) and back. Every rounding of money in qfleet is here."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

MICRO = 1_000_000
"""Micro-dollars of a dollar."""


def micro_up(dollars: Fraction | Decimal | float) -> int:
    """The least whole number of micro-dollars that pays `dollars`; a float counts as the decimal that it prints as."""
    return math.ceil(_exact(dollars) * MICRO)


def micro_down(dollars: Fraction | Decimal | float) -> int:
    """The most whole micro-dollars within `dollars`: for a cap."""
    return math.floor(_exact(dollars) * MICRO)


def micro_nearest(dollars: Fraction | Decimal | float) -> int:
    """The whole number of micro-dollars nearest to `dollars`: for figures that somebody else has rounded."""
    return round(_exact(dollars) * MICRO)


def in_usd(micro: int) -> float:
    """Dollars as a float, for results and displays."""
    return micro / MICRO


def usd_text(micro: int) -> str:
    """All six digits, no rounding: ``"$12.416600"``. For errors and records; displays round to cents."""
    sign = "-" if micro < 0 else ""
    whole, rest = divmod(abs(micro), MICRO)
    return f"{sign}${whole:,}.{rest:06d}"


def _exact(dollars: Fraction | Decimal | float) -> Fraction:
    return Fraction(repr(dollars)) if isinstance(dollars, float) else Fraction(dollars)
