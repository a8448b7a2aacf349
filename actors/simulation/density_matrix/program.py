"""Program: a circuit with its noise as flat arrays, which the kernels interpret; nothing here is compiled per circuit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from actors.noise.model import NoiseModel
from actors.simulation.density_matrix.factors import Factor
from actors.simulation.density_matrix.lowering import Local, Lowered, OneQubit, Permutation, lower
from actors.simulation.pauli_transfer import LETTERS
from orchestrator.circuits.measured import MeasuredCircuit

GROW, TURN, SHRINK, PERMUTE, LOCAL = range(5)
"""Kinds of operation: one qubit still in ``|0>``; one qubit; one qubit of which some letters are kept; all components; some qubits."""

_TOLERANCE = 1e-15

OPERATION = np.dtype(
    [
        (name, np.int64)
        for name in (
            "kind", "inner", "size_in", "size_out", "permutation", "n_entries", "letter", "coefficient", "trig", "bit", "column", "row",
        )
    ],
    align=True,
)  # fmt: skip
"""One operation. inner: of one qubit, the stride of its digit. size_in, size_out: components before and after. permutation: row of
`sources`. n_entries: of a factor's matrix, in `terms`. The rest are places where its share begins (and the next operation's ends):
in `letters`, its first coefficient row, first trig row, and for LOCAL in `bits`, `columns` and `rows`."""
TRIG = np.dtype(
    [("angle", np.int64), ("rate", np.float64), ("begins", np.int64), ("term", np.int64)], align=True
)
"""A pair cos(rate a), sin(rate a); begins: 1 at a factor's first. Its terms begin at `term`: n_entries for cos, then for sin."""
ANGLE = np.dtype([(name, np.int64) for name in ("operation", "first", "stop")], align=True)
"""What an angle moves: its operation (the number of operations if none) and its trig rows."""


class Instructions(NamedTuple):
    """The operations as arrays.

    Attributes:
        n_operations: O. n_coefficients: coefficient rows of all operations. max_components: of any state. max_columns: of a LOCAL.
        operations: OPERATION [O + 1], the last one an end mark. trigs: TRIG [T]. angles: ANGLE [K]. terms: float64 [.].
        letters: int64 [.]. sources: int32 [., 4**n] and weights: float64 [., 4**n], ``out[j] = weights[p, j] in[sources[p, j]]``.
        bits: int64 [.], the index bits of a LOCAL, ascending. columns: int64 [.], the offsets of the components it reads.
        rows: int64 [., 2], the offsets of those it changes, and the first entry of each. entries: int64 [.], the column of each entry
            (a LOCAL's entries are numbered as its coefficients).
    """

    n_operations: int
    n_coefficients: int
    max_components: int
    max_columns: int
    operations: np.ndarray
    trigs: np.ndarray
    angles: np.ndarray
    terms: np.ndarray
    letters: np.ndarray
    sources: np.ndarray
    weights: np.ndarray
    bits: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    entries: np.ndarray


