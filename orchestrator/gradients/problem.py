"""GradientProblem: what a gradient rule is given for one step, and the chain rule through loss and head."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from orchestrator.losses.base import Loss
from orchestrator.models.angle_map import Angles, Slopes
from orchestrator.models.model import Model
from orchestrator.optimizers.transform import State
from orchestrator.planning.joint import JointStrings, joint_strings
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan

_CURVATURE_STEP = 1e-4
"""Central differences of smooth functions of numbers around 1: wrong by some 1e-8."""


class Backward(NamedTuple):
    """The loss of a batch and its derivatives.

    Attributes:
        loss: mean over the samples.
        of_values: float64 [N, M], by every expectation value.
        of_head: float64 [S, H], by the head's parameters, what each sample adds.
    """

    loss: float
    of_values: np.ndarray
    of_head: np.ndarray


@dataclass(frozen=True, eq=False)
class GradientProblem:
    """The mean loss of a batch as a function of the parameters, at one point.

    Attributes:
        model, loss: what is differentiated.
        params: float64 [P].
        features, targets: [S, F] and [S].
        shots: per circuit, None for exact values.
        step: steps done; with `seed` it keys shot noise and random choices.
        has_jacobian: the backend differentiates exact values itself.
        state: what the rule left behind in the step before, empty in the first.
        purpose: keys shot noise too: what one step evaluates twice must not see the same noise.
    """

    model: Model
    loss: Loss
    params: np.ndarray
    features: np.ndarray
    targets: np.ndarray
    shots: int | None
    step: int
    seed: int
    has_jacobian: bool = False
    state: State = field(default_factory=dict)
    purpose: str = "train"

    @property
    def n_samples(self) -> int:
        """S."""
        return len(self.targets)

    @property
    def n_states(self) -> int:
        """N, the states that these samples take: S of them, times the patches of a sample where the model has any."""
        return self.n_samples * self.model.states_per_sample

    @property
    def n_strings(self) -> int:
        """M, the Pauli strings that the model reads."""
        return len(self.model.readout.paulis)

    @property
    def trainable(self) -> np.ndarray:
        """bool [P_circuit]: see `Model.trainable`."""
        return self.model.trainable

    @cached_property
    def joint(self) -> JointStrings:
        """The strings and what their covariances need."""
        return joint_strings(self.model.measured)

    @cached_property
    def angles(self) -> Angles:
        """Of the undisplaced circuits."""
        return self.model.angles(self.params, self.features)

    @cached_property
    def slopes(self) -> Slopes:
        """How the circuit's parameters move the angles of each sample."""
        return self.model.slopes(self.features)

    def plan(self, **parts: Any) -> EvaluationPlan:
        """An evaluation at these parameters; with shots the products of strings are read along."""
        circuit = self.model.measured if self.shots is None else self.joint.circuit
        return EvaluationPlan(
            **{
                "circuit": circuit,
                "angles": self.angles,
                "shots": self.shots,
                "step": self.step,
                "noise_keys": noise_keys(self.seed, self.purpose, circuit),
                "n_differentiated": None if circuit is self.model.measured else self.n_strings,
                **parts,
            }
        )

    def part(self, samples: slice, purpose: str) -> GradientProblem:
        """The same for some of the samples, with shot noise of its own."""
        return replace(
            self,
            features=self.features[samples],
            targets=self.targets[samples],
            purpose=f"{self.purpose}/{purpose}",
        )

    def rng(self, purpose: int) -> np.random.Generator:
        """Random choices of this step, the same for the same seed and `purpose`, whoever asks."""
        key = [self.seed, 16 + purpose]  # small keys are those of batches and initial parameters
        return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, self.step]))

    def backward(self, values: np.ndarray) -> Backward:
        """The loss at expectation values [N, M], and its derivatives."""
        outputs = self.model.outputs(self.params, values)
        loss, of_outputs = self.loss.value_and_gradient(outputs, self.targets)
        return Backward(loss, *self.model.backward(self.params, values, of_outputs))

    def curvature(self, values: np.ndarray) -> np.ndarray:
        """[S, m, m + H]: derivative of each sample's (of_values, of_head) by each of its m = P M expectation values.

        P, the states of a sample, is 1 without patches; values are [N, M] and stand in the order of `by_sample`.
        """
        found = []
        for m in range(self.model.states_per_sample * values.shape[1]):
            step = np.zeros((self.n_samples, self.model.states_per_sample * values.shape[1]))
            step[:, m] = _CURVATURE_STEP
            step = step.reshape(values.shape)
            up, down = self.backward(values + step), self.backward(values - step)
            of_values, of_head = self.by_sample(up.of_values - down.of_values), up.of_head - down.of_head
            found.append(np.concatenate([of_values, of_head], axis=1) / (2 * _CURVATURE_STEP))
        return np.stack(found, axis=1)

    def by_sample(self, of_states: np.ndarray) -> np.ndarray:
        """[S, P M, ...] from [N, M, ...]: what the states of a sample show, one after the other."""
        return of_states.reshape(self.n_samples, -1, *of_states.shape[2:])

    def covariance(self, values: np.ndarray) -> np.ndarray:
        """[S, P M, P M] of values [N, M'] from shots, estimated; those of different states are independent."""
        assert self.shots is not None
        of_states = self.joint.covariance(values, self.shots)
        n, m = self.model.states_per_sample, of_states.shape[1]
        found = np.zeros((self.n_samples, n, m, n, m))
        for state in range(n):
            found[:, state, :, state] = of_states[state::n]
        return found.reshape(self.n_samples, n * m, n * m)
