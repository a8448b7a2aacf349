"""From gates and their noise to a short list of operations on Pauli components, with fusion.

Runs of one-qubit gates become one operation; the first run of each qubit acts on ``|0>`` and grows the
state instead of sweeping it; the last one keeps only the letters that are read and shrinks it. Clifford gates with Pauli noise
permute and damp the components, and a run of them is one permutation, which at the end of the circuit moves only what is read.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from actors.noise.model import NoiseModel
from actors.simulation.density_matrix.factors import (
    Factor,
    WeightedPermutation,
    fuse,
    weighted_permutation,
)
from actors.simulation.pauli_transfer import transfer_series
from actors.simulation.state_vector.permutations import gather_bits, spread_bits
from orchestrator.circuits.template import CircuitTemplate, Gate

ALL_LETTERS = (0, 1, 2, 3)


@dataclass(frozen=True, eq=False)
class OneQubit:
    """A product of factors on one qubit, in order of time. `place`: of the qubit in a component's index, 0 the least significant digit.

    `letters` are the components that are kept (0, 1, 2, 3 for I, X, Y, Z).
    """

    place: int
    factors: tuple[Factor, ...]
    letters: tuple[int, ...] = ALL_LETTERS

    @property
    def places(self) -> frozenset[int]:
        """The qubits it acts on."""
        return frozenset((self.place,))


@dataclass(frozen=True, eq=False)
class Permutation:
    """``out[j] = weight[j] in[source[j]]`` over all 4**n components."""

    moves: WeightedPermutation
    places: frozenset[int]


@dataclass(frozen=True, eq=False)
class Local:
    """A factor on some qubits; ``qubit_places[i]`` is the place of the factor's i-th qubit."""

    factor: Factor
    qubit_places: tuple[int, ...]

    @property
    def is_large(self) -> bool:
        """Whether it acts on more than one qubit."""
        return len(self.qubit_places) > 1

    @cached_property
    def moves(self) -> WeightedPermutation | None:
        """The factor as a weighted permutation, if it is one."""
        return weighted_permutation(self.factor)

    @property
    def places(self) -> frozenset[int]:
        """The qubits it acts on."""
        return frozenset(self.qubit_places)

    def offsets(self, local: np.ndarray) -> np.ndarray:
        """The index (all other digits 0) of each local component."""
        return spread_bits(local, _index_bits(self.qubit_places))


Operation = OneQubit | Permutation | Local


@dataclass(frozen=True, eq=False)
class Lowered:
    """A circuit as operations.

    Attributes:
        first: one per qubit, from place 0 upwards, acting on ``|0>``.
        operations: what follows.
        last: the last operations of some qubits, which nothing follows.
        read: int64 [R], the components to read at the end, of 4**n. weight: float64 [R], what to multiply them by.
    """

    first: list[OneQubit]
    operations: list[Operation]
    last: list[OneQubit]
    read: np.ndarray
    weight: np.ndarray


def lower(template: CircuitTemplate, noise: NoiseModel, read: np.ndarray) -> Lowered:
    """The operations of `template` under `noise`, readout error included, that the components `read` int64 [R] need.

    Raises:
        CircuitError: a gate on more qubits than the noise model knows.
    """
    lowering = _Lowering(template.n_qubits, noise)
    for gate in _in_waves([lowering.placed(gate) for gate in template.gates if gate.qubits]):
        lowering.add(gate)
    lowering.read_out()
    at_end = _compose(lowering.pending, read)
    read = at_end.source
    first = [run for run in lowering.first if run is not None]
    operations, last = _split_last(lowering.operations)
    if not operations:  # what acts on several qubits takes all letters of all qubits
        followed = {operation.place for operation in last}
        first = [run if run.place in followed else _keep(run, read) for run in first]
    return Lowered(first, operations, [_keep(operation, read) for operation in last], read, at_end.weight)


def _in_waves(gates: list[Local]) -> list[Local]:
    """`gates` so ordered that permutations come together, each gate still after those that it shares a qubit with.

    A circuit drawn in moments starts the second entangling chain before the first has ended; taken in that order, the turns between them
    would cut both chains to pieces. So a wave takes whatever can go that is no permutation, and then all permutations that can.
    """
    waiting: dict[int, deque[Local]] = defaultdict(deque)
    for gate in gates:
        for place in gate.qubit_places:
            waiting[place].append(gate)
    permutes = {id(gate): gate.is_large and gate.moves is not None for gate in gates}
    ordered: list[Local] = []
    takes_permutations = False
    while len(ordered) < len(gates):
        n_before = len(ordered)
        for queue in waiting.values():
            while queue and permutes[id(queue[0])] == takes_permutations:
                gate = queue[0]
                if any(waiting[place][0] is not gate for place in gate.qubit_places):
                    break
                ordered.append(gate)
                for place in gate.qubit_places:
                    waiting[place].popleft()
        takes_permutations ^= len(ordered) == n_before
    return ordered


