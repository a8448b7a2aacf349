"""The fidelity kernel: how likely the state of one sample is found in that of another."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from orchestrator.circuits.zero_outcome import MAX_QUBITS, zero_probability, zero_strings
from orchestrator.config import ModelConfig
from orchestrator.errors import ConfigError
from orchestrator.kernels.base import Evaluator, KernelMatrix
from orchestrator.kernels.encoding import Encoding, EncodingCircuit
from orchestrator.planning.noise_keys import noise_keys
from orchestrator.planning.plan import EvaluationPlan


class FidelityKernel:
    """``k(x, y) = |<phi(y)|phi(x)>|^2`` (Havlíček et al., arXiv 1804.11326; Schuld and Killoran, arXiv 1803.07128).

    The circuit is the feature map of x followed by the inverse map of y; k is its probability of |0...0>. The projector onto that
    state is the product of (1 + Z)/2 over the qubits, so k is the mean of the expectation values of all 2^n strings of I and Z. All of
    them are read from one measurement setting, and the mean is then exactly the share of shots whose outcome is zero.

    A pair is one circuit: n(n-1)/2 of them for n samples with themselves, where the diagonal is 1 without being run.

    Args:
        config: whose feature map is used.

    Raises:
        ConfigError: more than `MAX_QUBITS` qubits, or a feature map with trainable parameters.
    """

    def __init__(self, config: ModelConfig) -> None:
        if config.n_qubits > MAX_QUBITS:
            raise ConfigError(
                "kernel",
                "fidelity",
                f"reads all 2**n strings of I and Z, up to {MAX_QUBITS} qubits; model.n_qubits = {config.n_qubits}",
                "projected",
            )
        self._encoding = Encoding(config)

    @property
    def n_features(self) -> int:
        """F, the columns of a sample."""
        return self._encoding.n_features

    @cached_property
    def _circuit(self) -> EncodingCircuit:
        return self._encoding.overlap_circuit(zero_strings(self._encoding.n_qubits))

    def matrix(
        self,
        features_a: np.ndarray,
        features_b: np.ndarray | None,
        coordinator: Evaluator,
        shots: int | None,
        seed: int,
    ) -> KernelMatrix:
        """Kernel values between features [Sa, F] and [Sb, F], or of the first set with itself; one plan of a circuit a pair.

        With m shots, f m of them zero, a value is f and its variance f (1 - f) / (m - 1): the sample variance f (1 - f) m / (m - 1) of
        m outcomes 0 or 1, over m, and so without bias. It is 0 where all shots agree.
        """
        inputs_a = self._encoding.inputs(features_a)
        if features_b is not None:
            inputs_b = self._encoding.inputs(features_b)
            first, second = np.divmod(np.arange(len(inputs_a) * len(inputs_b)), len(inputs_b))
            plan = self._plan(inputs_a[first], inputs_b[second], shots, seed, "kernel/cross")
            evaluation = coordinator.evaluate(plan)
            values = self._zero_probability(evaluation.values).reshape(len(inputs_a), len(inputs_b))
            return _answer(values, shots, evaluation.n_circuits, evaluation.n_shots, evaluation.cost_usd)
        values = np.eye(len(inputs_a))
        if len(inputs_a) == 1:
            return _answer(values, shots, 0, 0, 0.0)
        first, second = np.triu_indices(len(inputs_a), 1)
        evaluation = coordinator.evaluate(
            self._plan(inputs_a[first], inputs_a[second], shots, seed, "kernel/self")
        )
        values[first, second] = values[second, first] = self._zero_probability(evaluation.values)
        return _answer(values, shots, evaluation.n_circuits, evaluation.n_shots, evaluation.cost_usd)

    def _plan(
        self, x: np.ndarray, y: np.ndarray, shots: int | None, seed: int, purpose: str
    ) -> EvaluationPlan:
        """A circuit for each of the pairs x [S, F'], y [S, F']."""
        circuit = self._circuit
        return EvaluationPlan(
            circuit=circuit.measured,
            angles=circuit.angles(np.concatenate([x, y], axis=1)),
            shots=shots,
            noise_keys=noise_keys(seed, purpose, circuit.measured),
        )

    def _zero_probability(self, values: np.ndarray) -> np.ndarray:
        """[S] from the strings' values [S, 2^n - 1]; within [0, 1] but for rounding, which is cut off."""
        return np.clip(zero_probability(values, self._encoding.n_qubits), 0, 1)


def _answer(
    values: np.ndarray, shots: int | None, n_circuits: int, n_shots: int, cost_usd: float
) -> KernelMatrix:
    variances = None if shots is None else values * (1 - values) / (shots - 1)
    return KernelMatrix(values, variances, n_circuits, n_shots, cost_usd)
