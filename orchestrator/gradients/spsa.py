"""Simultaneous perturbation: two circuits a sample whatever the number of parameters.

After J. C. Spall, IEEE Trans. Autom. Control 37 (1992) 332. All trainable circuit parameters move at once by ``+c D`` and ``-c D``, with
D a random vector of signs. What is differenced are the expectation values, not the loss: with v the mean of the two and w half their
difference over c,

    gradient = D * sum_s c_s(v_s) . w_s,

c_s the derivative of the loss by the values of sample s. For a smooth loss this has the same mean and the same bias, of order c**2, as
the difference of losses, and it leaves the head's parameters their exact derivative at v. With k perturbations the k estimates are
averaged.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from orchestrator.config import GradientConfig
from orchestrator.gradients.base import GradientEstimate, Rule, Steps
from orchestrator.gradients.points import points
from orchestrator.gradients.problem import Backward, GradientProblem

_SIGNS = 1


class SPSA(Rule):
    """Biased by ``O(c**2)``; its noise grows with the number of parameters, its cost does not."""

    name = "spsa"

    def __init__(self, config: GradientConfig | None = None) -> None:
        config = config or GradientConfig()
        self._size, self._decay = config.perturbation_size, config.perturbation_decay
        self._n_directions = config.perturbations

    def size(self, step: int) -> float:
        """Radians by which step number `step` (from 0) moves each parameter: Spall's gain sequence ``c / (step + 1)**decay``."""
        return float(self._size / (step + 1) ** self._decay)

    def estimate(self, problem: GradientProblem) -> Steps:
        """Two points for each direction, all in one evaluation."""
        n_circuit = problem.model.n_circuit_params
        if not problem.trainable.any():
            evaluation = yield problem.plan()
            return _head_alone(problem, evaluation.rows[:, 0])
        signs = _signs(problem, self._n_directions)
        size = self.size(problem.step)
        ask = points(problem, size * np.concatenate([signs, -signs]))
        evaluation = yield ask.plan
        pairs = _Pairs(problem, ask.values(evaluation), size)
        gradient = np.zeros(problem.model.n_params)
        gradient[:n_circuit] = pairs.slopes @ signs / len(signs)
        gradient[n_circuit:] = pairs.back.of_head.sum(axis=0)
        variance = np.zeros_like(gradient)
        variance[:n_circuit] = np.where(problem.trainable, pairs.direction_variance(), 0.0)
        variance[n_circuit:] = pairs.head_variance()
        frozen = problem.model.frozen
        return GradientEstimate(
            pairs.back.loss, np.where(frozen, 0.0, gradient), np.where(frozen, 0.0, variance)
        )


def _signs(problem: GradientProblem, n_directions: int) -> np.ndarray:
    """float64 [k, P_circuit]: random signs, zero for parameters that stay."""
    drawn = problem.rng(_SIGNS).integers(0, 2, (n_directions, len(problem.trainable))) * 2.0 - 1.0
    return drawn * problem.trainable


def _head_alone(problem: GradientProblem, values: np.ndarray) -> GradientEstimate:
    back = problem.backward(values[:, : problem.n_strings])
    gradient, variance = np.zeros(problem.model.n_params), np.zeros(problem.model.n_params)
    n_circuit = problem.model.n_circuit_params
    gradient[n_circuit:] = back.of_head.sum(axis=0)
    if problem.shots is not None:
        curvature = problem.curvature(values[:, : problem.n_strings])
        variance[n_circuit:] = _head_variance(problem, values[None], curvature)
    frozen = problem.model.frozen
    return GradientEstimate(back.loss, np.where(frozen, 0.0, gradient), np.where(frozen, 0.0, variance))


def _head_variance(problem: GradientProblem, values: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """[H]: shot noise of the head's gradient at the mean of R points' values [R, N, M'], of that `curvature`."""
    sensitivity = curvature[:, :, curvature.shape[1] :]
    covariance = sum(problem.covariance(v) for v in values) / len(values) ** 2
    return np.asarray(np.einsum("sih,sij,sjh->h", sensitivity, covariance, sensitivity))


class _Pairs:
    """What k pairs of points say.

    Attributes:
        back: the loss and its derivatives at the mean of all values. slopes: float64 [k], the derivative along each direction.
    """

    back: Backward
    slopes: np.ndarray

    def __init__(self, problem: GradientProblem, values: np.ndarray, size: float) -> None:
        self._problem, self._values, self._size = problem, values, size
        k, n = len(values) // 2, problem.n_strings
        own = values[:, :, :n]
        self._mean = own.mean(axis=0)
        self._change = (own[:k] - own[k:]) / (2 * size)  # [k, N, M]
        self.back = problem.backward(self._mean)
        self.slopes = np.einsum("sm,ksm->k", self.back.of_values, self._change)

    def direction_variance(self) -> float:
        """Of one component of the averaged gradient, in the mean over the P components.

        A direction's slope d has ``E d**2 = |g|**2 + n`` with n its shot noise; a component ``d D_p`` is off from g_p by the other
        components of g and the noise: ``|g|**2 - g_p**2 + n``. In the mean over p that is ``(1 - 1/P) |g|**2 + n``; one direction
        says no more of the single ones.
        """
        n_params = int(self._problem.trainable.sum())
        noise = self._shot_noise()
        squared_norm = float(np.mean(self.slopes**2)) - noise  # may be negative; the sum below is not
        return ((1 - 1 / n_params) * squared_norm + noise) / len(self.slopes)

    def head_variance(self) -> np.ndarray:
        """[H]: shot noise of the head's gradient."""
        if self._problem.shots is None:
            return np.zeros(self._problem.model.head.n_params)
        return _head_variance(self._problem, self._values, self._curvature)

    @cached_property
    def _curvature(self) -> np.ndarray:
        """[S, m, m + H], at the mean of all values."""
        return self._problem.curvature(self._mean)

    def _shot_noise(self) -> float:
        """Variance of a slope ``c . w`` over shots, in the mean over the directions.

        Linear in the noise of the values, which moves w and, through the curvature of the loss, c. Both factors being estimates, each term
        holds the product of the two noises once, and the variance holds it once in all: it is taken off.
        """
        problem, k = self._problem, len(self.slopes)
        if problem.shots is None:
            return 0.0
        curvature = self._curvature[:, :, : self._curvature.shape[1]]
        covariance = np.stack([problem.covariance(v) for v in self._values])
        change = np.stack([problem.by_sample(one) for one in self._change])
        through_loss = np.einsum("sim,ksm->ksi", curvature, change) / (2 * k)
        direct = problem.by_sample(self.back.of_values) / (2 * self._size)
        of_weights = (
            np.einsum("sim,rsij,sjn->smn", curvature, covariance, curvature, optimize=True) / (2 * k) ** 2
        )
        total = 0.0
        for direction in range(k):
            weight = np.repeat(through_loss[None, direction], 2 * k, axis=0)
            weight[direction] += direct
            weight[direction + k] -= direct
            total += float(np.einsum("rsi,rsij,rsj->", weight, covariance, weight, optimize=True))
            of_change = (covariance[direction] + covariance[direction + k]) / (4 * self._size**2)
            total -= float(np.einsum("smn,smn->", of_weights, of_change))
        return max(total / k, 0.0)
