"""A fitted support vector machine as plain arrays: what it says follows from kernel values with its support vectors alone.

The sums are those of libsvm (Chang and Lin, ACM TIST 2, 27 (2011)), done here in a fixed order, so that a row's bits do not depend on the
rows beside it, and so that no scikit-learn object has to be stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Self

import numpy as np
from sklearn.svm import SVC

from orchestrator.errors import CheckpointError


@dataclass(frozen=True, eq=False)
class Machine:
    """One machine for each pair of K classes, all of them on the same V support vectors, which are ordered by class.

    Attributes:
        n_support: int64 [K], support vectors of each class.
        dual: float64 [K - 1, V], `SVC.dual_coef_`. intercept: float64 [K (K - 1) / 2], `SVC.intercept_`.
    """

    n_support: np.ndarray
    dual: np.ndarray
    intercept: np.ndarray

    @classmethod
    def fit(cls, kernel: np.ndarray, targets: np.ndarray, penalty: float) -> tuple[Self, np.ndarray]:
        """Fit to the kernel of training rows with themselves [S, S] and class numbers [S]; the machine, and which rows it stands on [V].

        Args:
            penalty: C, of rows inside the margin.
        """
        found = SVC(kernel="precomputed", C=penalty).fit(kernel, targets)
        machine = cls(
            found.n_support_.astype(np.int64), np.array(found.dual_coef_), np.array(found.intercept_)
        )
        return machine, found.support_.astype(np.int64)

    def decide(self, kernel: np.ndarray) -> np.ndarray:
        """Decision values from kernel values [S, V] with the support vectors: [S], positive for the second class; [S, K] for more.

        With more than two classes the votes of the pairs and, between classes of as many, the sum of their decisions, squeezed below a
        third of a vote, as scikit-learn's ``decision_function_shape="ovr"`` has it.
        """
        pairs = self._pairs(kernel)
        if len(self.n_support) == 2:
            return -pairs[:, 0]
        votes, sums = np.zeros((2, len(kernel), len(self.n_support)))
        for number, (i, j) in enumerate(combinations(range(len(self.n_support)), 2)):
            is_first = pairs[:, number] > 0
            votes[:, i] += is_first
            votes[:, j] += ~is_first
            sums[:, i] += pairs[:, number]
            sums[:, j] -= pairs[:, number]
        return votes + sums / (3 * (np.abs(sums) + 1))

    def classes(self, kernel: np.ndarray) -> np.ndarray:
        """The number of each row's class, int64 [S], from kernel values [S, V]."""
        decisions = self.decide(kernel)
        return (decisions > 0).astype(np.int64) if decisions.ndim == 1 else decisions.argmax(axis=1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Machine:
        """What `to_arrays` gave.

        Raises:
            CheckpointError: shapes that do not belong together.
        """
        found = cls(**{field.name: arrays[field.name] for field in fields(cls)})
        n_classes, n_vectors = len(found.n_support), int(found.n_support.sum())
        shapes = (n_classes - 1, n_vectors), (n_classes * (n_classes - 1) // 2,)
        if (found.dual.shape, found.intercept.shape) != shapes:
            raise CheckpointError(
                f"a machine of {n_classes} classes and {n_vectors} support vectors has not arrays of the shapes "
                f"{found.dual.shape} and {found.intercept.shape}"
            )
        return found

    def _pairs(self, kernel: np.ndarray) -> np.ndarray:
        """Decisions [S, K (K - 1) / 2], positive for the first class of the pair."""
        ends = np.cumsum(self.n_support)
        of_class = [slice(end - n, end) for end, n in zip(ends, self.n_support, strict=True)]
        # with two classes scikit-learn turns the signs, so that positive is the second class
        sign = -1.0 if len(self.n_support) == 2 else 1.0
        found = np.empty((len(kernel), len(self.intercept)))
        for number, (i, j) in enumerate(combinations(range(len(self.n_support)), 2)):
            weights = np.zeros(kernel.shape[1])
            weights[of_class[i]] = self.dual[j - 1, of_class[i]]
            weights[of_class[j]] = self.dual[i, of_class[j]]
            sums = np.zeros(len(kernel))
            for column, weight in zip(kernel.T, weights, strict=True):
                sums += weight * column
            found[:, number] = sign * (sums + self.intercept[number])
        return found
