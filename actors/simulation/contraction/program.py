"""ChainProgram: a network as flat arrays, which the kernels interpret. Nothing here is compiled per circuit.

At every site the maps on the qubit's four Pauli components are applied forwards in time to ``|0>``, up to the *join*, the last map that
has a bond; the maps after it are applied backwards to the letter that a string reads there. The join brings both together in the
site's matrix W [bonds to the left, bonds to the right], one for each letter in use, of which only structural nonzeros are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from actors.simulation.contraction.heisenberg import Reduced
from actors.simulation.contraction.merging import MergedMap, as_turn, merge
from actors.simulation.contraction.network import Network, Site, Term

INTEGER, REAL = np.int64, np.float64
MAX_CUT_BITS = 12
"""Cuts beyond 2^12 are refused: their matrices would have 2^24 entries, and a state vector is cheaper."""
SITE = np.dtype(
    [
        (name, INTEGER)
        for name in (
            "forward",
            "backward",
            "slot",
            "left_step",
            "right_step",
            "left_index",
            "right_index",
            "n_passing",
        )
    ],
    align=True,
)
"""First map of either kind, first slot, first step to the right and to the left, first entries in `left_index`, `right_index`."""
MAP = np.dtype(
    [(name, INTEGER) for name in ("n_bond", "output", "is_turn", "x", "y", "z", "trig")]
    + [(name, REAL) for name in ("cosine", "sine", "scale")],
    align=True,
)
"""n_bond: bond indices that each branch splits into. output: its first entry in `outputs`, of 4 n_bond. A turn in the plane of components
(x, y), ``x' = cosine cos x - sine sin y, y' = cosine cos y + sine sin x, z' = scale z``, has no outputs and works in place."""
TERM = np.dtype(
    [("source", INTEGER), ("trig", INTEGER), ("constant", REAL), ("cosine", REAL), ("sine", REAL)], align=True
)
"""``(constant + cosine cos + sine sin)`` of trig row `trig` (-1: constant alone) times component `source`."""
SLOT = np.dtype(
    [(name, INTEGER) for name in ("letter", "entry", "left_pointer", "right_pointer", "n_left", "n_right")],
    align=True,
)
"""A site's matrix for one letter: its first structural nonzero, and its first pointers by left and by right index."""
JOIN = np.dtype([("letter", INTEGER), *TERM.descr], align=True)
"""As TERM, times component `letter` of what the string reads."""
STEP = np.dtype(
    [(name, INTEGER) for name in ("to_right", "source", "slot", "target", "n_target", "read")], align=True
)
"""An environment (first row `source`) times a site's matrix, from the left part to the right or the reverse, into `n_target` rows from
`target`: the neighbouring environment, or, for a displaced segment, a product that the strings from `read` on share."""
SEGMENT = np.dtype([(name, INTEGER) for name in ("site", "trig", "trig_stop", "product")], align=True)
"""Maps at one site that are seen by the same strings: the unit that a displacement moves."""
READ = np.dtype([(name, INTEGER) for name in ("string", "environment")], align=True)
"""A string's value: the product times the environment on the other side, first row given."""


