"""A site's maps with neighbours multiplied together where that leaves fewer: fixed ones with each other and into parametrised ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from actors.simulation.contraction.network import SiteMap, Term


@dataclass(frozen=True, eq=False)
class MergedMap:
    """One or several gates at one site.

    Attributes:
        angle: that moves it, -1 if fixed; gate: the gate of this angle. frequencies: of the angle, per radian.
        bonds: (dimension, leads) of each of its bonds in order of time, `leads` as in SiteMap.
        terms: see Term; the bond index counts all its bonds jointly, the first in time the most significant.
    """

    angle: int
    gate: int
    frequencies: tuple[float, ...]
    bonds: tuple[tuple[int, int], ...]
    terms: tuple[Term, ...]

    @property
    def n_bond(self) -> int:
        """Joint dimension of its bonds."""
        return math.prod(n for n, _ in self.bonds)


def merge(maps: list[SiteMap]) -> list[MergedMap]:
    """The maps of a site, in order of time."""
    merged: list[MergedMap] = []
    for item in maps:
        bonds = ((item.n_bond, item.leads),) if item.leads else ()
        current = MergedMap(item.angle, item.gate, item.frequencies, bonds, item.terms)
        if merged and _may_merge(merged[-1], current):
            current = _product(merged.pop(), current)
        merged.append(current)
    return merged


def _may_merge(first: MergedMap, second: MergedMap) -> bool:
    """Two fixed maps, or a fixed one without bonds beside a parametrised one."""
    if first.angle < 0 and second.angle < 0:
        return True
    return (first.angle < 0 and not first.bonds) or (second.angle < 0 and not second.bonds)


def _product(first: MergedMap, second: MergedMap) -> MergedMap:
    """`second` after `first`; one of them has no angle."""
    sums: dict[tuple[int, int, int, int], list[float]] = {}
    for a in first.terms:
        for b in second.terms:
            if a.row != b.column:
                continue
            fixed, moving = (a, b) if a.frequency < 0 else (b, a)
            factor = fixed.constant
            key = (a.bond * second.n_bond + b.bond, b.row, a.column, moving.frequency)
            entry = sums.setdefault(key, [0.0, 0.0, 0.0])
            for i, value in enumerate((moving.constant, moving.cosine, moving.sine)):
                entry[i] += factor * value
    owner = first if first.angle >= 0 else second
    terms = tuple(Term(*key, *entry) for key, entry in sorted(sums.items()) if max(map(abs, entry)) > 1e-15)
    return MergedMap(owner.angle, owner.gate, owner.frequencies, first.bonds + second.bonds, terms)


class Turn(NamedTuple):
    """A rotation in the plane of two Pauli components: ``x' = cosine cos x - sine sin y, y' = cosine cos y + sine sin x, z' = scale z``."""

    x: int
    y: int
    z: int
    cosine: float
    sine: float
    scale: float


def as_turn(step: MergedMap) -> Turn | None:
    """`step` as a Turn, with or without damping, or None if it is not one."""
    if step.bonds or len(step.frequencies) != 1:
        return None
    entries = {(term.row, term.column): term for term in step.terms}
    moving = sorted(key for key, term in entries.items() if term.frequency == 0)
    if len(entries) != len(step.terms) or len(moving) != 4:
        return None
    x, y = moving[0][0], moving[-1][0]
    if moving != [(x, x), (x, y), (y, x), (y, y)] or 0 in (x, y):
        return None
    z = 6 - x - y
    if entries.pop((0, 0), None) != Term(0, 0, 0, -1, 1.0, 0.0, 0.0) or entries.keys() - {*moving, (z, z)}:
        return None
    cosine, sine = entries[x, x].cosine, entries[y, x].sine
    expected = {
        (x, x): (0.0, cosine, 0.0), (y, y): (0.0, cosine, 0.0), (y, x): (0.0, 0.0, sine), (x, y): (0.0, 0.0, -sine),
    }  # fmt: skip
    if any(entries[key][4:] != value for key, value in expected.items()):
        return None
    return Turn(x, y, z, cosine, sine, entries[z, z].constant if (z, z) in entries else 0.0)
