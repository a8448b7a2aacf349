"""Pauli strings as bit masks, and the plan that sums probabilities into their expectation values.

Strings of I and Z are sign sums of the 2**n probabilities, ``<Z_mask> = sum_j (-1)**parity(j & mask) p_j``: the Walsh transform of
p at `mask`. The transform halves the array once per qubit, into sums (qubit not in the mask) or differences (qubit in it); the
plan keeps only the halves that some wanted mask needs. M strings cost about (2 + log2 M) 2**n additions, never M 2**n.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from orchestrator.circuits.measured import MeasuredCircuit


class Observables(NamedTuple):
    """The strings of a measured circuit, and how to evaluate them.

    Plan 0 serves the strings of I and Z exactly (all strings, if none has X or Y); plan 1 + g serves group g from shots, after
    its basis rotation; the plan of a *final bit* (see ``rows``) serves the strings with a Z there, that bit taken out.

    Attributes:
        flip, sign_mask: int64 [M]: string m maps ``|j>`` to ``i**n_y (-1)**parity(j & sign_mask) |j ^ flip>``.
        n_y: int64 [M], number of Y.
        sign: float64 [M], +-1, applied to the Z strings' values.
        plan_step: int64 [P + 1], first step of each plan. steps: int64 [., 4]: level, first source row, first target row (both in
            the level's half-size arrays, which alternate between two planes), 1 for a difference and 0 for a sum.
        plan_leaf: int64 [P + 1], first leaf of each plan. leaves: int64 [., 2]: row at the last level, string.
        group_basis: int64 [G, n], per group and bit: 0 none, 1 measure X, 2 measure Y.
        bit_plan: int64 [n], the plan of each final bit, -1 for other bits.
    """

    flip: np.ndarray
    sign_mask: np.ndarray
    n_y: np.ndarray
    sign: np.ndarray
    plan_step: np.ndarray
    steps: np.ndarray
    plan_leaf: np.ndarray
    leaves: np.ndarray
    group_basis: np.ndarray
    bit_plan: np.ndarray


class Absorbed(NamedTuple):
    """Z strings seen through a permutation: masks and signs before it, each [M]."""

    masks: np.ndarray
    signs: np.ndarray


def mask_of(pauli: str, letters: str) -> int:
    """The basis bits of the qubits that `pauli` holds one of `letters` at (qubit 0 the most significant)."""
    return sum(1 << bit for bit, letter in enumerate(reversed(pauli)) if letter in letters)


def parity(rows: np.ndarray | int) -> np.ndarray:
    """0 or 1: parity of the number of set bits."""
    return np.asarray(np.bitwise_count(rows) & 1, np.int64)


def absorb(circuit: MeasuredCircuit, source: np.ndarray) -> Absorbed | None:
    """The circuit's strings before the trailing permutation ``out[j] = in[source[j]]`` (phases do not matter to Z).

    Possible when all strings are of I and Z and the permutation is affine over bits (CNOT, X, SWAP, not Toffoli):
    then a string's sign at ``target(k)`` is, as a function of k, again that of a string.
    """
    if any(set(pauli) - set("IZ") for pauli in circuit.paulis):
        return None
    target = np.empty_like(source)
    target[source] = np.arange(len(source))
    offset = int(target[0])
    columns = [int(target[1 << bit]) ^ offset for bit in range(circuit.template.n_qubits)]
    image = np.full(len(source), offset)
    rows = np.arange(len(source))
    for bit, column in enumerate(columns):
        image ^= ((rows >> bit) & 1) * column
    if not np.array_equal(image, target):
        return None
    masks = [mask_of(pauli, "Z") for pauli in circuit.paulis]
    seen = [sum(int(parity(mask & column)) << bit for bit, column in enumerate(columns)) for mask in masks]
    signs = [1.0 - 2.0 * int(parity(mask & offset)) for mask in masks]
    return Absorbed(np.array(seen, np.int64), np.array(signs))


def compile_observables(
    circuit: MeasuredCircuit, absorbed: Absorbed | None, final_bits: Sequence[int] = ()
) -> Observables:
    """The arrays of `circuit`'s strings; `absorbed` replaces their masks where a permutation was absorbed."""
    paulis, n_qubits = circuit.paulis, circuit.template.n_qubits
    sign_mask = np.array([mask_of(p, "ZY") for p in paulis], np.int64)
    read_mask = np.array([mask_of(p, "XYZ") for p in paulis], np.int64)
    sign = np.ones(len(paulis))
    if absorbed is not None:
        sign_mask = read_mask = absorbed.masks
        sign = absorbed.signs
    flip = np.array([mask_of(p, "XY") for p in paulis], np.int64)
    plans = [np.flatnonzero(flip == 0), *(np.array(group.members) for group in circuit.groups)]
    walsh_plans = [_walsh_plan(read_mask, members, n_qubits) for members in plans]
    bit_plan = np.full(n_qubits, -1, np.int64)
    for bit in final_bits:
        bit_plan[bit] = len(walsh_plans)
        low, members = read_mask & ((1 << bit) - 1), np.flatnonzero((read_mask >> bit) & 1)
        walsh_plans.append(_walsh_plan((read_mask >> (bit + 1) << bit) | low, members, n_qubits - 1))
    steps, leaves = [plan[0] for plan in walsh_plans], [plan[1] for plan in walsh_plans]
    basis = [
        ["IXY".find(letter) if letter in "XY" else 0 for letter in reversed(group.basis)]
        for group in circuit.groups
    ]
    return Observables(
        flip=flip,
        sign_mask=sign_mask,
        n_y=np.array([p.count("Y") for p in paulis], np.int64),
        sign=sign,
        plan_step=np.cumsum([0, *map(len, steps)]).astype(np.int64),
        steps=np.array([*chain.from_iterable(steps)], np.int64).reshape(-1, 4),
        plan_leaf=np.cumsum([0, *map(len, leaves)]).astype(np.int64),
        leaves=np.array([*chain.from_iterable(leaves)], np.int64).reshape(-1, 2),
        group_basis=np.array(basis, np.int64).reshape(-1, n_qubits),
        bit_plan=bit_plan,
    )


def _walsh_plan(
    masks: np.ndarray, members: np.ndarray, n_qubits: int
) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int]]]:
    """Steps and leaves for the strings `members`: at level l bit n-1-l is summed out, leaving arrays of 2**(n-1-l) rows."""
    steps: list[tuple[int, int, int, int]] = []
    nodes = {0: 0} if len(members) else {}  # the top bits of a mask -> first row of its array
    for level in range(n_qubits):
        half = 2 ** (n_qubits - 1 - level)
        wanted = sorted({int(mask) >> (n_qubits - 1 - level) for mask in masks[members]})
        steps += [(level, nodes[top >> 1], slot * half, top & 1) for slot, top in enumerate(wanted)]
        nodes = {top: slot * half for slot, top in enumerate(wanted)}
    return steps, [(nodes[int(masks[m])], int(m)) for m in members]
