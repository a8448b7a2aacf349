"""Circuits for IonQ: a structure and a measurement basis compiled once into JSON text, into which only angles are filled.

What the template says is what ``cirq_ionq.Serializer`` would say of the resolved circuit, wherever that takes it, up to the names of gates
at special angles (the client writes ``x`` for ``rx`` at pi) and to a global phase.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from actors.ionq.gate_text import SLOT, GateText
from actors.ionq.gates import ROTATIONS, Instruction
from actors.ionq.lowering import qis_instructions
from actors.ionq.native import NativeProgram
from orchestrator.circuits.template import CircuitTemplate
from orchestrator.costs.gate_counts import GateCounts, count_gates
from orchestrator.errors import CircuitError, ConfigError, nearest

GATESETS = ("qis", "native")


class Program(Protocol):
    """A gate list with open numbers, and what they are."""

    gates: tuple[Mapping[str, Any], ...]

    def values(self, angles: np.ndarray) -> np.ndarray:
        """The numbers of the open places, float64 [N, P], at the angles [N, K] (radians)."""
        ...


class QisProgram:
    """QIS gates; the open numbers are rotations, multiples of the angles (radians)."""

    def __init__(self, instructions: Sequence[Instruction]) -> None:
        self.gates: tuple[Mapping[str, Any], ...] = tuple(map(_qis_gate, instructions))
        moved = [instruction for instruction in instructions if instruction.angle is not None]
        self._angle = np.array([instruction.angle for instruction in moved], np.int64)
        self._amount = np.array([instruction.amount for instruction in moved])

    def values(self, angles: np.ndarray) -> np.ndarray:
        """Rotations, float64 [N, P]."""
        return np.asarray(angles[:, self._angle] * self._amount)


def _qis_gate(instruction: Instruction) -> dict[str, Any]:
    name, qubits = instruction.name, list(instruction.qubits)
    if name == "cnot":
        return {"gate": name, "control": qubits[0], "target": qubits[1]}
    if name not in ROTATIONS:
        return {"gate": name, "targets": qubits}
    rotation = instruction.amount if instruction.angle is None else SLOT
    return {"gate": name, "targets": qubits, "rotation": rotation}


class JsonTemplate:
    """A circuit structure as the JSON gate list of an IonQ job, with open angles.

    Args:
        template: the circuit. basis: a letter of I, X, Y, Z for each qubit, qubit 0 first: what it is measured in.
        gateset: one of `GATESETS`.

    Attributes:
        n_qubits, n_angles: of the template.
        gateset: as given.
        counts: the gates of one circuit as they are billed; they do not depend on the angles.

    Raises:
        CircuitError: the basis does not fit, or a gate cannot be taken apart. ConfigError: no such gate set.
    """

    def __init__(self, template: CircuitTemplate, basis: str, gateset: str = "qis") -> None:
        check_gateset(gateset)
        instructions = qis_instructions(template, basis)
        self._program: Program = (
            QisProgram(instructions) if gateset == "qis" else NativeProgram(instructions, template.n_qubits)
        )
        self._text = GateText(self._program.gates)
        self.n_qubits, self.n_angles, self.gateset = template.n_qubits, template.n_angles, gateset
        self.counts: GateCounts = count_gates(self._program.gates)

    def circuits_json(self, angles: np.ndarray) -> list[str]:
        """The JSON gate lists of N circuits, each a text ``[{"gate": ...}, ...]``.

        Args:
            angles: float64 [N, K], radians.

        Raises:
            CircuitError: another shape or type, or an angle that is not finite.
        """
        self._check(angles)
        return self._text.fill(self._program.values(angles))

    def _check(self, angles: np.ndarray) -> None:
        if angles.dtype != np.float64 or angles.ndim != 2 or angles.shape[1] != self.n_angles:
            raise CircuitError(
                f"angles are {angles.dtype} {angles.shape}; expected float64 (circuits, {self.n_angles})"
            )
        finite = np.isfinite(angles)
        if not finite.all():
            circuit, angle = np.argwhere(~finite)[0]
            raise CircuitError(
                f"angle {angle} of circuit {circuit} is {angles[circuit, angle]}: every angle must be finite"
            )


def check_gateset(gateset: str, target: str = "simulator") -> None:
    """Refuse a gate set that cannot be used on `target` ("simulator", "qpu.aria-1", ...).

    Raises:
        ConfigError: no such gate set, or native gates for a Forte.
    """
    if gateset not in GATESETS:
        raise ConfigError(
            "backend.gateset", gateset, f"must be one of {', '.join(GATESETS)}", nearest(gateset, GATESETS)
        )
    if gateset == "native" and "forte" in target:
        raise ConfigError(
            "backend.gateset",
            gateset,
            f"{target} has zz for its two-qubit gate, not ms, and the client sends its angle as `phase` where IonQ's documents "
            "say `angle`: no form is proved to be understood. QIS gates are compiled by IonQ",
            "qis",
        )


@functools.lru_cache(maxsize=64)
def gate_counts(template: CircuitTemplate, basis: str, gateset: str = "qis") -> GateCounts:
    """What one circuit of `template`, measured in `basis`, is billed for; the arguments are those of `JsonTemplate`.

    Raises:
        CircuitError: the basis does not fit, or a gate cannot be taken apart. ConfigError: no such gate set.
    """
    return JsonTemplate(template, basis, gateset).counts
