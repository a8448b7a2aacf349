"""Which examples of a store a task gets: filter, nearest neighbours, then a draw by weight or a rank."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import DataError, InputError, nearest
from pipelines.example_store import drawing
from pipelines.example_store.definition import Columns
from pipelines.example_store.selection import Selection
from pipelines.example_store.table import LanceTable, Metric, matrix, quoted

WEIGHT = "weight:"
"""Before a context's name: its column."""
POOL = 2
"""Where examples are drawn near something: from so many times the wanted number."""
METRICS = ("cosine", "l2")
_TEXT = re.compile(r"'(?:[^']|'')*'|`[^`]*`")


@dataclass(frozen=True, eq=False)
class Question:
    """What `ExampleStore.select` was asked; see there."""

    context: str
    near: Any | None
    k: int | None
    where: str | None
    min_weight: float
    weighted: bool
    metric: Metric
    pool: int | None
    seed: int

    @property
    def column(self) -> str:
        """Of the context's weights."""
        return WEIGHT + self.context


def choose(table: LanceTable, columns: Columns, path: Path, question: Question) -> Selection:
    """The answer to `question`, from the version that `table` is at.

    Raises:
        InputError, DataError: as of `ExampleStore.select`.
    """
    _check(table, path, question)
    where = _conditions(question)
    found = table.read(["id", question.column], where)
    ids = found["id"].to_pylist()
    weights = np.asarray(found[question.column].to_numpy(zero_copy_only=False), np.float64)
    n_candidates, distances = len(ids), None
    k = max(n_candidates, 1) if question.k is None else question.k
    if question.near is not None and ids:
        vector = _vector(question, columns.n_dimensions)
        n_pool = k if not question.weighted else POOL * k if question.pool is None else question.pool
        weight_of = dict(zip(ids, weights.tolist(), strict=True))
        ids, distances = _nearest(table, vector, min(n_pool, n_candidates), question.metric, where)
        weights = np.array([weight_of[name] for name in ids])
    if not ids:
        raise DataError(_nothing(table, path, question))
    order, how = _ordered(ids, weights, distances, k, question)
    chosen = [ids[i] for i in order]
    rows = table.read_keys(["id", "features", columns.target, *columns.metadata], "id", chosen)
    place = {name: i for i, name in enumerate(rows["id"].to_pylist())}
    rows = rows.take([place[name] for name in chosen])
    kinds = {columns.target: columns.target_kind, **columns.metadata}
    values = {name: _as_array(rows[name], kind) for name, kind in kinds.items()}
    return Selection(
        context=question.context,
        version=table.version,
        seed=question.seed,
        how=how,
        n_candidates=n_candidates,
        n_pool=len(ids),
        ids=tuple(chosen),
        features=matrix(rows["features"]),
        targets=values.pop(columns.target),
        weights=weights[order],
        distances=None if distances is None else distances[order],
        metadata=values,
        feature_names=columns.features,
        target_name=columns.target,
    )


def _nearest(
    table: LanceTable, vector: np.ndarray, n: int, metric: Metric, where: str
) -> tuple[list[str], np.ndarray]:
    """(ids, distances) of the `n` nearest, the nearest first.

    It asks for more until all that tie with the last are seen, and takes the first of these by id.
    """
    asked = n + 16
    while True:
        found = table.nearest("vector", vector, asked, metric, "id", where)
        ids = found["id"].to_pylist()
        distances = np.asarray(found["_distance"].to_numpy(zero_copy_only=False), np.float32)
        if len(ids) < asked or distances.max() > np.partition(distances, n - 1)[n - 1]:
            break
        asked *= 4
    first = drawing.nearest_first(ids, distances, n)
    exact = distances[first].astype(np.float64)
    return [ids[i] for i in first], np.sqrt(np.maximum(exact, 0.0)) if metric == "l2" else exact


