"""NoiseModel: what follows every gate, and what readout does to the outcomes.

After a gate on k = 1 or 2 qubits come, in this order, depolarising of its k qubits together, amplitude damping of each, phase damping
of each. Turning the measurement basis costs no noise; readout error acts on each qubit that is read, classically, in the basis
it is measured in. Conventions of the rates: see `channels`; they are those of IonQ's simulator and of cirq.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, fields

import numpy as np

from actors.noise import channels
from actors.simulation.pauli_transfer import transfer_matrix
from orchestrator.errors import CircuitError, ConfigError


@dataclass(frozen=True)
class NoiseModel:
    """Rates of the elementary errors, each a probability in [0, 1].

    Attributes:
        name: what to call it.
        one_qubit_depolarizing, two_qubit_depolarizing: rate r after each gate on one or two qubits: all Pauli strings of the gate's
            qubits but the identity are damped by ``1 - r``.
        amplitude_damping, phase_damping: probability per gate, for each qubit that the gate acts on.
        readout_0_to_1, readout_1_to_0: probability of reading 1 where the state gave 0, and of reading 0 where it gave 1.

    Raises:
        ConfigError: a rate is not a number in [0, 1].
    """

    name: str
    one_qubit_depolarizing: float = 0.0
    two_qubit_depolarizing: float = 0.0
    amplitude_damping: float = 0.0
    phase_damping: float = 0.0
    readout_0_to_1: float = 0.0
    readout_1_to_0: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self)[1:]:
            _check_probability(f"noise.{field.name}", getattr(self, field.name))

    @property
    def has_gate_noise(self) -> bool:
        """Whether anything follows a gate."""
        return any(
            (
                self.one_qubit_depolarizing,
                self.two_qubit_depolarizing,
                self.amplitude_damping,
                self.phase_damping,
            )
        )

    @property
    def is_noiseless(self) -> bool:
        """All rates are 0."""
        return not (self.has_gate_noise or self.readout_0_to_1 or self.readout_1_to_0)

    @property
    def is_unital(self) -> bool:
        """The noise leaves the fully mixed state alone, readout included."""
        return self.amplitude_damping == 0.0 and self.readout_offset == 0.0

    @property
    def is_pauli(self) -> bool:
        """What follows a gate is a random Pauli error, whatever the state: everything but amplitude damping."""
        return self.amplitude_damping == 0.0

    @property
    def readout_scale(self) -> float:
        """Readout error turns each measured letter P of a string into ``readout_scale P + readout_offset I``."""
        return 1.0 - self.readout_0_to_1 - self.readout_1_to_0

    @property
    def readout_offset(self) -> float:
        """See `readout_scale`."""
        return self.readout_1_to_0 - self.readout_0_to_1

    def after_gate(self, n_qubits: int) -> np.ndarray:
        """Pauli transfer matrix [4**k, 4**k] of all that follows a gate on k = `n_qubits` qubits; read-only.

        Raises:
            CircuitError: the model says nothing about gates on so many qubits.
        """
        return _after_gate(self, n_qubits)

    def readout(self) -> np.ndarray:
        """Pauli transfer matrix [4, 4] that acts on each qubit before an ideal measurement, whatever the basis; read-only.

        Its rows are those of ``P -> readout_scale P + readout_offset I`` in the Heisenberg picture: not a quantum channel, but right
        for each string, in which a qubit is read in one basis only.
        """
        matrix = np.diag([1.0, *[self.readout_scale] * 3])
        matrix[1:, 0] = self.readout_offset
        return _read_only(matrix)

    def pauli_probabilities(self, n_qubits: int) -> np.ndarray:
        """float64 [4**k]: probability of each Pauli error after a gate, phase damping included and amplitude damping left out.

        Phase damping is a Z with probability ``(1 - sqrt(1 - phase_damping)) / 2``; it commutes with amplitude damping, so these
        errors may all come first.

        Raises:
            CircuitError: as `after_gate`.
        """
        return _pauli_probabilities(self, n_qubits)


def _check_probability(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise ConfigError(key, value, "a probability is a number in [0, 1]")
    if not 0.0 <= value <= 1.0:
        raise ConfigError(key, value, "a probability lies in [0, 1]", str(min(max(float(value), 0.0), 1.0)))


def _read_only(matrix: np.ndarray) -> np.ndarray:
    matrix.setflags(write=False)
    return matrix


@functools.lru_cache(maxsize=64)
def _after_gate(model: NoiseModel, n_qubits: int) -> np.ndarray:
    _check_size(model, n_qubits)
    amplitude = transfer_matrix(channels.amplitude_damping(model.amplitude_damping))
    phase = transfer_matrix(channels.phase_damping(model.phase_damping))
    damping = np.eye(1)
    for _ in range(n_qubits):
        damping = np.kron(damping, phase @ amplitude)
    rate = _depolarizing_rate(model, n_qubits)
    return _read_only(damping @ transfer_matrix(channels.depolarizing(rate, n_qubits)))


@functools.lru_cache(maxsize=64)
def _pauli_probabilities(model: NoiseModel, n_qubits: int) -> np.ndarray:
    _check_size(model, n_qubits)
    operators = channels.depolarizing(_depolarizing_rate(model, n_qubits), n_qubits)
    probabilities = (np.abs(operators) ** 2).sum(axis=(1, 2)) / 2**n_qubits
    flip = (1 - math.sqrt(1 - model.phase_damping)) / 2
    index = np.arange(4**n_qubits)
    for qubit in range(n_qubits):
        probabilities = (1 - flip) * probabilities + flip * probabilities[index ^ (3 << 2 * qubit)]
    return _read_only(probabilities)


def _depolarizing_rate(model: NoiseModel, n_qubits: int) -> float:
    return {1: model.one_qubit_depolarizing, 2: model.two_qubit_depolarizing}.get(n_qubits, 0.0)


def _check_size(model: NoiseModel, n_qubits: int) -> None:
    if n_qubits > 2 and model.has_gate_noise:
        raise CircuitError(
            f"noise model {model.name!r} knows gates on one and two qubits, and the circuit has one on {n_qubits}: decompose it "
            "(nearest valid: 2)"
        )
