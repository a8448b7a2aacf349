"""Rotosolve: one parameter after the other is put where the batch's loss is least, in closed form.

After M. Ostaszewski, E. Grant and M. Benedetti, arXiv 1905.09692, for any frequencies (D. Wierichs et al., arXiv 2107.12390). Along one
parameter every expectation value is a trigonometric polynomial, whose frequencies are those of the gates that the parameter moves, times
its slopes, summed. A loss that is a polynomial of degree d in the values, through an affine head, is one of d times the frequencies. So
2R + 1 points give it whole, and its minimum is found without steps or rates. No other losses and heads are taken.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from orchestrator.config import GradientConfig
from orchestrator.errors import CircuitError, ConfigError
from orchestrator.gradients.base import GradientEstimate, Rule, Steps
from orchestrator.gradients.points import points
from orchestrator.gradients.problem import GradientProblem
from orchestrator.gradients.trigonometric import TrigonometricPolynomial, common_spacing
from orchestrator.losses.base import Loss
from orchestrator.losses.mse import MeanSquaredError
from orchestrator.models.heads import LinearHead, NoHead
from orchestrator.planning.plan import Evaluation, EvaluationPlan

_MOST = 64
"""Highest multiple of the spacing that a loss may have along a parameter: 129 points."""


class Wave(NamedTuple):
    """The loss along a parameter: frequencies ``spacing * (0 .. degree)``."""

    spacing: float
    degree: int


class _Along(NamedTuple):
    """What a coordinate showed: the loss where it stood, its slope there, that slope's variance, the best move and the loss after it."""

    loss: float
    slope: float
    variance: float
    move: float
    reached: float


class Rotosolve(Rule):
    """Sets parameters instead of stepping along a gradient; the optimizer has no part in it."""

    name = "rotosolve"

    def __init__(self, config: GradientConfig | None = None) -> None:
        self._n_coordinates = (config or GradientConfig()).coordinates

    def check(self, problem: GradientProblem) -> None:
        """Where the loss is no such polynomial of a parameter, this rule does not hold.

        Raises:
            ConfigError: the loss, the head or a parameter is in the way; the text says why.
        """
        model = problem.model
        self._degree(problem)
        if not isinstance(model.head, (NoHead, LinearHead)):
            raise ConfigError(
                "gradient.rule",
                self.name,
                f"needs outputs that are affine in the expectation values, {type(model.head).__name__} is not known to give such; "
                "nearest valid: model.head = 'none'",
                "parameter_shift",
            )
        if not model.frozen[model.n_circuit_params :].all():
            raise ConfigError(
                "gradient.rule",
                self.name,
                "sets angles of gates and cannot train a head; nearest valid: model.head = 'none', or the head's parameters "
                f"{model.n_circuit_params} to {model.n_params - 1} in model.frozen",
                "parameter_shift",
            )
        for param in np.flatnonzero(problem.trainable):
            self._wave(problem, int(param))

    def advice(self, shots: int | None) -> str | None:
        """That the optimizer is not used."""
        return "gradient.rule = 'rotosolve' sets parameters by itself; everything in the optimizer section is ignored"

    def estimate(self, problem: GradientProblem) -> Steps:
        """The next coordinates in turn, each at the point that the ones before it have reached.

        The gradient has the slope of each coordinate where it was met, zero for the others.
        """
        own = np.flatnonzero(problem.trainable)
        if not len(own):
            return (yield from _nothing_to_set(problem))
        begin = int(problem.state.get("rotosolve/next", np.zeros(1))[0]) % len(own)
        n = min(self._n_coordinates or len(own), len(own))
        gradient, variance, update = (np.zeros(problem.model.n_params) for _ in range(3))
        seen: list[_Along] = []
        for turn in range(n):
            param = own[(begin + turn) % len(own)]
            at = replace(problem, params=problem.params + update, purpose=f"{problem.purpose}/turn{turn}")
            along = yield from _along(at, int(param), self._wave(problem, int(param)))
            gradient[param], variance[param], update[param] = along.slope, along.variance, along.move
            seen.append(along)
        notes: dict[str, Any] = {"coordinates": n, "loss_reached": seen[-1].reached}
        state = {"rotosolve/next": np.array([float((begin + n) % len(own))])}
        return GradientEstimate(seen[0].loss, gradient, variance, update=update, state=state, notes=notes)

    def _degree(self, problem: GradientProblem) -> int:
        """Of the loss as a polynomial in the outputs.

        Raises:
            ConfigError: it is none of degree 1 or 2.
        """
        degree = degree_of(problem.loss)
        if degree is None:
            raise ConfigError(
                "gradient.rule",
                self.name,
                f"needs a loss that is linear or quadratic in the outputs, {type(problem.loss).__name__} is neither; "
                "nearest valid: loss.name = 'mse', or gradient.rule = 'parameter_shift'",
                "parameter_shift",
            )
        return degree

    def _wave(self, problem: GradientProblem, param: int) -> Wave:
        """Frequencies of the loss along a parameter.

        Raises:
            ConfigError: they differ between samples, or have no common measure.
        """
        slopes, name = problem.slopes, problem.model.circuit_param_names[param]
        mine = slopes.param == param
        weight, gates = slopes.weight[:, mine], problem.model.template.gate_of_angle
        if _varies(problem, param):
            raise ConfigError(
                "gradient.rule",
                self.name,
                f"the parameter {name} is multiplied by a feature, so every sample's loss has frequencies of its own along it; "
                "nearest valid: gradient.rule = 'parameter_shift'",
                "parameter_shift",
            )
        pairs = list(zip(slopes.angle[mine].tolist(), np.abs(weight[0]).tolist(), strict=True))
        all_of_it = np.array([w * f for angle, w in pairs for f in gates[angle].frequencies if w > 0])
        top = sum(w * max(gates[angle].frequencies, default=0.0) for angle, w in pairs)
        degree = self._degree(problem)
        if not len(all_of_it):  # its terms cancel
            return Wave(1.0, 0)
        try:
            spacing = common_spacing(all_of_it, _MOST)
            multiple = degree * round(top / spacing)
            if multiple > _MOST:
                raise CircuitError(
                    f"its largest frequency is {multiple} times their spacing, more than {_MOST}"
                )
        except CircuitError as error:
            raise ConfigError(
                "gradient.rule",
                self.name,
                f"along the parameter {name} {error}; nearest valid: gradient.rule = 'parameter_shift'",
                "parameter_shift",
            ) from None
        return Wave(spacing, multiple)