def _ordered(
    ids: Sequence[str], weights: np.ndarray, distances: np.ndarray | None, k: int, question: Question
) -> tuple[np.ndarray, str]:
    """Positions of those chosen, and how in words."""
    if question.weighted:
        among = "" if distances is None else f" among the {len(ids)} nearest"
        return drawing.draw(ids, weights, k, question.seed), f"drawn by weight{among}"
    if distances is None:
        return drawing.heaviest_first(ids, weights, k), "the heaviest"
    return drawing.nearest_first(ids, distances, k), "the nearest (exact search)"


def _conditions(question: Question) -> str:
    """SQL of the filter.

    Raises:
        DataError: ``where`` is more than one condition.
    """
    column, where = quoted(question.column), question.where
    parts = [f"{column} > 0"]
    if question.min_weight > 0:
        parts.append(f"{column} >= {float(question.min_weight)!r}")
    if where is not None:
        if not _is_one_condition(where):
            raise DataError(
                f"where = {where!r}: one condition in SQL is wanted, e.g. \"site = 'a' AND amount > 10\""
            )
        parts.append(f"({where})")
    return " AND ".join(parts)


def _is_one_condition(where: str) -> bool:
    """Whether it stays within the parentheses that it is put into, and is the end of nothing before it."""
    bare, depth = _TEXT.sub("", where), 0
    for character in bare:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0 and ";" not in bare and "--" not in bare and "/*" not in bare


def _vector(question: Question, n_dimensions: int) -> np.ndarray:
    try:
        vector = np.asarray(question.near, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"near is no vector of {n_dimensions} numbers: {error}") from None
    if vector.shape != (n_dimensions,) or not np.isfinite(vector).all():
        raise InputError(
            f"near has shape {vector.shape}; a finite vector of {n_dimensions} numbers is wanted, see ExampleStore.embed"
        )
    if question.metric == "cosine" and not vector.any():
        raise InputError("near is a vector of zeros, which has no direction; nearest valid: metric = 'l2'")
    return vector


def _check(table: LanceTable, path: Path, question: Question) -> None:
    """Refuse a question that cannot be answered.

    Raises:
        InputError: the text has the nearest that can.
    """
    check_context(table, path, question.context)
    metric, k, pool = question.metric, question.k, question.pool
    if metric not in METRICS:
        close = nearest(metric, METRICS) or METRICS[0]
        raise InputError(f"metric = {metric!r}: one of {', '.join(METRICS)}; nearest valid: {close!r}")
    for name, value in (("k", k), ("pool", pool)):
        if value is not None and value < 1:
            raise InputError(f"{name} = {value}: at least 1; nearest valid: 1")
    if pool is not None and question.near is None:
        raise InputError(
            f"pool = {pool}: is for what is near a vector, and none is given; nearest valid: none"
        )
    if pool is not None and k is not None and pool < k:
        raise InputError(f"pool = {pool}: is smaller than k = {k}; nearest valid: {k}")
    if not 0 <= question.min_weight < np.inf:
        raise InputError(
            f"min_weight = {question.min_weight}: a finite number of at least 0; nearest valid: 0"
        )


def check_context(table: LanceTable, path: Path, context: str) -> None:
    """Refuse a context that the store does not have.

    Raises:
        InputError: the text names the nearest.
    """
    known = sorted(name.removeprefix(WEIGHT) for name in table.columns if name.startswith(WEIGHT))
    if context not in known:
        close = nearest(context, known)
        hint = f"did you mean {close!r}? " if close else ""
        raise InputError(f"{path}: no context {context!r}; {hint}there are: {', '.join(known) or 'none'}")


def _nothing(table: LanceTable, path: Path, question: Question) -> str:
    n = table.count(f"{quoted(question.column)} > 0")
    told = [] if question.where is None else [question.where]
    told += [f"weight >= {question.min_weight:g}"] if question.min_weight else []
    return f"{path}: of the {n} examples of {question.context!r} none passes {' and '.join(told) or 'the search'}"


def _as_array(column: Any, kind: str) -> np.ndarray:
    """A column as numpy has it."""
    dtype = {"b": np.bool_, "i": np.int64, "f": np.float64, "U": str}[kind]
    return np.array(column.to_pylist() if kind in "Ub" else column.to_numpy(zero_copy_only=False), dtype)
