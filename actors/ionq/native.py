"""Circuits in the native gates of IonQ's Aria, GPI2, GPI and MS, with virtual Z rotations: compiled once, phases per binding.

Everything that happens to one qubit between two MS gates is one run, ``U = Rz Rx(pi/2) Rz Rx(pi/2) Rz`` (McKay et al., arXiv
1612.00858). A rotation about Z costs nothing: it is carried along as the qubit's frame and subtracted from the phase of every pulse to
come, as ``GPI2(phi) = Rz(2 pi phi) Rx(pi/2) Rz(-2 pi phi)`` and MS turns likewise; the last one does not matter to a measurement of
Z. So a run becomes at most two pulses, and the list of gates does not depend on the angles.

A rotation about XX is MS up to a quarter turn, the most that IonQ takes; what is beyond is a multiple of XX itself, an X on each qubit,
which the next run absorbs. Phases and angles of native gates are in turns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from actors.ionq.gate_text import SLOT
from actors.ionq.gates import ROTATIONS, Instruction, rotation_matrix
from actors.ionq.rotations import Run, Runs, euler_angles, quaternion

_QUARTER = math.pi / 2
_NOTHING = 1e-13
_MAX_ANGLE = 0.25
"""Turns; what is beyond is rounding, after the multiples of XX have been taken out."""
_ZERO = Instruction("rz", (0,))
"""The open angle number 0: always 0, and what runs are padded with."""
_TO_XX = {"X": None, "Y": ("Z", -_QUARTER), "Z": ("Y", _QUARTER)}
"""The rotation T of each qubit with ``T P T^-1 = X``."""


class _Ms(NamedTuple):
    """One MS gate: moved by the open angle `column` (a rotation about XX), or a constant `angle` and `phase` (turns)."""

    qubits: tuple[int, int]
    column: int | None
    angle: float = 0.0
    phase: float = 0.0


class _Structure:
    """Instructions sorted into runs and MS gates.

    Attributes:
        steps: in order of time.
        open_angles: what each open angle is, radians. flips: (column, of): open angle `column` is pi where the MS gate that is moved by
            `of` overshoots by an odd number of XX, else 0.
    """

    def __init__(self, instructions: Sequence[Instruction], n_qubits: int) -> None:
        self.steps: list[Run | _Ms] = []
        self.open_angles = [_ZERO]
        self.flips: list[tuple[int, int]] = []
        self._runs = [Run(qubit) for qubit in range(n_qubits)]
        for instruction in instructions:
            self._add(instruction)
        self._close(*range(n_qubits))

    def _add(self, instruction: Instruction) -> None:
        name, qubits = instruction.name, instruction.qubits
        if len(qubits) == 1 and instruction.angle is None:
            self._runs[qubits[0]].fix(quaternion(instruction.unitary(())))
        elif len(qubits) == 1:
            self._runs[qubits[0]].turn(ROTATIONS[name], self._column(instruction))
        elif name == "cnot":
            self._add_cnot(*qubits)
        elif name == "swap":
            for letter in "XYZ":
                self._add_pair(letter, Instruction("", qubits, amount=_QUARTER))
        else:
            self._add_pair(ROTATIONS[name][0], instruction)

    def _add_cnot(self, control: int, target: int) -> None:
        self._fix(control, "Y", _QUARTER)
        self._add_constant_ms((control, target), _QUARTER)
        self._fix(control, "X", -_QUARTER)
        self._fix(control, "Y", -_QUARTER)
        self._fix(target, "X", -_QUARTER)

    def _add_pair(self, letter: str, instruction: Instruction) -> None:
        """A rotation about XX, YY or ZZ: about XX, between turns of both qubits."""
        a, b = instruction.qubits
        turn = _TO_XX[letter]
        if turn is not None:
            self._fix(a, *turn)
            self._fix(b, *turn)
        if instruction.angle is None:
            self._add_constant_ms((a, b), instruction.amount)
        else:
            self._add_moving_ms((a, b), self._column(instruction))
        if turn is not None:
            self._fix(a, turn[0], -turn[1])
            self._fix(b, turn[0], -turn[1])

    def _add_constant_ms(self, qubits: tuple[int, int], rotation: float) -> None:
        overshoot = round(
            math.copysign(abs(rotation) / math.pi - _NOTHING, rotation)
        )  # a quarter turn is none
        rest = rotation - overshoot * math.pi
        if abs(rest) > _NOTHING:
            self._close(*qubits)
            angle = min(abs(rest) / math.tau, _MAX_ANGLE)
            self.steps.append(_Ms(qubits, None, angle, 0.5 if rest < 0 else 0.0))
        for qubit in qubits if overshoot % 2 else ():
            self._fix(qubit, "X", math.pi)

    def _add_moving_ms(self, qubits: tuple[int, int], column: int) -> None:
        self._close(*qubits)
        self.steps.append(_Ms(qubits, column))
        flip = self._column(_ZERO)
        self.flips.append((flip, column))
        for qubit in qubits:
            self._runs[qubit].turn("X", flip)

    def _fix(self, qubit: int, letter: str, rotation: float) -> None:
        self._runs[qubit].fix(quaternion(rotation_matrix(letter, rotation)))

    def _column(self, instruction: Instruction) -> int:
        self.open_angles.append(instruction)
        return len(self.open_angles) - 1

    def _close(self, *qubits: int) -> None:
        for qubit in qubits:
            self.steps.append(self._runs[qubit])
            self._runs[qubit] = Run(qubit)


class NativeProgram:
    """QIS instructions as native gates; the open numbers are phases and the angles of MS gates, in turns within [-1, 1].

    Args:
        instructions: QIS gates in order of time, the change of the measurement basis included. n_qubits: of the circuit.

    Attributes:
        gates: the gate list with open places; it equals the instructions up to a global phase and a final Rz on each qubit.
    """

    def __init__(self, instructions: Sequence[Instruction], n_qubits: int) -> None:
        structure = _Structure(instructions, n_qubits)
        self._n_qubits, self._steps, self._flips = n_qubits, structure.steps, structure.flips
        self.gates: tuple[Mapping[str, Any], ...] = tuple(_native_gates(self._steps))
        moved = [(row, i) for row, i in enumerate(structure.open_angles) if i.angle is not None]
        self._moved = np.array([row for row, _ in moved], np.int64)
        self._angle = np.array([i.angle for _, i in moved], np.int64)
        self._amount = np.array([i.amount for _, i in moved])
        self._n_open = len(structure.open_angles)
        runs = [step for step in self._steps if isinstance(step, Run)]
        self._runs = Runs(runs, no_column=0)
        self._is_frame = np.array([[not run.pulses] for run in runs])
        self._is_single = np.array([[len(run.pulses) == 1] for run in runs])

    def values(self, angles: np.ndarray) -> np.ndarray:
        """Phases and angles in the order of the open places, float64 [N, P], turns, from the circuits' angles [N, K] (radians)."""
        opened = self._open_angles(angles)
        before, middle, after = self._turns(opened)
        frames = np.zeros((self._n_qubits, len(angles)))
        found: list[np.ndarray] = []
        row = 0
        for step in self._steps:
            if isinstance(step, _Ms):
                found += _ms_values(step, opened, frames)
                continue
            frame = frames[step.qubit]
            frame += before[row]
            for number, _ in enumerate(step.pulses):
                if number == 1:
                    frame += middle[row]
                found.append(-frame)
            if step.pulses:
                frame += after[row]
            frame -= np.rint(frame)
            row += 1
        values = np.array(found).reshape(len(found), len(angles)).T
        # whole turns off; the angles of MS gates have none
        return np.ascontiguousarray(values - np.rint(values))

    def _open_angles(self, angles: np.ndarray) -> np.ndarray:
        """float64 [C, N], radians."""
        opened = np.zeros((self._n_open, len(angles)))
        opened[self._moved] = (angles[:, self._angle] * self._amount).T
        for flip, of in self._flips:
            opened[flip] = np.rint(opened[of] / math.pi) % 2 * math.pi
        return opened

    def _turns(self, opened: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rotations about Z before, between and after the pulses of each run, turns [R, N].

        ``Rz(phi) Ry(theta) Rz(lambda) = Rz(phi + pi) Rx(pi/2) Rz(theta + pi) Rx(pi/2) Rz(lambda)`` up to a global phase, and as one pulse
        ``Rz(phi + pi/2) Rx(theta) Rz(lambda - pi/2)``, theta being its own.
        """
        theta, phi, lam = euler_angles(self._runs.rotations(opened))
        before = np.where(self._is_frame, phi + lam, np.where(self._is_single, lam - _QUARTER, lam))
        after = np.where(self._is_single, phi + _QUARTER, phi + math.pi)
        return before / math.tau, (theta + math.pi) / math.tau, after / math.tau


def _native_gates(steps: Sequence[Run | _Ms]) -> Iterator[dict[str, Any]]:
    for step in steps:
        if isinstance(step, Run):
            yield from ({"gate": name, "target": step.qubit, "phase": SLOT} for name in step.pulses)
        else:
            angle = step.angle if step.column is None else SLOT
            yield {"gate": "ms", "targets": list(step.qubits), "phases": [SLOT, SLOT], "angle": angle}


def _ms_values(ms: _Ms, opened: np.ndarray, frames: np.ndarray) -> list[np.ndarray]:
    """The two phases, and the angle if it is open, turns [N] each."""
    a, b = ms.qubits
    if ms.column is None:
        return [ms.phase - frames[a], -frames[b]]
    rotation = opened[ms.column]
    rest = rotation - np.rint(rotation / math.pi) * math.pi
    angle = np.minimum(np.abs(rest) / math.tau, _MAX_ANGLE)
    return [np.where(rest < 0, 0.5, 0.0) - frames[a], -frames[b], angle]
