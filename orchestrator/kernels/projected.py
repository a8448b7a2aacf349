"""The projected kernel: how near the qubits of two samples' states are, each looked at by itself."""

from __future__ import annotations

import itertools
import math
from functools import cached_property

import numpy as np

from orchestrator.config import ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.kernels.base import Evaluator, KernelMatrix
from orchestrator.kernels.encoding import Encoding, EncodingCircuit
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import Evaluation, EvaluationPlan

_BASES = "XYZ"


class ProjectedKernel:
    """``k(x, y) = exp(-gamma sum (<P>_x - <P>_y)^2)`` over X, Y and Z of every qubit (Huang et al., arXiv 2011.01938).

    The paper writes ``exp(-g sum_q |rho_q(x) - rho_q(y)|_F^2)`` with one-qubit density matrices: the same, with ``g = 2 gamma``.

    A sample is one circuit (three measurement settings with shots), whatever it is compared with. The matrix of a set with itself is a
    Gaussian kernel of measured numbers and so positive semidefinite with shots too. Those numbers carry shot noise, and a value is
    biased by it: on average by the factor ``1 - gamma tr C + 2 gamma^2 d^T C d``, to first order in 1/shots, with the differences d of
    the numbers and the covariances C of their estimates.

    Args:
        config: whose feature map is used.
        gamma: inverse squared width.

    Raises:
        ConfigError: gamma is not a positive number, or the feature map has trainable parameters.
    """

    def __init__(self, config: ModelConfig, gamma: float = 1.0) -> None:
        if not (gamma > 0 and math.isfinite(gamma)):
            raise ConfigError("gamma", gamma, "must be a positive number", "1.0")
        self.gamma = gamma
        self._encoding = Encoding(config)

    @property
    def n_features(self) -> int:
        """F, the columns of a sample."""
        return self._encoding.n_features

    def matrix(
        self,
        features_a: np.ndarray,
        features_b: np.ndarray | None,
        coordinator: Evaluator,
        shots: int | None,
        seed: int,
    ) -> KernelMatrix:
        """Kernel values between features [Sa, F] and [Sb, F], or of the first set with itself; one plan of a circuit a sample.

        The variance is that of first order in 1/shots: ``(2 gamma k)^2 d^T (C_x + C_y) d`` with the differences d and the covariances C of
        the measured numbers. Strings of one setting are read from the same shots and are correlated, which C holds.
        """
        both = features_a if features_b is None else np.concatenate([features_a, features_b])
        circuit = self._circuit if shots is None else self._sampled_circuit
        purpose = "kernel/self" if features_b is None else "kernel/cross"
        evaluation = coordinator.evaluate(
            EvaluationPlan(
                circuit=circuit.measured,
                angles=circuit.angles(self._encoding.inputs(both)),
                shots=shots,
                noise_keys=noise_keys(seed, purpose, circuit.measured),
            )
        )
        means = evaluation.values[:, : 3 * self._encoding.n_qubits]
        split = slice(0, len(features_a)), slice(0 if features_b is None else len(features_a), None)
        differences = means[split[0], None] - means[None, split[1]]
        values = np.exp(-self.gamma * (differences**2).sum(axis=2))
        variances = None
        if shots is not None:
            covariances = self._covariances(evaluation, shots)
            spread = _spread(differences, covariances[split[0]], covariances[split[1]])
            variances = (2 * self.gamma * values) ** 2 * spread
        return KernelMatrix(values, variances, evaluation.n_circuits, evaluation.n_shots, evaluation.cost_usd)

    @cached_property
    def _circuit(self) -> EncodingCircuit:
        return self._encoding.state_circuit(self._singles)

    @cached_property
    def _sampled_circuit(self) -> EncodingCircuit:
        """With the products of two qubits too, which the same shots answer, for the covariances."""
        n = self._encoding.n_qubits
        pairs = [
            _string(n, letter, *pair) for letter in _BASES for pair in itertools.combinations(range(n), 2)
        ]
        return self._encoding.state_circuit([*self._singles, *pairs])

    @property
    def _singles(self) -> list[str]:
        """3n strings: X of every qubit, then Y, then Z."""
        n = self._encoding.n_qubits
        return [_string(n, letter, qubit) for letter in _BASES for qubit in range(n)]

    def _covariances(self, evaluation: Evaluation, shots: int) -> np.ndarray:
        """Covariances of the means of each setting as estimates, [S, 3, n, n]: those of a shot over ``shots - 1``."""
        n = self._encoding.n_qubits
        means = evaluation.values[:, : 3 * n].reshape(-1, 3, n)
        products = np.zeros((len(means), 3, n, n))
        i, j = np.triu_indices(n, 1)
        products[:, :, i, j] = evaluation.values[:, 3 * n :].reshape(len(means), 3, len(i))
        products += products.transpose(0, 1, 3, 2) + np.eye(n)
        return (products - means[..., :, None] * means[..., None, :]) / (shots - 1)


def _string(n_qubits: int, letter: str, *qubits: int) -> str:
    """`letter` on `qubits`, I on the others."""
    return "".join(letter if q in qubits else "I" for q in range(n_qubits))


def _spread(differences: np.ndarray, of_a: np.ndarray, of_b: np.ndarray) -> np.ndarray:
    """``d^T (C_a + C_b) d``, [Sa, Sb], of differences [Sa, Sb, 3n] and covariances [S, 3, n, n]."""
    d = differences.reshape(*differences.shape[:2], *of_a.shape[1:3])
    # 0 but for rounding where a measured state has no spread along d
    return np.maximum(
        np.einsum("abpi,abpi->ab", d, np.einsum("apij,abpj->abpi", of_a, d))
        + np.einsum("abpi,abpi->ab", d, np.einsum("bpij,abpj->abpi", of_b, d)),
        0,
    )
