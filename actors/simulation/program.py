"""Program: a measured circuit as flat arrays, which the kernels interpret.

One Program serves every job of its circuit; binding angles is array work. Nothing here is compiled per circuit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from actors.simulation.lowering import Blocks, Lowered, Operation, Permute, Turn, lower
from actors.simulation.observables import Observables, absorb, compile_observables
from orchestrator.circuits.measured import MeasuredCircuit

GROW, TURN, PERMUTE, PERMUTE_PHASE, BLOCKS = range(5)
"""Kinds of operation. GROW: a TURN on a qubit still in ``|0>``; operations 0..n-1 are the GROWs of bits 0..n-1."""


class Instructions(NamedTuple):
    """The operations as arrays ("trig rows" are pairs cos(rate a), sin(rate a), one or more per gate).

    Attributes:
        n_qubits, n_coefficients: number of qubits, and of real coefficient rows of all operations.
        kind: int64 [O], one of the kinds above.
        bit: int64 [O], bit of a TURN; row of `permutations` of a PERMUTE.
        phase: int64 [O], row of `phases` of a PERMUTE_PHASE.
        coefficient: int64 [O + 1], first coefficient row of each operation.
        trig: int64 [O + 1], first trig row of each operation.
        trig_angle: int64 [T], angle of each trig row, -1 for a fixed gate. trig_rate: float64 [T].
        even, odd: float64 [T, 4], quaternions of the rotation of a trig row (TURN, GROW only).
        axis: float64 [T, 3], its generator, see ``Rotation.axis``.
        angle_operation: int64 [K], the operation each angle moves, O if none.
        angle_trig: int64 [K, 2], its trig rows, first and stop.
        permutations: int32 [., 2**n], ``out[j] = in[permutations[p, j]]``. phases: float64 [., 2, 2**n], applied to out[j].
        op_bit: int64 [O + 1], first entry in `block_bits` of a BLOCKS operation. block_bits: int64 [.], ascending per operation.
        op_block: int64 [O + 1], first entry of each BLOCKS operation in the block tables.
        block_size, block_row, block_coefficient, block_term: int64 [B]: rows m of the block, its first entry in `block_rows`,
            its first coefficient row (2 m m of them: re, im of the entries in row order), its first entry in `terms`.
        block_rows: int64 [.], basis index of each row of a block with all other bits 0.
        terms: complex128 [.], per block [m m, J].
        op_generator: int64 [O + 1], first entry of each BLOCKS operation in the generator's list of entries.
        generator_rows: int64 [., 2], row and column. generator: complex128 [.].
        stage: int64 [stages + 1], first operation of each stage: operations of a stage share no qubit.
    """

    n_qubits: int
    n_coefficients: int
    kind: np.ndarray
    bit: np.ndarray
    phase: np.ndarray
    coefficient: np.ndarray
    trig: np.ndarray
    trig_angle: np.ndarray
    trig_rate: np.ndarray
    even: np.ndarray
    odd: np.ndarray
    axis: np.ndarray
    angle_operation: np.ndarray
    angle_trig: np.ndarray
    permutations: np.ndarray
    phases: np.ndarray
    op_bit: np.ndarray
    block_bits: np.ndarray
    op_block: np.ndarray
    block_size: np.ndarray
    block_row: np.ndarray
    block_coefficient: np.ndarray
    block_term: np.ndarray
    block_rows: np.ndarray
    terms: np.ndarray
    op_generator: np.ndarray
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
        instructions, observables: what the kernels interpret.
    """

    n_qubits: int
    n_angles: int
    n_paulis: int
    n_groups: int
    is_constant: np.ndarray
    instructions: Instructions
    observables: Observables

    @property
    def n_operations(self) -> int:
        """Number of operations after fusion."""
        return len(self.instructions.kind)


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
    return Program(
        n_qubits=template.n_qubits,
        n_angles=template.n_angles,
        n_paulis=len(circuit.paulis),
        n_groups=len(circuit.groups),
        is_constant=np.array([set(pauli) == {"I"} for pauli in circuit.paulis]),
        instructions=_Assembler(template.n_qubits, template.n_angles).assemble(lowered, operations),
        observables=compile_observables(circuit, absorbed),
    )


