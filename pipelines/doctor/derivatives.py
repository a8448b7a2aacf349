"""Derivatives of the observables by the circuit's parameters at many points, from the exact engine, whatever backend trains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from actors.backends.ideal import CompiledCircuit, IdealBackend, IdealSession
from orchestrator.models.angle_map import Angles, scattered
from orchestrator.models.model import Model
from orchestrator.planning.derivative import DirectDerivative
from orchestrator.planning.plan import EvaluationPlan


@dataclass(frozen=True, eq=False)
class Differentiator:
    """A model compiled for exact derivatives.

    Raises:
        CapabilityError: when it is first used, where no exact method can do the circuit.
    """

    model: Model

    @property
    def microseconds(self) -> float:
        """Estimated for the derivatives at one point, by the engine's cost model."""
        session, compiled = self._compiled
        return min(way.microseconds_per_gradient for way in session.explain(compiled) if way.applies)

    def at(self, params: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Float64 [R, M, P_circuit]: d observable / d parameter at R points, frozen parameters included.

        Args:
            params: [R, P_circuit], radians. features: [R, F], the data row that goes with each point.
        """
        model, session, compiled = self.model, *self._compiled
        wanted = model.angles_moved_by(np.ones(model.n_circuit_params, bool))
        if not len(wanted):
            return np.zeros((len(params), len(model.readout.names), model.n_circuit_params))
        plan = EvaluationPlan(
            circuit=model.measured,
            angles=self._angles(params, features),
            wanted=wanted,
            derivative=DirectDerivative(),
        )
        by_angle = session.run(compiled, plan.job()).jacobian
        assert by_angle is not None
        slopes = model.slopes(features)
        felt = np.flatnonzero(np.isin(slopes.angle, wanted))
        place = np.searchsorted(wanted, slopes.angle[felt])
        by_pair = by_angle[:, :, place] * slopes.weight[:, None, felt]
        by_param = scattered(by_pair, slopes.param[felt], model.n_circuit_params)
        return np.einsum("rsp,ms->rmp", by_param, model.readout.matrix)

    def _angles(self, params: np.ndarray, features: np.ndarray) -> Angles:
        """One row of angles per point: every angle differs from point to point."""
        table = np.empty((len(params), self.model.template.n_angles))
        for row, (point, sample) in enumerate(zip(params, features, strict=True)):
            angles = self.model.angles(point, sample[None])
            table[row] = angles.shared
            table[row, angles.columns] = angles.data[0]
        return Angles(np.zeros(table.shape[1]), np.arange(table.shape[1]), table)

    @cached_property
    def _compiled(self) -> tuple[IdealSession, CompiledCircuit]:
        session = IdealBackend().open_session()
        return session, session.compile(self.model.measured)
