"""CircuitTemplate: a parametrised circuit as a list of gates, each moved by at most one angle.

Conventions, the same everywhere in qfleet: qubit 0 is the most significant bit of a basis index (cirq's big-endian order); an
angle is in radians and belongs to exactly one gate; a gate acts as ``U(a) = sum_j exp(i a s_j) P_j`` with real eigenphases
``s_j`` (per radian) and orthogonal projectors ``P_j``. A fixed gate is the case of one eigenphase 0 with its unitary as ``P_0``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import cirq

ANGLE_PREFIX = "a"
"""Angle k of a template is the cirq symbol ``a{k}``."""


@dataclass(frozen=True, eq=False)
class Gate:
    """One gate of a template.

    Attributes:
        name: what to call it in messages and diagrams.
        qubits: the qubits it acts on; the first is the most significant bit of the matrices' index.
        angle: index of the angle that moves it, None for a fixed gate.
        eigenphases: float64 [J], per radian of the angle.
        projectors: complex128 [J, d, d] with d = 2**len(qubits).
    """

    name: str
    qubits: tuple[int, ...]
    angle: int | None
    eigenphases: np.ndarray
    projectors: np.ndarray

    def unitary(self, angle: float = 0.0) -> np.ndarray:
        """complex128 [d, d] at `angle` radians."""
        return np.tensordot(np.exp(1j * angle * self.eigenphases), self.projectors, axes=1)

    @cached_property
    def generator(self) -> np.ndarray:
        """Hermitian G, complex128 [d, d], with ``dU/da = i G U``; zero for a fixed gate."""
        return np.tensordot(self.eigenphases, self.projectors, axes=1)

    @cached_property
    def frequencies(self) -> tuple[float, ...]:
        """Positive differences of the eigenphases: the frequencies at which any expectation value depends on the angle."""
        differences = np.abs(self.eigenphases[:, None] - self.eigenphases[None, :])
        return tuple(float(f) for f in np.unique(np.round(differences, 12)) if f > 0)


@dataclass(frozen=True, eq=False)
class CircuitTemplate:
    """A circuit whose structure is fixed and whose angles are given later.

    Attributes:
        n_qubits: number of qubits.
        n_angles: number of angles K; angle k occurs in exactly one gate.
        gates: the gates in order of time.
        circuit_json: the same circuit in cirq's JSON, on LineQubits 0..n-1 with symbols ``a0 .. a{K-1}``.
    """

    n_qubits: int
    n_angles: int
    gates: tuple[Gate, ...]
    circuit_json: str

    @cached_property
    def key(self) -> str:
        """Content key of the structure (32 hex digits)."""
        return hashlib.sha256(f"{self.n_qubits}\n{self.circuit_json}".encode()).hexdigest()[:32]

    @cached_property
    def gate_of_angle(self) -> tuple[Gate, ...]:
        """The gate that angle k moves, for each k."""
        owners = {gate.angle: gate for gate in self.gates if gate.angle is not None}
        return tuple(owners[k] for k in range(self.n_angles))

    def circuit(self) -> cirq.Circuit:
        """The template as a cirq circuit with symbols ``a0 .. a{K-1}`` in radians."""
        import cirq

        circuit = cirq.read_json(json_text=self.circuit_json)
        assert isinstance(circuit, cirq.Circuit)
        return circuit
