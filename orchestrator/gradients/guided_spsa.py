"""Guided SPSA: some samples of a batch by parameter shift, the rest by simultaneous perturbation.

After M. Periyasamy et al., "Guided-SPSA: simultaneous perturbation stochastic approximation assisted by the parameter shift rule"
(arXiv 2404.15751), which splits a batch in this way. The gradient of a mean over samples is the mean of the parts' gradients,
weighted by their numbers of samples, so nothing is lost but what perturbation costs in noise: the exact part carries its
share of the direction, and the cost falls with the share of the rest.
"""

from __future__ import annotations

import math

import numpy as np

from orchestrator.config import GradientConfig
from orchestrator.gradients.base import GradientEstimate, Rule, Steps
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.gradients.problem import GradientProblem
from orchestrator.gradients.spsa import SPSA


class GuidedSPSA(Rule):
    """Between parameter shift and SPSA in cost and in noise."""

    name = "guided_spsa"

    def __init__(self, config: GradientConfig | None = None) -> None:
        self._share = (config or GradientConfig()).guide_fraction
        self._shift, self._perturb = ParameterShift(config), SPSA(config)

    def estimate(self, problem: GradientProblem) -> Steps:
        """The first samples by parameter shift, the others by perturbation; batches come shuffled, so which is which is random."""
        n = problem.n_samples
        n_guides = min(max(1, math.ceil(self._share * n)), n)
        exact = problem.part(slice(0, n_guides), "guides")
        guides = yield from self._shift.estimate(exact)
        if n_guides == n:
            return guides
        rest = yield from self._perturb.estimate(problem.part(slice(n_guides, n), "rest"))
        share = exact.n_answered / max(problem.n_answered, 1)
        return _together([(share, guides), (1 - share, rest)])


def _together(parts: list[tuple[float, GradientEstimate]]) -> GradientEstimate:
    """The estimate of a batch from those of its independent parts, with their shares of its samples."""
    return GradientEstimate(
        loss=sum(share * part.loss for share, part in parts),
        gradient=np.sum([share * part.gradient for share, part in parts], axis=0),
        variance=np.sum([share**2 * part.variance for share, part in parts], axis=0),
    )
