"""ExampleStore: examples with embeddings, and a weight for every task context they serve, in one table.

::

    store = ExampleStore.open("examples.store")
    store.add(features, labels, contexts={"fraud": 0.8, "audit": 0.2}, vectors="pca")
    chosen = store.select("fraud", near=store.embed(row)[0], k=500)
    Trainer(config, data=chosen.arrays).fit()

An example stands in the table once, whatever the number of tasks: each context is one more column of numbers, empty where the example
does not belong to it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import DataError, InputError, nearest
from pipelines.example_store import drawing
from pipelines.example_store.batch import (
    Batch,
    Vectors,
    batch_of,
    checked_context,
    checked_ids,
    checked_weights,
    ids_of,
)
from pipelines.example_store.choosing import WEIGHT, Question, choose
from pipelines.example_store.definition import Definition, fit_pca
from pipelines.example_store.merging import Added, known_weights, merge
from pipelines.example_store.selection import Selection
from pipelines.example_store.table import (
    LanceTable,
    Metric,
    Version,
    arrow_table,
    check_installed,
    condition,
    matrix,
    or_null,
)

TABLE = "examples"
_MOST_DAYS = 36_500


class ExampleStore:
    """A folder with one table of examples. Several processes may read it while one writes; writers wait for each other."""

    def __init__(self, path: Path, version: int | None) -> None:
        self.path = path
        self._asked = version
        self._table: LanceTable = LanceTable(path, TABLE, version)
        self._read_definition: Definition | None = None

    @classmethod
    def open(cls, path: str | Path, *, as_of: int | None = None) -> ExampleStore:
        """The store in folder `path`, which may be absent: the first `add` makes it.

        Args:
            as_of: a version to read, see `versions`; the newest if absent.

        Raises:
            MissingExtraError: lancedb is not installed. InputError: `path` is no folder, or has no such version.
        """
        check_installed()
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; a store is a folder")
        store = cls(path, as_of)
        if as_of is not None:
            _ = store.definition, store.version  # refused now, not at the first question
        return store

    @property
    def version(self) -> int:
        """Of the table that is read; 0 before the first examples."""
        self._table.refresh()
        return self._table.version

    @property
    def definition(self) -> Definition:
        """Columns and embedding.

        Raises:
            DataError: there are no examples yet.
        """
        if not self._table.is_there:
            raise DataError(
                f"{self.path}: no examples have been added yet: qfleet examples add {self.path} FILE"
            )
        if self._read_definition is None:
            self._read_definition = Definition.read(self.path)
        return self._read_definition

    def versions(self) -> list[Version]:
        """States of the table that can be opened again, the oldest first."""
        return self._table.versions()

    def embed(self, features: Any) -> np.ndarray:
        """float32 [S, D]: vectors of features [S, F], or of one row [F], as the store makes those of its examples.

        Raises:
            DataError: wrong number of columns. InputError: the store's vectors were given with its examples.
        """
        rows = np.atleast_2d(np.asarray(features, np.float64))
        names = self.definition.columns.features
        if rows.shape[1] != len(names):
            raise DataError(f"{rows.shape[1]} features are given, the store's examples have {len(names)}")
        return self.definition.embed(rows)

    def vector(self, name: str) -> np.ndarray:
        """float32 [D]: the vector of the example with this id.

        Raises:
            InputError: there is none; the text has the nearest.
        """
        rows = self._refreshed().read_keys(["id", "vector"], "id", [name])
        self._check_known([name], {name: True} if rows.num_rows else {})
        return np.array(matrix(rows["vector"])[0])

    def add(
        self,
        features: Any,
        targets: Any,
        ids: Sequence[Any] | np.ndarray | None = None,
        *,
        contexts: Mapping[str, float | Sequence[float] | np.ndarray],
        vectors: Vectors = None,
        metadata: Mapping[str, Any] | None = None,
        feature_names: Sequence[str] | None = None,
        target_name: str = "target",
    ) -> Added:
        """Add examples, or replace those of the same ids; the same call twice changes nothing, and makes no new version.

        Contexts that are not named keep the weights that an example has in them.

        Args:
            features: [S, F], numbers. targets: [S]; bool, integers, floats or text.
            ids: [S], unique texts; None: digests of the content, so that an equal example is the same one.
            contexts: weight by task, for all or [S]; 0: not of that task.
            vectors: what `select` compares: None, the features; ``"pca"``, their standardised leading principal components, fitted to
                the first examples and kept; an array [S, D] or a function of features [S, F], which the store does not keep.
            metadata: other columns [S] by name, for ``where``.
            feature_names: of the columns; those of a data frame, or x0, x1, ...

        Raises:
            DataError: values that cannot be stored, or other columns than the store's. InputError: a context or weight that cannot be.
        """
        self._check_writable()
        batch = batch_of(features, targets, contexts, vectors, metadata, feature_names, target_name)
        with self._writing():
            is_new = not self._table.is_there
            definition = self._new_definition(batch) if is_new else self.definition
            made = definition.embed(batch.features) if batch.given is None else batch.given
            if not is_new:
                definition.columns.check_same(batch.columns(made.shape[1]), self.path)
            digests = batch.digests(made)
            names = ids_of(digests) if ids is None else checked_ids(ids, len(batch))
            if is_new:
                definition.write(self.path)
                self._read_definition = definition
            return merge(self._table, batch, made, names, digests)

    def set_weight(
        self, context: str, ids: Sequence[Any] | np.ndarray, weight: float | Sequence[float] | np.ndarray
    ) -> int:
        """Give examples another weight in `context`, or take them out of it by 0. Returns the version of the table.

        Only the weights are written, not the examples.

        Raises:
            InputError: an id that is not there (the text has the nearest), or a weight that cannot be.
        """
        self._check_writable()
        names = checked_ids(ids, len(ids))
        given = np.asarray(weight, np.float64)
        if given.ndim and given.shape != (len(names),):
            raise InputError(f"context {context!r}: {given.size} weights for {len(names)} ids")
        values = checked_weights(checked_context(context), np.array(np.broadcast_to(given, (len(names),))))
        with self._writing():
            column = WEIGHT + context
            known = known_weights(self._table, names, [column])
            self._check_known(names, known)
            now = np.array([known[name][1][0] for name in names])
            moved = np.flatnonzero(now != values)
            if not len(moved):
                return self._table.version
            if column not in self._table.columns:
                self._table.add_columns([column])
            rows = {"id": [names[i] for i in moved], column: or_null(values[moved])}
            self._table.update(arrow_table(rows), "id")
        return self.version

    def remove(self, ids: Sequence[Any] | np.ndarray) -> int:
        """Remove examples from all contexts; versions before keep them. Returns the version of the table.

        Raises:
            InputError: an id that is not there; nothing is removed.
        """
        self._check_writable()
        names = checked_ids(ids, len(ids))
        with self._writing():
            self._check_known(names, known_weights(self._table, names, []))
            if names:
                self._table.delete(condition("id", names))
        return self.version

    def compact(self, keep_days: float = 7.0) -> int:
        """Join small files, and forget versions older than that. Returns the version of the table.

        Raises:
            InputError: no number of days from 0 to 36,500.
        """
        self._check_writable()
        if not 0 <= keep_days <= _MOST_DAYS:
            close = _MOST_DAYS if keep_days > _MOST_DAYS else 0
            raise InputError(f"keep_days = {keep_days}: 0 to {_MOST_DAYS}; nearest valid: {close}")
        with self._writing():
            _ = self.definition
            self._table.compact(timedelta(days=keep_days))
        return self.version

    def contexts(self) -> dict[str, dict[str, float]]:
        """Of each task context: ``examples``, ``total_weight``, ``effective_examples`` (see `drawing.effective_size`), ``least`` and
        ``most`` weight, and ``share`` of the store's examples."""
        _ = self.definition
        self._table.refresh()
        columns = [name for name in self._table.columns if name.startswith(WEIGHT)]
        rows = self._table.read([*columns, "id"])
        found: dict[str, dict[str, float]] = {}
        for column in sorted(columns):
            weights = np.asarray(rows[column].drop_null().to_numpy(zero_copy_only=False), np.float64)
            if len(weights):  # an empty one was left by a writer that was killed, or all were taken out of it
                found[column.removeprefix(WEIGHT)] = {
                    "examples": len(weights),
                    "share": len(weights) / rows.num_rows,
                    "total_weight": float(weights.sum()),
                    "effective_examples": drawing.effective_size(weights),
                    "least": float(weights.min()),
                    "most": float(weights.max()),
                }
        return found

    def count(self) -> int:
        """Examples."""
        return 0 if not self._table.is_there else self._refreshed().count()

    def select(
        self,
        context: str,
        *,
        near: Any | None = None,
        k: int | None = None,
        where: str | None = None,
        min_weight: float = 0.0,
        weighted: bool = True,
        metric: Metric = "cosine",
        pool: int | None = None,
        seed: int = 0,
    ) -> Selection:
        """Examples for a task, filtered, near a vector, and drawn by their weights or ranked.

        1. Those of `context` whose weight is at least `min_weight` and for which `where` holds.
        2. Where `near` is given: of these the `pool` nearest, by exact search over all of them (never by an index).
        3. weighted: k of these drawn without replacement, each with probability proportional to its weight among those left
           (`drawing.draw`); else the k nearest, or the k heaviest where nothing is near. Ties go by id.

        The answer depends on content, `seed` and the arguments, not on how the table came to be.

        Args:
            near: float [D], see `embed`. k: wanted, all if absent; fewer are returned where there are no more.
            where: a condition in SQL on metadata, the target, ``id`` and the columns ``\\`weight:<context>\\```.
            metric: ``cosine`` (1 - cosine; a vector of zeros is near nothing and left out) or ``l2`` (Euclidean); distances are computed
                in single precision.
            pool: k for the k nearest; `POOL` k if absent.

        Raises:
            InputError: no such context, or an argument that cannot be. DataError: `where` is no condition, or nothing passes.
        """
        question = Question(context, near, k, where, min_weight, weighted, metric, pool, seed)
        return choose(self._refreshed(), self.definition.columns, self.path, question)

    def _new_definition(self, batch: Batch) -> Definition:
        if batch.embedding == "pca":
            pca = fit_pca(batch.features, batch.feature_names)
            return Definition(batch.columns(pca.n_features), pca)
        vectors = batch.features if batch.given is None else batch.given
        return Definition(batch.columns(vectors.shape[1]))

    def _refreshed(self) -> LanceTable:
        _ = self.definition
        self._table.refresh()
        return self._table

    def _check_known(self, names: Sequence[str], known: Mapping[str, Any]) -> None:
        for name in names:
            if name not in known:
                close = nearest(name, self._table.read(["id"])["id"].to_pylist()[:10_000])
                hint = f"; did you mean {close!r}?" if close else ""
                raise InputError(f"{self.path}: no example {name!r}{hint}")

    def _check_writable(self) -> None:
        if self._asked is not None:
            raise InputError(
                f"{self.path} is opened as of version {self._asked}, to be read; open it without as_of to write"
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone among the writers of this folder, and on the newest version; a killed writer's lock falls with it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / ".lock", "a")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"{self.path}: {error}") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._table.refresh()
            yield

    @property
    def n_bytes(self) -> int:
        """On disk, with all versions that are kept."""
        files = (Path(folder) / name for folder, _, names in os.walk(self.path) for name in names)
        return sum(file.stat().st_size for file in files)
