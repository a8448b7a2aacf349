"""Heads: the classical map from observables to the model's outputs (logits, or predicted values)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from orchestrator.errors import ConfigError


class Head(Protocol):
    """A differentiable map from observables [S, M] to outputs [S, C]."""

    n_params: int
    n_outputs: int

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        """Initial parameters [n_params]."""
        ...

    def forward(self, params: np.ndarray, observables: np.ndarray) -> np.ndarray:
        """Outputs [S, C]."""
        ...

    def backward(
        self, params: np.ndarray, observables: np.ndarray, gradient: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """From dL/d outputs [S, C]: dL/d observables [S, M], and what each sample adds to dL/d params, [S, n_params]."""
        ...


class NoHead:
    """Outputs are the expectation values times a fixed scale."""

    n_params = 0

    def __init__(self, n_observables: int, n_outputs: int, scale: float) -> None:
        if n_observables != n_outputs:
            raise ConfigError(
                "model.observables",
                n_observables,
                f"with model.head = 'none' each output is one observable: {n_outputs} wanted; "
                "choose other observables, or model.head = 'linear'",
            )
        self.n_outputs = n_outputs
        self.scale = scale

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        """No parameters."""
        return np.empty(0)

    def forward(self, params: np.ndarray, observables: np.ndarray) -> np.ndarray:
        """scale * observables."""
        return self.scale * observables

    def backward(
        self, params: np.ndarray, observables: np.ndarray, gradient: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The gradient, scaled."""
        return self.scale * gradient, np.empty((len(gradient), 0))


class LinearHead:
    """outputs = observables @ A.T + b, A [C, M] and b [C] trainable (A first, row by row, then b)."""

    def __init__(self, n_observables: int, n_outputs: int, scale: float) -> None:
        self.n_outputs = n_outputs
        self._shape = (n_outputs, n_observables)
        self._scale = scale
        self.n_params = n_outputs * (n_observables + 1)

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        """A normal with variance scale²/M, b zero."""
        matrix = rng.normal(0.0, self._scale / np.sqrt(self._shape[1]), self._shape)
        return np.concatenate([matrix.ravel(), np.zeros(self.n_outputs)])

    def _split(self, params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return params[: -self.n_outputs].reshape(self._shape), params[-self.n_outputs :]

    def forward(self, params: np.ndarray, observables: np.ndarray) -> np.ndarray:
        """The affine map."""
        matrix, bias = self._split(params)
        return np.einsum("sm,cm->sc", observables, matrix) + bias

    def backward(
        self, params: np.ndarray, observables: np.ndarray, gradient: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradients of the affine map."""
        matrix, _ = self._split(params)
        of_matrix = (gradient[:, :, None] * observables[:, None, :]).reshape(len(gradient), -1)
        return np.einsum("sc,cm->sm", gradient, matrix), np.concatenate([of_matrix, gradient], axis=1)
