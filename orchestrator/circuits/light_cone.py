"""Angles that no observable can feel, proved from the circuit's structure.

An observable is carried backwards through the circuit (the Heisenberg picture) as a set of letters ``IXYZ`` per qubit: all Pauli strings
that can occur in it, whatever the angles, are products of these. If the generator of a gate commutes with every such string, the
derivative by its angle is zero: a gate outside of the light cone meets only ``I``, an RZ in front of a measured Z only ``Z``. The state
``|0...0><0...0|``, which is made of the letters I and Z, is carried forwards in the same way: a gate that commutes with all of it gives
the state no more than a phase. Letters are kept per qubit, not together, so the sets may be too large and a proof may be missed; none
is ever wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import Gate

LETTERS = "IXYZ"
_MATRICES = np.array(
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], np.complex128
)
_MAX_QUBITS = 3
"""Gates on more qubits are taken to turn any string into any other: 4**k strings are too many to follow."""
_ZERO = 1e-9
"""Entries of products of projectors, which are exact but for rounding."""


def felt_angles(circuit: MeasuredCircuit) -> np.ndarray:
    """bool [K]: angles that may move some expectation value of `circuit`; of all others the derivative is zero everywhere."""
    gates, n_qubits = circuit.template.gates, circuit.template.n_qubits
    by_both = felt_gates(gates, n_qubits, circuit.paulis) & felt_gates(gates, n_qubits)
    felt = np.zeros(circuit.template.n_angles, bool)
    for gate, is_felt in zip(gates, by_both, strict=True):
        if gate.angle is not None:
            felt[gate.angle] = is_felt
    return felt


def felt_gates(gates: Sequence[Gate], n_qubits: int, paulis: Sequence[str] | None = None) -> np.ndarray:
    """bool [G]: gates that may change the observables carried back to them; without `paulis`, the state carried on to them.

    All others of one kind can be taken out together: at all angles every observable, or the state up to a phase, is what it was.
    """
    known: dict[tuple[bytes, bytes], tuple[np.ndarray, np.ndarray]] = {}
    if paulis is None:
        zero_state = np.tile([True, False, False, True], (1, n_qubits, 1))
        return np.array(_felt(gates, zero_state, known, backwards=False), bool)
    observables = np.array([[_one_of(letter) for letter in pauli] for pauli in paulis])
    return np.array(_felt(gates[::-1], observables, known, backwards=True)[::-1], bool)


def _one_of(letter: str) -> list[bool]:
    return [letter == other for other in LETTERS]


def _felt(
    gates: Sequence[Gate],
    letters: np.ndarray,
    known: dict[tuple[bytes, bytes], tuple[np.ndarray, np.ndarray]],
    *,
    backwards: bool,
) -> list[bool]:
    """Whether each gate does not commute with some operator of `letters` (bool [M, n, 4]) when it is carried to it."""
    felt = []
    for gate in gates:
        qubits = list(gate.qubits)
        if not qubits:
            felt.append(False)
            continue
        if len(qubits) > _MAX_QUBITS:
            met = letters[:, qubits, 1:].any(axis=(1, 2))
            felt.append(bool(met.any()) and (gate.angle is None or bool(gate.frequencies)))
            letters[np.ix_(np.flatnonzero(met), np.array(qubits))] = True
            continue
        key = (gate.eigenphases.tobytes(), gate.projectors.tobytes())
        if key not in known:
            known[key] = _reach(gate), _moved(gate)
        reach, moved = known[key]
        strings = _joint(letters[:, qubits])
        felt.append(bool((strings & moved).any()))
        found = strings @ (reach if backwards else reach.T)
        letters[:, qubits] = _by_qubit(found, len(qubits))
    return felt


def _joint(letters: np.ndarray) -> np.ndarray:
    """bool [M, 4**k]: the strings that are products of `letters`, bool [M, k, 4]; the first qubit is the most significant digit."""
    return reduce(
        lambda done, q: (done[:, :, None] & letters[:, q, None, :]).reshape(len(letters), -1),
        range(letters.shape[1]),
        np.ones((len(letters), 1), bool),
    )


def _by_qubit(strings: np.ndarray, k: int) -> np.ndarray:
    """bool [M, k, 4]: the letters of each qubit that occur in `strings`, bool [M, 4**k]."""
    box = strings.reshape(-1, *(4,) * k)
    return np.stack(
        [box.any(axis=tuple(axis for axis in range(1, k + 1) if axis != q + 1)) for q in range(k)], axis=1
    )


def _strings(k: int) -> np.ndarray:
    """complex128 [4**k, 2**k, 2**k]: all Pauli strings."""
    return reduce(
        lambda done, one: np.einsum("iab,jcd->ijacbd", done, one).reshape(
            len(done) * 4, 2 * done.shape[1], 2 * done.shape[1]
        ),
        [_MATRICES] * k,
        np.ones((1, 1, 1), np.complex128),
    )


def _reach(gate: Gate) -> np.ndarray:
    """bool [4**k, 4**k]: whether string i occurs in ``U(a)+ P_j U(a)`` for some angle a, at [j, i].

    ``U(a)+ P U(a) = sum_ab exp(i a (s_b - s_a)) Pi_a+ P Pi_b``; terms of one frequency are added before they are looked at, because
    functions of different frequencies cannot cancel for all angles and terms of one can.
    """
    paulis = _strings(len(gate.qubits))
    phases = np.round(gate.eigenphases[None, :] - gate.eigenphases[:, None], 9)
    reach = np.zeros((len(paulis), len(paulis)), bool)
    for frequency in np.unique(phases):
        moved = np.zeros_like(paulis)
        for a, b in np.argwhere(phases == frequency):
            moved += gate.projectors[a].conj().T @ paulis @ gate.projectors[b]
        overlap = np.einsum("iab,jba->ji", paulis, moved, optimize=True) / paulis.shape[1]
        reach |= np.abs(overlap) > _ZERO
    return reach


def _moved(gate: Gate) -> np.ndarray:
    """bool [4**k]: strings that do not commute with the gate, whatever its angle."""
    paulis = _strings(len(gate.qubits))
    operator = gate.unitary() if gate.angle is None else gate.generator
    commutator = operator @ paulis - paulis @ operator
    return np.asarray((np.abs(commutator) > _ZERO).any(axis=(1, 2)))
