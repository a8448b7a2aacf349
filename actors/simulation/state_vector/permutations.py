"""Runs of gates that permute basis states, composed into one permutation.

A state has 2**n amplitudes and an entangling layer up to n**2 / 2 gates, so nothing here goes through all amplitudes once per gate. X, CNOT
and SWAP act on the bits of an index as affine maps over the field of two elements, which compose as n x n matrices of bits (D. Aaronson
and D. Gottesman, Phys. Rev. A 70 (2004) 052328); the indices themselves are written down once, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actors.simulation.state_vector.gate_algebra import Monomial


def gather_bits(rows: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """The local index that each basis index holds at `bits`, the first bit the most significant."""
    local = np.zeros_like(rows)
    for bit in bits:
        local = (local << 1) | ((rows >> bit) & 1)
    return local


def spread_bits(local: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """The inverse: each local index put at `bits`, all other bits 0."""
    rows = np.zeros_like(local)
    for place, bit in enumerate(reversed(bits)):
        rows |= ((local >> place) & 1) << bit
    return rows


@dataclass(frozen=True)
class Step:
    """A gate of a run: `gate` acts on `bits` of the basis index, its first qubit on ``bits[0]``."""

    gate: Monomial
    bits: tuple[int, ...]


def compose(n_qubits: int, steps: Sequence[Step]) -> tuple[np.ndarray, np.ndarray]:
    """(source int32 [2**n], phase complex128 [2**n]) of all `steps` in order of time: ``out[j] = phase[j] * in[source[j]]``."""
    index = _Index(n_qubits)
    phase = np.ones(1, complex)
    for step in reversed(steps):
        if np.all(step.gate.phase == step.gate.phase[0]):
            phase = phase * step.gate.phase[0]
        else:
            phase = phase * step.gate.phase[index.at(step.bits)]
        index.follow(step)
    return index.values(), np.broadcast_to(phase, 2**n_qubits)


class _Index:
    """A basis index as a function of another one, j: affine in its bits as long as it can be, then all 2**n values."""

    def __init__(self, n_qubits: int) -> None:
        self.n_qubits = n_qubits
        self.masks = [1 << bit for bit in range(n_qubits)]  # bit b is the parity of j & masks[b], ...
        self.flips = [0] * n_qubits  # ... inverted where flips[b] is 1
        self.table: np.ndarray | None = None

    def at(self, bits: tuple[int, ...]) -> np.ndarray:
        """The local index at `bits` for every j, as `gather_bits` orders it."""
        if self.table is not None:
            return gather_bits(self.table, bits)
        return self._expand(bits[::-1], np.uint16)

    def values(self) -> np.ndarray:
        """The index for every j."""
        return self._expand(range(self.n_qubits), np.int32) if self.table is None else self.table

    def follow(self, step: Step) -> None:
        """Replace the index by the step's source of it."""
        source, bits = step.gate.source, step.bits
        columns = _affine(source)
        if columns is None or self.table is not None:
            table, local = self.values(), self.at(bits)
            outside = table - spread_bits(local.astype(np.int32), bits)
            self.table = outside + spread_bits(source.astype(np.int32)[local], bits)
            return
        masks, flips = [self.masks[bit] for bit in bits[::-1]], [self.flips[bit] for bit in bits[::-1]]
        for place, bit in enumerate(bits[::-1]):
            self.masks[bit], self.flips[bit] = 0, int(source[0]) >> place & 1
            for column, mask, flip in zip(columns, masks, flips, strict=True):
                if column >> place & 1:
                    self.masks[bit] ^= mask
                    self.flips[bit] ^= flip

    def _expand(self, bits: Sequence[int], kind: type[np.integer]) -> np.ndarray:
        """For every j the number whose bits, from the least significant one on, are the index's `bits`."""
        values = np.empty(2**self.n_qubits, kind)
        values[0] = sum(self.flips[bit] << place for place, bit in enumerate(bits))
        for k in range(self.n_qubits):
            column = kind(sum((self.masks[bit] >> k & 1) << place for place, bit in enumerate(bits)))
            np.bitwise_xor(values[: 1 << k], column, out=values[1 << k : 2 << k])
        return values


def _affine(source: np.ndarray) -> list[int] | None:
    """What each bit of a local index adds to ``source[0]``, or None if `source` is not affine."""
    n_bits = len(source).bit_length() - 1
    columns = [int(source[1 << place]) ^ int(source[0]) for place in range(n_bits)]
    for local, found in enumerate(source):
        expected = int(source[0])
        for place, column in enumerate(columns):
            expected ^= column * (local >> place & 1)
        if expected != found:
            return None
    return columns
