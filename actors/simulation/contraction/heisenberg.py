"""What a circuit's observables see of it: gates that change nothing are left out, trailing Clifford gates become part of the strings.

In the Heisenberg picture a gate with Pauli transfer matrix R turns the string P into ``sum_Q R[P, Q] Q``. At the end of a circuit,
where a row of R holds one entry only, the string stays a string: a Clifford gate permutes strings, Pauli noise damps them, a
gate that commutes with every string vanishes, parametrised or not, and so does everything outside of the strings' light cone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from actors.simulation.pauli_transfer import LETTERS, TransferSeries, transfer_series
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import Gate
from orchestrator.errors import CapabilityError

_TOLERANCE = 1e-13


class GateNoise(Protocol):
    """What the simulation must know of a noise model."""

    @property
    def readout_scale(self) -> float:
        """Readout error turns a measured letter P into ``readout_scale P + readout_offset I``."""
        ...

    @property
    def readout_offset(self) -> float:
        """See `readout_scale`."""
        ...

    def after_gate(self, n_qubits: int) -> np.ndarray:
        """Pauli transfer matrix [4**k, 4**k] of what follows every gate on k qubits."""
        ...


@dataclass(frozen=True, eq=False)
class Placed:
    """A gate as a Pauli transfer matrix. `qubits`: the first is the most significant digit of the matrix's index."""

    qubits: tuple[int, ...]
    series: TransferSeries


@dataclass(frozen=True, eq=False)
class Reduced:
    """The part of a circuit that matters to its observables.

    Attributes:
        gates: in order of time.
        letters: int64 [M', n_qubits], the strings whose values are computed: 0, 1, 2, 3 for I, X, Y, Z.
        mixing: float64 [M, M']: the wanted values are ``mixing @ values``.
        cones: bool [gates, M']: whether a string's value depends on a gate.
    """

    gates: list[Placed]
    letters: np.ndarray
    mixing: np.ndarray
    cones: np.ndarray


def reduce_circuit(circuit: MeasuredCircuit, noise: GateNoise | None = None) -> Reduced:
    """Strip `circuit` down to what its observables see.

    Raises:
        CapabilityError: readout error mixes a string into more than `_MAX_MIXED` others.
    """
    letters, mixing = _read_out(circuit, noise)
    placer = _Placer(noise)
    kept: list[Placed] = []
    is_open = [True] * circuit.template.n_qubits  # no gate kept so far acts on the qubit later on
    for gate in reversed(circuit.template.gates):
        if not gate.qubits:
            continue  # a global phase
        wires = list(gate.qubits)
        if all(is_open[q] for q in wires) and not letters[:, wires].any():
            continue  # no string reads these qubits: whatever happens there is traced out
        placed = placer.place(gate) if len(wires) <= 2 else Placed(gate.qubits, _opaque())
        if len(wires) <= 2 and all(is_open[q] for q in wires) and _absorb(placed, letters, mixing):
            continue
        for q in wires:
            is_open[q] = False
        kept.append(placed)
    kept.reverse()
    return Reduced(kept, letters, mixing, _cones(kept, letters))


_MAX_MIXED = 64


def _read_out(circuit: MeasuredCircuit, noise: GateNoise | None) -> tuple[np.ndarray, np.ndarray]:
    """The strings as letters [M', n], and the mixing [M, M'] that readout error makes of them."""
    wanted = np.array([[LETTERS.index(letter) for letter in pauli] for pauli in circuit.paulis], np.int64)
    scale, offset = (1.0, 0.0) if noise is None else (noise.readout_scale, noise.readout_offset)
    weights = (wanted > 0).sum(axis=1)
    if offset == 0.0:
        return wanted, np.diag(scale**weights)
    if 2 ** int(weights.max()) > _MAX_MIXED:
        raise CapabilityError(
            f"unequal readout errors mix a string on {int(weights.max())} qubits into 2^{int(weights.max())} others"
        )
    index: dict[tuple[int, ...], int] = {}
    parts: list[tuple[int, int, float]] = []
    for m, row in enumerate(wanted):
        support = np.flatnonzero(row)
        for subset in range(2 ** len(support)):
            lost = [q for place, q in enumerate(support) if subset >> place & 1]
            seen = row.copy()
            seen[lost] = 0
            column = index.setdefault(tuple(seen.tolist()), len(index))
            parts.append((m, column, scale ** (len(support) - len(lost)) * offset ** len(lost)))
    mixing = np.zeros((len(wanted), len(index)))
    for m, column, factor in parts:
        mixing[m, column] += factor
    return np.array(list(index), np.int64), mixing


class _Placer:
    """Gates as Pauli transfer matrices, each kind of gate worked out once."""

    def __init__(self, noise: GateNoise | None) -> None:
        self._noise = noise
        self._known: dict[tuple[object, ...], TransferSeries] = {}

    def place(self, gate: Gate) -> Placed:
        """`gate`, followed by its noise."""
        key = (gate.eigenphases.tobytes(), gate.projectors.tobytes(), gate.angle is None)
        if key not in self._known:
            series = transfer_series(gate)
            if self._noise is not None:
                series = series.followed_by(self._noise.after_gate(len(gate.qubits)))
            self._known[key] = series
        series = self._known[key]
        if gate.angle is not None and series.angle >= 0:
            series = replace(series, angle=gate.angle)
        return Placed(gate.qubits, series)


def _opaque() -> TransferSeries:
    """Stands for a gate on more than two qubits, which the contraction refuses."""
    return TransferSeries(-1, np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0, 0)), np.zeros((0, 0, 0)))


def _absorb(placed: Placed, letters: np.ndarray, mixing: np.ndarray) -> bool:
    """Carry all strings back through a trailing gate, in place, if each stays one string at every angle."""
    series, wires = placed.series, list(placed.qubits)
    rows = np.zeros(len(letters), np.int64)
    for q in wires:
        rows = 4 * rows + letters[:, q]
    present = np.unique(rows)
    moving = np.abs(np.concatenate([series.cosine[:, present], series.sine[:, present]])).max(initial=0.0)
    images = series.constant[present]
    if moving > _TOLERANCE or np.any((np.abs(images) > _TOLERANCE).sum(axis=1) != 1):
        return False
    target = np.abs(images).argmax(axis=1)
    which = np.searchsorted(present, rows)
    mixing *= images[np.arange(len(present)), target][which]
    found = target[which]
    for q in reversed(wires):
        letters[:, q] = found % 4
        found = found // 4
    return True


def _cones(gates: list[Placed], letters: np.ndarray) -> np.ndarray:
    """bool [gates, M]: gates that a string's support meets on its way back to the beginning."""
    support: np.ndarray = letters > 0
    cones = np.zeros((len(gates), len(letters)), bool)
    for index in range(len(gates) - 1, -1, -1):
        wires = list(gates[index].qubits)
        meets = support[:, wires].any(axis=1)
        cones[index] = meets
        for wire in wires:
            support[meets, wire] = True
    return cones
