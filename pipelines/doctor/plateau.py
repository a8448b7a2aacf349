"""Whether variances of the gradient fall exponentially with the number of qubits, said in words.

A barren plateau is an exponential fall (J. R. McClean et al., arXiv 1803.11173): by 2 to 3 per qubit for random circuits and for
products of rotations read by a parity. Small circuits also lose variance without one, while the light cones of their observables
fill (M. Cerezo et al., arXiv 2001.00550), or by a power of n. So the fall must be there over all sizes, and it must go on over the
larger half of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipelines.display.formatting import format_count

STEEP = math.sqrt(2.0)
"""Fall per qubit from which it counts: to half within two qubits. A power law 1/n**2 is slower from n = 6 on."""
_LEAST_SIZES = 3


class Verdict(NamedTuple):
    """What the variances say.

    Attributes:
        is_plateau: None where there are too few sizes to tell.
        factor: by which the variance falls per qubit, from a least-squares line through its logarithm; None as above.
        shots: per circuit, that a gradient at the largest size takes to be seen; None where it is zero.
        sentence: all of it.
    """

    is_plateau: bool | None
    factor: float | None
    shots: float | None
    sentence: str


def verdict(sizes: Sequence[int], variances: Sequence[float], size: float, weight: float) -> Verdict:
    """Judge `variances` at ascending numbers of qubits `sizes`.

    Args:
        size: a typical derivative at the largest of the sizes.
        weight: largest sum of the absolute weights of an observable's Pauli strings, which bounds its values.
    """
    shots = shots_to_see(size, weight) if size > 0 else None
    seen = (
        f"at n = {sizes[-1]} a gradient of size {size:.2g} needs about {format_count(shots)} shots a circuit to be seen"
        if shots is not None
        else f"at n = {sizes[-1]} the gradient is zero"
    )
    kept = [(n, v) for n, v in zip(sizes, variances, strict=True) if v > 0]
    if len(kept) < _LEAST_SIZES:
        return Verdict(None, None, shots, f"too few sizes to tell how it goes on with n; {seen}")
    factor, later = fall(kept), fall(kept[len(kept) // 2 :])
    if factor >= STEEP and later >= STEEP:
        text = (
            f"falls by a factor of {factor:.1f} per qubit up to n = {kept[-1][0]}: a barren plateau; {seen}"
        )
        return Verdict(True, factor, shots, text)
    text = f"no sign of a barren plateau up to n = {kept[-1][0]} (variance times {1 / factor:.2f} per qubit); {seen}"
    return Verdict(False, factor, shots, text)


def fall(points: Sequence[tuple[int, float]]) -> float:
    """Factor per qubit by which the variance falls, from (n, variance) by least squares on its logarithm; below 1 it rises."""
    n, log = np.array([p[0] for p in points], float), np.log([p[1] for p in points])
    centred = n - n.mean()
    return float(np.exp(-(centred @ log) / (centred @ centred)))


def shots_to_see(size: float, weight: float) -> float:
    """Shots a circuit after which a derivative of `size` is twice its own noise, by parameter shift of a Pauli rotation.

    ``(f+ - f-) / 2`` has the variance ``(var+ + var-) / (4 N)``, and a value within +-weight varies by at most weight**2 a shot.
    """
    return math.ceil(2 * (weight / size) ** 2)
