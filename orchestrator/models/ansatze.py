"""Ansätze: the trainable block of a circuit, layer by layer.

An ansatz is a class with `params_per_layer` and `layer`, one entry in `orchestrator.registry.ANSATZE`. Every angle it writes is a
symbol of its own, so each gate can be shifted apart from the others. The separable twin of an ansatz has its rotations and its
parameters, and no entangling gate: what it learns needs no entanglement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import cirq
import sympy

Pairs = Sequence[tuple[int, int]]


class Ansatz(Protocol):
    """The trainable block of a circuit, repeated layer by layer with parameters of its own in each. The class is made without arguments."""

    def params_per_layer(self, n_qubits: int) -> int:
        """How many parameters one layer on `n_qubits` qubits has; the same for every layer."""
        ...

    def layer(
        self, qubits: Sequence[cirq.Qid], params: Sequence[sympy.Symbol], pairs: Pairs
    ) -> Iterator[cirq.Operation]:
        """The gates of one layer.

        Args:
            qubits: those that it acts on.
            params: as many symbols as `params_per_layer` says. An angle is linear in them; one symbol may stand in several gates.
            pairs: places in `qubits` that entangling gates join, by ``model.entanglement`` or `PairingAnsatz.pairs`.
        """
        ...


@runtime_checkable
class PairingAnsatz(Protocol):
    """An ansatz that says itself which qubits its entangling gates join, in place of ``model.entanglement``."""

    def pairs(self, n_qubits: int, layer: int) -> Pairs:
        """The pairs of layer number `layer`, from 0 on."""
        ...


class _RotationLayers:
    """Rotations of every qubit about the axes of `rotations` in turn, then CNOTs along the pairs unless it is separable."""

    rotations: tuple[Callable[[Any], cirq.Gate], ...] = ()
    is_separable = False

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
        for control, target in () if self.is_separable else pairs:
            yield cirq.CNOT(qubits[control], qubits[target])


class ThreeRotation(_RotationLayers):
    """RX, RY, RZ on every qubit per layer, then CNOTs: 3·n·L parameters."""

    rotations = (cirq.rx, cirq.ry, cirq.rz)


class HardwareEfficient(_RotationLayers):
    """RY, RZ on every qubit per layer, then CNOTs: 2·n·L parameters (Kandala et al., arXiv 1704.05018, with CNOTs)."""

    rotations = (cirq.ry, cirq.rz)


class StronglyEntangling(_RotationLayers):
    """RZ, RY, RZ on every qubit per layer, then a ring of CNOTs: 3·n·L parameters (after Schuld et al., arXiv 1804.00633).

    In layer l, from 0 on, qubit i controls qubit i + r mod n with the range r = l mod (n - 1) + 1, whatever
    ``model.entanglement`` says.
    """

    rotations = (cirq.rz, cirq.ry, cirq.rz)

    def pairs(self, n_qubits: int, layer: int) -> Pairs:
        """The ring of this layer; of one qubit, none."""
        if n_qubits == 1:
            return []
        reach = layer % (n_qubits - 1) + 1
        return [(i, (i + reach) % n_qubits) for i in range(n_qubits)]


class ThreeRotationSeparable(ThreeRotation):
    """`ThreeRotation` without its CNOTs."""

    is_separable = True


class HardwareEfficientSeparable(HardwareEfficient):
    """`HardwareEfficient` without its CNOTs."""

    is_separable = True


class StronglyEntanglingSeparable(StronglyEntangling):
    """`StronglyEntangling` without its CNOTs."""

    is_separable = True
