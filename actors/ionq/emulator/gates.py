"""IonQ's gates as matrices: each gate of a job as gates of a CircuitTemplate, each moved by at most one parameter.

Conventions (IonQ's): QIS rotations are ``exp(-i rotation/2 P)``, in radians. Native phases and angles are in turns; with ``t = 2 pi p``
``GPI(p) = Rz(t) X Rz(-t)``, ``GPI2(p) = Rz(t) Rx(pi/2) Rz(-t)``, and ``MS(p0, p1, a)`` is ``exp(-i pi a XX)`` between Rz(-t) and Rz(t)
on both qubits.

Gates on more than two qubits become gates on two: A. Barenco et al., Phys. Rev. A 52 (1995) 3457, lemma 7.5 (controls), and a ladder
of CNOTs (Pauli exponentials).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from orchestrator.circuits.template import Gate

TURN = 2.0 * math.pi
"""Radians of a turn."""

_PAULIS = {
    "I": np.eye(2, dtype=complex),
    "X": np.array([[0, 1], [1, 0]], complex),
    "Y": np.array([[0, -1j], [1j, 0]], complex),
    "Z": np.diag([1, -1]).astype(complex),
}
_HADAMARD = np.array([[1, 1], [1, -1]], complex) / math.sqrt(2)
_ROOT_X = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2
FIXED: dict[str, np.ndarray] = {
    "x": _PAULIS["X"],
    "not": _PAULIS["X"],
    "cnot": _PAULIS["X"],
    "y": _PAULIS["Y"],
    "z": _PAULIS["Z"],
    "h": _HADAMARD,
    "s": np.diag([1, 1j]),
    "si": np.diag([1, -1j]),
    "t": np.diag([1, np.exp(0.25j * np.pi)]),
    "ti": np.diag([1, np.exp(-0.25j * np.pi)]),
    "v": _ROOT_X,
    "vi": _ROOT_X.conj().T,
}
"""Unitary of each QIS gate without a parameter, on its one target."""
ROTATIONS = {"rx": "X", "ry": "Y", "rz": "Z", "xx": "XX", "yy": "YY", "zz": "ZZ"}
"""The Pauli string that each QIS rotation turns about."""


class Call(NamedTuple):
    """One gate of a circuit without its numbers.

    Attributes:
        name: IonQ's. targets, controls: qubits. term: of a ``pauliexp``, one letter per target. first: place of its first parameter.
    """

    name: str
    targets: tuple[int, ...]
    controls: tuple[int, ...] = ()
    term: str = ""
    first: int = 0


@dataclass(frozen=True, eq=False)
class Piece:
    """A gate of a template before its angle has a number: angle = sum of coefficient * parameter.

    Attributes:
        gate: with angle 0 if parameters move it, else None.
        terms: (index into the circuit's parameters, radians per unit of it) each; empty for a fixed gate.
    """

    gate: Gate
    terms: tuple[tuple[int, float], ...] = ()


def pieces(call: Call, gateset: str) -> Iterator[Piece]:
    """`call` as gates on one and two qubits, in order of time.

    Args:
        gateset: ``qis`` or ``native``; zz is another gate in each.
    """
    if gateset == "native":
        yield from _native(call)
    elif call.name == "pauliexp":
        yield from _exponential(call)
    elif call.name == "swap":
        yield from _swap(call)
    elif call.name in ROTATIONS:
        yield from _controlled(call.controls, call.targets, _Rotation(ROTATIONS[call.name], call.first, 1.0))
    else:
        yield from _controlled(call.controls, call.targets, _Fixed(call.name, FIXED[call.name]))


def native_core(call: Call) -> Piece:
    """What stands between the turns about Z of a native gate."""
    if call.name == "gpi":
        return fixed("x", call.targets, FIXED["x"])
    if call.name == "gpi2":
        return fixed("vx", call.targets, _quarter_turn())
    if call.name == "ms":
        return rotation("XX", call.targets, [(call.first + 2, TURN)])
    return rotation("ZZ", call.targets, [(call.first, TURN)])


def _native(call: Call) -> Iterator[Piece]:
    turned = call.targets if call.name != "zz" else ()
    for sign in (-1.0, 1.0):
        for place, qubit in enumerate(turned):
            yield rotation("Z", (qubit,), [(call.first + place, sign * TURN)])
        if sign < 0:
            yield native_core(call)


def _exponential(call: Call) -> Iterator[Piece]:
    """``exp(-i parameter P)`` for the string P that `call.term` holds, first target first."""
    if len(call.targets) <= 2:
        yield rotation(call.term, call.targets, [(call.first, 2.0)])
        return
    support = [(q, letter) for q, letter in zip(call.targets, call.term, strict=True) if letter != "I"]
    turns = {"X": _HADAMARD, "Y": _quarter_turn()}  # U with U+ Z U = X, or Y
    for qubit, letter in support:
        if letter in turns:
            yield fixed("into", (qubit,), turns[letter])
    qubits = [qubit for qubit, _ in support]
    ladder = [fixed("cnot", pair, _with_control(FIXED["x"])) for pair in itertools.pairwise(qubits)]
    yield from ladder
    if qubits:
        yield rotation("Z", (qubits[-1],), [(call.first, 2.0)])
    yield from reversed(ladder)
    for qubit, letter in support:
        if letter in turns:
            yield fixed("back", (qubit,), turns[letter].conj().T)


def _swap(call: Call) -> Iterator[Piece]:
    a, b = call.targets
    if not call.controls:
        matrix = np.eye(4, dtype=complex)[[0, 2, 1, 3]]
        yield fixed("swap", (a, b), matrix)
        return
    crossing = fixed("cnot", (b, a), _with_control(FIXED["x"]))
    yield crossing
    yield from _controlled((*call.controls, a), (b,), _Fixed("x", FIXED["x"]))
    yield crossing


@dataclass(frozen=True, eq=False)
class _Fixed:
    """A unitary on one qubit."""

    name: str
    unitary: np.ndarray

    def root(self) -> _Fixed:
        """Its square root, by Cayley and Hamilton: ``V = (U + s) / sqrt(tr U + 2 s)`` with ``s**2 = det U``."""
        s = np.sqrt(complex(np.linalg.det(self.unitary)))
        if abs(np.trace(self.unitary) + 2 * s) < 1.0:
            s = -s
        return _Fixed(self.name, (self.unitary + s * np.eye(2)) / np.sqrt(np.trace(self.unitary) + 2 * s))

    def inverse(self) -> _Fixed:
        return replace(self, unitary=self.unitary.conj().T)

    def on(self, targets: Sequence[int], control: int | None) -> Piece:
        if control is None:
            return fixed(self.name, tuple(targets), self.unitary)
        return fixed("c" + self.name, (control, *targets), _with_control(self.unitary))


@dataclass(frozen=True, eq=False)
class _Rotation:
    """``exp(-i coefficient parameter / 2 P)`` on one or two qubits."""

    pauli: str
    parameter: int
    coefficient: float

    def root(self) -> _Rotation:
        return replace(self, coefficient=self.coefficient / 2)

    def inverse(self) -> _Rotation:
        return replace(self, coefficient=-self.coefficient)

    def on(self, targets: Sequence[int], control: int | None) -> Piece:
        if control is None:
            return rotation(self.pauli, tuple(targets), [(self.parameter, self.coefficient)])
        return _controlled_rotation(self.pauli, (control, *targets), (self.parameter, self.coefficient))


def _controlled(controls: Sequence[int], targets: Sequence[int], gate: _Fixed | _Rotation) -> Iterator[Piece]:
    """`gate` on `targets` where all `controls` are 1, by gates with at most one control."""
    if len(controls) <= 1:
        yield gate.on(targets, controls[0] if controls else None)
        return
    [*others, last] = controls
    root, flip = gate.root(), _Fixed("x", FIXED["x"])
    yield root.on(targets, last)
    yield from _controlled(others, (last,), flip)
    yield root.inverse().on(targets, last)
    yield from _controlled(others, (last,), flip)
    yield from _controlled(others, targets, root)


def _quarter_turn() -> np.ndarray:
    """Rx(pi/2)."""
    return np.array([[1, -1j], [-1j, 1]]) / math.sqrt(2)


def _with_control(unitary: np.ndarray) -> np.ndarray:
    """complex128 [2 d, 2 d]: the first qubit is the control."""
    size = len(unitary)
    matrix = np.eye(2 * size, dtype=complex)
    matrix[size:, size:] = unitary
    return matrix


def fixed(name: str, qubits: tuple[int, ...], unitary: np.ndarray) -> Piece:
    """`unitary` complex128 [d, d] on `qubits`, the first the most significant bit of its index."""
    return Piece(Gate(name, qubits, None, np.zeros(1), np.asarray(unitary, complex)[None]))


def rotation(pauli: str, qubits: tuple[int, ...], terms: Sequence[tuple[int, float]]) -> Piece:
    """``exp(-i a/2 P)`` on `qubits`, with the angle a of `terms`, see `Piece`."""
    eigenphases, projectors = _rotation_spectrum(pauli)
    return Piece(Gate(f"r{pauli.lower()}", qubits, 0, eigenphases, projectors), tuple(terms))


def _controlled_rotation(pauli: str, qubits: tuple[int, ...], term: tuple[int, float]) -> Piece:
    eigenphases, projectors = _rotation_spectrum(pauli)
    on, off = np.diag([0, 1]), np.diag([1, 0])
    size = projectors.shape[1]
    every = [*(np.kron(on, projector) for projector in projectors), np.kron(off, np.eye(size))]
    gate = Gate(f"cr{pauli.lower()}", qubits, 0, np.append(eigenphases, 0.0), np.array(every, complex))
    return Piece(gate, (term,))


@functools.cache
def _rotation_spectrum(pauli: str) -> tuple[np.ndarray, np.ndarray]:
    """Eigenphases [2] and projectors [2, d, d] of ``exp(-i a/2 P)``; for the identity a global phase: [1] and [1, d, d]."""
    matrix = functools.reduce(np.kron, [_PAULIS[letter] for letter in pauli])
    identity = np.eye(len(matrix), dtype=complex)
    if not pauli.strip("I"):
        return np.array([-0.5]), identity[None]
    return np.array([-0.5, 0.5]), np.array([(identity + matrix) / 2, (identity - matrix) / 2])