class Reading(NamedTuple):
    """What is read from the final state.

    Attributes:
        n_qubits: n. places: int64 [G, R], in the final state. weight: float64 [G, R]. Exact: G = 1, R = M, the strings. From
            shots: per measurement group its R = 2**n strings, string s holding a letter at the set bits of s.
        masks: int64 [M], the bits that string m reads. group_start: int64 [G + 1]. members: int64 [.], the strings of each group.
    """

    n_qubits: int
    places: np.ndarray
    weight: np.ndarray
    masks: np.ndarray
    group_start: np.ndarray
    members: np.ndarray


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled circuit, for exact values or for shots."""

    n_qubits: int
    n_angles: int
    n_paulis: int
    instructions: Instructions
    reading: Reading


def compile_program(circuit: MeasuredCircuit, noise: NoiseModel, from_shots: bool) -> Program:
    """The program of `circuit` under `noise`.

    Raises:
        CircuitError: a gate on more qubits than the noise model knows.
    """
    template = circuit.template
    read = _outcome_strings(circuit) if from_shots else _strings(circuit.paulis)[None]
    lowered = lower(template, noise, read.ravel())
    assembler = _Assembler(template.n_qubits, template.n_angles)
    instructions = assembler.assemble(lowered)
    groups = circuit.groups
    return Program(
        template.n_qubits,
        template.n_angles,
        len(circuit.paulis),
        instructions,
        Reading(
            n_qubits=template.n_qubits,
            places=assembler.final_places(lowered.read).reshape(read.shape),
            weight=lowered.weight.reshape(read.shape),
            masks=np.array([int("".join("01"[c != "I"] for c in p), 2) for p in circuit.paulis], np.int64),
            group_start=np.cumsum([0, *(len(group.members) for group in groups)]).astype(np.int64),
            members=np.array([m for group in groups for m in group.members], np.int64),
        ),
    )


def _strings(paulis: tuple[str, ...]) -> np.ndarray:
    """The component of each string, int64 [M]."""
    return np.array([sum(LETTERS.index(c) << 2 * b for b, c in enumerate(reversed(p))) for p in paulis])


def _outcome_strings(circuit: MeasuredCircuit) -> np.ndarray:
    """int64 [G, 2**n]: the components that make up the outcomes' distribution; a qubit that is not read is measured in Z."""
    n_qubits = circuit.template.n_qubits
    subsets = np.arange(2**n_qubits)
    strings = np.zeros((len(circuit.groups), len(subsets)), np.int64)
    for row, group in zip(strings, circuit.groups, strict=True):
        for bit, letter in enumerate(reversed(group.basis.replace("I", "Z"))):
            row += ((subsets >> bit) & 1) * (LETTERS.index(letter) << 2 * bit)
    return strings


