"""What a layer's circuits cost, before any of them is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.config import BackendConfig
from orchestrator.costs.money import in_usd
from orchestrator.costs.work import PlanPricer, Work, together
from orchestrator.errors import InputError
from orchestrator.gradients.base import LinearRule
from orchestrator.gradients.function import Call, Wanted, backward_plan, derivative_of, forward_plan
from orchestrator.models.angle_map import Angles
from orchestrator.models.model import Model
from orchestrator.planning.plan import EvaluationPlan
from pipelines.frontends.executor import Executor
from pipelines.quote import catalogue_of, circuits_run_for, ionq_gate_counts, settings_of


class LayerQuote(NamedTuple):
    """What calls of a layer take.

    Attributes:
        forward, backward: one call each.
        calibration: before the first call, where readout errors are measured (by each actor, where that costs nothing).
    """

    forward: Work
    backward: Work
    calibration: Work

    @property
    def total(self) -> Work:
        """All three."""
        return together(self)

    @property
    def usd(self) -> float:
        """US dollars, of all three."""
        return in_usd(self.total.micro)


def quote(model: Model, rule: LinearRule, executor: Executor, n_samples: int, by: Wanted) -> LayerQuote:
    """Circuits, shots, jobs and micro-dollars of one call forward and one backward; of several targets, the most that one of them takes.

    Raises:
        InputError: a negative number of samples. CapabilityError: a target does not take it.
    """
    if n_samples < 0:
        raise InputError(f"{n_samples} samples cannot be quoted; the fewest are 0")
    plans = _plans(model, rule, executor, n_samples * model.states_per_sample, by)
    backend = executor.config.backend
    run_for = circuits_run_for(backend)
    if not executor.capabilities.is_paid:
        forward, backward = (
            together(work for plan in some for work in _unpaid(plan, run_for(plan.circuit))) for some in plans
        )
        return LayerQuote(forward, backward, _unpaid_calibration(backend))
    catalogue, found = catalogue_of(executor.config), []
    for target in backend.targets or (backend.target,):
        settings = settings_of(backend, target)
        pricer = PlanPricer(catalogue.entry(target), settings, ionq_gate_counts(target), run_for)
        forward, backward = (together(map(pricer.work, some)) for some in plans)
        found.append(LayerQuote(forward, backward, pricer.calibration(model.template.n_qubits)))
    return max(found, key=lambda one: one.total.micro)


def _plans(
    model: Model, rule: LinearRule, executor: Executor, n_states: int, by: Wanted
) -> tuple[list[EvaluationPlan], list[EvaluationPlan]]:
    """What goes out forward and backward, at angles of zero: no price depends on them."""
    if not n_states:
        return [], []
    columns, wanted_angles = model.angle_map.data_columns, by.angles(model)
    at = Angles(np.zeros(model.template.n_angles), columns, np.zeros((n_states, len(columns))))
    call = Call(executor.shots, executor.seed)
    forward = [forward_plan(model, at, call)]
    if not len(wanted_angles):
        return forward, []
    of_values = np.zeros((n_states, len(model.readout.paulis)))
    derivative = derivative_of(model, wanted_angles, rule)
    return forward, [backward_plan(model, at, of_values, wanted_angles, derivative, call)]


def _unpaid_calibration(backend: BackendConfig) -> Work:
    """The two circuits that measure readout errors, in each session."""
    if not backend.readout_mitigation:
        return Work()
    return Work(2, 0 if backend.shots is None else 2 * backend.calibration_shots)


def _unpaid(plan: EvaluationPlan, run: Sequence[MeasuredCircuit]) -> Iterator[Work]:
    """`plan`, when the circuits `run` are run in place of its own."""
    for circuit in run:
        n_circuits = replace(plan, circuit=circuit).n_circuits
        yield Work(n_circuits, n_circuits * (plan.shots or 0))
