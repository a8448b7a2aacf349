"""Ansätze: the trainable block of a circuit, layer by layer.

An ansatz is a class with `params_per_layer` and `layer`, one entry in `orchestrator.registry.ANSATZE`. Every angle it writes is a
symbol of its own, so each gate can be shifted apart from the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import cirq
import sympy

Pairs = Sequence[tuple[int, int]]


class Ansatz(Protocol):
    """What an ansatz offers."""

    def params_per_layer(self, n_qubits: int) -> int:
        """Parameters of one layer."""
        ...

    def layer(
        self, qubits: Sequence[cirq.Qid], params: Sequence[sympy.Symbol], pairs: Pairs
    ) -> Iterator[cirq.Operation]:
        """One layer on `qubits`; `pairs` says which of them the entangling gates join."""
        ...


class _RotationLayers:
    """Rotations of every qubit about the axes of `rotations` in turn, then CNOTs along the pairs."""

    rotations: tuple[Callable[[Any], cirq.Gate], ...] = ()

    def params_per_layer(self, n_qubits: int) -> int:
        """One parameter per qubit and rotation."""
        return len(self.rotations) * n_qubits

    def layer(
        self, qubits: Sequence[cirq.Qid], params: Sequence[sympy.Symbol], pairs: Pairs
    ) -> Iterator[cirq.Operation]:
        """Parameters qubit by qubit: all rotations of qubit 0 first."""
        values = iter(params)
        for qubit in qubits:
            for rotation in self.rotations:
                yield rotation(next(values))(qubit)
        for control, target in pairs:
            yield cirq.CNOT(qubits[control], qubits[target])


class ThreeRotation(_RotationLayers):
    """RX, RY, RZ on every qubit per layer, then CNOTs: 3·n·L parameters."""

    rotations = (cirq.rx, cirq.ry, cirq.rz)


class HardwareEfficient(_RotationLayers):
    """RY, RZ on every qubit per layer, then CNOTs: 2·n·L parameters (Kandala et al., arXiv 1704.05018, with CNOTs)."""

    rotations = (cirq.ry, cirq.rz)
