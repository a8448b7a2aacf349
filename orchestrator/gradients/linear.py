"""Rules that differentiate every expectation value by single angles, and then go back through loss, head and angle map.

Mostly one evaluation answers values and derivatives together. Where a direct derivative is asked of many observables of a large
circuit there are two: the values first, which fix the derivative of the loss by each of them, and with these as cotangents one
vector-Jacobian product, which costs what a single observable would.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orchestrator.circuits.template import CircuitTemplate
from orchestrator.gradients.base import GradientEstimate, Rule, Steps
from orchestrator.gradients.problem import Backward, GradientProblem
from orchestrator.gradients.variance import shot_covariance, shot_variance
from orchestrator.planning.derivative import Derivative, LinearDerivative, pays_to_contract
from orchestrator.planning.plan import Evaluation

_KEPT = 32
"""Derivatives of so many subsets of angles are remembered."""


class Chosen(NamedTuple):
    """The parameters a step differentiates by.

    Attributes:
        mask: bool [P_circuit], a subset of the trainable ones.
        weight: what their gradient is multiplied by, one over the probability of being chosen.
    """

    mask: np.ndarray
    weight: float


class AngleRule(Rule):
    """Base of the rules of this kind: a subclass says how one expectation value is differentiated, and perhaps by which parameters."""

    def __init__(self, with_covariance: bool = False) -> None:
        self._with_covariance = with_covariance
        self._known: OrderedDict[tuple[str, int | None, bytes], Derivative] = OrderedDict()

    def derivative(
        self, template: CircuitTemplate, angles: np.ndarray, shots: int | None = None
    ) -> Derivative:
        """How to get the derivative of expectation values by `angles` (int64 [Kj]), of `shots` shots each."""
        raise NotImplementedError

    def choose(self, problem: GradientProblem) -> Chosen:
        """All trainable parameters."""
        return Chosen(problem.trainable, 1.0)

    def estimate(self, problem: GradientProblem) -> Steps:
        """Values and derivatives, then the chain rule."""
        model, chosen = problem.model, self.choose(problem)
        wanted = (
            model.differentiated_angles
            if chosen.mask is model.trainable
            else model.felt(model.angles_moved_by(chosen.mask))
        )
        derivative = self._derivative(problem, wanted) if len(wanted) else None
        if pays_to_contract(model.measured, derivative):
            return (yield from _contracted(problem, wanted, derivative))
        return _rescaled((yield from self.differentiate(problem, wanted, derivative)), problem, chosen)

    def differentiate(
        self, problem: GradientProblem, wanted: np.ndarray, derivative: Derivative | None
    ) -> Steps:
        """The gradient as far as it goes through the angles `wanted`, from one evaluation."""
        model = problem.model
        evaluation = yield problem.plan(wanted=wanted, derivative=derivative)
        back = problem.backward(evaluation.values[:, : problem.n_strings])
        jacobian = evaluation.jacobian
        if jacobian is None:  # nothing of the circuit is trained
            jacobian = np.zeros((problem.n_states, problem.n_strings, 0))
        of_angles = np.einsum("sp,spk->sk", back.of_values, jacobian)
        gradient = model.pullback(problem.features, of_angles, back.of_head.sum(axis=0), wanted)
        covariance = self._covariance(problem, evaluation, derivative, wanted, back, jacobian)
        is_square = covariance.ndim == 2
        variance = np.diag(covariance).copy() if is_square else covariance
        return GradientEstimate(back.loss, gradient, variance, covariance if is_square else None)

    def _derivative(self, problem: GradientProblem, wanted: np.ndarray) -> Derivative:
        """Made once for each subset of angles: a run asks for the same in every step."""
        template = problem.model.template
        key = (template.key, problem.shots, wanted.tobytes())
        if key not in self._known:
            if len(self._known) >= _KEPT:
                self._known.popitem(last=False)
            self._known[key] = self.derivative(template, wanted, problem.shots)
        return self._known[key]

    def _covariance(
        self,
        problem: GradientProblem,
        evaluation: Evaluation,
        derivative: Derivative | None,
        wanted: np.ndarray,
        back: Backward,
        jacobian: np.ndarray,
    ) -> np.ndarray:
        """The covariance matrix [P, P] if it was asked for and there are shots, else the variances [P]."""
        if problem.shots is None:
            return np.zeros(problem.model.n_params)
        linear = derivative if isinstance(derivative, LinearDerivative) else None
        find = shot_covariance if self._with_covariance else shot_variance
        return find(problem, evaluation.rows, linear, wanted, back, jacobian)


def _contracted(problem: GradientProblem, wanted: np.ndarray, derivative: Derivative | None) -> Steps:
    first = yield problem.plan()
    back, n_answered = problem.backward(first.values), problem.n_answered
    second = yield problem.plan(wanted=wanted, derivative=derivative, cotangents=back.of_values)
    assert second.jacobian is not None
    model, of_angles = problem.model, second.jacobian[:, 0]
    if problem.n_answered < n_answered:  # samples were lost between the two: the mean is over fewer
        back = problem.backward(first.values)
        of_angles = problem.without_lost(of_angles) * (n_answered / max(problem.n_answered, 1))
    gradient = model.pullback(problem.features, of_angles, back.of_head.sum(axis=0), wanted)
    return GradientEstimate(back.loss, gradient, np.zeros(model.n_params))


def _rescaled(estimate: GradientEstimate, problem: GradientProblem, chosen: Chosen) -> GradientEstimate:
    """The gradient by chosen parameters made an unbiased estimate of that by all.

    A component g~ of variance v, known with probability 1/w and zero otherwise, becomes ``w g~``, with the variance
    ``w E[g~**2] - g**2``, which ``w**2 g~**2 - w (g~**2 - v)`` estimates without bias over choices and shots.
    """
    weight, n = chosen.weight, problem.model.n_circuit_params
    if weight == 1.0:
        return estimate
    gradient, variance = estimate.gradient.copy(), estimate.variance.copy()
    own, spread = estimate.gradient[:n], estimate.variance[:n]
    gradient[:n] = np.where(chosen.mask, weight * own, 0.0)
    variance[:n] = np.where(chosen.mask, weight**2 * own**2 - weight * (own**2 - spread), 0.0)
    return replace(estimate, gradient=gradient, variance=variance)
