"""A circuit that prepares basis states, to see how a machine reads them: one X rotation on each qubit, and every qubit read."""

from __future__ import annotations

import functools

import cirq
import sympy

from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.measured import MeasuredCircuit


@functools.lru_cache(maxsize=16)
def preparation_circuit(n_qubits: int) -> MeasuredCircuit:
    """Angle q turns qubit q about X, from ``|0>`` at 0 to ``|1>`` at pi; string q is the Z of qubit q."""
    qubits = cirq.LineQubit.range(n_qubits)
    turns = [cirq.rx(sympy.Symbol(f"t{q}"))(qubit) for q, qubit in enumerate(qubits)]
    template, _ = template_from_circuit(cirq.Circuit(turns), qubits)
    strings = tuple("I" * q + "Z" + "I" * (n_qubits - 1 - q) for q in range(n_qubits))
    return MeasuredCircuit(template, strings)
