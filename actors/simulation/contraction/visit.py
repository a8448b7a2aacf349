"""One visit to a site: its vectors, its matrices, and the environments or values that are asked of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from actors.simulation.contraction.kernels import (
    add_joined,
    add_joined_turned,
    add_products,
    add_scaled,
    add_turned,
    inner_product,
    set_row,
    turn_plane,
    uniform_factor,
)
from actors.simulation.jit import kernel


class Layout(NamedTuple):
    """Where things are in the working memory: first rows.

    Attributes:
        left, right: environments of the undisplaced circuits. swept: left ones of a circuit that is swept.
        vectors, spare: forward vectors of a site, [(branch, 4)]. seen, seen_spare: what its letter becomes, [4].
        matrix: its matrix, [nonzeros]. product: an environment times it.
        base, found: values [M'] of undisplaced circuits, and of the task at hand.
        base_cosine, base_sine: of every trig row, undisplaced. cosine, sine: of the task at hand.
        stride: lanes of a row.
    """

    left: int
    right: int
    swept: int
    vectors: int
    spare: int
    seen: int
    seen_spare: int
    matrix: int
    product: int
    base: int
    found: int
    base_cosine: int
    base_sine: int
    cosine: int
    sine: int
    stride: int


@kernel
def apply_map(code, index, n_branches, work, at, is_lane, vectors, out, width):
    """Rows out [(branch, bond, 4)] = map `index` applied to rows vectors [(branch, 4)]."""
    n_outputs, first = 4 * code.maps[index].n_bond, code.maps[index].output
    for branch in range(n_branches):
        for output in range(n_outputs):
            target = out + branch * n_outputs + output
            start, stop = code.outputs[first + output], code.outputs[first + output + 1]
            if start == stop:
                set_row(work, at.stride, target, 0.0, width)
            for t in range(start, stop):
                term = code.terms[t]
                source = vectors + 4 * branch + term.source
                if term.trig >= 0 and is_lane[term.trig]:
                    add_turned(
                        work, at.stride, target, source, at.cosine + term.trig, at.sine + term.trig,
                        term.constant, term.cosine, term.sine, t == start, width,
                    )  # fmt: skip
                else:
                    factor = uniform_factor(term, work, at.stride, at.cosine, at.sine)
                    add_scaled(work, at.stride, target, source, factor, t == start, width)


@kernel
def run_maps(code, first, stop, letter, work, at, is_lane, vectors, spare, width):
    """Maps first..stop-1 applied to a unit vector (``|0>`` if `letter` is -1); returns the first row of the result."""
    for row in range(4):
        value = 1.0 if row == letter or (letter < 0 and row % 3 == 0) else 0.0
        set_row(work, at.stride, vectors + row, value, width)
    n_branches = np.int64(1)
    for index in range(first, stop):
        item = code.maps[index]
        if item.is_turn:
            for branch in range(n_branches):
                origin = vectors + 4 * branch
                turn_plane(
                    work, at.stride, origin + item.x, origin + item.y, origin + item.z, at.cosine + item.trig,
                    at.sine + item.trig, is_lane[item.trig], item.cosine, item.sine, item.scale, width,
                )  # fmt: skip
        else:
            apply_map(code, index, n_branches, work, at, is_lane, vectors, spare, width)
            n_branches *= item.n_bond
            vectors, spare = spare, vectors
    return vectors


@kernel
def is_uniform(code, first, stop, is_lane):
    """Whether no map in first..stop-1 has a factor that differs between lanes."""
    uniform = True
    for index in range(first, stop):
        if code.maps[index].is_turn and is_lane[code.maps[index].trig]:
            uniform = False
    for t in range(code.outputs[code.maps[first].output], code.outputs[code.maps[stop].output]):
        if code.terms[t].trig >= 0 and is_lane[code.terms[t].trig]:
            uniform = False
    return uniform


@kernel
def join_matrix(code, slot, work, at, is_lane, seen, seen_is_uniform, vectors, width):
    """The matrix of a slot, from what its letter has become (rows `seen`) and the forward vectors."""
    first = code.slots[slot].entry
    for entry in range(first, code.slots[slot + 1].entry):
        start, target = code.entries[entry], at.matrix + entry - first
        for j in range(start, code.entries[entry + 1]):
            item = code.joins[j]
            source, letter = vectors + item.source, seen + item.letter
            if item.trig >= 0 and is_lane[item.trig]:
                add_joined_turned(
                    work, at.stride, target, source, letter, seen_is_uniform, at.cosine + item.trig,
                    at.sine + item.trig, item.constant, item.cosine, item.sine, j == start, width,
                )  # fmt: skip
                continue
            factor = uniform_factor(item, work, at.stride, at.cosine, at.sine)
            if seen_is_uniform:
                factor *= work[letter * at.stride]
                add_scaled(work, at.stride, target, source, factor, j == start, width)
            else:
                add_joined(work, at.stride, target, source, letter, factor, j == start, width)


@kernel
def extend(code, site, slot, to_right, work, at, source, target, width):
    """Rows `target` = environment beyond `site` from rows `source` before it: to the right from the left part, or the reverse."""
    n_passing = code.sites[site].n_passing
    left = code.left_index, code.sites[site].left_index
    right = code.right_index, code.sites[site].right_index
    if to_right:
        own, other, items, pointers = left, right, code.right_items, code.right_pointers
        pointer, n_other = code.slots[slot].right_pointer, code.slots[slot].n_right
    else:
        own, other, items, pointers = right, left, code.left_items, code.left_pointers
        pointer, n_other = code.slots[slot].left_pointer, code.slots[slot].n_left
    index, first = other
    for k in range(n_other):
        for passing in range(n_passing):
            add_products(
                work, at.stride, target + index[first + k * n_passing + passing], source, at.matrix, items,
                pointers[pointer + k], pointers[pointer + k + 1], own, passing, n_passing, width,
            )  # fmt: skip


@kernel
def visit(code, site, steps, first, stop, is_displaced, work, at, is_lane, rows, out, width):
    """Steps first..stop-1 at a site, its forward vectors and matrices computed once: environments beyond it into `out`, from `rows`.

    If `is_displaced` they are products, taken from the undisplaced environments on either side, and the values of all strings that read
    them go to ``at.found``.
    """
    forward, backward = code.sites[site].forward, code.sites[site].backward
    end = code.sites[site + 1].forward
    vectors = run_maps(code, forward, backward, np.int64(-1), work, at, is_lane, at.vectors, at.spare, width)
    uniform = is_uniform(code, backward, end, is_lane)
    slot = np.int64(-1)
    for s in range(first, stop):
        step = steps[s]
        if step.slot != slot:
            slot = step.slot
            letter = code.slots[slot].letter
            seen_width = 1 if uniform else width
            seen = run_maps(
                code, backward, end, letter, work, at, is_lane, at.seen, at.seen_spare, seen_width
            )
            join_matrix(code, slot, work, at, is_lane, seen, uniform, vectors, width)
        source = rows if not is_displaced else (at.left if step.to_right else at.right)
        extend(code, site, slot, step.to_right, work, at, source + step.source, out + step.target, width)
        if is_displaced:
            other = at.right if step.to_right else at.left
            for r in range(step.read, steps[s + 1].read):
                read = code.reads[r]
                inner_product(
                    work,
                    at.stride,
                    out,
                    other + read.environment,
                    step.n_target,
                    at.found + read.string,
                    width,
                )
