"""The two workloads: what is learnt, by which front, and at what rates."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from orchestrator.config import TrainingConfig
from pipelines.frontends.pytorch.layer import QuantumLayer
from pipelines.hybrid.image_splits import expected_images, image_splits
from pipelines.hybrid.networks import ImageFront, Network, build, digits_front
from pipelines.hybrid.settings import HybridSettings
from pipelines.hybrid.splits import Splits, digits_splits
from pipelines.hybrid.training import Plan

ANSATZ, ENCODING, OBSERVABLES = "hardware_efficient", "angle", "each"
"""Of the circuit: RY and RZ on every qubit and CNOTs from each to the next, in every layer; <Z> of every qubit."""


@dataclass(frozen=True)
class Workload:
    """What is trained.

    Attributes:
        splits: the data of a seed. front: a new one.
        learning_rate: of the front. rate_of_rest: of middle and head, the circuit's angles among them.
    """

    splits: Callable[[int], Splits]
    front: Callable[[], nn.Module]
    learning_rate: float
    rate_of_rest: float


def workload_of(settings: HybridSettings) -> Workload:
    """The workload that `settings` name."""
    if settings.workload == "digits":
        return Workload(digits_splits, functools.partial(digits_front, settings.qubits), 0.03, 0.06)
    return Workload(
        functools.partial(image_splits, settings),
        functools.partial(ImageFront, settings.size, settings.qubits),
        0.006,
        0.03,
    )


def network_of(
    arm: str,
    settings: HybridSettings,
    config: TrainingConfig,
    n_classes: int,
    seed: int,
    folder: str | Path | None = None,
    yes_spend_usd: float | None = None,
) -> Network:
    """One of the networks, untrained.

    Args:
        folder: keeps the book, where the backend costs money. yes_spend_usd: how much it may cost.

    Raises:
        InputError: the backend cannot do it, or is not allowed to.
    """

    def circuit() -> QuantumLayer:
        return QuantumLayer(
            settings.qubits, settings.depth, ansatz=ANSATZ, encoding=ENCODING, observables=OBSERVABLES,
            backend=config.backend, fleet=config.fleet, seed=seed, folder=folder, yes_spend_usd=yes_spend_usd,
            gradient=config.gradient,
        )  # fmt: skip

    return build(arm, workload_of(settings).front, circuit, n_classes, seed)


def expected_sizes(settings: HybridSettings) -> tuple[int, dict[str, int], str]:
    """(Classes, samples by part, the source in words), without reading any image."""
    if settings.workload == "digits":
        splits = digits_splits(0)
        return len(splits.class_names), splits.sizes, splits.source
    return expected_images(settings)


def plan_of(settings: HybridSettings, config: TrainingConfig, seed: int) -> Plan:
    """How a network is trained."""
    workload = workload_of(settings)
    return Plan(config.run.epochs, config.run.batch_size, workload.learning_rate, workload.rate_of_rest, seed)
