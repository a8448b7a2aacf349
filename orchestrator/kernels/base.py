"""What a kernel is, and what evaluating one gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from orchestrator.planning.plan import Evaluation, EvaluationPlan


@dataclass(frozen=True, eq=False)
class KernelMatrix:
    """Kernel values of every pair of samples, and what they took.

    Attributes:
        values: float64 [Sa, Sb]; symmetric with ones on the diagonal where a set is compared with itself.
        variances: float64 [Sa, Sb], variance of each value as an estimate; None for exact values.
        n_circuits, n_shots, cost_usd: what was run; US dollars.
    """

    values: np.ndarray
    variances: np.ndarray | None
    n_circuits: int
    n_shots: int
    cost_usd: float


class Evaluator(Protocol):
    """Who runs a kernel's circuits: a `Coordinator`, or what holds one."""

    def evaluate(self, plan: EvaluationPlan) -> Evaluation:
        """Run the plan, and wait for the answer."""
        ...


class Kernel(Protocol):
    """What `orchestrator.kernels.matrix.kernel_matrix` needs of a kernel; made with a model's configuration."""

    @property
    def n_features(self) -> int:
        """F, the columns of a sample."""
        ...

    def matrix(
        self,
        features_a: np.ndarray,
        features_b: np.ndarray | None,
        coordinator: Evaluator,
        shots: int | None,
        seed: int,
    ) -> KernelMatrix:
        """Kernel values between features [Sa, F] and [Sb, F], or of the first set with itself."""
        ...
