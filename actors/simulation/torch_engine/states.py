"""What operations do to a block of states ``[2, rows, R, W]``: multiplications and additions of views, nothing else.

Gates act on views of the block in which their qubits have axes of their own; no memory is permuted for them.
"""

from __future__ import annotations

import functools
import math

import torch

from actors.simulation.torch_engine.coefficients import Matrix, quaternion_columns
from actors.simulation.torch_engine.tables import DirectSum, Operation, Permutation, Tables


def zero_states(tables: Tables, width: int) -> torch.Tensor:
    """``|0...0>`` before the first turn: one row."""
    state = torch.zeros((2, 1, 1, width), dtype=tables.real, device=tables.device)
    state[0] = 1.0
    return state


def apply(operation: Operation, matrix: Matrix, state: torch.Tensor) -> torch.Tensor:
    """`operation` on the block `state`, which is destroyed; a first turn doubles its rows."""
    if isinstance(operation, Permutation):
        return _permuted(operation, state)
    if isinstance(operation, DirectSum):
        for block, columns in zip(operation.blocks, matrix, strict=True):
            _apply_block(operation.bits, block.states, columns, state)
        return state
    return (
        _grown(matrix[0], state)
        if operation.grows
        else turned(state, operation.bit, matrix[0], operation.is_real)
    )


def apply_inverse(operation: Operation, matrix: Matrix, state: torch.Tensor) -> torch.Tensor:
    """The inverse of `operation` on the block `state`, which is destroyed; of a first turn as of any other, on all rows.

    The columns of a unitary's real map are orthogonal, so those of the inverse are its rows.
    """
    if isinstance(operation, Permutation):
        return _permuted_back(operation, state)
    inverse = [columns.transpose(0, 1) for columns in matrix]
    if isinstance(operation, DirectSum):
        for block, columns in zip(operation.blocks, inverse, strict=True):
            _apply_block(operation.bits, block.states, columns, state)
        return state
    return turned(state, operation.bit, inverse[0], operation.is_real)


def turned(state: torch.Tensor, bit: int, columns: torch.Tensor, is_real: bool) -> torch.Tensor:
    """The one-qubit gates `columns` [4, 4, R, W] (R and W of the block, or 1) on `bit` of every row."""
    _, rows, n_rows, width = state.shape
    shape = (2, rows >> bit + 1, 2, 1 << bit, n_rows, width)
    old, result = state.view(shape), torch.empty_like(state)
    if is_real:  # the planes do not mix
        terms = [(columns[2 * c, 0::2], old[:, :, c]) for c in range(2)]
    else:
        terms = [(columns[2 * c + q].unflatten(0, (2, 2)), old[q, :, c]) for c in range(2) for q in range(2)]
    _sum_of_products(terms, result.view(shape).permute(2, 0, 1, 3, 4, 5))  # [bit, plane, before, after, R, W]
    return result


def _grown(columns: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """The state times the first column of a gate on a qubit in ``|0>``, which becomes the highest bit."""
    _, rows, n_rows, width = state.shape
    result = torch.empty((2, 2, rows, n_rows, width), dtype=state.dtype, device=state.device)
    terms = [(columns[q].unflatten(0, (2, 2)), state[q]) for q in range(2)]
    _sum_of_products(terms, result.transpose(0, 1))
    return result.view(2, 2 * rows, n_rows, width)


def _sum_of_products(terms: list[tuple[torch.Tensor, torch.Tensor]], out: torch.Tensor) -> None:
    """out = the sum of ``factor * part`` in their order; a factor [..., R, W] is the same for all rows of its part."""
    for i, (factor, part) in enumerate(terms):
        between = out.ndim - factor.ndim
        wide = factor.reshape(*factor.shape[:-2], *(1,) * between, *factor.shape[-2:])
        if i == 0:
            torch.mul(wide, part, out=out)
        else:
            out.add_(wide * part)


def _apply_block(
    bits: tuple[int, ...], states: tuple[tuple[int, ...], ...], columns: torch.Tensor, state: torch.Tensor
) -> None:
    """One block of a direct sum, in place; columns [2 m, 2 m, R, W]."""
    parts = [local(state, bits, values) for values in states]
    m = len(parts)
    terms = [(columns[2 * c + q].unflatten(0, (m, 2)), parts[c][q]) for c in range(m) for q in range(2)]
    result = torch.empty((m, *parts[0].shape), dtype=state.dtype, device=state.device)
    _sum_of_products(terms, result)
    for part, new in zip(parts, result, strict=True):
        part.copy_(new)


def local(state: torch.Tensor, bits: tuple[int, ...], values: tuple[int, ...]) -> torch.Tensor:
    """View [2, ..., R, W] of the rows whose `bits` (highest first) have these values."""
    sizes, above = [], state.shape[1].bit_length() - 1
    for bit in bits:
        sizes += [1 << above - bit - 1, 2]
        above = bit
    view = state.view(2, *sizes, 1 << above, *state.shape[2:])
    for place, value in enumerate(values):
        view = view.select(2 + place, value)
    return view


def _permuted(permutation: Permutation, state: torch.Tensor) -> torch.Tensor:
    if permutation.moves:
        state = state.index_select(1, permutation.source)
    return state if permutation.phase is None else _times(state, permutation.phase, 1)


def _permuted_back(permutation: Permutation, state: torch.Tensor) -> torch.Tensor:
    if permutation.phase is not None:
        state = _times(state, permutation.phase, -1)
    return state.index_select(1, permutation.inverse) if permutation.moves else state


def _times(state: torch.Tensor, phase: torch.Tensor, sign: int) -> torch.Tensor:
    """Every row times its phase, or for `sign` -1 times the conjugate."""
    if len(phase) == 1:
        return state * phase
    re, im = phase[0], phase[1] * sign
    return torch.stack([state[0] * re - state[1] * im, state[1] * re + state[0] * im])


_ROOT = math.sqrt(0.5)
_TO_Z = {"X": (_ROOT, 0.0, -_ROOT, 0.0), "Y": (_ROOT, 0.0, 0.0, -_ROOT)}
"""Quaternions of the turns after which measuring Z reads the letter."""


def read_in_z(state: torch.Tensor, basis: str) -> torch.Tensor:
    """The block turned so that measuring Z on every qubit reads the letters of `basis`, qubit 0 first. `state` is kept."""
    for bit, letter in enumerate(reversed(basis)):
        if letter in _TO_Z:
            state = turned(state, bit, quaternion_columns(_to_z(letter, state.device, state.dtype)), False)
    return state


@functools.cache
def _to_z(letter: str, device: torch.device, real: torch.dtype) -> torch.Tensor:
    """[4, 1, 1]; sent once, since a device waits for what is sent."""
    return torch.tensor(_TO_Z[letter], device=device, dtype=real)[:, None, None]
