"""Simplification of a model's circuit, checked by the exact engine at any size that it can do."""

from __future__ import annotations

import numpy as np

from actors.backends.ideal import IdealBackend
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.models.angle_map import Angles
from orchestrator.models.model import Model
from orchestrator.models.simplified import SimplifiedModel, simplified
from orchestrator.planning.plan import EvaluationPlan


def simplified_model(model: Model) -> SimplifiedModel:
    """`model` with fewer gates and angles; what the engine cannot check is not done, and is said in its ``how.left_out``."""
    return simplified(model, exact_values)


def exact_values(circuit: MeasuredCircuit, angles: np.ndarray) -> np.ndarray:
    """Expectation values [S, M] of the Pauli strings at `angles` [S, K], exact in double precision.

    Raises:
        CapabilityError: no exact method can do the circuit.
    """
    n_angles = angles.shape[1]
    every = Angles(np.zeros(n_angles), np.arange(n_angles), angles)
    session = IdealBackend().open_session()
    try:
        result = session.run(session.compile(circuit), EvaluationPlan(circuit, every).job())
    finally:
        session.close()
    return result.values[:, 0, :]
