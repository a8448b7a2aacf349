"""Writing examples: what is new or has changed goes into the table in one commit, and nothing else does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.example_store.batch import Batch
from pipelines.example_store.choosing import WEIGHT
from pipelines.example_store.table import LanceTable, arrow_table, lists, or_null


@dataclass(frozen=True)
class Added:
    """What `ExampleStore.add` did.

    Attributes:
        version: of the table now. inserted, updated, unchanged: examples.
        ids: of the examples, in the order in which they were given.
    """

    version: int
    inserted: int
    updated: int
    unchanged: int
    ids: tuple[str, ...]


def merge(
    table: LanceTable, batch: Batch, vectors: np.ndarray, names: Sequence[str], digests: Sequence[str]
) -> Added:
    """Write a batch; the caller is alone among the writers, and the table at its newest version.

    A context that is new takes a commit of its own before: a kill in between leaves a context without examples.

    Args:
        vectors: float32 [S, D]. names: ids [S]. digests: of the content [S].
    """
    is_new = not table.is_there
    columns = [] if is_new else [name for name in table.columns if name.startswith(WEIGHT)]
    before = {} if is_new else known_weights(table, names, columns)
    columns += [WEIGHT + name for name in batch.weights if WEIGHT + name not in columns]
    old = np.zeros((len(names), len(columns)))
    is_same = np.zeros(len(names), bool)
    for i, (name, digest) in enumerate(zip(names, digests, strict=True)):
        if name in before:
            there, weights = before[name]
            is_same[i] = there == digest
            old[i, : len(weights)] = weights
    new = old.copy()
    for name, values in batch.weights.items():
        new[:, columns.index(WEIGHT + name)] = values
    write = np.flatnonzero(~(is_same & (new == old).all(axis=1)))
    if len(write):
        weights_now = {column: or_null(new[write, j]) for j, column in enumerate(columns)}
        rows = arrow_table(_content(batch, vectors, names, digests, write) | weights_now)
        if is_new:
            table.create(rows)
        else:
            table.add_columns([column for column in columns if column not in table.columns])
            table.merge(rows, "id")
            table.refresh()
    inserted = len(names) - len(before)
    return Added(table.version, inserted, len(write) - inserted, len(names) - len(write), tuple(names))


def known_weights(
    table: LanceTable, names: Sequence[str], columns: Sequence[str]
) -> dict[str, tuple[str, list[float]]]:
    """(digest, weights in `columns`) by id, of those of `names` that are there; 0 in a context that an example is not of."""
    there = table.columns
    rows = table.read_keys(["id", "digest", *(column for column in columns if column in there)], "id", names)
    weights = np.zeros((rows.num_rows, len(columns)))
    for j, column in enumerate(columns):
        if column in there:
            weights[:, j] = rows[column].fill_null(0.0).to_numpy(zero_copy_only=False)
    found = zip(rows["id"].to_pylist(), rows["digest"].to_pylist(), weights.tolist(), strict=True)
    return {name: (digest, values) for name, digest, values in found}


def _content(
    batch: Batch, vectors: np.ndarray, names: Sequence[str], digests: Sequence[str], write: np.ndarray
) -> dict[str, Any]:
    """The columns of the examples at `write`, but for weights."""
    return {
        "id": [names[i] for i in write],
        "features": lists(batch.features[write]),
        batch.target_name: batch.targets[write],
        "vector": lists(vectors[write].astype(np.float32)),
        "digest": [digests[i] for i in write],
        **{name: values[write] for name, values in sorted(batch.metadata.items())},
    }
