"""From a list of gates to a shorter list of operations, with fusion.

Every run of one-qubit gates on a qubit becomes one operation; the first run of each qubit acts on ``|0>`` and grows the state
instead of sweeping it; runs of fixed gates that permute basis states (X, CNOT, SWAP, CZ, Toffoli, ...) become one permutation.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from actors.simulation.state_vector.gate_algebra import (
    BlockGate,
    Monomial,
    Rotation,
    block_gate,
    monomial,
    multiply,
    rotation,
    to_matrix,
)
from actors.simulation.state_vector.permutations import Step, compose, spread_bits
from orchestrator.circuits.template import CircuitTemplate, Gate
from orchestrator.errors import CircuitError

IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])


@dataclass(frozen=True)
class Turn:
    """A run of one-qubit gates. `bit` is the qubit's place in a basis index, 0 the least significant."""

    bit: int
    rotations: tuple[Rotation, ...]

    @property
    def bits(self) -> frozenset[int]:
        """The bits it acts on."""
        return frozenset((self.bit,))


@dataclass(frozen=True)
class Permute:
    """``out[j] = phase[j] * in[source[j]]`` over all 2**n basis states; `bits` are those it acts on."""

    source: np.ndarray
    phase: np.ndarray
    bits: frozenset[int]


@dataclass(frozen=True)
class Blocks:
    """A gate on k >= 2 qubits as a direct sum of blocks. `qubit_bits[i]` is the bit of the gate's i-th qubit."""

    gate: BlockGate
    qubit_bits: tuple[int, ...]

    @property
    def bits(self) -> frozenset[int]:
        """The bits it acts on."""
        return frozenset(self.qubit_bits)

    def row_offsets(self, local: np.ndarray) -> np.ndarray:
        """The basis index (all other bits 0) of each local index of the gate."""
        return spread_bits(local, self.qubit_bits)


Operation = Turn | Permute | Blocks


@dataclass
class Lowered:
    """A circuit as operations.

    Attributes:
        first_turns: one per qubit, from bit 0 upwards: each doubles the rows that are not zero.
        operations: what follows, in order of time.
        trailing: the permutation at the very end, apart, because observables may absorb it.
    """

    first_turns: list[Turn]
    operations: list[Operation]
    trailing: Permute | None


def lower(template: CircuitTemplate) -> Lowered:
    """The operations of `template`.

    Raises:
        CircuitError: a gate is not unitary, names a qubit outside of the circuit, or is too large and dense.
    """
    for gate in template.gates:
        _check_gate(template, gate)
    lowering = _Lowering(template.n_qubits)
    for gate in _in_waves(template):
        lowering.add(gate)
    return lowering.finish()


def _in_waves(template: CircuitTemplate) -> list[Gate]:
    """The gates so ordered that permutations come together, each gate still after those that it shares a qubit with.

    A circuit drawn in moments starts the second entangling chain before the first has ended; taken in that order, the turns between them
    would cut both chains to pieces. So a wave takes whatever can go that is no permutation, and then all permutations that can.
    """
    queues: list[deque[Gate]] = [deque() for _ in range(template.n_qubits)]
    for gate in template.gates:
        for qubit in gate.qubits:
            queues[qubit].append(gate)
    fixed = {id(gate): len(gate.qubits) > 1 and monomial(gate) is not None for gate in template.gates}
    ordered: list[Gate] = []
    permuting = False
    while any(queues):
        before = len(ordered)
        for queue in queues:
            while queue:
                gate = queue[0]
                if fixed[id(gate)] != permuting or any(queues[q][0] is not gate for q in gate.qubits):
                    break
                ordered.append(gate)
                for qubit in gate.qubits:
                    queues[qubit].popleft()
        permuting ^= len(ordered) == before
    return ordered


