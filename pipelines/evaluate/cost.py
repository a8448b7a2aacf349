"""What an evaluation takes, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.config import TrainingConfig
from orchestrator.costs.money import in_usd
from orchestrator.costs.work import PlanPricer, Work
from orchestrator.models.model import Model
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan
from pipelines.compose import build_backend, mitigation_of
from pipelines.quote import catalogue_of, circuits_run_for, ionq_gate_counts, settings_of


@dataclass(frozen=True)
class Forecast:
    """Circuits, shots and dollars; the dearest target where there are several. `is_paid`: it may cost something."""

    circuits: int
    shots: int
    usd: float
    is_paid: bool


def forecast(config: TrainingConfig, parts: Sequence[tuple[Model, np.ndarray, np.ndarray]]) -> Forecast:
    """Of evaluating models on samples, on the backend that `config` says.

    Args:
        parts: models, their parameters [P] and features [S, F].

    Raises:
        InputError: the target does not take it.
    """
    is_paid = build_backend(config).capabilities.is_paid
    plans = [_plan(config, *part) for part in parts]
    if not is_paid:
        n = sum(plan.n_circuits for plan in plans) * mitigation_of(config.backend).circuits_per_point
        n += mitigation_of(config.backend).n_calibration_circuits
        return Forecast(n, n * (config.backend.shots or 0), 0.0, is_paid)
    targets = config.backend.targets or (config.backend.target,)
    work = max((_priced(config, target, plans) for target in targets), key=lambda one: one.micro)
    return Forecast(work.circuits, work.shots, float(in_usd(work.micro)), is_paid)


def _plan(config: TrainingConfig, model: Model, params: np.ndarray, features: np.ndarray) -> EvaluationPlan:
    keys = noise_keys(config.run.seed, "quote", model.measured)
    return EvaluationPlan(
        model.measured, model.angles(params, features), shots=config.backend.shots, noise_keys=keys
    )


def _priced(config: TrainingConfig, target: str, plans: Sequence[EvaluationPlan]) -> Work:
    pricer = PlanPricer(
        catalogue_of(config).entry(target),
        settings_of(config.backend, target),
        ionq_gate_counts(target),
        circuits_run_for(config.backend),
    )
    total = pricer.calibration(plans[0].circuit.template.n_qubits)
    for plan in plans:
        total = total.plus(pricer.work(plan))
    return total
