"""Selection: the examples that a store gave for a task, ready to train on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import InputError, nearest
from pipelines.checkpoints import write_atomically
from pipelines.data.files import table_bytes
from pipelines.example_store.drawing import effective_size

_KINDS = (".parquet", ".csv")


@dataclass(frozen=True, eq=False)
class Selection:
    """Examples chosen for a task context, in the order in which they were drawn or ranked.

    Attributes:
        context: the task. version: of the table that was read. seed: of the draw. how: in words, how they were chosen.
        n_candidates: examples that passed the filter; n_pool: of these, the nearest, among which was drawn.
        ids: [k]. features: float64 [k, F]. targets: [k]. weights: float64 [k], in this context.
        distances: float64 [k] to `near`; None where nothing was near.
        metadata: other columns by name, [k] each.
        feature_names: F names. target_name: of the target's column.
    """

    context: str
    version: int
    seed: int
    how: str
    n_candidates: int
    n_pool: int
    ids: tuple[str, ...]
    features: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    distances: np.ndarray | None
    metadata: dict[str, np.ndarray]
    feature_names: tuple[str, ...]
    target_name: str

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """(features [k, F], targets [k]), as ``Trainer(config, data=...)`` takes them."""
        return self.features, self.targets

    def write(self, path: str | Path, *, with_weights: bool = False) -> Path:
        """A file for ``data.path``: the feature columns, the target, and the ids as text, which training leaves out.

        Args:
            path: .parquet or .csv.
            with_weights: columns ``weight`` and ``distance`` too; they are numbers, so ``data.features`` must then name the features.

        Raises:
            InputError: another kind of file, or it cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in _KINDS:
            close = nearest(path.suffix, _KINDS) or _KINDS[0]
            raise InputError(
                f"{path}: selections are written as {' or '.join(_KINDS)}; nearest valid: {close!r}"
            )
        columns: dict[str, Any] = {name: self.features[:, i] for i, name in enumerate(self.feature_names)}
        columns |= {self.target_name: self.targets, "id": np.array(self.ids, dtype=str)}
        if with_weights:
            columns["weight"] = self.weights
            if self.distances is not None:
                columns["distance"] = self.distances
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, table_bytes(columns, path.suffix.lower()))
        except OSError as error:
            raise InputError(f"{path}: {error}") from None
        return path

    def to_json(self) -> dict[str, Any]:
        """What was chosen and how, without the features."""
        values, counts = np.unique(self.targets, return_counts=True)
        return {
            "context": self.context,
            "version": self.version,
            "seed": self.seed,
            "how": self.how,
            "candidates": self.n_candidates,
            "pool": self.n_pool,
            "examples": len(self.ids),
            "effective_examples": effective_size(self.weights),
            "by_target": {
                str(value): int(count) for value, count in zip(values.tolist(), counts, strict=True)
            },
            "ids": list(self.ids),
            "weights": self.weights.tolist(),
            "distances": None if self.distances is None else self.distances.tolist(),
        }