class _Assembler:
    """Collects the arrays of Instructions, operation by operation."""

    def __init__(self, n_qubits: int, n_angles: int) -> None:
        self.n_qubits = n_qubits
        self.n_coefficients = 0
        self.kind: list[int] = []
        self.bit: list[int] = []
        self.phase: list[int] = []
        self.starts: dict[str, list[int]] = {"coefficient": [0], "trig": [0], "bit": [0], "block": [0], "generator": [0]}
        self.trig_angle: list[int] = []
        self.trig_rate: list[float] = []
        self.quaternions: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.angle_operation = np.full(n_angles, -1, np.int64)
        self.angle_trig = np.zeros((n_angles, 2), np.int64)
        self.permutations: list[np.ndarray] = []
        self.phases: list[np.ndarray] = []
        self.block_bits: list[int] = []
        self.blocks: list[tuple[int, int, int, int]] = []
        self.block_rows: list[int] = []
        self.terms: list[complex] = []
        self.generator_rows: list[tuple[int, int]] = []
        self.generator: list[complex] = []

    def assemble(self, lowered: Lowered, operations: list[Operation]) -> Instructions:
        for turn in lowered.first_turns:
            self._add(turn, GROW)
        for operation in operations:
            match operation:
                case Turn():
                    self._add(operation, TURN)
                case Permute():
                    is_plain = bool(np.all(operation.phase == operation.phase[0]))
                    self._add(operation, PERMUTE if is_plain else PERMUTE_PHASE)
                case Blocks():
                    self._add(operation, BLOCKS)
        self.angle_operation[self.angle_operation < 0] = len(self.kind)
        return self._freeze(_stages(lowered.first_turns, operations))

    def _add(self, operation: Operation, kind: int) -> None:
        self.kind.append(kind)
        self.bit.append(0)
        self.phase.append(0)
        match operation:
            case Turn():
                self._add_turn(operation)
            case Permute():
                self._add_permutation(operation, kind)
            case Blocks():
                self._add_blocks(operation)
        ends = (self.n_coefficients, len(self.trig_angle), len(self.block_bits), len(self.blocks), len(self.generator))
        for start, end in zip(self.starts.values(), ends, strict=True):
            start.append(end)

    def _add_turn(self, turn: Turn) -> None:
        self.bit[-1] = turn.bit
        self.n_coefficients += 4
        for rotation in turn.rotations:
            self._own(rotation.angle, 1)
            self.trig_angle.append(rotation.angle)
            self.trig_rate.append(rotation.rate)
            self.quaternions.append((rotation.even, rotation.odd, rotation.axis()))

    def _add_permutation(self, permute: Permute, kind: int) -> None:
        self.bit[-1] = len(self.permutations)
        self.permutations.append(permute.source)
        if kind == PERMUTE_PHASE:
            self.phase[-1] = len(self.phases)
            self.phases.append(np.stack([permute.phase.real, permute.phase.imag]))

    def _add_blocks(self, operation: Blocks) -> None:
        gate = operation.gate
        self._own(gate.angle, len(gate.rates))
        for rate in gate.rates:
            self.trig_angle.append(gate.angle)
            self.trig_rate.append(rate)
            self.quaternions.append((np.zeros(4), np.zeros(4), np.zeros(3)))
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
        """Note that the next `n_rows` trig rows and the operation being added belong to `angle`."""
        if angle >= 0:
            self.angle_operation[angle] = len(self.kind) - 1
            self.angle_trig[angle] = len(self.trig_angle), len(self.trig_angle) + n_rows

    def _freeze(self, stages: list[int]) -> Instructions:
        size = 2**self.n_qubits
        blocks = np.array(self.blocks, np.int64).reshape(-1, 4).T.copy()
        even, odd, axis = (np.array(list(column)) for column in zip(*self.quaternions, strict=True))
        return Instructions(
            n_qubits=self.n_qubits,
            n_coefficients=self.n_coefficients,
            kind=np.array(self.kind, np.int64),
            bit=np.array(self.bit, np.int64),
            phase=np.array(self.phase, np.int64),
            coefficient=np.array(self.starts["coefficient"], np.int64),
            trig=np.array(self.starts["trig"], np.int64),
            trig_angle=np.array(self.trig_angle, np.int64),
            trig_rate=np.array(self.trig_rate, np.float64),
            even=even,
            odd=odd,
            axis=axis,
            angle_operation=self.angle_operation,
            angle_trig=self.angle_trig,
            permutations=np.array(self.permutations, np.int32).reshape(-1, size),
            phases=np.array(self.phases, np.float64).reshape(-1, 2, size),
            op_bit=np.array(self.starts["bit"], np.int64),
            block_bits=np.array(self.block_bits, np.int64),
            op_block=np.array(self.starts["block"], np.int64),
            block_size=blocks[0],
            block_row=blocks[1],
            block_coefficient=blocks[2],
            block_term=blocks[3],
            block_rows=np.array(self.block_rows, np.int64),
            terms=np.array(self.terms, np.complex128),
            op_generator=np.array(self.starts["generator"], np.int64),
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
