"""A reduced circuit as a chain of sites, one per qubit, joined by the bonds of its two-qubit gates.

A two-qubit gate is a sum ``sum_k A_k (x) B_k`` of matrices on either qubit; k is its bond, carried from the one site to the other
across all cuts in between. The chain is contracted along the qubits instead of along time, so the cost grows with the product of
the bonds across a cut and not with 2**n (I. Markov and Y. Shi, "Simulating quantum computation by contracting tensor networks",
arXiv:quant-ph/0511069). Everything is real, because gates are Pauli transfer matrices; noise costs nothing extra.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from actors.simulation.contraction.heisenberg import Placed, Reduced

_TOLERANCE = 1e-13


class Term(NamedTuple):
    """One entry of a map on Pauli components: ``out[bond, row] += (constant + cosine cos(w a) + sine sin(w a)) in[column]``.

    `frequency` counts the frequencies of the map's angle; -1 for a term without.
    """

    bond: int
    row: int
    column: int
    frequency: int
    constant: float
    cosine: float
    sine: float


@dataclass(frozen=True)
class SiteMap:
    """What a gate does at one site.

    Attributes:
        gate: index into the reduced circuit's gates.
        angle: of the gate if this site carries its dependence on it, else -1. frequencies: of the terms.
        n_bond: 1 for a gate on this qubit alone, else the dimension of its bond.
        leads: -1 if the bond leads to the left (earlier site), 1 to the right, 0 without a bond.
        terms: sorted by (bond, row).
    """

    gate: int
    angle: int
    frequencies: tuple[float, ...]
    n_bond: int
    leads: int
    terms: tuple[Term, ...]


@dataclass
class Site:
    """A qubit's world line.

    Attributes:
        qubit: its number. maps: in order of time.
        passing: product of the dimensions of the bonds that cross the site without ending there.
        left, right: for the joint index of the bonds ending here from the left (right) and of the passing ones, [own, passing],
            the index within the whole cut.
    """

    qubit: int
    maps: list[SiteMap] = field(default_factory=list)
    passing: int = 1
    left: np.ndarray = field(default_factory=lambda: np.zeros((1, 1), np.int64))
    right: np.ndarray = field(default_factory=lambda: np.zeros((1, 1), np.int64))


@dataclass(frozen=True)
class Network:
    """Attributes:
    sites: in the order of the chain. cut: dimension of the cut before each site and after the last, int64 [sites + 1].
    """

    sites: list[Site]
    cut: np.ndarray


def site_order(reduced: Reduced, n_qubits: int) -> list[int]:
    """The qubits in the order, of two tried, with the smallest bonds; those that no string needs are left out.

    The second is the reverse Cuthill-McKee order of the graph of two-qubit gates, which keeps partners close together.
    """
    needed = {int(q) for q in np.flatnonzero(reduced.letters.any(axis=0))}
    needed.update(q for gate in reduced.gates for q in gate.qubits)
    pairs = [gate.qubits for gate in reduced.gates if len(gate.qubits) == 2]
    natural = sorted(needed)
    if all(abs(first - second) == 1 for first, second in pairs):
        return natural
    # Here, because a chain, which is the common case, need not wait for scipy.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    rows, columns = np.array(pairs).T
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(n_qubits, n_qubits)).tocsr()
    ranked = [int(q) for q in reverse_cuthill_mckee(graph + graph.T, symmetric_mode=True) if int(q) in needed]
    return min((natural, ranked), key=lambda order: _crossings(pairs, order))


def _crossings(pairs: Sequence[tuple[int, ...]], order: list[int]) -> tuple[int, int]:
    """The most gates that cross one cut, and the number of crossings of all cuts."""
    place = {qubit: i for i, qubit in enumerate(order)}
    counts = np.zeros(len(order) + 1, np.int64)
    for pair in pairs:
        low, high = sorted(place[q] for q in pair)
        counts[low + 1 : high + 1] += 1
    return int(counts.max()), int(counts.sum())


def largest_cut(reduced: Reduced, order: list[int]) -> float:
    """An upper bound of log2 of the largest cut, had at once: four per gate crossing, less where Schmidt ranks are small."""
    place = {qubit: i for i, qubit in enumerate(order)}
    bits = np.zeros(len(order) + 1)
    known: dict[int, float] = {}
    for gate in reduced.gates:
        if len(gate.qubits) == 2:
            rank = known.setdefault(id(gate.series.constant), 0.0)
            if rank == 0.0:
                rank = math.log2(max(len(_split(gate, False)[0]), 1))
                known[id(gate.series.constant)] = rank
            low, high = sorted(place[q] for q in gate.qubits)
            bits[low + 1 : high + 1] += rank
    return float(bits.max())


def build_network(reduced: Reduced, order: list[int]) -> Network:
    """The chain over the qubits `order`."""
    place = {qubit: i for i, qubit in enumerate(order)}
    sites = [Site(qubit) for qubit in order]
    bonds: list[tuple[int, int, int]] = []  # (left site, right site, dimension) in order of time
    for index, gate in enumerate(reduced.gates):
        where = [place[q] for q in gate.qubits]
        if len(where) == 1:
            sites[where[0]].maps.append(_own_map(index, gate))
            continue
        first, second = _split(gate, where[0] > where[1])
        left, right = min(where), max(where)
        sites[left].maps.append(
            SiteMap(index, -1, (), len(first), 1, _terms([(f, None, None) for f in first]))
        )
        frequencies = tuple(gate.series.frequencies.tolist())
        sites[right].maps.append(
            SiteMap(index, gate.series.angle, frequencies, len(second), -1, _terms(second))
        )
        bonds.append((left, right, len(first)))
    return Network(sites, _wire(sites, bonds))


def _own_map(index: int, gate: Placed) -> SiteMap:
    series = gate.series
    pieces = [(series.constant, series.cosine, series.sine)]
    return SiteMap(index, series.angle, tuple(series.frequencies.tolist()), 1, 0, _terms(pieces))


def _terms(
    pieces: Sequence[tuple[np.ndarray, np.ndarray | None, np.ndarray | None]],
) -> tuple[Term, ...]:
    """The nonzero entries of per bond index a constant [4, 4] and cosine, sine [F, 4, 4] (or None)."""
    terms: list[Term] = []
    for bond, (constant, cosine, sine) in enumerate(pieces):
        n_frequencies = 0 if cosine is None else len(cosine)
        for row in range(4):
            for column in range(4):
                value = float(constant[row, column])
                for f in range(n_frequencies):
                    assert cosine is not None
                    assert sine is not None
                    c, s = float(cosine[f, row, column]), float(sine[f, row, column])
                    if max(abs(c), abs(s)) > _TOLERANCE:
                        terms.append(Term(bond, row, column, f, value, c, s))
                        value = 0.0
                if abs(value) > _TOLERANCE:
                    terms.append(Term(bond, row, column, -1, value, 0.0, 0.0))
    return tuple(terms)


def _split(
    gate: Placed, is_swapped: bool
) -> tuple[list[np.ndarray], list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Matrices A_k [4, 4] on the left qubit and series B_k on the right one with ``gate = sum_k A_k (x) B_k(angle)``.

    A cross decomposition with complete pivoting: exact up to rounding, and for CNOT and its like every matrix keeps two entries.
    """
    series = gate.series
    stack = np.concatenate([series.constant[None], series.cosine, series.sine])
    parts = stack.reshape(-1, 4, 4, 4, 4)  # [part, out 1, out 2, in 1, in 2]
    axes = (2, 4, 0, 1, 3) if is_swapped else (1, 3, 0, 2, 4)
    matrix = parts.transpose(axes).reshape(16, -1).copy()
    left: list[np.ndarray] = []
    right: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    n_frequencies = len(series.frequencies)
    while np.abs(matrix).max(initial=0.0) > _TOLERANCE:
        i, j = np.unravel_index(np.abs(matrix).argmax(), matrix.shape)
        column, row = matrix[:, j] / matrix[i, j], matrix[i].copy()
        matrix -= np.outer(column, row)
        matrix[i], matrix[:, j] = 0.0, 0.0
        left.append(column.reshape(4, 4))
        pieces = row.reshape(-1, 4, 4)
        right.append((pieces[0], pieces[1 : 1 + n_frequencies], pieces[1 + n_frequencies :]))
    return left, right


