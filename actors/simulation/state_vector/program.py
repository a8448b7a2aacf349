"""Program: a measured circuit as flat arrays, which the kernels interpret.

One Program serves every job of its circuit; binding angles is array work. Nothing here is compiled per circuit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from actors.simulation.state_vector.lowering import Blocks, Lowered, Operation, Permute, Turn, lower
from actors.simulation.state_vector.observables import Observables, absorb, compile_observables
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate

GROW, TURN, PERMUTE, PERMUTE_PHASE, BLOCKS = range(5)
"""Kinds of operation. GROW: a TURN on a qubit still in ``|0>``; operations 0..n-1 are the GROWs of bits 0..n-1."""


OPERATION = np.dtype(
    [
        (name, np.int64)
        for name in ("kind", "bit", "phase", "coefficient", "trig", "block_bit", "block", "generator")
    ],
    align=True,
)
"""One operation. kind: as above. bit: of a GROW or TURN; the row of `permutations` of a PERMUTE. phase: row of `phases`.
The rest are places where its share begins (and the next operation's ends): its first real coefficient row, its first trig row,
and for BLOCKS its first entries in `block_bits`, `blocks` and the generator's list."""
TRIG = np.dtype(
    [
        ("angle", np.int64),
        ("rate", np.float64),
        ("even", np.float64, 4),
        ("odd", np.float64, 4),
        ("axis", np.float64, 3),
    ],
    align=True,
)
"""A pair cos(rate a), sin(rate a) that a gate's coefficients are made of; angle -1 is a fixed gate. For GROW and TURN one
per rotation, with its quaternions and axis, see ``gate_algebra.Rotation``; for BLOCKS one per eigenphase."""
ANGLE = np.dtype([(name, np.int64) for name in ("operation", "first", "stop")], align=True)
"""What an angle moves: its operation (the number of operations if none) and its trig rows."""
BLOCK = np.dtype([(name, np.int64) for name in ("n_rows", "row", "coefficient", "term")], align=True)
"""A dense m x m block of a gate: m, its first entry in `block_rows`, its first coefficient row (2 m m of them: real and imaginary
part of the entries in row order), its first entry in `terms`."""


class Instructions(NamedTuple):
    """The operations as arrays. (Few arrays of records rather than many plain ones: numba counts a reference to each per call.)

    Attributes:
        n_qubits, n_operations: O. n_coefficients: real coefficient rows of all operations.
        operations: OPERATION [O + 1], the last one an end mark. trigs: TRIG [T]. angles: ANGLE [K]. blocks: BLOCK [B].
        permutations: int32 [., 2**n], ``out[j] = in[permutations[p, j]]``. phases: float64 [., 2, 2**n], multiplying out[j].
        block_bits: int64 [.], the bits of a BLOCKS operation, ascending.
        block_rows: int64 [.], the basis index of each row of a block with all other bits 0.
        terms: complex128 [.], per block [m m, eigenphases].
        generator_rows: int64 [., 2], row and column of each entry of a BLOCKS operation's generator. generator: complex128 [.].
        stage: int64 [stages + 1], first operation of each stage: operations of a stage share no qubit.
    """

    n_qubits: int
    n_operations: int
    n_coefficients: int
    operations: np.ndarray
    trigs: np.ndarray
    angles: np.ndarray
    blocks: np.ndarray
    permutations: np.ndarray
    phases: np.ndarray
    block_bits: np.ndarray
    block_rows: np.ndarray
    terms: np.ndarray
    generator_rows: np.ndarray
    generator: np.ndarray
    stage: np.ndarray


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled measured circuit.

    Attributes:
        n_qubits, n_angles: of the template. n_paulis: observables M.
        n_groups: measurement groups G.
        is_constant: bool [M], strings of I alone.
        is_final: bool [O], GROWs and TURNs whose bit no later operation touches, where all strings are of I and Z.
        instructions, observables: what the kernels interpret.
        routes: what `engine` remembers of the displacements it has met.
    """

    n_qubits: int
    n_angles: int
    n_paulis: int
    n_groups: int
    is_constant: np.ndarray
    is_final: np.ndarray
    instructions: Instructions
    observables: Observables
    routes: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def n_operations(self) -> int:
        """Number of operations after fusion."""
        return self.instructions.n_operations


def compile_program(circuit: MeasuredCircuit) -> Program:
    """The program of `circuit`.

    Raises:
        CircuitError: a gate cannot be simulated; see `lowering.lower`.
    """
    template = circuit.template
    lowered = lower(template)
    operations: list[Operation] = [*lowered.operations]
    absorbed = absorb(circuit, lowered.trailing.source) if lowered.trailing else None
    if lowered.trailing and absorbed is None:
        operations.append(lowered.trailing)
    is_final = _final_operations(circuit, lowered.first_turns, operations)
    every = [*lowered.first_turns, *operations]
    final_bits = [op.bit for op, final in zip(every, is_final, strict=True) if final and isinstance(op, Turn)]
    return Program(
        n_qubits=template.n_qubits,
        n_angles=template.n_angles,
        n_paulis=len(circuit.paulis),
        n_groups=len(circuit.groups),
        is_constant=np.array([set(pauli) == {"I"} for pauli in circuit.paulis]),
        is_final=is_final,
        instructions=_Assembler(template.n_qubits, template.n_angles).assemble(lowered, operations),
        observables=compile_observables(circuit, absorbed, final_bits),
    )


def _final_operations(
    circuit: MeasuredCircuit, first_turns: list[Turn], operations: list[Operation]
) -> np.ndarray:
    """See ``Program.is_final``."""
    every: list[Operation] = [*first_turns, *operations]
    is_final = np.zeros(len(every), bool)
    if any(set(pauli) - set("IZ") for pauli in circuit.paulis):
        return is_final
    touched: set[int] = set()
    for index in range(len(every) - 1, -1, -1):
        is_final[index] = isinstance(every[index], Turn) and not touched & every[index].bits
        touched |= every[index].bits
    return is_final


def assemble(template: CircuitTemplate, operations: Sequence[Operation]) -> Instructions:
    """`operations` of the qubits of `template` as they stand, no qubit being grown: the state they act on has all its rows."""
    assembler = _Assembler(template.n_qubits, template.n_angles)
    return assembler.assemble(Lowered([], [], None), list(operations))


class _Assembler:
    """Collects the arrays of Instructions, operation by operation."""

    def __init__(self, n_qubits: int, n_angles: int) -> None:
        self.n_qubits = n_qubits
        self.n_coefficients = 0
        self.operations: list[tuple[int, ...]] = []
        self.trigs: list[tuple[int, float, np.ndarray, np.ndarray, np.ndarray]] = []
        self.angles = np.full(n_angles, -1, ANGLE)
        self.blocks: list[tuple[int, int, int, int]] = []
        self.permutations: list[np.ndarray] = []
        self.phases: list[np.ndarray] = []
        self.block_bits: list[int] = []
        self.block_rows: list[int] = []
        self.terms: list[complex] = []
        self.generator_rows: list[tuple[int, int]] = []
        self.generator: list[complex] = []

    def assemble(self, lowered: Lowered, operations: list[Operation]) -> Instructions:
        for turn in lowered.first_turns:
            self._add_turn(turn, GROW)
        for operation in operations:
            match operation:
                case Turn():
                    self._add_turn(operation, TURN)
                case Permute():
                    self._add_permutation(operation)
                case Blocks():
                    self._add_blocks(operation)
        n_operations = len(self.operations)
        self._begin(-1)
        self.angles["operation"][self.angles["operation"] < 0] = n_operations
        return self._freeze(n_operations, _stages(lowered.first_turns, operations))

    def _begin(self, kind: int, bit: int = 0, phase: int = 0) -> None:
        """Start an operation's record, before its parts are added."""
        starts = (
            self.n_coefficients,
            len(self.trigs),
            len(self.block_bits),
            len(self.blocks),
            len(self.generator),
        )
        self.operations.append((kind, bit, phase, *starts))

    def _add_turn(self, turn: Turn, kind: int) -> None:
        self._begin(kind, turn.bit)
        self.n_coefficients += 4
        for rotation in turn.rotations:
            self._own(rotation.angle, 1)
            self.trigs.append((rotation.angle, rotation.rate, rotation.even, rotation.odd, rotation.axis()))

    def _add_permutation(self, permute: Permute) -> None:
        is_plain = bool(np.all(permute.phase == permute.phase[0]))
        self._begin(PERMUTE if is_plain else PERMUTE_PHASE, len(self.permutations), len(self.phases))
        self.permutations.append(permute.source)
        if not is_plain:
            self.phases.append(np.stack([permute.phase.real, permute.phase.imag]))

    def _add_blocks(self, operation: Blocks) -> None:
        gate = operation.gate
        self._begin(BLOCKS)
        self._own(gate.angle, len(gate.rates))
        self.trigs += [(gate.angle, rate, np.zeros(4), np.zeros(4), np.zeros(3)) for rate in gate.rates]
        self.block_bits.extend(sorted(operation.qubit_bits))
        for local, terms in zip(gate.blocks, gate.terms, strict=True):
            rows = operation.row_offsets(local)
            self.blocks.append((len(rows), len(self.block_rows), self.n_coefficients, len(self.terms)))
            self.block_rows.extend(rows)
            self.terms.extend(np.moveaxis(terms, 0, -1).ravel())
            self.n_coefficients += 2 * len(rows) ** 2
            generator = np.tensordot(gate.rates, terms, axes=1)
            for i, j in zip(*np.nonzero(np.abs(generator) > 1e-14), strict=True):
                self.generator_rows.append((int(rows[i]), int(rows[j])))
                self.generator.append(complex(generator[i, j]))

    def _own(self, angle: int, n_rows: int) -> None:
        """Note that the operation begun last and the next `n_rows` trig rows belong to `angle`."""
        if angle >= 0:
            self.angles[angle] = (len(self.operations) - 1, len(self.trigs), len(self.trigs) + n_rows)

    def _freeze(self, n_operations: int, stages: list[int]) -> Instructions:
        size = 2**self.n_qubits
        return Instructions(
            n_qubits=self.n_qubits,
            n_operations=n_operations,
            n_coefficients=self.n_coefficients,
            operations=np.array(self.operations, OPERATION),
            trigs=np.array(self.trigs, TRIG),
            angles=self.angles,
            blocks=np.array(self.blocks, BLOCK),
            permutations=np.array(self.permutations, np.int32).reshape(-1, size),
            phases=np.array(self.phases, np.float64).reshape(-1, 2, size),
            block_bits=np.array(self.block_bits, np.int64),
            block_rows=np.array(self.block_rows, np.int64),
            terms=np.array(self.terms, np.complex128),
            generator_rows=np.array(self.generator_rows, np.int64).reshape(-1, 2),
            generator=np.array(self.generator, np.complex128),
            stage=np.array(stages, np.int64),
        )


def _stages(first_turns: list[Turn], operations: list[Operation]) -> list[int]:
    """First operation of each stage, and the number of operations: greedy runs of operations on disjoint qubits."""
    starts = [0]
    busy: set[int] = set()
    for index, operation in enumerate(operations, start=len(first_turns)):
        if index == len(first_turns) or busy & operation.bits:
            starts.append(index)
            busy = set()
        busy |= operation.bits
    return [*starts, len(first_turns) + len(operations)]
