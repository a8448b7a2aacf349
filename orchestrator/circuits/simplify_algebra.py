"""What two gates are to each other, read from their matrices: whether they commute, turn about the same axis, or undo each other.

No table of gates is believed: every answer is a comparison of matrices up to rounding, and holds for all angles because it is made on
generators, not on unitaries at some angle.
"""

from __future__ import annotations

import cmath
import functools
from collections.abc import Sequence

import numpy as np

from orchestrator.circuits.template import Gate

ZERO = 1e-9
"""Entries of commutators and differences below this are rounding."""
MAX_JOINT_QUBITS = 6
"""Gates that together touch more are taken not to commute."""


def commute(first: Gate, second: Gate) -> bool:
    """Whether the gates commute at all angles; False also where they are too large to be compared."""
    shared = set(first.qubits) & set(second.qubits)
    if not shared:
        return True
    wires = tuple(dict.fromkeys((*first.qubits, *second.qubits)))
    if len(wires) > MAX_JOINT_QUBITS:
        return False
    place = {qubit: i for i, qubit in enumerate(wires)}
    return _commute(
        _key(first), tuple(place[q] for q in first.qubits),
        _key(second), tuple(place[q] for q in second.qubits),
        len(wires),
    )  # fmt: skip


def same_axis(first: Gate, second: Gate) -> float | None:
    """c such that `first` at angle a is `second` at angle c·a up to a phase, at all a; None where there is none, or for a fixed gate."""
    if first.angle is None or second.angle is None or set(first.qubits) != set(second.qubits):
        return None
    mine, other = (_traceless(_on(gate.generator, gate.qubits, second.qubits)) for gate in (first, second))
    size = float(np.vdot(other, other).real)
    if size < ZERO:
        return None
    factor = float(np.vdot(other, mine).real) / size
    if abs(factor) < ZERO or not np.allclose(mine, factor * other, rtol=0, atol=ZERO):
        return None
    near = round(factor * 8) / 8  # the eigenphases of cirq's gates are in eighths
    return near if abs(near - factor) < ZERO else factor


def angle_of(fixed: Gate, turning: Gate) -> float | None:
    """The angle at which `turning` is `fixed` up to a phase, radians; None where there is none."""
    if fixed.angle is not None or turning.angle is None or set(fixed.qubits) != set(turning.qubits):
        return None
    if len(turning.eigenphases) != 2:
        return None
    unitary = _on(fixed.unitary(), fixed.qubits, turning.qubits)
    factors = []
    for projector in turning.projectors:
        factor = complex(np.trace(unitary @ projector) / np.trace(projector))
        if not np.allclose(unitary @ projector, factor * projector, rtol=0, atol=ZERO):
            return None
        factors.append(factor)
    low, high = turning.eigenphases
    return cmath.phase(factors[1] / factors[0]) / float(high - low)


def undo(first: Gate, second: Gate) -> bool:
    """Whether two fixed gates, one after the other, are the identity up to a phase."""
    if first.angle is not None or second.angle is not None or set(first.qubits) != set(second.qubits):
        return False
    return is_phase(second.unitary() @ _on(first.unitary(), first.qubits, second.qubits))


def is_phase(matrix: np.ndarray) -> bool:
    """Whether a unitary is the identity up to a phase."""
    return bool(np.allclose(matrix, matrix[0, 0] * np.eye(len(matrix)), rtol=0, atol=ZERO))


def _traceless(matrix: np.ndarray) -> np.ndarray:
    """Without the part that is no more than a phase."""
    return matrix - np.trace(matrix) / len(matrix) * np.eye(len(matrix))


def _on(matrix: np.ndarray, qubits: Sequence[int], order: Sequence[int]) -> np.ndarray:
    """`matrix` on `qubits` as one on the same qubits in another order."""
    if tuple(qubits) == tuple(order):
        return matrix
    k = len(qubits)
    axes = [list(qubits).index(qubit) for qubit in order]
    return matrix.reshape([2] * 2 * k).transpose([*axes, *(k + axis for axis in axes)]).reshape(matrix.shape)


_Key = tuple[int, bytes]


def _key(gate: Gate) -> _Key:
    """What says all of a gate but where it stands: (dimension, generator, or unitary of a fixed gate)."""
    operator = gate.unitary() if gate.angle is None else gate.generator
    return len(operator), np.ascontiguousarray(operator, np.complex128).tobytes()


@functools.lru_cache(maxsize=4096)
def _commute(
    first: _Key, of_first: tuple[int, ...], second: _Key, of_second: tuple[int, ...], n: int
) -> bool:
    a, b = _embedded(first, of_first, n), _embedded(second, of_second, n)
    return bool(np.allclose(a @ b, b @ a, rtol=0, atol=ZERO))


def _embedded(key: _Key, places: tuple[int, ...], n: int) -> np.ndarray:
    """The operator on the qubits `places` as one on n qubits."""
    size, content = key
    operator = np.frombuffer(content, np.complex128).reshape(size, size)
    rest = [i for i in range(n) if i not in places]
    return _on(np.kron(operator, np.eye(2 ** len(rest))), (*places, *rest), range(n))
