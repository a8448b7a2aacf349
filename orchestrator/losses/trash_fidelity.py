"""Trash-state fidelity, for autoencoders: how far the trash qubits are from |0...0>."""

from __future__ import annotations

import numpy as np

from orchestrator.losses.base import Task


class TrashFidelity:
    """Romero, Olson and Aspuru-Guzik, arXiv 1612.02806: ``mean(1 - F)`` over samples, F the probability of |0...0> on the trash qubits.

    F is the model's one output. There are no targets: a sample is what it is to be decoded to.
    """

    task: Task = "autoencoder"
    degree = 1
    """As a polynomial in the outputs."""

    def n_outputs(self, n_classes: int, n_scores: int = 1) -> int:
        """One, the trash fidelity."""
        return 1

    def value_and_gradient(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean infidelity, and its derivative by the fidelities [S, 1], which is the same everywhere."""
        return float(np.mean(1.0 - outputs[:, 0])), np.full(outputs.shape, -1.0 / len(outputs))

    def predict(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """The trash fidelity of each sample: low for one that is unlike those trained on."""
        return {"prediction": outputs[:, 0].copy()}

    def metrics(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Loss and mean trash fidelity."""
        value, _ = self.value_and_gradient(outputs, targets)
        return {"loss": value, "trash_fidelity": float(np.mean(outputs[:, 0]))}
