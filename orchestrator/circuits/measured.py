"""MeasuredCircuit: a template together with the Pauli strings whose expectation values are wanted.

This is what a session compiles once and runs many times. A Pauli string is written as one letter of ``IXYZ`` per qubit, qubit 0
first: ``"ZIIX"``. Strings that one measurement setting can serve are grouped (qubit-wise commuting), so a shot-based backend runs
one circuit per group, not one per string.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from orchestrator.circuits.template import CircuitTemplate
from orchestrator.errors import CircuitError


@dataclass(frozen=True)
class MeasurementGroup:
    """Pauli strings read from one measurement setting.

    Attributes:
        basis: one letter of ``IXYZ`` per qubit: the basis each qubit is measured in (``I``: not read).
        members: indices into the circuit's Pauli strings.
    """

    basis: str
    members: tuple[int, ...]


def group_qubit_wise(paulis: tuple[str, ...]) -> tuple[MeasurementGroup, ...]:
    """Greedy first-fit grouping of qubit-wise commuting Pauli strings, in order of first appearance."""
    bases: list[str] = []
    members: list[list[int]] = []
    for index, pauli in enumerate(paulis):
        for slot, basis in enumerate(bases):
            if all(a == b or "I" in (a, b) for a, b in zip(basis, pauli, strict=True)):
                bases[slot] = "".join(b if a == "I" else a for a, b in zip(basis, pauli, strict=True))
                members[slot].append(index)
                break
        else:
            bases.append(pauli)
            members.append([index])
    return tuple(MeasurementGroup(b, tuple(m)) for b, m in zip(bases, members, strict=True))


@dataclass(frozen=True, eq=False)
class MeasuredCircuit:
    """A template and M Pauli strings to measure at its end.

    Raises:
        CircuitError: no string, a repeated string, a wrong length or a letter other than I, X, Y, Z.
    """

    template: CircuitTemplate
    paulis: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.paulis:
            raise CircuitError("a circuit needs at least one observable; add one, e.g. 'Z0'")
        if len(set(self.paulis)) != len(self.paulis):
            raise CircuitError(f"the same Pauli string is listed twice in {self.paulis}")
        for pauli in self.paulis:
            if len(pauli) != self.template.n_qubits or set(pauli) - set("IXYZ"):
                raise CircuitError(
                    f"Pauli string {pauli!r} does not fit {self.template.n_qubits} qubits: one letter of I, X, Y, Z for each"
                )

    @cached_property
    def groups(self) -> tuple[MeasurementGroup, ...]:
        """Measurement settings that serve all strings."""
        return group_qubit_wise(self.paulis)

    @cached_property
    def key(self) -> str:
        """Content key of template and strings (32 hex digits)."""
        text = self.template.key + "\n" + ",".join(self.paulis)
        return hashlib.sha256(text.encode()).hexdigest()[:32]
