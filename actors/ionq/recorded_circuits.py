"""RecordedCircuits: a run's record by circuit, for whoever asks for a circuit again.

A circuit is found by its content: structure, measurement basis, the bits of its angles, and who answered (`Source`). Where the same
circuit was run several times, the one at the place in the run that asks is taken, so that a run repeated is repeated to the bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from actors.ionq.outcomes import Outcomes, all_outcomes
from actors.ionq.question import Source, places_of
from actors.ionq.record import RecordedSubmission

KEY_BYTES = 16
EXACT = 0
"""In place of a number of shots, where probabilities are exact."""


class Place(NamedTuple):
    """Where a run asks for a circuit: the noise key of its purpose and basis, and its numbers as of a Job."""

    noise_key: int
    step: int
    sample: int
    displacement: int


def content_keys(structure: str, basis: str, source: Source, angles: np.ndarray) -> list[bytes]:
    """The content key of each circuit: equal for the same circuits, whatever their shots.

    Args:
        structure: key of the circuit template. basis: a letter of ``IXYZ`` per qubit.
        angles: float64 [N, K], radians.
    """
    head = hashlib.blake2b("\n".join((structure, basis, *map(str, source))).encode(), digest_size=KEY_BYTES)
    keys = []
    for row in np.ascontiguousarray(angles + 0.0):  # -0.0 is 0.0
        digest = head.copy()
        digest.update(row.tobytes())
        keys.append(digest.digest())
    return keys


class RecordedCircuits:
    """An index of recorded circuits, held as arrays.

    Attributes:
        shots: int64 [R], `EXACT` where probabilities are exact.
    """

    def __init__(self, submissions: Iterable[RecordedSubmission]) -> None:
        keys: list[bytes] = []
        tokens: list[str] = []
        places: list[tuple[int, int, int, int]] = []
        shots: list[int] = []
        found: list[Outcomes] = []
        for submission in submissions:
            question, job = submission.question, submission.question.job
            where = places_of(question)
            of_group = [
                content_keys(question.structure, basis, question.source, where.angles[where.groups == group])
                for group, basis in enumerate(question.bases)
            ]
            turn = [iter(group) for group in of_group]
            keys += [next(turn[group]) for group in where.groups]
            noise_keys = job.noise_keys.tolist() or [0] * len(question.bases)
            of_circuits = zip(where.groups, where.samples, where.displacements, strict=True)
            places += [(noise_keys[g], job.step, int(s), int(d)) for g, s, d in of_circuits]
            n_shots = EXACT if question.is_exact else job.shots
            assert n_shots is not None  # no other target takes circuits without shots
            shots += [n_shots] * question.n_circuits
            tokens += [submission.entry.token] * question.n_circuits
            found += all_outcomes(submission.answer, question.n_qubits)
        # An order that does not depend on which thread was answered first
        order = sorted(range(len(keys)), key=lambda i: (places[i], -shots[i], tokens[i]))
        self._places = [Place(*places[i]) for i in order]
        self.shots = np.array([shots[i] for i in order], np.int64)
        self._rows: dict[bytes, list[int]] = {}
        for row, i in enumerate(order):
            self._rows.setdefault(keys[i], []).append(row)
        sizes = [len(found[i].rows) for i in order]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._outcomes = np.concatenate([np.empty(0, np.int64), *(found[i].rows for i in order)])
        self._probabilities = np.concatenate([np.empty(0), *(found[i].probabilities for i in order)])

    def __len__(self) -> int:
        return len(self.shots)

    def find(self, keys: Iterable[bytes], place: Place, shots: int | None) -> int | None:
        """The row of a recorded circuit with one of `keys` that can answer for `shots` (None: exactly); None: there is none.

        The one at `place` if there is one, then one of as many shots, then the first of those that have more.
        """
        rows = [row for key in keys for row in self._rows.get(key, ()) if self._serves(row, shots)]
        if not rows:
            return None
        return min(rows, key=lambda row: (self._places[row] != place, self.shots[row] != shots, row))

    def is_known(self, keys: Iterable[bytes]) -> bool:
        """Whether a circuit with one of `keys` was run at all, with however few shots."""
        return any(key in self._rows for key in keys)

    def outcomes(self, row: int) -> Outcomes:
        """What came out of a recorded circuit."""
        part = slice(self._starts[row], self._starts[row + 1])
        return Outcomes(self._outcomes[part], self._probabilities[part])

    def _serves(self, row: int, shots: int | None) -> bool:
        recorded = self.shots[row]
        return bool(recorded == EXACT or (shots is not None and recorded >= shots))
