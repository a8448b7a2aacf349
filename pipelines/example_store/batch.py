"""Batch: examples on their way into a store, checked and named."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.errors import DataError, InputError
from pipelines.data.table import table_from_arrays
from pipelines.example_store.definition import Columns

Vectors = str | Callable[[np.ndarray], np.ndarray] | np.ndarray | None
RESERVED = ("id", "features", "vector", "digest", "weight", "distance")
_CONTEXT = re.compile(r"[A-Za-z0-9][\w+-]{0,63}", re.ASCII)
_METADATA = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples, checked.

    Attributes:
        features: float64 [S, F]. targets: [S]. given: float32 [S, D], vectors that came with them, or None.
        metadata: [S] by name. weights: float64 [S] by context; 0: not of it.
        feature_names, target_name: of the columns. embedding: ``features``, ``pca`` or ``given``.
    """

    features: np.ndarray
    targets: np.ndarray
    given: np.ndarray | None
    metadata: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    feature_names: tuple[str, ...]
    target_name: str
    embedding: str

    def __len__(self) -> int:
        return len(self.targets)

    def columns(self, n_dimensions: int) -> Columns:
        """As a store would have them, with vectors of so many dimensions."""
        kinds: dict[str, str] = {name: values.dtype.kind for name, values in sorted(self.metadata.items())}
        kind = self.targets.dtype.kind
        return Columns(self.feature_names, self.target_name, kind, kinds, self.embedding, n_dimensions)

    def digests(self, vectors: np.ndarray) -> list[str]:
        """Of the content of each example, its weights left out; equal for equal content on any machine."""
        others = [self.targets, *(self.metadata[name] for name in sorted(self.metadata))]
        told = zip(*(values.tolist() for values in others), strict=True)
        left, right = self.features.astype("<f8"), vectors.astype("<f4")
        return [
            hashlib.blake2b(a.tobytes() + b.tobytes() + json.dumps(rest).encode(), digest_size=16).hexdigest()
            for a, b, rest in zip(left, right, told, strict=True)
        ]


def batch_of(
    features: Any,
    targets: Any,
    contexts: Mapping[str, float | Sequence[float] | np.ndarray],
    vectors: Vectors,
    metadata: Mapping[str, Any] | None,
    feature_names: Sequence[str] | None,
    target_name: str,
) -> Batch:
    """What `ExampleStore.add` was given, checked.

    Raises:
        DataError: shapes, values or names that cannot be stored. InputError: a context or a way to make vectors that cannot be.
    """
    if targets is None:
        raise DataError("examples need targets: what is learned from them is what they say")
    table = table_from_arrays(features, targets)
    n = len(table.target)
    names = tuple(table.feature_names if feature_names is None else feature_names)
    if len(names) != table.features.shape[1]:
        raise DataError(f"{len(names)} names for {table.features.shape[1]} features")
    columns = {name: _stored(name, values) for name, values in (metadata or {}).items()}
    _check_names(names, target_name, tuple(columns))
    for name, values in columns.items():
        if values.shape != (n,):
            raise DataError(f"metadata {name!r} has shape {values.shape}, expected ({n},)")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DataError(
                f"metadata {name!r} is not finite in row {int(np.argmin(np.isfinite(values))) + 1}"
            )
    weights = {context: _weights(context, given, n) for context, given in contexts.items()}
    embedding, given = _vectors(vectors, table.features)
    return Batch(table.features, table.target, given, columns, weights, names, target_name, embedding)


def checked_ids(ids: Sequence[Any] | np.ndarray, n: int) -> list[str]:
    """`n` ids as texts.

    Raises:
        DataError: not so many, an empty one, or one twice.
    """
    names = [str(each) for each in np.asarray(ids).tolist()]
    if len(names) != n:
        raise DataError(f"{len(names)} ids for {n} examples")
    if "" in names:
        raise DataError(f"the id of row {names.index('') + 1} is empty")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{len(twice)} id(s) more than once: {', '.join(map(repr, twice[:5]))}")
    return names


