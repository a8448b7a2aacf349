"""Parameter shift by a random subset of the parameters, rescaled so that the gradient stays unbiased.

Of P trainable circuit parameters every step draws k at random without replacement, runs the shifted circuits of these alone, and
multiplies what it finds by P / k, one over the probability of being drawn (J. M. Kübler et al., arXiv 1909.09083, and the stochastic
gradient descent of R. Sweke et al., arXiv 1910.01155, draw in this sense). The head's parameters cost no circuit and are always known.
"""

from __future__ import annotations

import math

import numpy as np

from orchestrator.config import GradientConfig
from orchestrator.gradients.linear import Chosen
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.gradients.problem import GradientProblem

_SUBSETS = 0


class StochasticParameterShift(ParameterShift):
    """Unbiased over the draws; each step costs the drawn share of a full gradient's circuits."""

    name = "stochastic_parameter_shift"

    def __init__(self, config: GradientConfig | None = None) -> None:
        super().__init__()
        self._fraction = (config or GradientConfig()).fraction

    def n_drawn(self, n_trainable: int) -> int:
        """k, at least one."""
        return max(1, math.ceil(self._fraction * n_trainable))

    def choose(self, problem: GradientProblem) -> Chosen:
        """k of the trainable parameters."""
        candidates = np.flatnonzero(problem.trainable)
        if not len(candidates):
            return Chosen(problem.trainable, 1.0)
        k = self.n_drawn(len(candidates))
        mask = np.zeros_like(problem.trainable)
        mask[problem.rng(_SUBSETS).choice(candidates, k, replace=False)] = True
        return Chosen(mask, len(candidates) / k)
