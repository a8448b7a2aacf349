"""What the adaptive rule knows, and what it makes of it: expected descent for the price of a step. Nothing is run here.

A gradient estimate with the mean g and the summed variance V, followed for the best length, lowers a loss of smoothness L in the mean by
``|g|**4 / (2 L (|g|**2 + V))``: what decides among ways to estimate it is ``|g|**2 / (1 + V / |g|**2)`` over their price. The variance of
each is taken as ``r |g|**2 + b / N``: r, from random directions, is known from their number, b, from N shots, is measured. Of
guided SPSA b follows from those of its parts, and r, which depends on how long the gradients of the parts are, is measured. Since a
circuit has a price h of its own beside that of its shots, ``sqrt(b h) / |g|`` shots (with r = 0) are worth most: few where the
signal is strong, many where it is weak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from orchestrator.optimizers.transform import State

_SHARE = 0.3
"""Weight of a new observation in a running mean."""
_PREFIX = "adaptive/"


class Candidate(NamedTuple):
    """A way to have the gradient.

    Attributes:
        rule: its number among the rules.
        shots: of each circuit, None for exact values.
        n_circuits: of a step.
        directions: r, variance by random choices over the squared norm of the gradient; a first guess where there are guides.
        guides: share of the samples that rule 0 (parameter shift) serves where rule 1 (SPSA) serves the others; None: no such mixture.
    """

    rule: int
    shots: int | None
    n_circuits: int
    directions: float
    guides: float | None = None


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Running estimates.

    Attributes:
        squared_norm: of the gradient by the circuit's parameters; an unbiased estimate, so it may be negative.
        shot_variance: float64 [R], b of each rule: summed variance by shots, times their number.
        directions: r of the mixture, -1 where it has not been measured.
        age: float64 [R], steps since a rule was used, -1 for never.
        bills: float64 [5], sums over the steps of c**2, c n, n**2, c u and n u: c circuits and n shots cost u dollars.
    """

    squared_norm: float
    shot_variance: np.ndarray
    directions: float
    age: np.ndarray
    bills: np.ndarray

    @staticmethod
    def of(state: State, n_rules: int) -> Knowledge:
        """What a step left, or nothing yet."""
        if not state:
            return Knowledge(0.0, np.zeros(n_rules), -1.0, np.full(n_rules, -1.0), np.zeros(5))
        squared_norm, shot_variance, directions, age, bills = (
            state[_PREFIX + name] for name in ("squared_norm", "shot_variance", "directions", "age", "bills")
        )
        return Knowledge(float(squared_norm[0]), shot_variance, float(directions[0]), age, bills)

    def state(self) -> State:
        """For the next step."""
        return {
            _PREFIX + "squared_norm": np.array([self.squared_norm]),
            _PREFIX + "shot_variance": self.shot_variance,
            _PREFIX + "directions": np.array([self.directions]),
            _PREFIX + "age": self.age,
            _PREFIX + "bills": self.bills,
        }

    def variance(self, candidate: Candidate) -> float:
        """Expected, summed over the circuit's parameters."""
        is_measured = candidate.guides is not None and self.directions >= 0
        directions = self.directions if is_measured else candidate.directions
        return directions * max(self.squared_norm, 0.0) + self._by_shots(candidate)

    def _by_shots(self, candidate: Candidate) -> float:
        """The part that shots give. The mean of n samples' noise falls with 1/n, so a part of share u adds ``u**2 b / u``."""
        if candidate.shots is None:
            return 0.0
        own = float(self.shot_variance[candidate.rule])
        if (u := candidate.guides) is not None:
            own = float(u * self.shot_variance[0] + (1 - u) * self.shot_variance[1])
        return max(own, 0.0) / candidate.shots

    def after(
        self, used: Candidate, squared_length: float, variance: float, n_shots: int, usd: float
    ) -> Knowledge:
        """And what a step with `used` has shown.

        Args:
            squared_length: of its estimate; that of the gradient is less by the variance, in the mean.
            variance: estimated, summed. n_shots, usd: what the step took.
        """
        observed = squared_length - variance
        known, total = max(self.squared_norm, 0.0), self.variance(used)
        # an estimate that is mostly noise says little of the norm
        trust = known / (known + total) if known + total > 0 else 1.0
        share = _SHARE * trust if (self.age >= 0).any() else 1.0
        own_share = 1.0 if self.age[used.rule] < 0 else _SHARE
        shot_variance, directions = self.shot_variance.copy(), self.directions
        if used.guides is not None:
            if known > 0:
                found = max(variance - self._by_shots(used), 0.0) / known
                directions = found if directions < 0 else directions + _SHARE * (found - directions)
        elif used.shots is not None:
            found = (variance - used.directions * observed) * used.shots
            shot_variance[used.rule] += own_share * (found - shot_variance[used.rule])
        age = np.where(self.age >= 0, self.age + 1.0, self.age)
        age[used.rule] = 0.0
        c, n = float(used.n_circuits), float(n_shots)
        return Knowledge(
            self.squared_norm + share * (observed - self.squared_norm),
            shot_variance,
            directions,
            age,
            self.bills + np.array([c * c, c * n, n * n, c * usd, n * usd]),
        )

    @property
    def is_paid(self) -> bool:
        """Some step has cost dollars."""
        return bool(self.bills[3] > 0)

    def price(self, candidate: Candidate, overhead: float) -> float:
        """Of a step: dollars, where there have been bills; else shots, each circuit counting as `overhead` more; of exact values circuits.

        Args:
            overhead: price of a circuit beside its shots, in shots.
        """
        n_shots = candidate.n_circuits * (candidate.shots or 0)
        if self.is_paid:
            per_circuit, per_shot = _prices(self.bills)
            return per_circuit * candidate.n_circuits + per_shot * n_shots
        return candidate.n_circuits * overhead + n_shots if n_shots else float(candidate.n_circuits)

    def gains(self, candidates: list[Candidate], overhead: float) -> np.ndarray:
        """float64: expected descent for the price, in units of one over 2 L; zero where no signal is seen."""
        known = max(self.squared_norm, 0.0)
        noise = np.array([self.variance(c) for c in candidates])
        return np.array([known**2 / (known + v) if known else 0.0 for v in noise]) / [
            self.price(c, overhead) for c in candidates
        ]

    def best(self, candidates: list[Candidate], overhead: float) -> int:
        """The number of the candidate with the greatest gain; the limit, least noise for the price, where no signal is seen."""
        known = max(self.squared_norm, 0.0)
        burden = [(known + self.variance(c)) * self.price(c, overhead) for c in candidates]
        return int(np.argmin(burden))


def _prices(bills: np.ndarray) -> tuple[float, float]:
    """Dollars per circuit and per shot, by least squares and never negative; all to the shots where the bills do not tell."""
    cc, cn, nn, cu, nu = bills.tolist()
    if nn == 0.0:
        return cu / cc, 0.0
    determinant = cc * nn - cn * cn
    if determinant > 1e-9 * cc * nn:
        per_circuit, per_shot = (nn * cu - cn * nu) / determinant, (cc * nu - cn * cu) / determinant
        if per_circuit >= 0.0 and per_shot >= 0.0:
            return per_circuit, per_shot
        if per_shot < 0.0:
            return cu / cc, 0.0
    return 0.0, nu / nn