def ids_of(digests: Sequence[str]) -> list[str]:
    """Ids from content: the digest, the second and later equal example numbered, so that none is lost."""
    seen: Counter[str] = Counter()
    names = []
    for digest in digests:
        seen[digest] += 1
        names.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return names


def checked_context(context: str) -> str:
    """The name of a context.

    Raises:
        InputError: it cannot be one; the text has the nearest that can.
    """
    if _CONTEXT.fullmatch(context):
        return context
    valid = re.sub(r"[^A-Za-z0-9_+-]+", "-", context).strip("-+_")[:64] or "task"
    raise InputError(
        f"a context cannot be called {context!r}: letters, digits, '_', '+' and '-' only; nearest valid: {valid!r}"
    )


def checked_weights(context: str, weights: np.ndarray) -> np.ndarray:
    """Weights float64 [S].

    Raises:
        InputError: one is negative or no finite number.
    """
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        row = int(bad[0])
        raise InputError(
            f"context {context!r}: weight {weights[row]} in row {row + 1}; weights are finite and at least 0, nearest valid: 0"
        )
    return weights


def _weights(context: str, given: float | Sequence[float] | np.ndarray, n: int) -> np.ndarray:
    checked_context(context)
    try:
        values = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"context {context!r}: weights are a number, or one for each example") from None
    if values.ndim and values.shape != (n,):
        raise InputError(f"context {context!r}: {values.size} weights for {n} examples")
    return checked_weights(context, np.array(np.broadcast_to(values, (n,))))


def _vectors(vectors: Vectors, features: np.ndarray) -> tuple[str, np.ndarray | None]:
    """How vectors are made, and those that are given."""
    if vectors is None:
        return "features", None
    if isinstance(vectors, str):
        if vectors != "pca":
            raise InputError(
                f"vectors = {vectors!r}: an array, a function of features, None, or nearest valid: 'pca'"
            )
        return "pca", None
    made = np.asarray(vectors(features) if callable(vectors) else vectors, np.float32)
    if made.ndim != 2 or len(made) != len(features) or not made.shape[1]:
        raise DataError(
            f"vectors of shape {made.shape} for {len(features)} examples: expected [{len(features)}, D]"
        )
    if not np.isfinite(made).all():
        raise DataError(
            f"the vector of row {int(np.argmin(np.isfinite(made).all(axis=1))) + 1} is not finite"
        )
    return "given", made


def _stored(name: str, values: Any) -> np.ndarray:
    """A metadata column as bool, int64, float64 or text."""
    column = np.asarray(values)
    if column.dtype.kind == "O" and all(isinstance(value, str) for value in column.ravel()):
        return column.astype(str)
    if column.dtype.kind not in "biufU":
        raise DataError(f"metadata {name!r} is neither text nor numbers nor true or false, or has gaps")
    return column.astype({"i": np.int64, "u": np.int64, "f": np.float64}.get(column.dtype.kind, column.dtype))


def _check_names(features: tuple[str, ...], target: str, metadata: tuple[str, ...]) -> None:
    for name in (*features, target, *metadata):
        if name in RESERVED:
            raise DataError(
                f"a column cannot be called {name!r}, which the store uses itself; nearest valid: '{name}_'"
            )
    names = Counter((*features, target, *metadata))
    if twice := [name for name, count in names.items() if count > 1]:
        raise DataError(f"columns of one name: {', '.join(map(repr, twice))}")
    if not target or set(target) & set("`."):
        valid = re.sub(r"[`.]+", "_", target) or "target"
        raise DataError(f"the target cannot be called {target!r}; nearest valid: {valid!r}")
    for name in metadata:
        if not _METADATA.fullmatch(name):
            valid = re.sub(r"\W+", "_", name) or "column"
            raise DataError(
                f"metadata cannot be called {name!r}: letters, digits and '_' only; nearest valid: {valid!r}"
            )
