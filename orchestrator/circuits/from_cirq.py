"""Any cirq circuit with sympy symbols -> a CircuitTemplate with one angle per gate, and what each angle is an expression of.

A gate that more than one expression moves (FSim, PhasedX ...) is decomposed by cirq until each piece is moved by one. What a piece
does with its angle is read off cirq's own unitary (spectral decomposition at one angle) and checked against it at others, so
no table of gates has to be believed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import cirq
import numpy as np
import sympy

from orchestrator.circuits.template import ANGLE_PREFIX, CircuitTemplate, Gate
from orchestrator.errors import CircuitError

_PROBE_ANGLE = 0.25
_CHECK_ANGLES = (0.9, -2.3, math.pi)
_MAX_DENSE_QUBITS = 6


def template_from_circuit(
    circuit: cirq.Circuit, qubit_order: Sequence[cirq.Qid] | None = None
) -> tuple[CircuitTemplate, tuple[sympy.Expr, ...]]:
    """The template of `circuit`, and the expression (radians) that each of its angles stands for.

    Args:
        circuit: unitary, without measurements; symbols may be shared between gates and occur in expressions.
        qubit_order: which qubit is number 0, 1, ...; cirq's default order if absent.

    Raises:
        CircuitError: a measurement, a noise channel, a qudit, or a parametrised gate that cirq cannot take apart.
    """
    qubits = cirq.QubitOrder.as_qubit_order(qubit_order or cirq.QubitOrder.DEFAULT).order_for(
        circuit.all_qubits()
    )
    if not qubits:
        raise CircuitError("the circuit is empty: it needs at least one gate")
    if any(q.dimension != 2 for q in qubits):
        raise CircuitError("the circuit holds a qudit; only qubits are supported")
    line: dict[cirq.Qid, cirq.Qid] = {q: cirq.LineQubit(i) for i, q in enumerate(qubits)}
    gates: list[Gate] = []
    operations: list[cirq.Operation] = []
    expressions: list[sympy.Expr] = []
    known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for placed in _packed(circuit, line).all_operations():
        wires = tuple(q.x for q in placed.qubits if isinstance(q, cirq.LineQubit))
        if not cirq.is_parameterized(placed):
            placed, unitary = _fixed(placed)
            gates.append(Gate(_name(placed), wires, None, np.zeros(1), unitary[None]))
        else:
            expressions.append(_plain(sympy.expand(sympy.pi * _exponent(placed))))
            symbol = sympy.Symbol(f"{ANGLE_PREFIX}{len(expressions) - 1}")
            key = repr(at_exponent(placed, 1.0).gate)
            if key not in known:
                known[key] = _spectrum(placed)
            gates.append(Gate(_name(placed), wires, len(expressions) - 1, *known[key]))
            placed = at_exponent(placed, symbol / sympy.pi)
        operations.append(placed)
    try:
        text = cirq.to_json(cirq.Circuit(operations), indent=None)
    except (TypeError, ValueError) as error:
        raise CircuitError(
            f"a parametrised gate of your own must decompose into cirq's gates: {error}"
        ) from error
    return CircuitTemplate(len(qubits), len(expressions), tuple(gates), text), tuple(expressions)


def template_from_json(text: str) -> CircuitTemplate:
    """The template whose `circuit_json` is `text`."""
    circuit = cirq.read_json(json_text=text)
    found, expressions = template_from_circuit(circuit)
    number = [
        int(symbol.name.removeprefix(ANGLE_PREFIX))
        for expression in expressions
        for symbol in expression.free_symbols
    ]
    gates = tuple(
        gate if gate.angle is None else replace(gate, angle=number[gate.angle]) for gate in found.gates
    )
    return CircuitTemplate(found.n_qubits, found.n_angles, gates, text)


def _packed(circuit: cirq.Circuit, line: dict[cirq.Qid, cirq.Qid]) -> cirq.Circuit:
    """The pieces of `circuit` on line qubits, in moments, so that the gates stand in the order in which JSON will hold them.

    An idle qubit gets an identity, or JSON would forget it. A global phase is left out: no expectation value feels it.
    """
    pieces = [
        piece.transform_qubits(line)
        for op in circuit.all_operations()
        for piece in _pieces(op.untagged)
        if piece.qubits
    ]
    idle = sorted(set(line.values()) - {qubit for piece in pieces for qubit in piece.qubits})
    return cirq.Circuit(cirq.I.on_each(*idle), pieces)


def _pieces(op: cirq.Operation) -> Iterator[cirq.Operation]:
    """`op`, taken apart until each piece is fixed or moved by one exponent."""
    if cirq.is_measurement(op):
        raise CircuitError(f"{op}: leave measurements out; the observables say what is measured")
    if not cirq.is_parameterized(op):
        if not cirq.has_unitary(op):
            raise CircuitError(f"{op} is not unitary")
        yield op
        return
    if _moved_by_one(op):
        yield op
        return
    if isinstance(op, cirq.ControlledOperation):
        inner = cirq.decompose_once(op.sub_operation, default=None)
        parts = (
            None
            if inner is None
            else [piece.controlled_by(*op.controls, control_values=op.control_values) for piece in inner]
        )
    else:
        parts = cirq.decompose_once(op, default=None)
    if parts is None:
        raise CircuitError(
            f"{op}: cirq cannot take this parametrised gate apart into gates with one angle each"
        )
    for part in parts:
        yield from _pieces(part.untagged)


def _moved_by_one(op: cirq.Operation) -> bool:
    """Whether `op` is exp(i angle G) with the angle in an `exponent` and nothing else parametrised."""
    if isinstance(op, cirq.ControlledOperation):
        return _moved_by_one(op.sub_operation)
    return isinstance(op.gate, cirq.EigenGate) and not cirq.is_parameterized(op.gate._with_exponent(1.0))


def _exponent(op: cirq.Operation) -> Any:
    if isinstance(op, cirq.ControlledOperation):
        return _exponent(op.sub_operation)
    assert isinstance(op.gate, cirq.EigenGate)
    return op.gate.exponent


def _plain(expression: sympy.Expr) -> sympy.Expr:
    """`expression` with symbols known by their names alone: to sympy, a symbol made with `real=True` is another one."""
    return expression.xreplace({symbol: sympy.Symbol(symbol.name) for symbol in expression.free_symbols})


def at_exponent(op: cirq.Operation, exponent: Any) -> cirq.Operation:
    """A gate of one angle, `op`, with another exponent (a number or a symbol), in units of pi radians."""
    if isinstance(op, cirq.ControlledOperation):
        return at_exponent(op.sub_operation, exponent).controlled_by(
            *op.controls, control_values=op.control_values
        )
    assert isinstance(op.gate, cirq.EigenGate)
    return op.gate._with_exponent(exponent).on(*op.qubits)


def _spectrum(op: cirq.Operation) -> tuple[np.ndarray, np.ndarray]:
    """Eigenphases [J] and projectors [J, d, d] with U(a) = sum_j exp(i a s_j) P_j, checked against cirq's unitaries.

    Raises:
        CircuitError: the gate is not of this form.
    """
    values, vectors = cirq.linalg.unitary_eig(cirq.unitary(at_exponent(op, _PROBE_ANGLE / math.pi)))
    phases = np.angle(values) / _PROBE_ANGLE
    snapped = np.round(phases * 8) / 8  # cirq's own gates have eigenphases in eighths
    phases = np.where(np.abs(phases - snapped) < 1e-9, snapped, phases)
    levels = np.unique(np.round(phases, 9))
    eigenphases = np.array([phases[np.abs(phases - level) < 1e-8].mean() for level in levels])
    projectors = np.empty((len(levels), *vectors.shape), np.complex128)
    for j, level in enumerate(levels):
        basis = vectors[:, np.abs(phases - level) < 1e-8]
        projectors[j] = _clean(basis @ basis.conj().T)
    for angle in _CHECK_ANGLES:
        found = np.tensordot(np.exp(1j * angle * eigenphases), projectors, axes=1)
        if not np.allclose(found, cirq.unitary(at_exponent(op, angle / math.pi)), atol=1e-9):
            raise CircuitError(
                f"{op} is not of the form exp(i angle G), so its angle cannot be shifted or differentiated"
            )
    return eigenphases, projectors


def _fixed(op: cirq.Operation) -> tuple[cirq.Operation, np.ndarray]:
    """The operation, as a matrix gate if cirq could not write it to JSON, and its unitary."""
    if len(op.qubits) > _MAX_DENSE_QUBITS:
        raise CircuitError(
            f"{op.gate} acts on {len(op.qubits)} qubits; decompose it to at most {_MAX_DENSE_QUBITS}"
        )
    unitary = _clean(cirq.unitary(op))
    if not type(op.gate).__module__.startswith("cirq."):
        op = cirq.MatrixGate(unitary).on(*op.qubits)
    return op, unitary


def _clean(matrix: np.ndarray) -> np.ndarray:
    """Rounding noise at zero removed, so that permutations and diagonals are seen as such."""
    matrix = np.asarray(matrix, np.complex128)
    return np.where(np.abs(matrix.real) < 1e-15, 0, matrix.real) + 1j * np.where(
        np.abs(matrix.imag) < 1e-15, 0, matrix.imag
    )


def _name(op: cirq.Operation) -> str:
    if isinstance(op, cirq.ControlledOperation):
        return "C" * len(op.controls) + _name(op.sub_operation)
    return type(op.gate).__name__.removesuffix("Gate").removesuffix("Pow")
