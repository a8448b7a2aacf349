"""A workload in plain arrays, so that any interpreter with numpy and one simulator can compute it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Problem:
    """What to compute, and what qfleet found.

    The circuit (s, d) is RY(features[s, i]) on qubit i, then for each layer l RX, RY, RZ of qubit q by ``params[d, l, q]`` and a CNOT
    (control, target) for each of `pairs`. All angles in radians; qubit 0 is the most significant bit of a basis index.

    Attributes:
        workload: its name.
        task: ``values`` | ``samples`` | ``gradient``.
        n_qubits: n.
        pairs: int64 [E, 2].
        observed: int64 [M], the qubits whose Z is measured.
        features: float64 [S, n].
        params: float64 [D, L, n, 3], row 0 undisplaced.
        shots: repetitions of each circuit, 0 for exact values.
        noise: float64 [2], the rates r of the depolarising channels after every one- and two-qubit gate, each of the 4**k Pauli
            operators with probability r / 4**k; empty for none.
        weights: float64 [S, M]: the loss is ``sum_sm weights[s, m] <Z_m>_s / S`` (gradient), empty otherwise.
        expected: exact values float64 [S, D, M], or the derivatives of sample s's weighted sum [S, L, n, 3] (gradient).
    """

    workload: str
    task: str
    n_qubits: int
    pairs: np.ndarray
    observed: np.ndarray
    features: np.ndarray
    params: np.ndarray
    shots: int
    noise: np.ndarray
    weights: np.ndarray
    expected: np.ndarray

    @property
    def n_samples(self) -> int:
        """S."""
        return len(self.features)

    @property
    def n_rows(self) -> int:
        """D."""
        return len(self.params)

    @property
    def n_layers(self) -> int:
        """L."""
        return int(self.params.shape[1])

    def save(self, path: Path) -> None:
        """Write it as an .npz file."""
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Problem:
        """Read what `save` wrote."""
        with np.load(path) as file:
            arrays = {f.name: file[f.name] for f in fields(cls)}
        return cls(**{name: a.item() if a.ndim == 0 else a for name, a in arrays.items()})


def z_signs(n_qubits: int, observed: np.ndarray) -> np.ndarray:
    """float64 [2**n, M]: the value of Z on each observed qubit at each basis index."""
    bits = (np.arange(2**n_qubits)[:, None] >> (n_qubits - 1 - observed)[None, :]) & 1
    return 1.0 - 2.0 * bits
