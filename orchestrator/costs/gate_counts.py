"""What a circuit is billed for: one- and two-qubit gates, counted over IonQ's JSON gate list.

The quote and the emulator's bill both count with `count_gates`, so that they agree to the micro-dollar. Counting is by operands, not
by name: a gate with one target and no control is a one-qubit gate (gpi2 as well as rx); two operands make a two-qubit gate (cnot, swap,
ms, a rotation with one control); a gate on N > 2 qubits is billed as 6(N - 2) two-qubit gates (IonQ's and Azure Quantum's price
pages); ``nop`` is free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.errors import CircuitError

_FREE = "nop"


class GateCounts(NamedTuple):
    """Gates of one circuit as they are billed.

    Attributes:
        n_1q, n_2q: one- and two-qubit gates; larger gates are among the latter, see the module.
    """

    n_1q: int
    n_2q: int

    def plus(self, other: GateCounts) -> GateCounts:
        """Both together."""
        return GateCounts(self.n_1q + other.n_1q, self.n_2q + other.n_2q)


def count_gates(gates: Sequence[Mapping[str, Any]]) -> GateCounts:
    """Billing counts of one circuit, a list of gates as in ``input.circuit`` of an IonQ job.

    Args:
        gates: each ``{"gate": name, "target" or "targets": ..., "control" or "controls": ...}``; other fields do not matter.

    Raises:
        CircuitError: a gate without a name or a target, or one that names a qubit twice.
    """
    n_1q = n_2q = 0
    for place, gate in enumerate(gates):
        n_qubits = _n_qubits(gate, place)
        if n_qubits == 1:
            n_1q += 1
        elif n_qubits == 2:
            n_2q += 1
        elif n_qubits > 2:
            n_2q += 6 * (n_qubits - 2)
    return GateCounts(n_1q, n_2q)


def _n_qubits(gate: Mapping[str, Any], place: int) -> int:
    """Qubits that `gate` acts on, controls included; 0 for a gate that is not billed."""
    name = gate.get("gate")
    if not isinstance(name, str) or not name:
        raise CircuitError(
            f"gate {place} = {dict(gate)!r} has no name; expected e.g. {{'gate': 'x', 'target': 0}}"
        )
    if name == _FREE:
        return 0
    targets = _operands(gate, "target", "targets")
    qubits = [*targets, *_operands(gate, "control", "controls")]
    if not targets or len(set(qubits)) != len(qubits):
        problem = "has no target" if not targets else "names a qubit twice"
        raise CircuitError(
            f"gate {place} = {dict(gate)!r} {problem}; expected e.g. {{'gate': {name!r}, 'target': 0}}"
        )
    return len(qubits)


def _operands(gate: Mapping[str, Any], one: str, many: str) -> list[Any]:
    single, several = gate.get(one), gate.get(many)
    return [*([] if single is None else [single]), *(several or ())]
