"""The JSON text of a circuit's gates with its numbers left open: written once, filled many times."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Slot:
    """A number of a gate that is filled in later; slots are filled in the order in which they stand in the gates."""


SLOT = Slot()
_OPEN = "\x00"  # in no gate name; JSON writes it as \u0000


class GateText:
    """A gate list as text.

    Args:
        gates: as in ``input.circuit`` of an IonQ job, with `SLOT` in place of the numbers to come.
    """

    def __init__(self, gates: Sequence[Mapping[str, Any]]) -> None:
        text = json.dumps(list(gates), separators=(",", ":"), default=lambda _: _OPEN)
        self._format = text.replace("%", "%%").replace(json.dumps(_OPEN), "%s")
        self.gates = tuple(gates)

    def fill(self, values: np.ndarray) -> list[str]:
        """The JSON text of N circuits.

        Args:
            values: float64 [N, P], finite, the numbers of each circuit's P slots. Each is written with the fewest digits that read back
                as the same number.
        """
        # The circuits of a gradient share most of their numbers, and writing a number costs more than sorting it
        distinct, place = np.unique(values, return_inverse=True)
        texts = np.array([repr(number) for number in distinct.tolist()], object)[place.reshape(values.shape)]
        return [self._format % tuple(row) for row in texts.tolist()]
