"""The passes of simplification: each takes the pieces of a circuit and gives fewer that do the same to what is measured.

A gate may meet another that it could join only if it commutes with everything between them. Moving the earlier gate on to the later
one leaves all others where they are, so one join says nothing about the next: a pass goes on until it finds none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import cirq
import numpy as np

from orchestrator.circuits import simplify_algebra as algebra
from orchestrator.circuits.from_cirq import at_exponent
from orchestrator.circuits.light_cone import felt_gates
from orchestrator.circuits.simplify_pieces import CONSTANT, Piece, added, fixed_piece

Pieces = list[Piece]


class Pass(NamedTuple):
    """One way to make a circuit smaller.

    Attributes:
        name: for people.
        run: (pieces, number of qubits, Pauli strings) -> pieces; the same list, or fewer gates or angles.
        keeps_unitary: whether the circuit stays the same up to a phase; else only what is measured of it does.
    """

    name: str
    run: Callable[[Pieces, int, tuple[str, ...]], Pieces]
    keeps_unitary: bool


def without_identities(pieces: Pieces, n_qubits: int, paulis: tuple[str, ...]) -> Pieces:
    """Without gates that are no more than a phase, rotations by a multiple of their period among them."""
    return [piece for piece in pieces if not _is_phase(piece)]


def constants_fixed(pieces: Pieces, n_qubits: int, paulis: tuple[str, ...]) -> Pieces:
    """Gates whose angle is a number, by what their terms add up to, become fixed gates."""
    return [_fixed(piece) if _is_constant(piece) else piece for piece in pieces]


def without_unfelt(pieces: Pieces, n_qubits: int, paulis: tuple[str, ...]) -> Pieces:
    """Without gates that no observable can feel: outside of every light cone, or commuting with what is measured behind them."""
    return _only(pieces, felt_gates([piece.gate for piece in pieces], n_qubits, paulis))


def without_idle(pieces: Pieces, n_qubits: int, paulis: tuple[str, ...]) -> Pieces:
    """Without gates that do nothing to the state in front of them, which begins as |0...0>."""
    felt = felt_gates([piece.gate for piece in pieces], n_qubits)
    return _on_zeros(_only(pieces, felt), n_qubits)


def joined(pieces: Pieces, n_qubits: int, paulis: tuple[str, ...]) -> Pieces:
    """Gates that meet, joined: rotations about the same axis (their angles added), powers of a gate, and gates that undo each other."""
    found, start = list(pieces), 0
    while start < len(found):
        if not _join_one(found, start):
            start += 1
    return found


PASSES = (
    Pass("identities", without_identities, keeps_unitary=True),
    Pass("constant angles", constants_fixed, keeps_unitary=True),
    Pass("not felt by any observable", without_unfelt, keeps_unitary=False),
    Pass("idle on the state before them", without_idle, keeps_unitary=False),
    Pass("joined or cancelled", joined, keeps_unitary=True),
)
"""In the order in which they are tried, again and again until none finds anything."""


def _is_phase(piece: Piece) -> bool:
    return algebra.is_phase(piece.gate.unitary()) if piece.terms is None else not piece.gate.frequencies


def _is_constant(piece: Piece) -> bool:
    return piece.terms is not None and set(piece.terms) <= {CONSTANT}


def _fixed(piece: Piece) -> Piece:
    assert piece.terms is not None
    return fixed_piece(at_exponent(piece.operation, piece.terms.get(CONSTANT, 0.0) / math.pi))


def _on_zeros(pieces: Pieces, n_qubits: int) -> Pieces:
    """Without gates that do nothing where some of their qubits are still ``|0>``: a CNOT whose control is."""
    zeros, kept = set(range(n_qubits)), []
    for piece in pieces:
        own = [i for i, qubit in enumerate(piece.qubits) if qubit in zeros]
        met, ones = _part_met(len(piece.qubits), own)
        if own and _is_trivial(piece, met):
            continue
        kept.append(piece)
        operators = piece.gate.unitary()[None] if piece.terms is None else piece.gate.projectors
        for i, rows in zip(own, ones, strict=True):
            if (np.abs(operators[:, rows][:, :, met]) > algebra.ZERO).any():
                zeros.discard(piece.qubits[i])
    return kept


def _part_met(k: int, zeros: Sequence[int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Basis states of k qubits in which those of `zeros` are 0, and for each of these the ones in which it is 1."""
    numbers = np.arange(2**k)
    bits = [(numbers >> (k - 1 - i)) & 1 for i in zeros]
    met = np.flatnonzero(~np.any(bits, axis=0)) if bits else numbers
    return met, [np.flatnonzero(bit) for bit in bits]


def _is_trivial(piece: Piece, met: np.ndarray) -> bool:
    """Whether the gate is no more than one phase on the basis states `met`, at all angles."""
    operator = piece.gate.unitary() if piece.terms is None else piece.gate.generator
    wanted = operator[met[0], met[0]] * np.eye(len(operator))[:, met]
    return bool(np.allclose(operator[:, met], wanted, rtol=0, atol=algebra.ZERO))


def _only(pieces: Pieces, felt: np.ndarray) -> Pieces:
    return [piece for piece, one in zip(pieces, felt, strict=True) if one]


def _join_one(pieces: Pieces, start: int) -> bool:
    """Join the piece at `start` with the first later one that it can reach and join, in place; whether there was one."""
    first = pieces[start]
    for place in range(start + 1, len(pieces)):
        other = pieces[place]
        if not set(first.qubits) & set(other.qubits):
            continue
        made = _join(first, other)
        if made is not None:
            pieces[place : place + 1] = made
            del pieces[start]
            return True
        if not algebra.commute(first.gate, other.gate):
            return False
    return False


def _join(first: Piece, other: Piece) -> Pieces | None:
    """What stands in place of two gates one right after the other: one gate or none; None where they stay."""
    if set(first.qubits) != set(other.qubits):
        return None
    if first.terms is None and other.terms is None:
        return [] if algebra.undo(first.gate, other.gate) else _one_power(first, other)
    if first.terms is not None and other.terms is not None:
        factor = algebra.same_axis(first.gate, other.gate)
        return None if factor is None else [replace(other, terms=added(first.terms, other.terms, factor))]
    turning, fixed = (first, other) if other.terms is None else (other, first)
    assert turning.terms is not None
    angle = algebra.angle_of(fixed.gate, turning.gate)
    return None if angle is None else [replace(turning, terms=added({CONSTANT: angle}, turning.terms))]


def _one_power(first: Piece, other: Piece) -> Pieces | None:
    """Two powers of the same gate as one."""
    a, b = first.operation.gate, other.operation.gate
    if not isinstance(a, cirq.EigenGate) or not isinstance(b, cirq.EigenGate) or type(a) is not type(b):
        return None
    if first.qubits != other.qubits or a._with_exponent(1.0) != b._with_exponent(1.0):
        return None
    return [fixed_piece(at_exponent(first.operation, a.exponent + b.exponent))]