class _Assembler:
    """Collects the arrays of Instructions, operation by operation, and the letters that each qubit's axis holds."""

    def __init__(self, n_qubits: int, n_angles: int) -> None:
        self.axes: list[tuple[int, ...]] = [(0,)] * n_qubits
        self.n_coefficients = 0
        self.n_terms = 0
        self.operations: list[tuple[int, ...]] = []
        self.trigs: list[tuple[int, float, int, int]] = []
        self.angles = np.full(n_angles, -1, ANGLE)
        self.terms: list[np.ndarray] = []
        self.letters: list[int] = []
        self.sources: list[np.ndarray] = []
        self.weights: list[np.ndarray] = []
        self.bits: list[int] = []
        self.columns: list[int] = []
        self.rows: list[tuple[int, int]] = []
        self.entries: list[int] = []
        self.max_columns = 1

    def assemble(self, lowered: Lowered) -> Instructions:
        for first in lowered.first:
            self._add_one_qubit(first, GROW)
        for operation in [*lowered.operations, *lowered.last]:
            match operation:
                case OneQubit():
                    self._add_one_qubit(operation, TURN if len(operation.letters) == 4 else SHRINK)
                case Permutation():
                    self._begin(PERMUTE, permutation=len(self.sources))
                    self.sources.append(operation.moves.source)
                    self.weights.append(operation.moves.weight)
                case Local():
                    self._add_local(operation)
        return self._freeze()

    def final_places(self, components: np.ndarray) -> np.ndarray:
        """Where each component is found in the final state, of which only some letters are left."""
        index = np.zeros_like(components)
        stride = 1
        for place, letters in enumerate(self.axes):
            where = np.zeros(4, np.int64)
            where[list(letters)] = np.arange(len(letters))
            index += stride * where[(components >> 2 * place) & 3]
            stride *= len(letters)
        return index

    def _size(self, places: int) -> int:
        """Components of the lowest `places` qubits."""
        return int(np.prod([len(letters) for letters in self.axes[:places]], dtype=np.int64))

    def _begin(
        self,
        kind: int,
        place: int = 0,
        letters: tuple[int, ...] = (),
        permutation: int = 0,
        n_entries: int = 16,
    ) -> None:
        """Start an operation's record, before its parts are added."""
        size_in = self._size(len(self.axes))
        if letters:
            self.axes[place] = letters
        starts = (
            len(self.letters), self.n_coefficients, len(self.trigs), len(self.bits), len(self.columns), len(self.rows),
        )  # fmt: skip
        sizes = (self._size(place), size_in, self._size(len(self.axes)))
        self.operations.append((kind, *sizes, permutation, n_entries, *starts))

    def _add_one_qubit(self, operation: OneQubit, kind: int) -> None:
        self._begin(kind, operation.place, operation.letters)
        self.letters += operation.letters
        self.n_coefficients += 16
        every = np.arange(16)
        for factor in operation.factors:
            self._add_factor(factor, every)

    def _add_local(self, operation: Local) -> None:
        factor = operation.factor
        size = factor.cosine.shape[-1]
        is_entry = np.maximum(np.abs(factor.cosine).max(axis=0), np.abs(factor.sine).max(axis=0)) > _TOLERANCE
        is_kept = factor.is_fixed & (factor.constant == np.eye(size)).all(axis=1)  # a derivative keeps no row
        rows = np.flatnonzero(~is_kept)
        entries = [(int(r), int(c)) for r in rows for c in np.flatnonzero(is_entry[r])]
        columns = sorted({c for _, c in entries})
        self._begin(LOCAL, n_entries=len(entries))
        self.bits += sorted(bit for place in operation.places for bit in (2 * place, 2 * place + 1))
        self.columns += operation.offsets(np.array(columns, np.int64)).tolist()
        offsets = operation.offsets(rows).tolist()
        starts = np.searchsorted([r for r, _ in entries], rows) + self.n_coefficients
        self.rows += list(zip(offsets, starts.tolist(), strict=True))
        self.entries += [0] * (self.n_coefficients - len(self.entries))
        self.entries += [columns.index(c) for _, c in entries]
        self.n_coefficients += len(entries)
        self.max_columns = max(self.max_columns, len(columns))
        self._add_factor(factor, np.array([r * size + c for r, c in entries], np.int64))

    def _add_factor(self, factor: Factor, entries: np.ndarray) -> None:
        """Add the trig rows of `factor` and, for each, the terms of the `entries` of its matrix."""
        if factor.angle >= 0:
            first = len(self.trigs)
            self.angles[factor.angle] = (len(self.operations) - 1, first, first + len(factor.rates))
        for j, rate in enumerate(factor.rates):
            self.trigs.append((factor.angle, float(rate), int(j == 0), self.n_terms))
            self.terms += [factor.cosine[j].ravel()[entries], factor.sine[j].ravel()[entries]]
            self.n_terms += 2 * len(entries)

    def _freeze(self) -> Instructions:
        n_operations = len(self.operations)
        self._begin(-1)
        self.rows.append((0, self.n_coefficients))
        self.entries += [0] * (self.n_coefficients - len(self.entries))
        self.angles["operation"][self.angles["operation"] < 0] = n_operations
        size = 4 ** len(self.axes)
        return Instructions(
            n_operations=n_operations,
            n_coefficients=self.n_coefficients,
            max_components=max(operation[3] for operation in self.operations),
            max_columns=self.max_columns,
            operations=np.array(self.operations, OPERATION),
            trigs=np.array(self.trigs, TRIG),
            angles=self.angles,
            terms=np.concatenate([np.zeros(0), *self.terms]),
            letters=np.array(self.letters, np.int64),
            sources=np.array(self.sources, np.int32).reshape(-1, size),
            weights=np.array(self.weights, np.float64).reshape(-1, size),
            bits=np.array(self.bits, np.int64),
            columns=np.array(self.columns, np.int64),
            rows=np.array(self.rows, np.int64).reshape(-1, 2),
            entries=np.array(self.entries, np.int64),
        )
