"""Circuits made of a template's own gates: its beginning, and itself followed by its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cirq
import numpy as np
import sympy

from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.template import ANGLE_PREFIX, CircuitTemplate

_INVERSE = "b"


class Derived(NamedTuple):
    """A template whose angles are those of another one.

    Attributes:
        template: the new one, of K' angles.
        source: int64 [K'], which angle of the other it is; in the inverse half of an overlap that number plus K.
        sign: float64 [K'], what it is multiplied by.
    """

    template: CircuitTemplate
    source: np.ndarray
    sign: np.ndarray


def some_gates(template: CircuitTemplate, kept: Sequence[bool]) -> Derived:
    """The gates of `template` that are `kept`, on the same qubits; one flag for each gate."""
    qubits = cirq.LineQubit.range(template.n_qubits)
    operations = [op for op, keep in zip(template.circuit().all_operations(), kept, strict=True) if keep]
    return derived(cirq.Circuit(cirq.I.on_each(*qubits), operations), template)


def overlap_circuit(template: CircuitTemplate) -> Derived:
    """`template` at one set of angles, then its inverse at another."""
    there = template.circuit()
    renamed = {f"{ANGLE_PREFIX}{k}": sympy.Symbol(f"{_INVERSE}{k}") for k in range(template.n_angles)}
    back = cirq.inverse(cirq.resolve_parameters(there, renamed))
    return derived(cirq.Circuit(there.all_operations(), back.all_operations()), template)


def derived(circuit: cirq.Circuit, template: CircuitTemplate, n_qubits: int | None = None) -> Derived:
    """`circuit`, made of the gates of `template` or their inverses, on LineQubits; `n_qubits`: of the template if absent."""
    found, expressions = template_from_circuit(circuit, cirq.LineQubit.range(n_qubits or template.n_qubits))
    source, sign = np.zeros(len(expressions), np.int64), np.ones(len(expressions))
    for k, expression in enumerate(expressions):
        (symbol,) = expression.free_symbols
        letter, number = symbol.name[:1], int(symbol.name[1:])
        source[k] = number + (template.n_angles if letter == _INVERSE else 0)
        sign[k] = float(expression.coeff(symbol))
    return Derived(found, source, sign)
