"""What shot noise takes from a kernel matrix, positive semidefiniteness, given back."""

from __future__ import annotations

import numpy as np

from orchestrator.errors import DataError


def positive_semidefinite(values: np.ndarray) -> np.ndarray:
    """The positive semidefinite matrix nearest to a noisy kernel matrix of one set with itself.

    Negative eigenvalues of its symmetric part are set to 0, which gives the nearest such matrix in the Frobenius norm (Higham,
    Linear Algebra Appl. 103, 103 (1988)). The diagonal rises a little above 1, by what was cut off. A support vector machine needs
    this of its training matrix only; the matrix of test with training samples stays as it is.

    Args:
        values: float64 [S, S].

    Raises:
        DataError: the matrix is not square, or holds a value that is not finite.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise DataError(
            f"a kernel matrix of shape {values.shape} has no eigenvalues: repair that of the training set with itself"
        )
    if not np.isfinite(values).all():
        raise DataError("the kernel matrix holds a value that is not finite")
    symmetric = (values + values.T) / 2
    eigenvalues, vectors = np.linalg.eigh(symmetric)
    if eigenvalues[0] >= 0:
        return symmetric
    repaired = (vectors * np.maximum(eigenvalues, 0)) @ vectors.T
    return (repaired + repaired.T) / 2
