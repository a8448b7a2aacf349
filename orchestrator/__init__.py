"""qfleet's decisions: configuration, models, plans, gradients, the training loop. Pure: numpy, cirq and pydantic, no service.

::

    TrainingConfig ─► Model (feature map + ansatz + observables + angle map + head)
                        │   GradientRule.estimate(problem)   a generator: asks for evaluations, ends with gradient and variance
                        ▼
                  EvaluationPlan      pure data: samples × displacements, with linear coefficients
                        │   jobs_for(plan)       cut along samples, then displacements; content ids
                        ▼
                      Job* ──► Dispatcher [scheduler ► CircuitActor (session + circuit cache)] ──► JobResult*
                                                                expectation values, variances, cost, spans
                        ▼
          plan.assemble ─► Evaluation ─► the rule: loss, gradient, variance ─► Optimizer.update ─► TrainState
                        ▼
              yields StepReport, EpochReport ─► pipelines: MLflow, checkpoint, progress, journal

``orchestrator`` decides, ``actors`` execute, ``pipelines`` connect decisions to files, services and people; imports go
``pipelines → actors → orchestrator`` and never back (tests/unit/test_imports.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.config import TrainingConfig
    from orchestrator.errors import QfleetError
    from orchestrator.models.model import Model

__all__ = ["Model", "QfleetError", "TrainingConfig"]

_HOMES = {
    "Model": "orchestrator.models.model",
    "QfleetError": "orchestrator.errors",
    "TrainingConfig": "orchestrator.config",
}


def __getattr__(name: str) -> Any:
    """Public names on first use, so that importing one module does not import cirq."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
