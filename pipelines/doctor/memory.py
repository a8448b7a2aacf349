"""Memory of one training step: what its arrays take on the driver, and what the engine takes in each actor.

Beside this every process holds Python and its libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.errors import CapabilityError
from orchestrator.planning.derivative import LinearDerivative
from orchestrator.planning.plan import EvaluationPlan
from orchestrator.protocols import Backend
from pipelines.compose import n_threads
from pipelines.doctor.engine_memory import Need, session_need
from pipelines.run_setup import PreparedRun

_FLOAT = 8


def examine_memory(run: PreparedRun, backend: Backend, plans: Sequence[EvaluationPlan]) -> dict[str, Any]:
    """Bytes, as plain values.

    Args:
        backend: the configured one. plans: of a step, see `rules.plans_of`.
    """
    splits = [getattr(run.data, name) for name in ("train", "validation", "test")]
    threads = n_threads(run.config)
    try:
        engine: Need | None = max(session_need(backend, plan) for plan in plans)
        how = "" if engine is None else engine.what
    except CapabilityError as error:
        engine, how = None, str(error)
    return {
        "driver_step_bytes": sum(answer_bytes(plan) for plan in plans) + max(map(_working_bytes, plans)),
        "driver_data_bytes": sum(split.features.nbytes + split.targets.nbytes for split in splits),
        "actor_bytes": None if engine is None else threads * engine.n_bytes,
        "actor_what": how,
        "threads": threads,
    }


def answer_bytes(plan: EvaluationPlan) -> int:
    """Of the arrays that answer `plan`: expectation values, their variances with shots, and derivatives."""
    n_strings = len(plan.circuit.paulis)
    values = plan.n_samples * len(plan.displacements) * n_strings
    n_rows = 1 if plan.cotangents is not None else plan.n_differentiated or n_strings
    derivatives = 0 if plan.derivative is None else plan.n_samples * n_rows * len(plan.wanted)
    return _FLOAT * (1 if plan.shots is None else 2) * (values + derivatives)


def _working_bytes(plan: EvaluationPlan) -> int:
    """Of the angles, and of the displaced values that `LinearDerivative.combine` weighs before it adds them up."""
    angles = plan.angles.data.size + plan.angles.shared.size
    if not isinstance(plan.derivative, LinearDerivative):
        return _FLOAT * angles
    n_rows = plan.n_differentiated or len(plan.circuit.paulis)
    return _FLOAT * (angles + 2 * plan.n_samples * len(plan.derivative.row) * n_rows)
