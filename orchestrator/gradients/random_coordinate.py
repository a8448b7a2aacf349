"""Random coordinate descent: each step differentiates by one random parameter (Z. Ding et al., arXiv 2311.00088).

The update is that of the coordinate alone, and in the mean over draws it is the gradient: the component is multiplied by the number of
parameters it was drawn from.
"""

from __future__ import annotations

from orchestrator.config import GradientConfig
from orchestrator.gradients.stochastic_parameter_shift import StochasticParameterShift


class RandomCoordinate(StochasticParameterShift):
    """One parameter's shifted circuits a step, whatever the number of parameters."""

    name = "random_coordinate"

    def __init__(self, config: GradientConfig | None = None) -> None:
        super().__init__(config)

    def n_drawn(self, n_trainable: int) -> int:
        """One."""
        return 1
