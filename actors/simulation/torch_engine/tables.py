"""A compiled program as tensors on a device.

What ``state_vector.program`` has as flat arrays for its kernels is here a list of operations, each with the index tensors it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from actors.simulation.state_vector.program import BLOCKS, GROW, PERMUTE_PHASE, TURN, Program

REALS = {"double": torch.float64, "single": torch.float32}
_ZERO = 1e-15
"""Entries of unit quaternions that are rounding."""


@dataclass(frozen=True, eq=False)
class Turn:
    """A run of one-qubit gates.

    Attributes:
        bit: the qubit's place in a basis index. grows: it is the first there, and acts on a qubit in ``|0>``.
        place: among the turns. is_real: its matrix is real at all angles. angle_rows: trig rows of its rotations.
        axes: bool [3], the components that the axes of its rotations may have at the end of the run.
    """

    bit: int
    grows: bool
    place: int
    is_real: bool
    angle_rows: range
    axes: np.ndarray


@dataclass(frozen=True, eq=False)
class Permutation:
    """``out[j] = phase[j] in[source[j]]``.

    Attributes:
        table: int32 [2**n], the source. moves: it is not the identity. device: of the tensors.
        phase: real [2, 2**n, 1, 1], real and imaginary part; [1, 2**n, 1, 1] where all are real; None where all are 1.
    """

    table: np.ndarray
    moves: bool
    device: torch.device
    phase: torch.Tensor | None

    @cached_property
    def source(self) -> torch.Tensor:
        """The table on the device."""
        return torch.from_numpy(self.table).to(self.device)

    @cached_property
    def inverse(self) -> torch.Tensor:
        """That of the inverse, ``in[j]`` by ``out``."""
        inverse = np.empty_like(self.table)
        inverse[self.table] = np.arange(len(self.table), dtype=np.int32)
        return torch.from_numpy(inverse).to(self.device)


class Block(NamedTuple):
    """One block of a direct sum: its local basis states, as the values of the operation's bits, highest first, and its entries.

    Attributes:
        states: m tuples. terms: float64 [2, m, m, J, 1, 1], real and imaginary parts, with the block
            ``sum_j exp(i a rates[j]) terms[:, :, j]``.
    """

    states: tuple[tuple[int, ...], ...]
    terms: torch.Tensor


@dataclass(frozen=True, eq=False)
class DirectSum:
    """A gate on several qubits as a direct sum of blocks.

    Attributes:
        bits: places in a basis index, highest first. angle_rows: its trig rows, one for each eigenphase.
        generator: (row, column, entry) of the generator, rows and columns as the values of the bits.
    """

    bits: tuple[int, ...]
    angle_rows: range
    blocks: tuple[Block, ...]
    generator: tuple[tuple[tuple[int, ...], tuple[int, ...], complex], ...]


Operation = Turn | Permutation | DirectSum


@dataclass(frozen=True, eq=False)
class Rotations:
    """The rotations of all turns, level by level: the first of every turn, the second, ...; a turn with fewer has identities at the end.

    Attributes:
        trig: int64 [L, turns], trig rows; T, the row of a cosine 1 and a sine 0, where there is none.
        even, odd: float64 [L, 4, turns, 1], quaternions. axis: float64 [L, 3, turns, 1].
    """

    trig: torch.Tensor
    even: torch.Tensor
    odd: torch.Tensor
    axis: torch.Tensor


class Tables:
    """A program on a device.

    Args:
        program: from ``compile_program``. device: where. precision: of the states; angles, coefficients and results are double.

    Attributes:
        operations: in order of time. rotations: of the turns, n_levels of them. rates: float64 [T + 1, 1], by trig row.
        angle_of_row: int64 [T], the angle of each trig row, -1 for none.
    """

    def __init__(self, program: Program, device: torch.device, precision: str) -> None:
        self.program = program
        self.device = device
        self.real = REALS[precision]
        self.n_qubits = program.n_qubits
        code = program.instructions
        self.angle_of_row = code.trigs["angle"].astype(np.int64)
        self.rates = self.double(np.append(code.trigs["rate"], 0.0)[:, None])
        turns = [i for i in range(program.n_operations) if code.operations[i]["kind"] in (GROW, TURN)]
        self.rotations = self._rotations(turns)
        self.n_levels = len(self.rotations.trig)
        places = {op: place for place, op in enumerate(turns)}
        self.operations = tuple(self._operation(op, places.get(op, -1)) for op in range(program.n_operations))

    def double(self, array: np.ndarray) -> torch.Tensor:
        """`array` as float64 on the device."""
        return torch.from_numpy(np.ascontiguousarray(array, np.float64)).to(self.device)

    def index(self, array: np.ndarray) -> torch.Tensor:
        """`array` as int64 on the device."""
        return torch.from_numpy(np.ascontiguousarray(array, np.int64)).to(self.device)

    def _rows(self, op: int) -> range:
        operations = self.program.instructions.operations
        return range(int(operations[op]["trig"]), int(operations[op + 1]["trig"]))

    def _rotations(self, turns: list[int]) -> Rotations:
        trigs = self.program.instructions.trigs
        n_levels = max((len(self._rows(op)) for op in turns), default=1)
        trig = np.full((n_levels, len(turns)), len(trigs))
        even, odd = np.zeros((2, n_levels, 4, len(turns)))
        even[:, 0] = 1.0
        axis = np.zeros((n_levels, 3, len(turns)))
        for place, op in enumerate(turns):
            for level, row in enumerate(self._rows(op)):
                trig[level, place] = row
                even[level, :, place], odd[level, :, place] = trigs[row]["even"], trigs[row]["odd"]
                axis[level, :, place] = trigs[row]["axis"]
        return Rotations(
            self.index(trig),
            self.double(even[..., None]),
            self.double(odd[..., None]),
            self.double(axis[..., None]),
        )

    def _operation(self, op: int, place: int) -> Operation:
        code = self.program.instructions
        kind = code.operations[op]["kind"]
        if place >= 0:
            return self._turn(op, place, grows=kind == GROW)
        if kind == BLOCKS:
            return self._direct_sum(op)
        return self._permutation(op)

    def _turn(self, op: int, place: int, *, grows: bool) -> Turn:
        code, rows = self.program.instructions, self._rows(op)
        own = code.trigs[rows.start : rows.stop]
        imaginary = np.abs(np.concatenate([own["even"][:, 1::2], own["odd"][:, 1::2]]))
        axes = np.abs(own["axis"][0]) > _ZERO if len(rows) == 1 else np.ones(3, bool)
        return Turn(int(code.operations[op]["bit"]), grows, place, bool(imaginary.max() <= _ZERO), rows, axes)

    def _permutation(self, op: int) -> Permutation:
        code = self.program.instructions
        record = code.operations[op]
        table = code.permutations[record["bit"]]
        moves = not np.array_equal(table, np.arange(len(table)))
        phase = None
        if record["kind"] == PERMUTE_PHASE:
            planes = code.phases[record["phase"]]
            planes = planes if np.any(planes[1]) else planes[:1]
            # rounded before it is sent: a kernel on the device would be no part of a later stream's order
            phase = (
                torch.from_numpy(np.ascontiguousarray(planes[:, :, None, None])).to(self.real).to(self.device)
            )
        return Permutation(table, moves, self.device, phase)

    def _direct_sum(self, op: int) -> DirectSum:
        code, rows = self.program.instructions, self._rows(op)
        record, after = code.operations[op], code.operations[op + 1]
        bits = tuple(int(bit) for bit in code.block_bits[record["block_bit"] : after["block_bit"]][::-1])

        def state(row: int) -> tuple[int, ...]:
            return tuple(int(row) >> bit & 1 for bit in bits)

        blocks = []
        for block in code.blocks[record["block"] : after["block"]]:
            m = int(block["n_rows"])
            terms = code.terms[block["term"] : block["term"] + m * m * len(rows)].reshape(m, m, len(rows))
            states = tuple(state(row) for row in code.block_rows[block["row"] : block["row"] + m])
            planes = self.double(np.stack([terms.real, terms.imag]))
            blocks.append(Block(states, planes[..., None, None]))
        first, stop = record["generator"], after["generator"]
        entries = zip(code.generator_rows[first:stop], code.generator[first:stop], strict=True)
        generator = tuple((state(row), state(column), complex(entry)) for (row, column), entry in entries)
        return DirectSum(bits, rows, tuple(blocks), generator)
