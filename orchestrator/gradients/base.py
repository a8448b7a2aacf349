"""What a gradient rule offers."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from orchestrator.circuits.template import CircuitTemplate
from orchestrator.planning.derivative import Derivative


class GradientRule(Protocol):
    """From a circuit's structure to the way its derivatives are had.

    Attributes:
        name: the registry key.
        needs_jacobian: the backend must answer derivatives directly.
    """

    name: str
    needs_jacobian: bool

    def derivative(self, template: CircuitTemplate, angles: np.ndarray) -> Derivative:
        """How to get the derivative by `angles` (int64 [Kj])."""
        ...
