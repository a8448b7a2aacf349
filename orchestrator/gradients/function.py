"""A model as a differentiable function of its parameters and features, for frameworks that differentiate what lies around it.

`forward` gives outputs; `backward` takes the derivative of some scalar by them back to parameters and features. Each asks for one
evaluation: a plan goes to `evaluate` and its answer comes back, and what runs it is no concern of this file. The chain rule outside of the
model is the caller's, so that any loss, and several models in one, are possible.

Where the backend differentiates exactly, `backward` is one vector-Jacobian product, a forward and a reverse sweep a state however many
observables there are. Elsewhere it runs the circuits that a rule displaces (`parameter_shift`, `finite_difference`). Both differentiate by
the angles that are needed and no others: those that a wanted parameter moves, those that features move only where a gradient by the
features is wanted, and none that no observable feels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from orchestrator.gradients.base import LinearRule
from orchestrator.models.angle_map import Angles
from orchestrator.models.model import Model
from orchestrator.planning.derivative import Derivative, LinearDerivative
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import Evaluation, EvaluationPlan

Evaluate = Callable[[EvaluationPlan], Evaluation]


@dataclass(frozen=True)
class Call:
    """How one call of the function is evaluated, forward and backward.

    Attributes:
        shots: of each circuit; None: exact values.
        seed, stream, number: key the shot noise, with the direction: calls with other numbers, and functions with other streams, see
            independent noise; the same ones the same bits.
    """

    shots: int | None = None
    seed: int = 0
    stream: str = ""
    number: int = 0


class Outputs(NamedTuple):
    """What `forward` gives.

    Attributes:
        outputs: float64 [S, C].
        values: float64 [N, M], the expectation values that `backward` starts from.
    """

    outputs: np.ndarray
    values: np.ndarray


class Gradients(NamedTuple):
    """What `backward` gives.

    Attributes:
        of_params: float64 [P], zero where it was not asked for; None: not asked for at all.
        of_features: float64 [S, F], or None.
    """

    of_params: np.ndarray | None
    of_features: np.ndarray | None


class Wanted(NamedTuple):
    """What to differentiate by.

    Attributes:
        params: bool [P], frozen ones taken out; none of them True: no gradient by the parameters.
        features: a gradient by the features.
    """

    params: np.ndarray
    features: bool

    def angles(self, model: Model) -> np.ndarray:
        """int64 [Kj]: the angles whose derivatives that needs, ascending."""
        of_params = model.felt(model.angles_moved_by(self.params[: model.n_circuit_params]))
        return np.union1d(of_params, model.feature_angles) if self.features else of_params


def wanted(model: Model, params: np.ndarray | bool = True, features: bool = False) -> Wanted:
    """`Wanted`, of a mask [P] or of all parameters that are not frozen; frozen ones are left out in any case."""
    return Wanted(np.broadcast_to(params, model.n_params) & ~model.frozen, features)


def forward_plan(model: Model, angles: Angles, call: Call) -> EvaluationPlan:
    """Values at `angles`, of N states."""
    keys = noise_keys(call.seed, f"{call.stream}/forward", model.measured)
    return EvaluationPlan(model.measured, angles, shots=call.shots, step=call.number, noise_keys=keys)


def backward_plan(
    model: Model,
    angles: Angles,
    of_values: np.ndarray,
    by: np.ndarray,
    derivative: Derivative,
    call: Call,
) -> EvaluationPlan:
    """Derivatives at `angles` by those of them in `by`.

    Args:
        of_values: float64 [N, M], dL/d expectation values, which are the cotangents of a direct derivative.
    """
    is_linear = isinstance(derivative, LinearDerivative)
    return EvaluationPlan(
        model.measured,
        angles,
        wanted=by,
        derivative=derivative,
        cotangents=None if is_linear else of_values,
        shots=call.shots,
        step=call.number,
        noise_keys=noise_keys(call.seed, f"{call.stream}/backward", model.measured),
    )


def derivative_of(model: Model, by: np.ndarray, rule: LinearRule) -> Derivative:
    """How `rule` differentiates by the angles `by` (int64 [Kj], at least one), without the undisplaced circuit if it makes no use of it:
    its value is known from the call forward."""
    derivative = rule.derivative(model.template, by)
    if not isinstance(derivative, LinearDerivative) or not derivative.row.all():
        return derivative
    moved = derivative.displacements
    return replace(derivative, displacements=moved.rows(1, len(moved)), row=derivative.row - 1)


def forward(
    model: Model, params: np.ndarray, features: np.ndarray, evaluate: Evaluate, call: Call | None = None
) -> Outputs:
    """Outputs at params [P] and features [S, F]: one circuit a state, times the measurement groups where shots are drawn; no samples, none.

    Raises:
        DataError: a row that the feature map cannot encode; and what `evaluate` raises.
    """
    if not len(features):
        n_values = len(model.readout.paulis)
        return Outputs(np.empty((0, model.n_outputs)), np.empty((0, n_values)))
    plan = forward_plan(model, model.angles(params, features), call or Call())
    values = evaluate(plan).values
    return Outputs(model.outputs(params, values), values)


def backward(
    model: Model,
    params: np.ndarray,
    features: np.ndarray,
    values: np.ndarray,
    of_outputs: np.ndarray,
    evaluate: Evaluate,
    by: Wanted,
    rule: LinearRule,
    call: Call | None = None,
) -> Gradients:
    """Gradients of a scalar L, from dL/d outputs.

    Args:
        values: of the call forward, [N, M].
        of_outputs: float64 [S, C].
        by: what is wanted.
        rule: how expectation values are differentiated by angles; one that `needs_jacobian` if the backend can serve it.
        call: that of the call forward.

    Raises:
        CapabilityError: a gradient by features that have none; and what `evaluate` raises.
    """
    if not len(features):
        of_none = np.zeros(model.n_params) if by.params.any() else None
        return Gradients(of_none, np.zeros_like(features) if by.features else None)
    of_values, of_head = model.backward(params, values, of_outputs)
    angles = by.angles(model)
    of_angles = np.zeros((len(values), len(angles)))
    if len(angles):
        at, how = model.angles(params, features), derivative_of(model, angles, rule)
        jacobian = evaluate(backward_plan(model, at, of_values, angles, how, call or Call())).jacobian
        assert jacobian is not None
        is_linear = isinstance(how, LinearDerivative)
        of_angles = np.einsum("sp,spk->sk", of_values, jacobian) if is_linear else jacobian[:, 0]
    of_params = of_features = None
    if by.params.any():
        found = model.pullback(features, of_angles, of_head.sum(axis=0), angles)
        of_params = np.where(by.params, found, 0.0)
    if by.features:
        of_features = model.pullback_features(params, features, of_angles, angles)
    return Gradients(of_params, of_features)
