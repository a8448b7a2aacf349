"""Adjoint differentiation: the backend answers the derivative itself, by one reverse sweep (Jones & Gacon, arXiv 2009.02823)."""

from __future__ import annotations

import numpy as np

from orchestrator.circuits.template import CircuitTemplate
from orchestrator.config import GradientConfig
from orchestrator.gradients.linear import AngleRule
from orchestrator.planning.derivative import Derivative, DirectDerivative


class Adjoint(AngleRule):
    """Exact, for backends that hold the state; costs about two forward circuits a sample and observable."""

    name = "adjoint"
    needs_jacobian = True

    def __init__(self, config: GradientConfig | None = None) -> None:
        super().__init__()

    def derivative(
        self, template: CircuitTemplate, angles: np.ndarray, shots: int | None = None
    ) -> Derivative:
        """Nothing to displace."""
        return DirectDerivative()
