"""Heads: the classical map from observables to the model's outputs (logits, or predicted values)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from orchestrator.errors import ConfigError


class Head(Protocol):
    """A differentiable map from observables [S, M] to outputs [S, C].

    The class is made with the number of observables M, the number of outputs C and ``model.output_scale``.

    Attributes:
        n_params: of its own, trained with the circuit's. n_outputs: C.
    """

    n_params: int
    n_outputs: int

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        """Parameters [n_params] to begin with, drawn from `rng` if at all."""
        ...

    def forward(self, params: np.ndarray, observables: np.ndarray) -> np.ndarray:
        """Outputs [S, C] from params [n_params] and observables [S, M]."""
        ...

    def backward(
        self, params: np.ndarray, observables: np.ndarray, gradient: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """From dL/d outputs [S, C]: dL/d observables [S, M], and what each sample adds to dL/d params, [S, n_params]."""
        ...


def scores_per_class(head: object, n_observables: int) -> int:
    """Outputs of each class that a loss may ask of `head` (a Head, or its class), for so many observables.

    One, unless the head has a true attribute ``is_by_observable``: then one for each observable.
    """
    return n_observables if getattr(head, "is_by_observable", False) else 1


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


class WeightedFidelityHead:
    """outputs = alpha_cq (1 ± o_q) / 2: the fidelity of qubit q with |0> (class 0) or |1> (class 1), weighted.

    Pérez-Salinas et al., arXiv 1907.02085. Observables are the Z of Q qubits; outputs come class by class, so 2 Q of them, or Q for the
    first class alone. One trainable weight alpha for each output; they start at ``scale``.
    """

    is_by_observable = True

    def __init__(self, n_observables: int, n_outputs: int, scale: float) -> None:
        if n_outputs not in (n_observables, 2 * n_observables):
            raise ConfigError(
                "model.observables",
                n_observables,
                f"model.head = 'weighted_fidelity' gives one output for each qubit and each of two classes; {n_outputs} wanted",
                str(max(n_outputs // 2, 1)),
            )
        self.n_params = self.n_outputs = n_outputs
        self._scale = scale
        self._signs = np.repeat([1.0, -1.0], n_observables)[:n_outputs]
        self._n_observables = n_observables

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        """`scale` for every weight."""
        return np.full(self.n_outputs, self._scale)

    def forward(self, params: np.ndarray, observables: np.ndarray) -> np.ndarray:
        """The weighted fidelities."""
        return params * self._fidelities(observables)

    def backward(
        self, params: np.ndarray, observables: np.ndarray, gradient: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradients of the weighted fidelities."""
        of_fidelities = 0.5 * gradient * params * self._signs
        by_class = of_fidelities.reshape(len(gradient), -1, self._n_observables)
        return by_class.sum(axis=1), gradient * self._fidelities(observables)

    def _fidelities(self, observables: np.ndarray) -> np.ndarray:
        copies = self.n_outputs // self._n_observables
        return 0.5 * (1.0 + self._signs * np.tile(observables, copies))
