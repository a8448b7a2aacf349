"""Quantum natural gradient: steepest descent in the distance between states, not between parameters.

``direction = (F + lambda)**-1 gradient`` with F the Fubini-Study metric of the batch (J. Stokes et al., arXiv 1909.02108), by the circuit's
trainable parameters; the head's gradient stays as it is. lambda keeps directions that hardly move the state from exploding. Where a
gate ``exp(-i t P / 2)`` acts on a state that it moves most, F is 1/4: expect steps some four times those of plain descent.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orchestrator.circuits.zero_outcome import MAX_QUBITS
from orchestrator.config import GradientConfig
from orchestrator.errors import CapabilityError
from orchestrator.gradients.adjoint import Adjoint
from orchestrator.gradients.base import Rule, Steps
from orchestrator.gradients.metric import block_metric, full_metric
from orchestrator.gradients.parameter_shift import ParameterShift
from orchestrator.gradients.problem import GradientProblem


class NaturalGradient(Rule):
    """The gradient by parameter shift (by the backend, where it differentiates), and the metric from circuits of its own."""

    name = "natural_gradient"

    def __init__(self, config: GradientConfig | None = None) -> None:
        config = config or GradientConfig()
        self._metric, self._regularization = config.metric, config.regularization
        self._shift, self._adjoint = ParameterShift(config, with_covariance=True), Adjoint(config)

    def check(self, problem: GradientProblem) -> None:
        """The full metric reads 2**n strings.

        Raises:
            CapabilityError: more than `MAX_QUBITS` qubits.
        """
        n_qubits = problem.model.template.n_qubits
        if self._metric == "full" and n_qubits > MAX_QUBITS:
            raise CapabilityError(
                f"gradient.metric = 'full' reads 2**n strings, up to {MAX_QUBITS} qubits; the circuit has {n_qubits}; "
                "nearest valid: gradient.metric = 'block'"
            )

    def estimate(self, problem: GradientProblem) -> Steps:
        """The gradient, then the metric, then the solution.

        Its variance is that of the gradient carried through the solution; the metric's own noise is left out.
        """
        estimate = yield from (self._adjoint if problem.has_jacobian else self._shift).estimate(problem)
        if not problem.trainable.any():
            return estimate
        metric = yield from (block_metric if self._metric == "block" else full_metric)(problem)
        inverse = regularized_inverse(metric, problem.trainable, self._regularization)
        n = len(inverse)
        gradient, variance = estimate.gradient.copy(), estimate.variance.copy()
        gradient[:n] = inverse @ estimate.gradient[:n]
        covariance = estimate.covariance
        variance[:n] = (
            0.0 if covariance is None else np.einsum("pq,qr,pr->p", inverse, covariance[:n, :n], inverse)
        )
        return replace(estimate, gradient=gradient, variance=variance, covariance=None)


def regularized_inverse(metric: np.ndarray, trainable: np.ndarray, regularization: float) -> np.ndarray:
    """``(F + lambda)**-1`` by the parameters of the mask `trainable` [P], zero for the others."""
    chosen = np.flatnonzero(trainable)
    inverse = np.zeros_like(metric)
    own = metric[np.ix_(chosen, chosen)] + regularization * np.eye(len(chosen))
    inverse[np.ix_(chosen, chosen)] = np.linalg.inv(own)
    return inverse
