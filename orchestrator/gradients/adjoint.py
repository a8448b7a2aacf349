"""Adjoint differentiation: the backend answers the derivative itself, by one reverse sweep (Jones & Gacon, arXiv 2009.02823)."""

from __future__ import annotations

import numpy as np

from orchestrator.circuits.template import CircuitTemplate
from orchestrator.planning.derivative import Derivative, DirectDerivative


class Adjoint:
    """Exact, for backends that hold the state; costs about two forward circuits a sample and observable."""

    name = "adjoint"
    needs_jacobian = True

    def derivative(self, template: CircuitTemplate, angles: np.ndarray) -> Derivative:
        """Nothing to displace."""
        return DirectDerivative()
