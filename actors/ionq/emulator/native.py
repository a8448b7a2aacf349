"""Native circuits under noise: as many noisy gates as IonQ counts, and no more.

A native gate is a fixed rotation between turns about Z, by its phases. Noise follows the gate, once; the template has a gate for each
piece, each followed by noise. Depolarising noise commutes with every unitary on its qubits, so what counts is how many pieces stand
between two gates on a pair of qubits:

- A *run* of m one-qubit gates, its turns merged, has at most ``2 m + 1`` pieces. Filled up to ``ONE_QUBIT_PIECES * m`` with
  identities, each with the rate ``1 - (1 - r)**(1 / ONE_QUBIT_PIECES)``, it has the noise of m gates.
- A turn with no one-qubit gate beside it (m = 0) is done on both qubits of the gate that it stands before. Then all gates on pairs are
  filled up to ``PAIR_PIECES`` pieces, in the same way; if there is no such turn they are one piece each.
- Before the first gate of a qubit, in ``|0>``, and before the measurement turns about Z do nothing, and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from actors.ionq.emulator.gates import TURN, Call, Piece, fixed, native_core, rotation

ONE_QUBIT_PIECES, PAIR_PIECES = 3, 3
_SIDES = ("ZI", "IZ")


@dataclass
class _Run:
    """What a qubit does between two gates on pairs.

    Attributes:
        cores: the fixed rotations of its m gates. turns: the m + 1 turns about Z around them: (parameter, radians per unit) each.
        is_first: it begins in ``|0>``.
    """

    is_first: bool
    cores: list[Piece] = field(default_factory=list)
    turns: list[list[tuple[int, float]]] = field(default_factory=lambda: [[]])

    def add(self, core: Piece, phase: int) -> None:
        """A gate of that phase."""
        self.turns[-1].append((phase, -TURN))
        self.cores.append(core)
        self.turns.append([(phase, TURN)])

    def pieces(self, qubit: int, is_last: bool) -> list[Piece]:
        """All of it if there is a gate, with `ONE_QUBIT_PIECES` for each gate."""
        if not self.cores:
            return []
        found: list[Piece] = []
        for place, turn in enumerate(self.turns):
            is_idle = (place == 0 and self.is_first) or (place == len(self.cores) and is_last)
            if turn and not is_idle:
                found.append(rotation("Z", (qubit,), turn))
            found += self.cores[place : place + 1]
        missing = ONE_QUBIT_PIECES * len(self.cores) - len(found)
        return [*found, *[fixed("i", (qubit,), np.eye(2))] * missing]

    @property
    def lone_turn(self) -> list[tuple[int, float]]:
        """Its turn, if there is nothing else and it does something."""
        return [] if self.cores or self.is_first else self.turns[0]


def noisy_pieces(calls: Sequence[Call]) -> tuple[list[Piece], int]:
    """The gates of a native circuit for a template under noise, and how many stand for each gate on a pair."""
    builder = _Builder()
    for call in calls:
        builder.add(call)
    return builder.finish()


class _Builder:
    """Collects runs, and emits them before the gates on pairs that end them."""

    def __init__(self) -> None:
        self.runs: dict[int, _Run] = {}
        self.pairs: list[tuple[list[Piece], list[Piece]]] = []  # before a gate on a pair, and its own pieces

    def add(self, call: Call) -> None:
        runs = [self.runs.setdefault(qubit, _Run(is_first=True)) for qubit in call.targets]
        if len(call.targets) == 1:
            runs[0].add(native_core(call), call.first)
            return
        phases = (call.first, call.first + 1) if call.name == "ms" else ()
        for run, phase in zip(runs, phases, strict=False):
            run.turns[-1].append((phase, -TURN))
        before = [p for q, run in zip(call.targets, runs, strict=True) for p in run.pieces(q, is_last=False)]
        own = [
            rotation(side, call.targets, run.lone_turn)
            for side, run in zip(_SIDES, runs, strict=True)
            if run.lone_turn
        ]
        self.pairs.append((before, [*own, native_core(call)]))
        for place, qubit in enumerate(call.targets):
            self.runs[qubit] = _Run(is_first=False, turns=[[(phases[place], TURN)] if phases else []])

    def finish(self) -> tuple[list[Piece], int]:
        each = PAIR_PIECES if any(len(own) > 1 for _, own in self.pairs) else 1
        found: list[Piece] = []
        for before, own in self.pairs:
            filling = fixed("ii", own[-1].gate.qubits, np.eye(4))
            found += [*before, *own, *[filling] * (each - len(own))]
        for qubit, run in self.runs.items():
            found += run.pieces(qubit, is_last=True)
        return found, each
