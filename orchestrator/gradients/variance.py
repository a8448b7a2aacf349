"""The variance that shot noise gives a gradient, to first order in the noise (the delta method).

With v the values of the undisplaced circuits, u those of the displaced ones, c(v) the derivative of the loss by v and w the coefficients
of the rule, ``g_p = sum_s c_s(v_s) . sum_d w_pd u_sd``. Values of different circuits are independent; those of one circuit have the
covariance that `JointStrings` estimates. So

    Var g_p = sum_s sum_d w_pd**2 c_s+ Cov(u_sd) c_s  +  sum_s h_sp+ Cov(v_s) h_sp,

where ``h_sp``, the derivative of g_p by v_s, holds the curvature of the loss: where the loss is not linear, noise of the values
reaches the gradient as noise of c too. Products of two noises, smaller by one over the number of shots, are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.gradients.problem import Backward, GradientProblem
from orchestrator.models.angle_map import Slopes, scattered
from orchestrator.planning.derivative import LinearDerivative


def shot_variance(
    problem: GradientProblem,
    rows: np.ndarray,
    derivative: LinearDerivative | None,
    wanted: np.ndarray,
    back: Backward,
    jacobian: np.ndarray,
) -> np.ndarray:
    """Float64 [P], the estimated variance of a gradient by a rule that gives every angle displaced rows of its own.

    Args:
        rows: [N, D, M'], values of all circuits; row 0 is undisplaced.
        derivative: of the angles `wanted`, int64 [Kj]; None where only the head is trained.
        back: the loss and its derivatives at row 0. jacobian: [N, M, Kj].
    """
    parts, n_circuit = (
        _parts(problem, rows, derivative, wanted, back, jacobian),
        problem.model.n_circuit_params,
    )
    variance = np.einsum(
        "sip,sij,sjp->p", parts.sensitivity, parts.covariance, parts.sensitivity, optimize=True
    )
    variance[:n_circuit] += spread_by_param(parts.slopes, parts.of_angles, n_circuit)
    return np.where(problem.model.frozen, 0.0, variance)


def spread_by_param(slopes: Slopes, of_angles: np.ndarray, n_params: int) -> np.ndarray:
    """float64 [P], variances of independent derivatives by angles, [N, K], carried to the parameters that move them."""
    per_pair = np.sum(slopes.weight**2 * of_angles[:, slopes.angle], axis=0)
    return np.bincount(slopes.param, per_pair, n_params)


def shot_covariance(
    problem: GradientProblem,
    rows: np.ndarray,
    derivative: LinearDerivative | None,
    wanted: np.ndarray,
    back: Backward,
    jacobian: np.ndarray,
) -> np.ndarray:
    """As `shot_variance`: the whole covariance matrix, float64 [P, P]."""
    parts = _parts(problem, rows, derivative, wanted, back, jacobian)
    slopes, n_circuit = parts.slopes, problem.model.n_circuit_params
    found = np.einsum(
        "sip,sij,sjq->pq", parts.sensitivity, parts.covariance, parts.sensitivity, optimize=True
    )
    weight = np.zeros((len(slopes.weight), n_circuit, len(wanted)))
    weight[:, slopes.param, slopes.angle] = slopes.weight
    spread = parts.of_angles if len(weight) > 1 else parts.of_angles.sum(axis=0, keepdims=True)
    found[:n_circuit, :n_circuit] += np.einsum("spk,sk,sqk->pq", weight, spread, weight, optimize=True)
    found[problem.model.frozen] = found[:, problem.model.frozen] = 0.0
    return np.asarray(found)


class _Parts(NamedTuple):
    """What both are put together from.

    Attributes:
        slopes: of the angles that are differentiated, numbered by their place among these.
        of_angles: float64 [N, Kj], variance that the displaced circuits give the derivative of the loss by each angle.
        sensitivity: float64 [S, m, P], derivative of the gradient by the m undisplaced values of a sample. covariance: float64 [S, m, m],
            theirs.
    """

    slopes: Slopes
    of_angles: np.ndarray
    sensitivity: np.ndarray
    covariance: np.ndarray


def _parts(
    problem: GradientProblem,
    rows: np.ndarray,
    derivative: LinearDerivative | None,
    wanted: np.ndarray,
    back: Backward,
    jacobian: np.ndarray,
) -> _Parts:
    assert problem.shots is not None
    joint, shots, n = problem.joint, problem.shots, problem.n_strings
    n_circuit, slopes = problem.model.n_circuit_params, _of(problem.slopes, wanted)
    of_angles, at_base = np.zeros((len(rows), len(wanted))), np.zeros(len(wanted))
    if derivative is not None:
        own = derivative.row > 0
        spread = joint.quadratic(rows, back.of_values, shots)
        entries = spread[:, derivative.row[own]] * derivative.coefficient[own] ** 2
        of_angles = scattered(entries, derivative.position[own], len(wanted))
        at_base = scattered(derivative.coefficient[~own], derivative.position[~own], len(wanted))
    curvature = problem.curvature(rows[:, 0, :n])
    m = curvature.shape[1]
    by_param = problem.by_sample(_by_param(slopes, jacobian, n_circuit))
    directly = problem.by_sample(_by_param(slopes, back.of_values[:, :, None] * at_base, n_circuit))
    of_circuit = np.einsum("sim,smp->sip", curvature[:, :, :m], by_param, optimize=True) + directly
    sensitivity = np.concatenate([of_circuit, curvature[:, :, m:]], axis=2)
    return _Parts(slopes, of_angles, sensitivity, problem.covariance(rows[:, 0]))


def _of(slopes: Slopes, wanted: np.ndarray) -> Slopes:
    """The pairs whose angle is one of `wanted`, the angle replaced by its place there."""
    kept = np.flatnonzero(np.isin(slopes.angle, wanted))
    return Slopes(slopes.param[kept], np.searchsorted(wanted, slopes.angle[kept]), slopes.weight[:, kept])


def _by_param(slopes: Slopes, of_angles: np.ndarray, n_params: int) -> np.ndarray:
    """[N, M, P] from derivatives by angles [N, M, Kj]."""
    return scattered(of_angles[:, :, slopes.angle] * slopes.weight[:, None], slopes.param, n_params)
