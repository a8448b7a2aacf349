"""``qfleet kernel``: a support vector machine on a quantum kernel, its matrix computed over the fleet.

The matrix of the training split with itself (made positive semidefinite if shots made it otherwise) and that of the test with the training
split are all that the circuits give; the machine itself is scikit-learn's. Its C is found by cross-validation within the training split, as
is that of the classical machine that the accuracy is compared with.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from orchestrator.config import TrainingConfig, actor_overrides
from orchestrator.errors import ConfigError
from orchestrator.kernels.base import KernelMatrix
from orchestrator.kernels.matrix import kernel_matrix
from orchestrator.kernels.repair import positive_semidefinite
from orchestrator.registry import resolve
from pipelines.baselines import paired
from pipelines.compose import build_backend, build_coordinator, build_loss
from pipelines.data.datasets import PreparedData, prepare
from pipelines.display.formatting import format_count, format_duration, format_usd
from pipelines.run_setup import suggestion

_PENALTIES = [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]
_FOLDS = 5


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Compute the kernel, fit, score, print. Returns what ``--json`` prints.

    Raises:
        InputError: data, feature map and kernel do not go together, or the loss is not one of classes.
    """
    from pipelines.report import print_sections

    actors = ["fleet.dispatcher=serial"] if options.actors is None else actor_overrides(options.actors)
    config = TrainingConfig.from_toml(options.config, [*options.set, *actors])
    loss = build_loss(config)
    if loss.task in ("regression", "autoencoder"):
        raise ConfigError(
            "loss.name", config.loss.name, "the kernel classifier needs classes", "binary_cross_entropy"
        )
    kernel = resolve("kernel", options.kernel)(config.model)
    data = prepare(
        config.data,
        task=loss.task,
        seed=config.run.seed,
        n_features=kernel.n_features,
        suggest=suggestion(config),
    )
    if not len(data.test.targets):
        raise ConfigError(
            "data.test_fraction", config.data.test_fraction, "nothing is left to score on", "0.2"
        )
    started = time.perf_counter()
    coordinator = build_coordinator(config.fleet, build_backend(config))
    settings: dict[str, Any] = {
        "coordinator": coordinator,
        "shots": config.backend.shots,
        "seed": config.run.seed,
    }
    try:
        print(f"computing {options.kernel} kernels", file=sys.stderr)
        own = kernel_matrix(kernel, data.train.features, **settings)
        cross = kernel_matrix(kernel, data.test.features, data.train.features, **settings)
    finally:
        coordinator.dispatcher.close()
    seconds = time.perf_counter() - started
    figures = scored(data, own, cross, config.run.seed) | {
        "kernel": options.kernel,
        "feature_map": config.model.feature_map,
        "qubits": config.model.n_qubits,
        "circuits": own.n_circuits + cross.n_circuits,
        "shots": own.n_shots + cross.n_shots,
        "cost_usd": own.cost_usd + cross.cost_usd,
        "seconds": seconds,
    }
    print_sections(
        f"{options.kernel} kernel, {config.model.feature_map} feature map",
        _sections(figures),
        to_stdout=not options.json,
    )
    return figures


def scored(data: PreparedData, own: KernelMatrix, cross: KernelMatrix, seed: int) -> dict[str, Any]:
    """Accuracies of the quantum and the classical machine, and their difference over the same test samples.

    Args:
        own: kernel of the training split with itself; cross: of the test with the training split.
    """
    train, test = data.train, data.test
    gram = positive_semidefinite(own.values)
    quantum = _fitted(gram, train.targets, {"kernel": ["precomputed"], "C": _PENALTIES})
    classical = _fitted(train.features, train.targets, {"C": _PENALTIES, "gamma": ["scale", 0.1, 1.0]})
    predicted = np.asarray(quantum.predict(cross.values))
    against = paired(
        "RBF kernel", np.asarray(classical.predict(test.features)), predicted, test.targets, seed
    )
    return {
        "accuracy": float(np.mean(predicted == test.targets)),
        "train_accuracy": float(quantum.score(gram, train.targets)),
        "penalty": float(quantum.best_params_["C"]),
        "samples": {"train": len(train.targets), "test": len(test.targets)},
        "alignment": alignment(own.values, train.targets),
        "off_diagonal": spread(own.values),
        "against": asdict(against) | {"verdict": against.verdict},
    }


def _fitted(inputs: np.ndarray, targets: np.ndarray, grid: dict[str, list[Any]]) -> Any:
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    folds = int(max(2, min(_FOLDS, np.bincount(targets).min())))
    return GridSearchCV(SVC(), grid, cv=folds).fit(inputs, targets)


def alignment(kernel: np.ndarray, targets: np.ndarray) -> float:
    """Kernel-target alignment, 1 for a kernel that is 1 within classes and -1/(K-1) between them (Cristianini et al., NIPS 2001)."""
    n_classes = int(targets.max()) + 1
    ideal = np.where(targets[:, None] == targets[None, :], 1.0, -1.0 / max(n_classes - 1, 1))
    return float(np.sum(kernel * ideal) / np.sqrt(np.sum(kernel**2) * np.sum(ideal**2)))


def spread(kernel: np.ndarray) -> dict[str, float]:
    """Mean and standard deviation off the diagonal: where both are near 0 the kernel tells all samples apart and learns nothing."""
    off = kernel[~np.eye(len(kernel), dtype=bool)]
    return {"mean": float(off.mean()), "std": float(off.std())}


def _sections(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    against, off = figures["against"], figures["off_diagonal"]
    gain, low, high = (f"{100 * against[name]:+.1f} %" for name in ("difference", "low", "high"))
    return {
        "Scores": {
            "test accuracy": f"{100 * figures['accuracy']:.1f} %",
            "training accuracy": f"{100 * figures['train_accuracy']:.1f} %",
            "RBF kernel, same split": f"{100 * against['score']:.1f} %; quantum kernel {gain} ({low} to {high}): {against['verdict']}",
        },
        "Kernel": {
            "alignment with classes": f"{figures['alignment']:.3f}",
            "between samples": f"{off['mean']:.3g} ± {off['std']:.2g}"
            + ("; concentrated: it tells all samples apart" if off["mean"] + 2 * off["std"] < 0.05 else ""),
            "C": f"{figures['penalty']:g}",
        },
        "Work": {
            "samples": f"{figures['samples']['train']} train, {figures['samples']['test']} test",
            "circuits": format_count(figures["circuits"]),
            "shots": format_count(figures["shots"]) if figures["shots"] else "exact",
            "cost": format_usd(figures["cost_usd"]),
            "time": format_duration(figures["seconds"]),
        },
    }


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["kernel", *sys.argv[1:]]))