class ChainCode(NamedTuple):
    """The arrays.

    Attributes:
        sites: SITE [sites + 1]. cut: int64 [sites + 1], dimension of each cut.
        maps: MAP. outputs: int64, per output component of a map its first term. terms: TERM.
        slots: SLOT [. + 1]. left_pointers, right_pointers: int64, per left (right) index of a slot its first item in `left_items`
            (`right_items`), int64 [., 2]: the index on the other side, the nonzero.
        entries: int64, per nonzero its first item in `joins`. joins: JOIN.
        left_index, right_index: int64, see ``network.Site``, flat.
        left_steps, right_steps: STEP, environments of the part left (right) of each site for every distinct beginning (end) of a string.
        trig_angle: int64 [T]. trig_rate: float64 [T].
        site_trig: int64 [sites + 1], first trig row of each site.
        segments: SEGMENT [. + 1]. products: STEP [. + 1]. reads: READ.
        final: int64 [M'], row of the left environments that holds each string's value.
        n_left, n_right: rows of all environments. n_matrix: rows of the largest site matrix. n_branch: largest number of branches.
    """

    sites: np.ndarray
    cut: np.ndarray
    maps: np.ndarray
    outputs: np.ndarray
    terms: np.ndarray
    slots: np.ndarray
    left_pointers: np.ndarray
    right_pointers: np.ndarray
    left_items: np.ndarray
    right_items: np.ndarray
    entries: np.ndarray
    joins: np.ndarray
    left_index: np.ndarray
    right_index: np.ndarray
    left_steps: np.ndarray
    right_steps: np.ndarray
    trig_angle: np.ndarray
    trig_rate: np.ndarray
    site_trig: np.ndarray
    segments: np.ndarray
    products: np.ndarray
    reads: np.ndarray
    final: np.ndarray
    n_left: int
    n_right: int
    n_matrix: int
    n_branch: int

    def in_precision(self, real: np.dtype) -> ChainCode:
        """The same with the coefficients of maps and joins rounded to `real`."""
        if real == REAL:
            return self
        return self._replace(
            maps=_rounded(self.maps, real), terms=_rounded(self.terms, real), joins=_rounded(self.joins, real)
        )


def _rounded(records: np.ndarray, real: np.dtype) -> np.ndarray:
    """`records` with its float64 fields rounded to `real`."""
    names = records.dtype.names or ()
    fields = [(name, real if records.dtype[name] == REAL else INTEGER) for name in names]
    return records.astype(np.dtype(fields, align=True))


@dataclass(frozen=True, eq=False)
class ChainProgram:
    """A circuit ready for contraction.

    Attributes:
        code: what the kernels interpret. mixing: float64 [M, M'], see ``heisenberg.Reduced``.
        angle_segment: int64 [K], the segment that an angle moves, -1 if no string sees it.
        angle_trig: int64 [K, 2], first and stop of its trig rows.
    """

    code: ChainCode
    mixing: np.ndarray
    angle_segment: np.ndarray
    angle_trig: np.ndarray


def compile_chain(reduced: Reduced, network: Network, n_angles: int) -> ChainProgram:
    """The program of a network."""
    return _Assembler(reduced, network, n_angles).assemble()


