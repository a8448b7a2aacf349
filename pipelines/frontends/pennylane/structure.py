"""What tapes of one structure have in common: the circuit that is measured, and which of a tape's numbers is which angle of it.

A structure is the names of the gates, their wires, and the Pauli words to measure; whatever a tape has besides is numbers. It is built
once, through cirq, and remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cirq
import numpy as np
import sympy
from pennylane.pauli import PauliWord

from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit
from pipelines.frontends.pennylane.errors import QfleetDeviceError
from pipelines.frontends.pennylane.gates import N_PARAMETERS, placed

Gates = tuple[tuple[str, tuple[Any, ...]], ...]
"""Name and wires of each operation of a tape."""


@dataclass(frozen=True, eq=False)
class Structure:
    """A circuit, and where its angles are in a tape's parameters.

    Attributes:
        circuit: template and Pauli strings.
        datum: int64 [K]: the parameter of the tape's operations, counted through, that is angle k.
        angle: int64 [parameters]: the angle that a parameter is, -1 where nothing feels it.
    """

    circuit: MeasuredCircuit
    datum: np.ndarray
    angle: np.ndarray


@lru_cache(maxsize=512)
def structure_of(gates: Gates, words: tuple[PauliWord, ...], wires: tuple[Any, ...]) -> Structure:
    """The structure of a tape on `wires`, in the order of the qubits.

    Raises:
        CircuitError: cirq cannot take the circuit apart.
    """
    qubits = dict(zip(wires, cirq.LineQubit.range(len(wires)), strict=True))
    operations: list[cirq.Operation] = []
    n_data = 0
    for name, on in gates:
        symbols = [sympy.Symbol(f"d{n_data + i}") for i in range(N_PARAMETERS[name])]
        n_data += len(symbols)
        operations.extend(placed(name, [qubits[wire] for wire in on], symbols))
    template, expressions = template_from_circuit(cirq.Circuit(operations), list(qubits.values()))
    datum = np.array([int(expression.name.removeprefix("d")) for expression in expressions], np.int64)
    angle = np.full(n_data, -1, np.int64)
    angle[datum] = np.arange(len(datum))
    return Structure(MeasuredCircuit(template, _strings(words, wires)), datum, angle)


@lru_cache(maxsize=64)
def _strings(words: tuple[PauliWord, ...], wires: tuple[Any, ...]) -> tuple[str, ...]:
    """Structures that measure the same share them: those of a molecule take a megabyte."""
    return tuple("".join(word.get(wire, "I") for wire in wires) for word in words)


def wires_used(gates: Gates, measured: Iterable[Any], order: dict[Any, int] | None) -> tuple[Any, ...]:
    """The wires of gates and measurements: in the device's order, or sorted where they are all numbers, or else as they occur.

    Raises:
        QfleetDeviceError: the device has no such wire.
    """
    used = dict.fromkeys(wire for _, on in gates for wire in on) | dict.fromkeys(measured)
    if order is not None:
        unknown = [wire for wire in used if wire not in order]
        if unknown:
            raise QfleetDeviceError(f"the wires {unknown} are not among the device's: {list(order)}")
        return tuple(sorted(used, key=order.__getitem__))
    return tuple(sorted(used) if all(isinstance(wire, int) for wire in used) else used)
