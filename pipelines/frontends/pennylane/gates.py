"""PennyLane's gates that the device takes as they are, and what each is to cirq; PennyLane decomposes all others to these.

An entry says which gates follow each other, and which of them has which parameter for its angle. None of this has to be believed: a
test compares every entry with PennyLane's own matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cirq
import sympy


class Piece(NamedTuple):
    """One cirq gate of a PennyLane operation.

    Attributes:
        gate: a fixed gate, or a function from an exponent (angle / pi) to the gate.
        parameter: of the operation, that is the angle; -1 for a fixed gate.
    """

    gate: cirq.Gate | Callable[[sympy.Expr], cirq.Gate]
    parameter: int = -1


def _rotation(of: type[cirq.EigenGate]) -> Callable[[sympy.Expr], cirq.Gate]:
    """``exp(-i angle P / 2)``."""
    return lambda exponent: of(exponent=exponent, global_shift=-0.5)


def _controlled(of: type[cirq.EigenGate]) -> Callable[[sympy.Expr], cirq.Gate]:
    rotation = _rotation(of)
    return lambda exponent: cirq.ControlledGate(rotation(exponent))


def _givens(exponent: sympy.Expr) -> cirq.Gate:
    """Half the angle of the Givens rotation, which is what PennyLane calls a single excitation by the angle."""
    return cirq.PhasedISwapPowGate(phase_exponent=0.25, exponent=exponent)


_X, _Y, _Z = _rotation(cirq.XPowGate), _rotation(cirq.YPowGate), _rotation(cirq.ZPowGate)
_PHASE = Piece(lambda exponent: cirq.ZPowGate(exponent=exponent), 0)

PIECES: dict[str, tuple[Piece, ...]] = {
    **dict.fromkeys(("Identity", "GlobalPhase", "Barrier", "WireCut", "Snapshot"), ()),
    **{
        name: (Piece(gate),)
        for name, gate in {
            "PauliX": cirq.X,
            "PauliY": cirq.Y,
            "PauliZ": cirq.Z,
            "Hadamard": cirq.H,
            "S": cirq.S,
            "T": cirq.T,
            "SX": cirq.X**0.5,
            "Adjoint(S)": cirq.S**-1,
            "Adjoint(T)": cirq.T**-1,
            "Adjoint(SX)": cirq.X**-0.5,
            "CNOT": cirq.CNOT,
            "CY": cirq.ControlledGate(cirq.Y),
            "CZ": cirq.CZ,
            "CH": cirq.ControlledGate(cirq.H),
            "SWAP": cirq.SWAP,
            "ISWAP": cirq.ISWAP,
            "SISWAP": cirq.ISWAP**0.5,
            "Toffoli": cirq.CCX,
            "CCZ": cirq.CCZ,
            "CSWAP": cirq.CSWAP,
        }.items()
    },
    "RX": (Piece(_X, 0),),
    "RY": (Piece(_Y, 0),),
    "RZ": (Piece(_Z, 0),),
    "Rot": (Piece(_Z, 0), Piece(_Y, 1), Piece(_Z, 2)),
    "PhaseShift": (_PHASE,),
    "U1": (_PHASE,),
    "CRX": (Piece(_controlled(cirq.XPowGate), 0),),
    "CRY": (Piece(_controlled(cirq.YPowGate), 0),),
    "CRZ": (Piece(_controlled(cirq.ZPowGate), 0),),
    "ControlledPhaseShift": (Piece(lambda exponent: cirq.CZPowGate(exponent=exponent), 0),),
    "IsingXX": (Piece(_rotation(cirq.XXPowGate), 0),),
    "IsingYY": (Piece(_rotation(cirq.YYPowGate), 0),),
    "IsingZZ": (Piece(_rotation(cirq.ZZPowGate), 0),),
    "IsingXY": (Piece(lambda exponent: cirq.ISwapPowGate(exponent=exponent), 0),),
    "SingleExcitation": (Piece(_givens, 0),),
}
"""Operations by PennyLane's name. The empty ones do nothing that an expectation value would feel."""


N_PARAMETERS = {
    name: 1 + max((piece.parameter for piece in pieces), default=-1) for name, pieces in PIECES.items()
} | {"GlobalPhase": 1}
"""Of each operation, in PennyLane."""


def placed(name: str, qubits: Sequence[cirq.Qid], angles: Sequence[sympy.Expr]) -> tuple[cirq.Operation, ...]:
    """The operation `name` of `PIECES` as cirq operations.

    Args:
        angles: of its parameters, in radians.
    """
    found = []
    for gate, parameter in PIECES[name]:
        if not isinstance(gate, cirq.Gate):
            gate = gate(angles[parameter] / sympy.pi)
        found.append(gate.on(*qubits))
    return tuple(found)
