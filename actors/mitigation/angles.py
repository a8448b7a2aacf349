"""A job for a folded circuit: every angle of the circuit goes to the gates made from its gate, as it is or with the sign reversed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.circuits.derived import Derived
from orchestrator.jobs import Displacements, Job


@dataclass(frozen=True, eq=False)
class AngleCopies:
    """Where the angles of a derived template (K' of them) come from.

    Attributes:
        source: int64 [K'], the angle of the original (K angles). sign: float64 [K'], 1 or -1.
        copies: int64 [K'], the derived angles ordered by their source. indptr: int64 [K + 1]: those of angle k are
            ``copies[indptr[k]:indptr[k + 1]]``.
    """

    source: np.ndarray
    sign: np.ndarray
    copies: np.ndarray
    indptr: np.ndarray

    @classmethod
    def of(cls, derived: Derived, n_angles: int) -> AngleCopies:
        """Of a template derived from one of `n_angles` angles."""
        copies = np.argsort(derived.source, kind="stable")
        indptr = np.searchsorted(derived.source[copies], np.arange(n_angles + 1))
        return cls(derived.source, derived.sign, copies, indptr)

    def job(self, job: Job, circuit_key: str, noise_keys: np.ndarray) -> Job:
        """`job`, which is of the original circuit, for the derived one of key `circuit_key`; the place in the run is the same."""
        column = np.full(len(self.indptr) - 1, -1)
        column[job.data_columns] = np.arange(len(job.data_columns))
        column = column[self.source]
        moved = np.flatnonzero(column >= 0)
        return replace(
            job,
            circuit_key=circuit_key,
            shared_angles=job.shared_angles[self.source] * self.sign,
            data_columns=moved,
            data_angles=job.data_angles[:, column[moved]] * self.sign[moved],
            displacements=self._displacements(job.displacements),
            noise_keys=noise_keys,
        )

    def _displacements(self, rows: Displacements) -> Displacements:
        """Each entry once for every copy of its angle, rows as they are."""
        n_copies = (self.indptr[1:] - self.indptr[:-1])[rows.angles]
        ends = np.concatenate([[0], np.cumsum(n_copies)])
        within = np.arange(ends[-1]) - np.repeat(ends[:-1], n_copies)
        copies = self.copies[np.repeat(self.indptr[rows.angles], n_copies) + within]
        deltas = np.repeat(rows.deltas, n_copies) * self.sign[copies]
        return Displacements(ends[rows.indptr].astype(np.int64), copies, deltas)


def keys_for(noise_keys: np.ndarray, label: str) -> np.ndarray:
    """Generator keys of further circuits, named by `label`: uint64 [G] from the job's own [G], so that their shots are independent."""
    digests = [
        hashlib.blake2b(f"{key}/{label}".encode(), digest_size=8).digest() for key in noise_keys.tolist()
    ]
    return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)
