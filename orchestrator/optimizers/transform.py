"""GradientTransform: an (init, update) pair, and the parts every optimizer is put together from.

The state of a transform is a flat ``dict[str, float64 array]``, so that it goes into a checkpoint as it is. After the
design of optax (https://github.com/google-deepmind/optax).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

State = dict[str, np.ndarray]


class GradientTransform(NamedTuple):
    """A stateful map from gradients to updates.

    Attributes:
        init: params [P] -> state.
        update: (gradient [P], state, params [P], learning_rate) -> (update [P], new state). The state given is not changed.
    """

    init: Callable[[np.ndarray], State]
    update: Callable[[np.ndarray, State, np.ndarray, float], tuple[np.ndarray, State]]


def stateless(function: Callable[[np.ndarray, np.ndarray, float], np.ndarray]) -> GradientTransform:
    """A transform of (gradient, params, learning_rate) without state."""

    def update(
        gradient: np.ndarray, state: State, params: np.ndarray, rate: float
    ) -> tuple[np.ndarray, State]:
        return function(gradient, params, rate), state

    return GradientTransform(lambda params: {}, update)


def chain(*transforms: GradientTransform) -> GradientTransform:
    """The transforms one after the other; the state of number i is kept under ``"{i}/..."``."""

    def init(params: np.ndarray) -> State:
        return {
            f"{i}/{key}": value for i, t in enumerate(transforms) for key, value in t.init(params).items()
        }

    def update(
        gradient: np.ndarray, state: State, params: np.ndarray, rate: float
    ) -> tuple[np.ndarray, State]:
        new: State = {}
        for i, transform in enumerate(transforms):
            prefix = f"{i}/"
            own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            gradient, own = transform.update(gradient, own, params, rate)
            new |= {prefix + key: value for key, value in own.items()}
        return gradient, new

    return GradientTransform(init, update)


def clip_by_value(limit: float) -> GradientTransform:
    """Every component into [-limit, limit]."""
    return stateless(lambda gradient, params, rate: np.clip(gradient, -limit, limit))


def clip_by_norm(limit: float) -> GradientTransform:
    """The whole gradient scaled down to Euclidean norm `limit` where it is longer."""

    def clip(gradient: np.ndarray, params: np.ndarray, rate: float) -> np.ndarray:
        norm = float(np.sqrt(np.sum(gradient**2)))
        return gradient * (limit / norm) if norm > limit else gradient

    return stateless(clip)


def add_weight_decay(decay: float) -> GradientTransform:
    """Decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101): adds decay * params to the direction."""
    return stateless(lambda direction, params, rate: direction + decay * params)


def scale_by_learning_rate(factors: np.ndarray | None = None) -> GradientTransform:
    """The direction turned into an update: minus the learning rate (times each parameter's factor, [P]) times it."""
    own = 1.0 if factors is None else factors
    return stateless(lambda direction, params, rate: -rate * own * direction)