def _check_gate(template: CircuitTemplate, gate: Gate) -> None:
    size = 2 ** len(gate.qubits)
    if len(set(gate.qubits)) != len(gate.qubits) or not all(0 <= q < template.n_qubits for q in gate.qubits):
        raise CircuitError(
            f"gate {gate.name!r} acts on qubits {gate.qubits} of a circuit with {template.n_qubits}"
        )
    if gate.projectors.shape != (len(gate.eigenphases), size, size):
        raise CircuitError(
            f"gate {gate.name!r}: projectors of shape {gate.projectors.shape} do not fit {len(gate.qubits)} qubits"
        )
    if not np.allclose(gate.unitary(0.3) @ gate.unitary(0.3).conj().T, np.eye(size), atol=1e-8):
        raise CircuitError(f"gate {gate.name!r} on qubits {gate.qubits} is not unitary")


@dataclass
class _Lowering:
    """The state of lowering: what has been emitted, then a pending run of permuting gates, then pending runs (in this order of time).

    Something pending may move before the permutation when they share no qubit, which is what lets a whole chain of CNOTs
    collapse although the rotations between them arrive one by one.
    """

    n_qubits: int
    runs: list[list[Rotation]] = field(init=False)
    first_turns: list[Turn | None] = field(init=False)
    operations: list[Operation] = field(default_factory=list)
    permuting: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runs = [[] for _ in range(self.n_qubits)]
        self.first_turns = [None] * self.n_qubits

    def add(self, gate: Gate) -> None:
        """Take the next gate in time."""
        bits = tuple(self.n_qubits - 1 - qubit for qubit in gate.qubits)
        if len(bits) == 0:
            return  # a global phase
        if len(bits) == 1:
            self.runs[bits[0]].append(rotation(gate))
            return
        for bit in bits:
            self._emit_run(bit)
        permutation = monomial(gate)
        if permutation is not None:
            self.permuting.append(Step(permutation, bits))
        else:
            self._emit(Blocks(block_gate(gate), bits))

    def finish(self) -> Lowered:
        """Emit what is pending."""
        for bit in range(self.n_qubits):
            self._emit_run(bit)
        first_turns = [turn for turn in self.first_turns if turn is not None]
        return Lowered(first_turns, self.operations, self._permutation() if self.permuting else None)

    def _emit_run(self, bit: int) -> None:
        rotations = _fuse(self.runs[bit])
        self.runs[bit] = []
        if self.first_turns[bit] is None:
            self.first_turns[bit] = Turn(bit, rotations)
            return
        if len(rotations) == 1 and rotations[0].angle < 0:
            fixed = _fixed_monomial(rotations[0])
            if fixed is not None:
                if not np.allclose(rotations[0].even, IDENTITY):
                    self.permuting.append(Step(fixed, (bit,)))
                return
        self._emit(Turn(bit, rotations))

    def _emit(self, operation: Operation) -> None:
        if any(bit in operation.bits for step in self.permuting for bit in step.bits):
            self.operations.append(self._permutation())
            self.permuting = []
        self.operations.append(operation)

    def _permutation(self) -> Permute:
        """What is pending of it, composed."""
        source, phase = compose(self.n_qubits, self.permuting)
        return Permute(source, phase, frozenset(bit for step in self.permuting for bit in step.bits))


def _fuse(run: list[Rotation]) -> tuple[Rotation, ...]:
    """`run` with its fixed gates multiplied into their neighbours; at least one rotation."""
    fused: list[Rotation] = []
    pending = IDENTITY
    for turn in run:
        if turn.angle >= 0:
            fused.append(turn.after(pending))
            pending = IDENTITY
        elif fused:
            fused[-1] = fused[-1].before(turn.even)
        else:
            pending = multiply(turn.even, pending)
    return tuple(fused) or (Rotation(-1, 0.0, pending, np.zeros(4)),)


def _fixed_monomial(turn: Rotation) -> Monomial | None:
    fixed = Gate("fixed", (0,), None, np.zeros(1), to_matrix(turn.even)[None])
    return monomial(fixed)
