"""A circuit template and a measurement basis as QIS instructions, each checked against the gate's own matrix."""

from __future__ import annotations

from collections.abc import Iterator

from actors.ionq.gates import Instruction, distance, unitary_of
from actors.ionq.synthesis import exponential, fixed_gate, on
from orchestrator.circuits.template import CircuitTemplate, Gate
from orchestrator.errors import CircuitError

_BASIS_CHANGE = {"X": "h", "Y": "v"}
"""What makes a measurement of Z read X or Y of the state before."""
_CHECK_ANGLES = (0.9, -2.3)
_TOLERANCE = 1e-11
"""Of the largest entry: some hundred products of matrices with an error of 1e-15 each, and cirq's decompositions of dense matrices."""


def qis_instructions(template: CircuitTemplate, basis: str) -> tuple[Instruction, ...]:
    """The gates of `template` in order of time, then the change to the measurement `basis`.

    Args:
        template: any; its angles keep their numbers.
        basis: a letter of I, X, Y, Z for each qubit, qubit 0 first.

    Raises:
        CircuitError: the basis does not fit the template, or a gate cannot be taken apart.
    """
    if len(basis) != template.n_qubits or set(basis) - set("IXYZ"):
        raise CircuitError(
            f"basis {basis!r} does not fit {template.n_qubits} qubits: one letter of I, X, Y, Z for each"
        )
    changes = (
        Instruction(_BASIS_CHANGE[letter], (qubit,))
        for qubit, letter in enumerate(basis)
        if letter in _BASIS_CHANGE
    )
    return (*_gates(template), *changes)


def _gates(template: CircuitTemplate) -> Iterator[Instruction]:
    known: dict[tuple[bool, bytes, bytes], list[Instruction]] = {}
    for gate in template.gates:
        key = (gate.angle is None, gate.eigenphases.tobytes(), gate.projectors.tobytes())
        if key not in known:
            known[key] = _lowered(gate)
        for instruction in known[key]:
            yield on(instruction, gate.qubits, gate.angle)


def _lowered(gate: Gate) -> list[Instruction]:
    """`gate` on qubits 0, 1, ..., moved by angle 0.

    Raises:
        CircuitError: the instructions do not multiply to the gate's matrix.
    """
    found = fixed_gate(gate.unitary()) if gate.angle is None else exponential(gate.generator, is_free=True)
    for angle in _CHECK_ANGLES if gate.angle is not None else (0.0,):
        error = distance(unitary_of(found, len(gate.qubits), [angle]), gate.unitary(angle))
        if not error < _TOLERANCE:
            raise CircuitError(
                f"gate {gate.name} on qubits {gate.qubits} could not be taken apart into IonQ's gates: the product differs by {error:.1e}; "
                "decompose it in the circuit"
            )
    return found
