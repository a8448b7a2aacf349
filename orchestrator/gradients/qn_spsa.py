"""QN-SPSA: natural gradient with both gradient and metric from random perturbations (J. Gacon et al., arXiv 2103.09232).

Two circuits a sample give the gradient (`spsa`), four more, of twice the depth, a sample of the metric: with F(d) the mean fidelity
``|<psi(t)|psi(t + d)>|**2`` over the batch and D, E random vectors of signs,

    f = F(cD + cE) - F(cD) - F(-cD + cE) + F(-cD),    metric = -f / (4 c**2) * (D E+ + E D+) / 2,

(with F(d) = 1 - d+ g d to second order, f is -4 c**2 D+ g E) whose mean is the Fubini-Study metric up to ``O(c**2)``. One sample has
rank two and any sign, so the samples of all steps, and an identity before them, are averaged; the average is made positive as
``sqrt(A A)``, and a multiple of the identity is added before solving. The average is the rule's state.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from orchestrator.circuits.zero_outcome import MAX_QUBITS
from orchestrator.config import GradientConfig
from orchestrator.errors import CapabilityError
from orchestrator.gradients.base import Rule, Steps
from orchestrator.gradients.natural_gradient import regularized_inverse
from orchestrator.gradients.overlap import full_angles, overlap
from orchestrator.gradients.problem import GradientProblem
from orchestrator.gradients.spsa import SPSA
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import Evaluation, EvaluationPlan

_DIRECTIONS = 2


class QNSPSA(Rule):
    """Six circuits a sample whatever the number of parameters; noisy at first, its metric settles over the steps."""

    name = "qn_spsa"

    def __init__(self, config: GradientConfig | None = None) -> None:
        config = config or GradientConfig()
        self._perturb, self._regularization = SPSA(config), config.regularization
        self._n_directions = config.perturbations

    def check(self, problem: GradientProblem) -> None:
        """The fidelity reads 2**n strings.

        Raises:
            CapabilityError: more than `MAX_QUBITS` qubits.
        """
        n_qubits = problem.model.template.n_qubits
        if n_qubits > MAX_QUBITS:
            raise CapabilityError(
                f"gradient.rule = 'qn_spsa' reads 2**n strings, up to {MAX_QUBITS} qubits; the circuit has {n_qubits}; nearest valid: "
                "gradient.rule = 'natural_gradient' with gradient.metric = 'block'"
            )

    def estimate(self, problem: GradientProblem) -> Steps:
        """The gradient's pairs of points, then the metric's sets of four.

        Its variance is that of the gradient with this step's metric held; correlations between components are left out.
        """
        estimate = yield from self._perturb.estimate(problem)
        if not problem.trainable.any():
            return estimate
        sample = yield from metric_sample(problem, self._n_directions, self._perturb.size(problem.step))
        n_seen = float(problem.state.get("count", np.ones(1))[0])
        mean = problem.state["metric"].reshape(sample.shape) if problem.state else np.eye(len(sample))
        mean = mean + (sample - mean) / (n_seen + 1)
        inverse = regularized_inverse(_positive(mean), problem.trainable, self._regularization)
        n = len(inverse)
        gradient, variance = estimate.gradient.copy(), estimate.variance.copy()
        gradient[:n] = inverse @ estimate.gradient[:n]
        variance[:n] = inverse**2 @ estimate.variance[:n]
        state = {"metric": mean.ravel(), "count": np.array([n_seen + 1])}
        return replace(estimate, gradient=gradient, variance=variance, state=state)


def metric_sample(
    problem: GradientProblem, n_directions: int, size: float
) -> Generator[EvaluationPlan, Evaluation, np.ndarray]:
    """Float64 [P_circuit, P_circuit]: the mean of `n_directions` samples of the metric with perturbations of `size` radians."""
    made, trainable = overlap(problem.model.template), problem.trainable
    signs = problem.rng(_DIRECTIONS).integers(0, 2, (n_directions, 2, len(trainable))) * 2.0 - 1.0
    signs *= trainable
    one, other = size * signs[:, 0], size * signs[:, 1]
    offsets = np.stack([one + other, one, other - one, -one], axis=1).reshape(-1, len(trainable))
    table = full_angles(problem.angles)
    kets = []
    for offset in offsets:
        params = problem.params.copy()
        params[: len(offset)] += offset
        kets.append(full_angles(problem.model.angles(params, problem.features)))
    evaluation = yield problem.plan(
        circuit=made.circuit,
        angles=made.angles(np.concatenate(kets), np.tile(table, (len(offsets), 1))),
        noise_keys=noise_keys(problem.seed, f"{problem.purpose}/metric", made.circuit),
        n_differentiated=None,
    )
    of_states = made.fidelity(evaluation.values).reshape(n_directions, 4, -1)
    fidelity = problem.kept(of_states, axis=2).mean(axis=2)
    change = fidelity[:, 0] - fidelity[:, 1] - fidelity[:, 2] + fidelity[:, 3]
    outer = np.einsum("k,kp,kq->pq", change, signs[:, 0], signs[:, 1]) / n_directions
    return np.asarray(-(outer + outer.T) / (8 * size**2))


def _positive(matrix: np.ndarray) -> np.ndarray:
    """``sqrt(A A)`` of a symmetric A: its eigenvalues made positive."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.abs(values)) @ vectors.T)
