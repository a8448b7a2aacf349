"""The data and the configurations of ``qfleet benchmark source``: the documents name sizes of data sets, not the data."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from orchestrator.config import TrainingConfig
from pipelines.benchmark.source_configs_claims import SourceConfiguration
from pipelines.checkpoints import write_atomically

GENERATED, BUILT_IN = "generated", "breast_cancer"
N_TEST = {GENERATED: 200, BUILT_IN: 69}
"""Test samples beside the training samples that a configuration names; 569 rows are all that the built-in set has."""
_NOISE = 0.5
BEST_POSSIBLE = 1 - math.atan(_NOISE) / math.pi
"""Accuracy that no model exceeds on the generated data, but by chance: the share of labels that noise leaves as the plane has them."""
_SEED = 32
LEARNING_RATE = 0.01
"""As in the documents, e.g. 3:69."""


def generated(n_samples: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """(features [S, F], labels 0 or 1 [S], half of each): standard normal features, on one side or the other of a plane through noise.

    A label is 1 where ``w.x + 0.5 e > median``, with |w| = 1 and standard normal e.
    """
    rng = np.random.Generator(np.random.Philox(key=[_SEED, n_features]))
    weights = rng.normal(size=n_features)
    weights /= np.linalg.norm(weights)
    features = rng.normal(size=(n_samples, n_features))
    score = np.einsum("sf,f->s", features, weights) + _NOISE * rng.normal(size=n_samples)
    labels = np.zeros(n_samples, np.int64)
    labels[np.argsort(score, kind="stable")[n_samples // 2 :]] = 1
    return features, labels


def write_generated(one: SourceConfiguration, folder: Path) -> Path:
    """The generated data of a configuration as a CSV file in `folder`, written once."""
    n_samples = one.n_samples + N_TEST[GENERATED]
    path = folder / f"generated-{one.n_qubits}-{n_samples}.csv"
    if not path.exists():
        features, labels = generated(n_samples, one.n_qubits)
        lines = [",".join([*(f"x{i}" for i in range(one.n_qubits)), "label"])]
        lines += [
            ",".join([*map(repr, row.tolist()), str(label)])
            for row, label in zip(features, labels, strict=True)
        ]
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, ("\n".join(lines) + "\n").encode())
    return path


def configuration(one: SourceConfiguration, data: str, folder: Path, base: TrainingConfig) -> TrainingConfig:
    """The training of a configuration on `data`, in this process: as many training samples as it names, no validation.

    Args:
        folder: for generated data. base: what else is set.
    """
    n_test = N_TEST[data]
    fraction = n_test / (one.n_samples + n_test)
    source = (
        [f"data.path={write_generated(one, folder)}", "data.name=none", "data.target=label"]
        if data == GENERATED
        else [f"data.name={data}", f"data.max_samples={one.n_samples + n_test}"]
    )
    return base.with_overrides([
        *source, f"data.n_components={'none' if data == GENERATED else one.n_qubits}", f"data.test_fraction={fraction!r}",
        "data.validation_fraction=0.0", f"model.n_qubits={one.n_qubits}", f"model.n_layers={one.n_layers}", f"model.ansatz={one.ansatz}",
        f"gradient.rule={one.rule}", f"run.epochs={one.epochs}", f"run.batch_size={one.batch_size}",
        f"optimizer.learning_rate={LEARNING_RATE}", f"backend.name={one.backend}", f"backend.noise={one.noise or 'none'}",
        "fleet.dispatcher=serial",
    ])  # fmt: skip
