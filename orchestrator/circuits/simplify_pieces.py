"""Pieces: a circuit taken apart into gates whose angles are sums of named terms, so that two angles can become one; and put together.

What a term stands for is the caller's business: here a key with a coefficient. A model's keys are (parameter, monomial of the
features); the key `CONSTANT` stands for 1.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cirq
import numpy as np
import sympy

from orchestrator.circuits.from_cirq import at_exponent, template_from_circuit
from orchestrator.circuits.template import CircuitTemplate, Gate

Terms = Mapping[Hashable, float]
"""An angle in radians: key -> coefficient; empty for zero."""

CONSTANT = "constant"
"""The key of a term that is a number."""

_OWN = "m"


@dataclass(frozen=True, eq=False)
class Piece:
    """One gate.

    Attributes:
        operation: on LineQubits; the exponent of a gate with an angle says nothing.
        gate: its matrices; `Gate.angle` says no more than whether there is one.
        terms: its angle; None for a fixed gate.
    """

    operation: cirq.Operation
    gate: Gate
    terms: Terms | None

    @property
    def qubits(self) -> tuple[int, ...]:
        """What it acts on."""
        return self.gate.qubits


class AssembledCircuit(NamedTuple):
    """A template, and what each of its angles is a sum of."""

    template: CircuitTemplate
    terms: tuple[Terms, ...]

    def angles(self, values: Mapping[Hashable, np.ndarray]) -> np.ndarray:
        """float64 [S, K] where the terms have the values [S]; there must be some for every key but `CONSTANT`."""
        n_samples = len(next(iter(values.values()))) if values else 1
        table = np.zeros((n_samples, len(self.terms)))
        for k, terms in enumerate(self.terms):
            for key, coefficient in terms.items():
                table[:, k] += coefficient * (1.0 if key == CONSTANT else values[key])
        return table


def taken_apart(template: CircuitTemplate, terms: Sequence[Terms]) -> list[Piece]:
    """The gates of `template`, whose angle k is ``terms[k]``."""
    return [
        Piece(operation, gate, None if gate.angle is None else terms[gate.angle])
        for operation, gate in zip(template.circuit().all_operations(), template.gates, strict=True)
    ]


def put_together(pieces: Sequence[Piece], n_qubits: int) -> AssembledCircuit:
    """The circuit of `pieces` on `n_qubits` qubits; idle ones get an identity."""
    operations = [
        piece.operation
        if piece.terms is None
        else at_exponent(piece.operation, sympy.Symbol(f"{_OWN}{i}") / sympy.pi)
        for i, piece in enumerate(pieces)
    ]
    template, expressions = template_from_circuit(cirq.Circuit(operations), cirq.LineQubit.range(n_qubits))
    return AssembledCircuit(template, tuple(_terms_of(expression, pieces) for expression in expressions))


def _terms_of(expression: sympy.Expr, pieces: Sequence[Piece]) -> Terms:
    """The angle of a gate in terms of the piece that it was made of, whose own it is but for a factor."""
    (symbol,) = expression.free_symbols
    terms = pieces[int(symbol.name.removeprefix(_OWN))].terms
    return added(terms or {}, {}, float(expression.coeff(symbol)))


def fixed_piece(operation: cirq.Operation) -> Piece:
    """A gate without an angle, of one that cirq knows."""
    template, _ = template_from_circuit(cirq.Circuit(operation), operation.qubits)
    wires = tuple(qubit.x for qubit in operation.qubits if isinstance(qubit, cirq.LineQubit))
    (gate,) = template.gates
    return Piece(operation, Gate(gate.name, wires, None, gate.eigenphases, gate.projectors), None)


def added(first: Terms, second: Terms, factor: float = 1.0) -> Terms:
    """``factor * first + second``; terms that cancel exactly are gone."""
    total = {key: factor * coefficient for key, coefficient in first.items()}
    for key, coefficient in second.items():
        total[key] = total.get(key, 0.0) + coefficient
    return {key: coefficient for key, coefficient in total.items() if coefficient != 0.0}