def degree_of(loss: Loss) -> int | None:
    """Of a loss as a polynomial in the outputs, None where it is none of degree 1 or 2. A loss of one's own says so by `degree`."""
    degree = 2 if isinstance(loss, MeanSquaredError) else getattr(loss, "degree", None)
    return degree if degree in (1, 2) else None


def _varies(problem: GradientProblem, param: int) -> bool:
    """Whether the parameter is multiplied by a feature somewhere."""
    angle_map = problem.model.angle_map
    return bool(np.any(angle_map.monomial[angle_map.param == param] >= 0))


def _along(problem: GradientProblem, param: int, wave: Wave) -> Generator[EvaluationPlan, Evaluation, _Along]:
    """The loss along a parameter, from one evaluation."""
    moves = TrigonometricPolynomial.points(wave.spacing, wave.degree)
    offsets = np.zeros((len(moves), problem.model.n_circuit_params))
    offsets[:, param] = moves
    ask = points(problem, offsets)
    evaluation = yield ask.plan
    losses, variances = _losses(problem, ask.values(evaluation))
    found = TrigonometricPolynomial.through(losses, wave.spacing)
    weights = TrigonometricPolynomial.slope_weights(wave.spacing, wave.degree)
    move = found.minimum()
    return _Along(
        loss=float(losses[0]),
        slope=float(np.sum(weights * losses)),
        variance=float(np.sum(weights**2 * variances)),
        move=move,
        reached=float(found(np.array([move]))[0]),
    )


def _losses(problem: GradientProblem, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float64 [R] each: the loss at every point's values [R, N, M'], and its variance to first order in the shot noise.

    A square of noisy values is too large by their variance; half the curvature times the covariance is what it is taken off.
    """
    losses, variances = np.zeros(len(values)), np.zeros(len(values))
    for r, point in enumerate(values):
        back = problem.backward(point[:, : problem.n_strings])
        losses[r] = back.loss
        if problem.shots is not None:
            covariance = problem.covariance(point)
            curvature = problem.curvature(point[:, : problem.n_strings])[:, :, : covariance.shape[1]]
            losses[r] -= 0.5 * float(np.einsum("sij,sij->", curvature, covariance))
            variances[r] = float(problem.joint.quadratic(point[:, None], back.of_values, problem.shots).sum())
    return losses, variances


def _nothing_to_set(problem: GradientProblem) -> Steps:
    evaluation = yield problem.plan()
    losses, _ = _losses(problem, evaluation.rows[:, 0][None])
    zeros = np.zeros(problem.model.n_params)
    return GradientEstimate(float(losses[0]), zeros, zeros.copy(), update=zeros.copy())
