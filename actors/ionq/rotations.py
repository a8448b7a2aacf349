"""Rotations of one qubit as unit quaternions, arrays of them at once, and the runs of rotations that become pulses.

A quaternion (w, x, y, z) stands for ``w - i (x X + y Y + z Z)``; so Hamilton's product is the product of matrices. Arithmetic is real and
elementwise over contiguous arrays, so that a circuit's numbers do not depend on what stands beside it.
"""

from __future__ import annotations

import math

import numpy as np

Quaternion = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])
_NOTHING = 1e-13
ROOT = math.sqrt(0.5)
_TURN_TO_Z = {"X": np.array([ROOT, 0, -ROOT, 0]), "Y": np.array([ROOT, ROOT, 0, 0]), "Z": IDENTITY}
"""The rotation T with ``T P T^-1 = Z``."""
_INVERSE = np.array([1.0, -1.0, -1.0, -1.0])


def quaternion(unitary: np.ndarray) -> np.ndarray:
    """float64 [4] of a unitary complex128 [2, 2], its global phase left out."""
    special = unitary / np.sqrt(np.linalg.det(unitary))
    a, b = special[0, 0], special[1, 0]
    return np.array([a.real, -b.imag, b.real, -a.imag])


def product(second: Quaternion, first: Quaternion) -> Quaternion:
    """The rotation `first` followed by `second`; arrays that broadcast."""
    w2, x2, y2, z2 = second
    w1, x1, y1, z1 = first
    return (
        w2 * w1 - x2 * x1 - y2 * y1 - z2 * z1,
        w2 * x1 + x2 * w1 + y2 * z1 - z2 * y1,
        w2 * y1 - x2 * z1 + y2 * w1 + z2 * x1,
        w2 * z1 + x2 * y1 - y2 * x1 + z2 * w1,
    )


def euler_angles(rotation: Quaternion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(theta, phi, lambda), radians, with the rotation = Rz(phi) Ry(theta) Rz(lambda).

    Where theta is 0 or pi, one of phi and lambda is arbitrary; what they add up to is not, as both come from the same two phases.
    """
    w, x, y, z = rotation
    theta = 2 * np.arctan2(np.hypot(x, y), np.hypot(w, z))
    first, second = np.arctan2(-z, w), np.arctan2(-x, y)
    return theta, second - first, -first - second


class Run:
    """What happens to one qubit between two entangling gates: fixed rotations with rotations about Z by open angles between them.

    Attributes:
        qubit: its number.
        fixed: float64 [4] each, the fixed rotations in order of time, one more than columns.
        columns: where the open angle between two of them comes from.
    """

    def __init__(self, qubit: int) -> None:
        self.qubit = qubit
        self.fixed: list[np.ndarray] = [IDENTITY]
        self.columns: list[int] = []

    def fix(self, rotation: np.ndarray) -> None:
        """A fixed rotation, float64 [4]."""
        self.fixed[-1] = np.array(product(tuple(rotation), tuple(self.fixed[-1])))

    def turn(self, letter: str, column: int) -> None:
        """A rotation about X, Y or Z by the open angle `column`."""
        self.fix(_TURN_TO_Z[letter])
        self.columns.append(column)
        self.fixed.append(_TURN_TO_Z[letter] * _INVERSE)

    @property
    def pulses(self) -> tuple[str, ...]:
        """The native gates that it becomes, whatever the angles: none, one gpi2 or gpi, or two gpi2.

        With at most one fixed rotation off the Z axis, the angle theta of the whole is that rotation's.
        """
        tilts = [math.hypot(x, y) for _, x, y, _ in self.fixed if math.hypot(x, y) > _NOTHING]
        if not tilts:
            return ()
        if len(tilts) == 1 and abs(tilts[0] - 1) < _NOTHING:
            return ("gpi",)
        if len(tilts) == 1 and abs(tilts[0] - ROOT) < _NOTHING:
            return ("gpi2",)
        return ("gpi2", "gpi2")


class Runs:
    """All runs of a circuit, padded to one length so that they are evaluated together."""

    def __init__(self, runs: list[Run], no_column: int) -> None:
        length = max((len(run.columns) for run in runs), default=0)
        self._fixed = np.tile(IDENTITY, (len(runs), length + 1, 1))
        self._columns = np.full((len(runs), length), no_column, np.int64)
        for place, run in enumerate(runs):
            self._fixed[place, : len(run.fixed)] = run.fixed
            self._columns[place, : len(run.columns)] = run.columns

    def rotations(self, open_angles: np.ndarray) -> Quaternion:
        """[R, N] each, from the open angles float64 [P, N] (radians)."""
        shape = (len(self._fixed), open_angles.shape[1])
        w, x, y, z = (
            np.ascontiguousarray(np.broadcast_to(self._fixed[:, 0, i, None], shape)) for i in range(4)
        )
        total: Quaternion = (w, x, y, z)
        for place in range(self._columns.shape[1]):
            half = open_angles[self._columns[:, place]] / 2
            cosine, sine, zero = np.cos(half), np.sin(half), np.zeros((1, 1))
            total = product((cosine, zero, zero, sine), total)
            fw, fx, fy, fz = (self._fixed[:, place + 1, i, None] for i in range(4))
            total = product((fw, fx, fy, fz), total)
        return total
