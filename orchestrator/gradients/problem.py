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
        lost: bool [S] or None: samples whose circuits failed for good. Whoever drives the rule marks them between two evaluations, in
            place; from then on all means are over the others, whatever stands in the places of the lost ones.
        rows: int64 [S] or None: their numbers in the batch, where that is not their order.
        variance_factor: of the backend's values, see ``Capabilities.variance_factor``.
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
    lost: np.ndarray | None = None
    rows: np.ndarray | None = None
    variance_factor: float = 1.0

    @property
    def n_samples(self) -> int:
        """S, the samples of the batch."""
        return len(self.targets)

    @property
    def n_states(self) -> int:
        """N, the states that these samples take: S of them, times the patches of a sample where the model has any."""
        return self.n_samples * self.model.states_per_sample

    @property
    def n_answered(self) -> int:
        """Samples that are not lost."""
        return self.n_samples if self.lost is None else self.n_samples - int(np.count_nonzero(self.lost))

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
        return joint_strings(self.model.measured, self.variance_factor)

    @cached_property
    def angles(self) -> Angles:
        """Gate angles of the N states at `params`."""
        return self.model.angles(self.params, self.features)

    @cached_property
    def slopes(self) -> Slopes:
        """How the circuit's parameters move the angles of each sample."""
        return self.model.slopes(self.features)

    def plan(self, *, of_states: np.ndarray | None = None, **parts: Any) -> EvaluationPlan:
        """An evaluation at these parameters; with shots the products of strings are read along.

        Args:
            of_states: int64, the state (0 to N - 1) that each of the plan's samples belongs to; None: all of them in order, perhaps again
                and again.
            parts: fields of the plan.
        """
        circuit = self.model.measured if self.shots is None else self.joint.circuit
        if of_states is None:
            of_states = np.arange(len(parts.get("angles", self.angles).data)) % max(self.n_states, 1)
        samples = of_states // self.model.states_per_sample
        return EvaluationPlan(
            **{
                "circuit": circuit,
                "angles": self.angles,
                "shots": self.shots,
                "step": self.step,
                "noise_keys": noise_keys(self.seed, self.purpose, circuit),
                "n_differentiated": None if circuit is self.model.measured else self.n_strings,
                "of_batch": samples if self.rows is None else self.rows[samples],
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
            # a view: what is marked there is marked here
            lost=None if self.lost is None else self.lost[samples],
            rows=(np.arange(self.n_samples) if self.rows is None else self.rows)[samples],
        )

    def rng(self, purpose: int) -> np.random.Generator:
        """Random choices of this step, the same for the same seed and `purpose`, whoever asks."""
        key = [self.seed, 16 + purpose]  # small keys are those of batches and initial parameters
        return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, self.step]))

    def kept(self, of_states: np.ndarray, axis: int = 0) -> np.ndarray:
        """[..., N, ...] without the states of lost samples."""
        if self.lost is None or not self.lost.any():
            return of_states
        return of_states.compress(np.repeat(~self.lost, self.model.states_per_sample), axis)

    def without_lost(self, of_states: np.ndarray) -> np.ndarray:
        """[N, ...] with zeros for the states of lost samples."""
        if self.lost is None or not self.lost.any():
            return of_states
        found = of_states.copy()
        found[np.repeat(self.lost, self.model.states_per_sample)] = 0.0
        return found

    def backward(self, values: np.ndarray) -> Backward:
        """The mean loss of the answered samples at expectation values [N, M], and its derivatives, zero for lost samples."""
        if self.lost is None or not self.lost.any():
            return self._backward(values, self.targets)
        of_values = np.zeros((self.n_states, values.shape[1]))
        of_head = np.zeros((self.n_samples, self.model.head.n_params))
        if not self.n_answered:
            return Backward(0.0, of_values, of_head)
        answered = ~self.lost
        found = self._backward(self.kept(values), self.targets[answered])
        of_values[np.repeat(answered, self.model.states_per_sample)] = found.of_values
        of_head[answered] = found.of_head
        return Backward(found.loss, of_values, of_head)

    def _backward(self, values: np.ndarray, targets: np.ndarray) -> Backward:
        outputs = self.model.outputs(self.params, values)
        loss, of_outputs = self.loss.value_and_gradient(outputs, targets)
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
