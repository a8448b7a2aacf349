"""What is fixed when a store gets its first examples: their columns, the kind of their targets, and how vectors are made of them.

``store.json`` and ``embedding.npz`` hold it. They are written before the table is, and mean nothing without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import CheckpointError, ConfigError, DataError, InputError
from pipelines.data.preprocessing import Preprocessing
from pipelines.run_folder import RunFolder, read_arrays, write_arrays

FORMAT = 1
MAX_COMPONENTS = 16
"""Principal components of a ``pca`` embedding, or as many as the first examples vary in."""
_KIND_NAMES = {"b": "true or false", "i": "integers", "f": "numbers", "U": "text"}


@dataclass(frozen=True)
class Columns:
    """The columns of a store.

    Attributes:
        features: F names. target: name; target_kind: numpy's letter, ``b``, ``i``, ``f`` or ``U``.
        metadata: kind by name.
        embedding: how vectors are made: ``features`` (they are the features), ``pca``, or ``given`` with every example.
        n_dimensions: of a vector.
    """

    features: tuple[str, ...]
    target: str
    target_kind: str
    metadata: dict[str, str]
    embedding: str
    n_dimensions: int

    def check_same(self, other: Columns, where: Path) -> None:
        """Refuse examples of other columns than the store's.

        Raises:
            DataError: the text names what differs.
        """
        problems = []
        if len(other.features) != len(self.features):
            problems.append(
                f"{len(other.features)} features are given, the store's examples have {len(self.features)}"
            )
        elif other.features != self.features:
            at = next(
                i
                for i, pair in enumerate(zip(self.features, other.features, strict=True))
                if pair[0] != pair[1]
            )
            problems.append(
                f"feature {at + 1} is {other.features[at]!r}, the store has {self.features[at]!r}"
            )
        if other.target != self.target:
            problems.append(f"the target is {other.target!r}, the store's is {self.target!r}")
        if other.target_kind != self.target_kind:
            problems.append(
                f"targets are {_KIND_NAMES[other.target_kind]}, the store's are {_KIND_NAMES[self.target_kind]}"
            )
        if other.metadata != self.metadata:
            problems.append(
                f"metadata are {_listed(other.metadata)}, the store's are {_listed(self.metadata)}"
            )
        if other.embedding != self.embedding:
            problems.append(f"vectors are made by {other.embedding!r}, the store's by {self.embedding!r}")
        elif other.n_dimensions != self.n_dimensions:
            problems.append(
                f"vectors have {other.n_dimensions} dimensions, the store's have {self.n_dimensions}"
            )
        if problems:
            raise DataError(f"{where}: {'; '.join(problems)}. Other examples need a store of their own")


@dataclass(frozen=True, eq=False)
class Definition:
    """The columns, and the map from features to vectors where the store has one."""

    columns: Columns
    pca: Preprocessing | None = None

    def embed(self, features: np.ndarray) -> np.ndarray:
        """float32 [S, D] of features [S, F].

        Raises:
            InputError: the vectors were given with the examples, and only their giver knows how they are made.
        """
        if self.columns.embedding == "given":
            raise InputError(
                "the vectors of this store were given with its examples: give a vector, not features"
            )
        if self.pca is None:
            return np.asarray(features, np.float32)
        return self.pca.transform(features).astype(np.float32)

    def write(self, folder: Path) -> None:
        """Write what `read` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.pca is not None:
            write_arrays(folder / "embedding.npz", self.pca.to_arrays())
        RunFolder(folder).write_json("store.json", {"format": FORMAT, **asdict(self.columns)})

    @classmethod
    def read(cls, folder: Path) -> Definition:
        """Of a store that has a table.

        Raises:
            CheckpointError: a file is missing, damaged, or of another version of qfleet.
        """
        content = RunFolder(folder).read_json("store.json")
        if content.pop("format", None) != FORMAT:
            raise CheckpointError(f"{folder / 'store.json'} is of another version of qfleet")
        try:
            columns = Columns(**{**content, "features": tuple(content["features"])})
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"{folder / 'store.json'} is not what qfleet wrote there ({error})"
            ) from None
        pca = (
            Preprocessing.from_arrays(read_arrays(folder / "embedding.npz"))
            if columns.embedding == "pca"
            else None
        )
        return cls(columns, pca)


def fit_pca(features: np.ndarray, names: tuple[str, ...]) -> Preprocessing:
    """Standardised columns and their leading principal components, at most `MAX_COMPONENTS`, fitted to these features [S, F].

    Raises:
        DataError: there is nothing in them that varies.
    """
    wanted = min(MAX_COMPONENTS, *features.shape)
    try:
        return Preprocessing.fit(features, DataConfig(name="arrays", n_components=wanted), names)
    except ConfigError as error:  # they vary in fewer directions; the error says in how many
        rank = int(error.suggestion or 1)
        return Preprocessing.fit(features, DataConfig(name="arrays", n_components=rank), names)


def _listed(metadata: Mapping[str, str]) -> str:
    return json.dumps({name: _KIND_NAMES[kind] for name, kind in metadata.items()}) if metadata else "none"


def about(columns: Columns) -> dict[str, Any]:
    """The columns as plain values, for ``show``."""
    return {
        "features": list(columns.features),
        "target": columns.target,
        "target_kind": _KIND_NAMES[columns.target_kind],
        "metadata": {name: _KIND_NAMES[kind] for name, kind in columns.metadata.items()},
        "embedding": columns.embedding,
        "dimensions": columns.n_dimensions,
    }
