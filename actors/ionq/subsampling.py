"""Fewer shots out of recorded ones: a part of the recorded outcomes, drawn without replacement.

A part of independent shots are independent shots, so estimates from them have the mean and the variance of a measurement with as many.
Given the record, the spread is less, by the finite population correction ``(N - n) / (N - 1)`` (Cochran, "Sampling Techniques", 1977).
"""

from __future__ import annotations

import numpy as np

from actors.ionq.outcomes import Outcomes
from actors.ionq.recorded_circuits import Place
from orchestrator.errors import CapabilityError

_STREAM = 1
"""Second word of the generator's key: another stream than that of shots drawn from exact probabilities, which has 0."""
_ROUNDING = 0.05
"""How far a recorded frequency, in shots, may be from a whole number: the service rounds what it writes."""


def subsample(found: Outcomes, recorded: int, wanted: int, place: Place) -> Outcomes:
    """Relative frequencies of `wanted` of the `recorded` shots whose frequencies `found` holds; all of them: `found` itself.

    The draw is keyed by the circuit's place in the run that asks: same seed, same bits.

    Raises:
        CapabilityError: `found` holds no counts of so many shots (mitigated results need not), or fewer are recorded than wanted.
    """
    if wanted == recorded:
        return found
    if wanted > recorded:
        raise CapabilityError(f"{wanted} shots cannot be drawn from {recorded} recorded ones")
    counts = counts_of(found, recorded)
    counter = np.array([0, place.displacement, place.sample, place.step], np.uint64)
    rng = np.random.Generator(
        np.random.Philox(counter=counter, key=np.array([place.noise_key, _STREAM], np.uint64))
    )
    return Outcomes(found.rows, rng.multivariate_hypergeometric(counts, wanted, method="marginals") / wanted)


def counts_of(found: Outcomes, shots: int) -> np.ndarray:
    """int64 [E], how often each outcome came up in `shots` shots.

    Raises:
        CapabilityError: the probabilities are no frequencies of so many.
    """
    exact = found.probabilities * shots
    counts = np.rint(exact).astype(np.int64)
    if counts.sum() != shots or np.abs(exact - counts).max() > _ROUNDING:
        raise CapabilityError(
            f"a recorded result is no count of {shots} shots (errors were mitigated before it was returned), so fewer cannot be drawn "
            f"from it; nearest valid: --shots {shots}"
        )
    return counts