def _wire(sites: list[Site], bonds: list[tuple[int, int, int]]) -> np.ndarray:
    """Fill in how the bonds at each site make up the cuts on its two sides; returns the cuts' dimensions."""
    cut = np.ones(len(sites) + 1, np.int64)
    for place, site in enumerate(sites):
        crossing_left = [i for i, (low, high, _) in enumerate(bonds) if low < place <= high]
        crossing_right = [i for i, (low, high, _) in enumerate(bonds) if low <= place < high]
        passing = [i for i in crossing_left if i in set(crossing_right)]
        site.passing = math.prod(bonds[i][2] for i in passing)
        site.left = _joint_index(bonds, crossing_left, passing)
        site.right = _joint_index(bonds, crossing_right, passing)
        cut[place + 1] = math.prod(bonds[i][2] for i in crossing_right)
    return cut


def _joint_index(bonds: list[tuple[int, int, int]], crossing: list[int], passing: list[int]) -> np.ndarray:
    """int64 [own, passing]: the index within a cut of each joint index of the bonds that end here and of those that pass."""
    dims = [bonds[i][2] for i in crossing]
    whole = np.arange(math.prod(dims)).reshape(dims)
    own = [axis for axis, i in enumerate(crossing) if i not in set(passing)]
    through = [axis for axis, i in enumerate(crossing) if i in set(passing)]
    n_own = math.prod(dims[axis] for axis in own)
    return whole.transpose(own + through).reshape(n_own, -1).astype(np.int64)