def _keep(operation: OneQubit, read: np.ndarray) -> OneQubit:
    """`operation` with the letters that the components `read` hold at its qubit."""
    letters = np.unique((read >> 2 * operation.place) & 3)
    return replace(operation, letters=tuple(int(letter) for letter in letters))


def _split_last(operations: list[Operation]) -> tuple[list[Operation], list[OneQubit]]:
    """Take out the one-qubit operations that nothing follows, the qubit with the longest stride first."""
    kept: list[Operation] = []
    last: list[OneQubit] = []
    followed: frozenset[int] = frozenset()
    for operation in reversed(operations):
        if isinstance(operation, OneQubit) and operation.place not in followed:
            last.append(operation)
        else:
            kept.append(operation)
        followed |= operation.places
    return kept[::-1], sorted(last, key=lambda operation: -operation.place)


def _index_bits(places: tuple[int, ...]) -> tuple[int, ...]:
    """The bits of a component's index that hold the digits at `places`, the first place's first."""
    return tuple(bit for place in places for bit in (2 * place + 1, 2 * place))


@dataclass
class _Lowering:
    """What has been emitted, then the pending permutation, then pending runs, in this order of time."""

    n_qubits: int
    noise: NoiseModel
    runs: list[list[Factor]] = field(init=False)
    first: list[OneQubit | None] = field(init=False)
    operations: list[Operation] = field(default_factory=list)
    pending: list[Local] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runs = [[] for _ in range(self.n_qubits)]
        self.first = [None] * self.n_qubits

    def placed(self, gate: Gate) -> Local:
        """`gate` with the noise that follows it."""
        places = tuple(self.n_qubits - 1 - qubit for qubit in gate.qubits)
        return Local(
            Factor.from_series(transfer_series(gate)).followed_by(self.noise.after_gate(len(places))), places
        )

    def add(self, gate: Local) -> None:
        """Take the next gate in time."""
        if not gate.is_large:
            self.runs[gate.qubit_places[0]].append(gate.factor)
            return
        for place in gate.qubit_places:
            self._emit_run(place)
        if gate.moves is not None:
            self.pending.append(gate)
        else:
            self._emit(gate)

    def read_out(self) -> None:
        """Readout error, after which nothing but the pending permutations is left to emit."""
        for place in range(self.n_qubits):
            self.runs[place].append(Factor.fixed(self.noise.readout()))
            self._emit_run(place)

    def _emit_run(self, place: int) -> None:
        factors = fuse(self.runs[place])
        self.runs[place] = []
        if self.first[place] is None:
            self.first[place] = OneQubit(place, factors)
            return
        [*moved, last] = factors
        if not moved and last.is_fixed and np.array_equal(last.constant, np.eye(4)):
            return
        fixed = Local(last, (place,))
        if not moved and fixed.moves is not None:
            self.pending.append(fixed)
        else:
            self._emit(OneQubit(place, factors))

    def _emit(self, operation: Operation) -> None:
        if any(operation.places & other.places for other in self.pending):
            self._emit_pending()
        self.operations.append(operation)

    def _emit_pending(self) -> None:
        """Emit the pending permutations as one; a single one is cheaper as it is."""
        parts, self.pending = self.pending, []
        if len(parts) > 1:
            places = frozenset().union(*(part.places for part in parts))
            self.operations.append(Permutation(_compose(parts, np.arange(4**self.n_qubits)), places))
        elif parts[0].is_large:
            self.operations.append(parts[0])
        else:
            self.operations.append(OneQubit(parts[0].qubit_places[0], (parts[0].factor,)))


def _compose(parts: list[Local], rows: np.ndarray) -> WeightedPermutation:
    """The components `rows` of what the weighted permutations `parts`, in order of time, make of all components.

    With ``out[j] = weight[j] in[source[j]]`` for each part, the last part's source is looked up first.
    """
    source, weight = rows, np.ones(len(rows))
    for part in reversed(parts):
        moves = part.moves
        assert moves is not None
        bits = _index_bits(part.qubit_places)
        local = gather_bits(source, bits)
        weight = weight * moves.weight[local]
        source = source - spread_bits(local, bits) + spread_bits(moves.source[local], bits)
    return WeightedPermutation(source, weight)
