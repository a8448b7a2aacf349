"""The models of ``qfleet benchmark tables``, each with its loss and the way its features are scaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from orchestrator.losses.base import Loss
from orchestrator.losses.cross_entropy import BinaryCrossEntropy
from orchestrator.losses.weighted_fidelity import WeightedFidelity
from orchestrator.models import published
from orchestrator.models.model import Model
from orchestrator.training.reports import Samples
from pipelines.benchmark.tables_settings import Setting


class Problem(NamedTuple):
    """What is trained: a model, its loss, and the samples as the model takes them."""

    model: Model
    loss: Loss
    train: Samples
    test: Samples


def problem(name: str, setting: Setting, train: Samples, test: Samples) -> Problem:
    """The model called `name` for raw samples; whatever scales them is fitted to the training samples."""
    n_features = train.features.shape[1]
    if name == "circuit_centric":
        scaled = [
            Samples(
                published.padded_copies(standardised(s.features, train.features), setting.repeats), s.targets
            )
            for s in (train, test)
        ]
        n_qubits = scaled[0].features.shape[1].bit_length() - 1
        model = published.circuit_centric(n_qubits, setting.n_layers, setting.initial_scale)
        return Problem(model, BinaryCrossEntropy(), scaled[0], scaled[1])
    scaled = [Samples(within_half_pi(s.features, train.features), s.targets) for s in (train, test)]
    loss: Loss = WeightedFidelity() if name == "reuploading" else BinaryCrossEntropy()
    return Problem(_MAKERS[name](n_features, setting), loss, scaled[0], scaled[1])


def within_half_pi(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Each column [S, F] moved and stretched so that that of `reference` goes from -π/2 to π/2."""
    low, high = reference.min(axis=0), reference.max(axis=0)
    return np.pi * ((features - low) / (high - low) - 0.5)


def standardised(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Each column [S, F] in standard deviations of that of `reference` from its mean."""
    return (features - reference.mean(axis=0)) / reference.std(axis=0)


_MAKERS: dict[str, Callable[[int, Setting], Model]] = {
    "reuploading": lambda n, setting: published.reuploading(n, setting.n_layers, setting.initial_scale),
    "dressed": lambda n, setting: published.dressed(n, setting.n_layers, setting.initial_scale),
    "separable": lambda n, setting: published.separable(n, setting.n_layers, setting.initial_scale),
    "iqp": lambda n, setting: published.iqp(n, setting.n_layers, setting.repeats, setting.initial_scale),
}