class _Assembler:
    """Collects the arrays of ChainCode, site by site."""

    def __init__(self, reduced: Reduced, network: Network, n_angles: int) -> None:
        self.reduced, self.network = reduced, network
        self.letters = reduced.letters[:, [site.qubit for site in network.sites]]
        self.maps: list[tuple[float, ...]] = []
        self.outputs: list[int] = []
        self.terms: list[tuple[int, int, float, float, float]] = []
        self.slots: list[tuple[int, ...]] = []
        self.left_pointers: list[int] = []
        self.right_pointers: list[int] = []
        self.left_items: list[tuple[int, int]] = []
        self.right_items: list[tuple[int, int]] = []
        self.entries: list[int] = []
        self.joins: list[tuple[int, int, int, float, float, float]] = []
        self.trigs: list[tuple[int, float]] = []
        self.site_trig: list[int] = []
        self.segments: list[tuple[int, ...]] = []
        self.products: list[tuple[int, ...]] = []
        self.reads: list[tuple[int, int]] = []
        self.angle_segment = np.full(n_angles, -1, np.int64)
        self.angle_trig = np.zeros((n_angles, 2), np.int64)
        self.cone_of_segment: list[np.ndarray] = []
        self.trig_of: dict[int, int] = {}  # id of a merged map -> its first trig row
        self.slot_of: list[dict[int, int]] = []  # per site: letter -> slot
        self.n_matrix = self.n_branch = 1

    def assemble(self) -> ChainProgram:
        left_nodes, left_steps, n_left = self._environments(from_left=True)
        right_nodes, right_steps, n_right = self._environments(from_left=False)
        sites, left_index, right_index = [], [], []
        n_index = [0, 0]
        for place, site in enumerate(self.network.sites):
            steps = merge(site.maps)
            last = max((i for i, step in enumerate(steps) if step.bonds), default=len(steps))
            forward, join, backward = steps[:last], steps[last : last + 1], steps[last + 1 :]
            first_forward, first_slot = len(self.maps), len(self.slots)
            self.site_trig.append(len(self.trigs))
            self._add_segments(place, [forward, join, backward])
            for step in forward:
                self._add_map(step, transposed=False)
            first_backward = len(self.maps)
            for step in reversed(backward):
                self._add_map(step, transposed=True)
            self._add_slots(place, site, forward, join, backward)
            sites.append((first_forward, first_backward, first_slot, 0, 0, *n_index, site.passing))
            left_index.append(site.left.ravel())
            right_index.append(site.right.ravel())
            n_index[0] += site.left.size
            n_index[1] += site.right.size
        sites.append((len(self.maps), len(self.maps), len(self.slots), 0, 0, *n_index, 1))
        table = np.array(sites, SITE)
        left_table = self._step_table(1, left_steps, table["left_step"])
        right_table = self._step_table(0, right_steps, table["right_step"])
        self._add_products(left_nodes, right_nodes)
        return self._freeze(
            table, left_index, right_index, left_table, right_table, left_nodes, n_left, n_right
        )

    # --- Environments: a trie of the strings' beginnings, and one of their ends -----------------------------------------------

    def _environments(self, from_left: bool) -> tuple[np.ndarray, list[list[tuple[int, int, int, int]]], int]:
        """Rows [sites + 1, M'] at which each string's environment at each cut begins; per site the steps; the number of rows."""
        n_sites, n_strings = len(self.network.sites), len(self.letters)
        order = range(n_sites) if from_left else range(n_sites - 1, -1, -1)
        rows = np.zeros((n_sites + 1, n_strings), np.int64)
        steps: list[list[tuple[int, int, int, int]]] = [[] for _ in range(n_sites)]
        n_rows = 1
        for place in order:
            before, after = (place, place + 1) if from_left else (place + 1, place)
            known: dict[tuple[int, int], int] = {}
            size = int(self.network.cut[after])
            for m in range(n_strings):
                key = (int(rows[before, m]), int(self.letters[m, place]))
                if key not in known:
                    known[key] = n_rows
                    steps[place].append((n_rows, key[0], key[1], size))
                    n_rows += size
                rows[after, m] = known[key]
        return rows, steps, n_rows

    def _step_table(
        self, to_right: int, steps: list[list[tuple[int, int, int, int]]], first: np.ndarray
    ) -> np.ndarray:
        """STEP records of all sites, those of one slot together; `first` [sites + 1] is filled in."""
        records: list[tuple[int, ...]] = []
        for place, of_site in enumerate(steps):
            first[place] = len(records)
            records += [
                (to_right, source, self.slot_of[place][letter], target, size, 0)
                for target, source, letter, size in sorted(of_site, key=lambda step: step[2])
            ]
        first[len(steps)] = len(records)
        return np.array(records, STEP)

    # --- Maps -----------------------------------------------------------------------------------------------------------------

    def _add_segments(self, place: int, groups: list[list[MergedMap]]) -> None:
        """Trig rows of a site's maps, and segments of those in a row that the same strings see."""
        cones = self.reduced.cones
        for group in groups:
            open_cone: np.ndarray | None = None
            for step in group:
                if step.angle < 0:
                    continue
                cone = cones[step.gate]
                if open_cone is None or step.bonds or not np.array_equal(cone, open_cone):
                    self.segments.append((place, len(self.trigs), 0, 0))
                    open_cone = None if step.bonds else cone
                    self.cone_of_segment.append(cone)
                self.trig_of[id(step)] = len(self.trigs)
                self.angle_segment[step.angle] = len(self.segments) - 1
                self.angle_trig[step.angle] = (len(self.trigs), len(self.trigs) + len(step.frequencies))
                self.trigs += [(step.angle, rate) for rate in step.frequencies]
                self.segments[-1] = (place, self.segments[-1][1], len(self.trigs), 0)

    def _trig(self, step: MergedMap, term: Term) -> int:
        return -1 if term.frequency < 0 else self.trig_of[id(step)] + term.frequency

    def _add_map(self, step: MergedMap, transposed: bool) -> None:
        turn = as_turn(step)
        if turn is not None:
            sine = -turn.sine if transposed else turn.sine
            plane = (1, turn.x, turn.y, turn.z, self.trig_of[id(step)])
            self.maps.append((1, len(self.outputs), *plane, turn.cosine, sine, turn.scale))
            return
        self.maps.append((step.n_bond, len(self.outputs), 0, 0, 0, 0, 0, 0.0, 0.0, 0.0))
        by_output: list[list[tuple[int, int, float, float, float]]] = [[] for _ in range(4 * step.n_bond)]
        for term in step.terms:
            output, source = (
                (term.column, term.row) if transposed else (4 * term.bond + term.row, term.column)
            )
            by_output[output].append((source, self._trig(step, term), term.constant, term.cosine, term.sine))
        for items in by_output:
            self.outputs.append(len(self.terms))
            self.terms += items

    # --- A site's matrices ----------------------------------------------------------------------------------------------------

    def _add_slots(
        self,
        place: int,
        site: Site,
        forward: list[MergedMap],
        join: list[MergedMap],
        backward: list[MergedMap],
    ) -> None:
        bonds = [bond for step in [*forward, *join] for bond in step.bonds]
        n_before = int(np.prod([step.n_bond for step in forward], initial=1))
        branch_index = _split_index(bonds)
        n_left, n_right = site.left.shape[0], site.right.shape[0]
        widest = 1
        for step in forward:
            widest *= step.n_bond
            self.n_branch = max(self.n_branch, widest)
        slots: dict[int, int] = {}
        for letter in sorted(set(self.letters[:, place].tolist())):
            slots[letter] = len(self.slots)
            entries = self._entries(join, n_before, _support(letter, backward))
            where = [branch_index[branch] for branch in entries]
            first = len(self.entries)
            for items in entries.values():
                self.entries.append(len(self.joins))
                self.joins += items
            self.slots.append(
                (letter, first, len(self.left_pointers), len(self.right_pointers), n_left, n_right)
            )
            _add_pointers(self.left_pointers, self.left_items, n_left, where)
            _add_pointers(
                self.right_pointers, self.right_items, n_right, [(right, left) for left, right in where]
            )
            self.n_matrix = max(self.n_matrix, len(entries))
        self.slot_of.append(slots)

    def _entries(
        self, join: list[MergedMap], n_before: int, support: set[int]
    ) -> dict[int, list[tuple[int, int, int, float, float, float]]]:
        """Branch -> JOIN items, for the structural nonzeros of a site's matrix."""
        if not join:
            identity = [(a, a, -1, 1.0, 0.0, 0.0) for a in sorted(support)]
            assert n_before == 1
            return {0: identity}
        step = join[0]
        entries: dict[int, list[tuple[int, int, int, float, float, float]]] = {}
        for before in range(n_before):
            for term in step.terms:
                if term.row in support:
                    item = (
                        term.row,
                        4 * before + term.column,
                        self._trig(step, term),
                        term.constant,
                        term.cosine,
                        term.sine,
                    )
                    entries.setdefault(before * step.n_bond + term.bond, []).append(item)
        return dict(sorted(entries.items()))

    # --- What a displaced segment changes -------------------------------------------------------------------------------------

    def _add_products(self, left_nodes: np.ndarray, right_nodes: np.ndarray) -> None:
        """Per segment the products of an environment and the site's matrix, each shared by as many strings as possible."""
        for index, (place, trig, trig_stop, _) in enumerate(self.segments):
            self.segments[index] = (place, trig, trig_stop, len(self.products))
            strings = np.flatnonzero(self.cone_of_segment[index])
            letters = self.letters[strings, place]
            begin = left_nodes[place, strings] * 4 + letters
            end = right_nodes[place + 1, strings] * 4 + letters
            chosen: list[tuple[int, int, int, np.ndarray]] = []  # slot, environment, to_right, strings
            is_open = np.ones(len(strings), bool)
            while is_open.any():
                (key, n_begin), (end_key, n_end) = _most_common(begin[is_open]), _most_common(end[is_open])
                to_right = int(n_begin >= n_end)
                if not to_right:
                    key = end_key
                served = is_open & ((begin if to_right else end) == key)
                is_open &= ~served
                chosen.append((self.slot_of[place][key % 4], key // 4, to_right, strings[served]))
            for slot, environment, to_right, served in sorted(chosen, key=lambda item: item[:3]):
                size = int(self.network.cut[place + to_right])
                self.products.append((to_right, environment, slot, 0, size, len(self.reads)))
                other = right_nodes[place + 1] if to_right else left_nodes[place]
                self.reads += [(int(m), int(other[m])) for m in served]

    def _freeze(
        self,
        sites: np.ndarray,
        left_index: list[np.ndarray],
        right_index: list[np.ndarray],
        left_steps: np.ndarray,
        right_steps: np.ndarray,
        left_nodes: np.ndarray,
        n_left: int,
        n_right: int,
    ) -> ChainProgram:
        empty = np.zeros(0, np.int64)
        code = ChainCode(
            sites=sites,
            cut=self.network.cut,
            maps=np.array([*self.maps, (0, len(self.outputs), 0, 0, 0, 0, 0, 0.0, 0.0, 0.0)], MAP),
            outputs=np.array([*self.outputs, len(self.terms)], np.int64),
            terms=np.array(self.terms, TERM),
            slots=np.array([*self.slots, (0, len(self.entries), 0, 0, 0, 0)], SLOT),
            left_pointers=np.array(self.left_pointers, np.int64),
            right_pointers=np.array(self.right_pointers, np.int64),
            left_items=np.array(self.left_items, np.int64).reshape(-1, 2),
            right_items=np.array(self.right_items, np.int64).reshape(-1, 2),
            entries=np.array([*self.entries, len(self.joins)], np.int64),
            joins=np.array(self.joins, JOIN),
            left_index=np.concatenate([empty, *left_index]),
            right_index=np.concatenate([empty, *right_index]),
            left_steps=left_steps,
            right_steps=right_steps,
            trig_angle=np.array([angle for angle, _ in self.trigs], np.int64),
            site_trig=np.array([*self.site_trig, len(self.trigs)], np.int64),
            trig_rate=np.array([rate for _, rate in self.trigs], np.float64),
            segments=np.array([*self.segments, (0, 0, 0, len(self.products))], SEGMENT),
            products=np.array([*self.products, (0, 0, 0, 0, 0, len(self.reads))], STEP),
            reads=np.array(self.reads, READ),
            final=left_nodes[-1],
            n_left=n_left,
            n_right=n_right,
            n_matrix=self.n_matrix,
            n_branch=self.n_branch,
        )
        return ChainProgram(code, self.reduced.mixing, self.angle_segment, self.angle_trig)


def _split_index(bonds: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Per joint index of a site's bonds, in order of time: the joint index of those to the left, and of those to the right."""
    split = [(0, 0)]
    for dimension, leads in bonds:
        if leads < 0:
            split = [(left * dimension + k, right) for left, right in split for k in range(dimension)]
        else:
            split = [(left, right * dimension + k) for left, right in split for k in range(dimension)]
    return split


def _support(letter: int, backward: list[MergedMap]) -> set[int]:
    """Pauli components that the maps `backward`, applied backwards, can make of `letter`."""
    support = {letter}
    for step in reversed(backward):
        support = {term.column for term in step.terms if term.row in support}
    return support


def _add_pointers(
    pointers: list[int], items: list[tuple[int, int]], n_rows: int, where: list[tuple[int, int]]
) -> None:
    """Append compressed rows: per row index the (column index, nonzero) of its entries; `where`: (row, column) of each nonzero."""
    by_row: list[list[tuple[int, int]]] = [[] for _ in range(n_rows)]
    for nonzero, (row, column) in enumerate(where):
        by_row[row].append((column, nonzero))
    for of_row in by_row:
        pointers.append(len(items))
        items += sorted(of_row)
    pointers.append(len(items))


def _most_common(keys: np.ndarray) -> tuple[int, int]:
    """The commonest key, the smallest of several, and how often it occurs."""
    found, counts = np.unique(keys, return_counts=True)
    best = int(counts.argmax())
    return int(found[best]), int(counts[best])
