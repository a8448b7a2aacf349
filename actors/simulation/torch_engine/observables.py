"""Pauli strings on a block of states: their expectation values, and what they make of a state.

A string maps ``|j>`` to ``i**n_y (-1)**parity(j & mask) |j ^ flip>``. So its expectation value is a sign sum, the Walsh transform at
`mask`, of the products of each amplitude with that `flip` away from it: of their real part where n_y is even, of the imaginary part where
it is odd. Strings of one flip share the products. The transform halves its array once per qubit, into sums and differences, and keeps
only those that some string needs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch

from actors.simulation.torch_engine.states import local
from actors.simulation.torch_engine.tables import Tables


@dataclass(frozen=True, eq=False)
class Walsh:
    """The transform at some masks.

    Attributes:
        levels: for each qubit from the highest, of every sum or difference that is kept: int64 [nodes], the array that it halves, and
            float64 [nodes, 1, 1, 1], 1 or -1.
        leaf: int64 [strings], where the sums of the strings are at the end.
    """

    levels: list[tuple[torch.Tensor, torch.Tensor]]
    leaf: torch.Tensor

    @classmethod
    def at(cls, masks: np.ndarray, n_qubits: int, device: torch.device) -> Walsh:
        """At `masks`, int64 [strings]."""
        levels, nodes = [], {0: 0}
        for level in range(n_qubits):
            wanted = sorted({int(mask) >> (n_qubits - 1 - level) for mask in masks})
            parents = torch.tensor([nodes[top >> 1] for top in wanted], device=device)
            signs = torch.tensor(
                [1.0 - 2.0 * (top & 1) for top in wanted], dtype=torch.float64, device=device
            )
            levels.append((parents, signs[:, None, None, None]))
            nodes = {top: place for place, top in enumerate(wanted)}
        return cls(levels, torch.tensor([nodes[int(mask)] for mask in masks], device=device))

    def __call__(self, weights: torch.Tensor) -> torch.Tensor:
        """[strings, R, W] from weights [2**n, R, W]."""
        nodes = weights[None]
        for parents, signs in self.levels:
            if len(parents) != 1 or len(nodes) != 1:
                nodes = nodes.index_select(0, parents)
            low, high = nodes.chunk(2, dim=1)
            nodes = low + high * signs.to(high.dtype)
        return nodes[:, 0].index_select(0, self.leaf)


@dataclass(frozen=True, eq=False)
class _Alike:
    """Strings of one flip and one parity of n_y. flip: int32 [2**n], None for 0. members: the strings; sign: float64 [strings, 1, 1]."""

    flip: torch.Tensor | None
    is_odd: bool
    members: torch.Tensor
    sign: torch.Tensor
    walsh: Walsh


class PauliStrings:
    """The strings of a program.

    Args:
        tables: the program.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        seen = tables.program.observables
        rows = np.arange(1 << tables.n_qubits, dtype=np.int32)
        flips = {int(flip) for flip in seen.flip if flip}
        self._flips = {flip: torch.from_numpy(rows ^ np.int32(flip)).to(tables.device) for flip in flips}
        alike: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for m in range(tables.program.n_paulis):
            alike[int(seen.flip[m]), bool(seen.n_y[m] % 2)].append(m)
        self._alike = [self._of(flip, is_odd, np.array(members)) for (flip, is_odd), members in alike.items()]

    def _of(self, flip: int, is_odd: bool, members: np.ndarray) -> _Alike:
        tables, seen = self._tables, self._tables.program.observables
        # i**n_y is real, or i times what is left; and Re(i z) = -Im z
        is_minus = seen.n_y[members] % 4 >= 2
        sign = np.where(is_minus != is_odd, -1.0, 1.0) * seen.sign[members]
        return _Alike(
            self._flips.get(flip),
            is_odd,
            tables.index(members),
            tables.double(sign[:, None, None]),
            Walsh.at(seen.sign_mask[members], tables.n_qubits, tables.device),
        )

    def values(self, state: torch.Tensor) -> torch.Tensor:
        """float64 [M, R, W]: the expectation values."""
        shape = (self._tables.program.n_paulis, *state.shape[2:])
        found = torch.empty(shape, dtype=torch.float64, device=state.device)
        for strings in self._alike:
            sums = strings.walsh(_products(state, strings.flip, strings.is_odd)).to(torch.float64)
            found.index_copy_(0, strings.members, sums * strings.sign)
        return found

    def applied(self, state: torch.Tensor, strings: range) -> torch.Tensor:
        """[2, 2**n, V, W]: what each of V strings makes of the states [2, 2**n, 1, W]."""
        return torch.cat([self._applied(state, m, None) for m in strings], dim=2)

    def weighted(self, state: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """[2, 2**n, 1, W]: ``sum_m weights[m] P_m`` of the states [2, 2**n, 1, W]; weights real [M, W]."""
        total = self._applied(state, 0, weights[0])
        for m in range(1, len(weights)):
            total = total + self._applied(state, m, weights[m])
        return total

    def _applied(self, state: torch.Tensor, m: int, weight: torch.Tensor | None) -> torch.Tensor:
        seen = self._tables.program.observables
        flip, mask, n_y = int(seen.flip[m]), int(seen.sign_mask[m]), int(seen.n_y[m])
        moved = state.clone()
        for bit in range(self._tables.n_qubits):
            if mask >> bit & 1:
                local(moved, (bit,), (1,)).neg_()
        if flip:
            moved = moved.index_select(1, self._flips[flip])
        if n_y % 2:
            moved = torch.stack([-moved[1], moved[0]])
        if (n_y % 4 >= 2) != (seen.sign[m] < 0):
            moved = -moved
        return moved if weight is None else moved * weight


def _products(state: torch.Tensor, flip: torch.Tensor | None, is_odd: bool) -> torch.Tensor:
    """[2**n, R, W]: real (or imaginary) part of ``conj(psi[j ^ flip]) psi[j]``."""
    re, im = state[0], state[1]
    other = state if flip is None else state.index_select(1, flip)
    if is_odd:
        return other[0] * im - other[1] * re
    return other[0] * re + other[1] * im


def probabilities(state: torch.Tensor) -> torch.Tensor:
    """[2**n, R, W]."""
    return _products(state, None, False)
