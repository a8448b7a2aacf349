"""Rows of the data set that a run was trained on, found again: among the prepared samples of another run, or in the data themselves.

Data that the run read in pieces are read in pieces here, too: of their features only the rows that are asked for are held.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import DataError, InputError
from pipelines.data.datasets import PreparedData
from pipelines.data.pieces import Pieces, pieces_of
from pipelines.data.streaming import content_digest, fit_pieces, read_targets, targets_table
from pipelines.data.table import Table, load


def prepared_rows(data: PreparedData, rows: np.ndarray) -> np.ndarray | None:
    """float64 [S, F]: the prepared features of rows [S] of the data set; None where some of them are in none of its splits."""
    parts, own = (data.train, data.validation, data.test), np.concatenate(data.rows)
    if not len(own):
        return None
    order = np.argsort(own)
    place = order[np.minimum(np.searchsorted(own, rows, sorter=order), len(own) - 1)]
    if not np.array_equal(own[place], rows):
        return None
    features = np.empty((len(rows), data.n_features))
    start = 0
    for part in parts:
        inside = (place >= start) & (place < start + len(part.targets))
        features[inside] = part.features[place[inside] - start]
        start += len(part.targets)
    return features


def raw_rows(config: DataConfig, data: PreparedData, names: tuple[str, ...], rows: np.ndarray) -> Table:
    """Rows of the data set as they stand in it, with the columns `names`, and its target.

    Args:
        config: that `data` were prepared by. rows: int64 [S], ascending.

    Raises:
        ConfigError: it has no such columns. InputError: it is not what it was.
    """
    if data.stored is not None:
        return _of_pieces(config, data, names, rows)
    if load(config).digest != data.digest:
        raise _changed(data)
    table = load(config.model_copy(update={"features": names}))
    return replace(table, features=table.features[rows], target=table.target[rows])


def _of_pieces(config: DataConfig, data: PreparedData, names: tuple[str, ...], rows: np.ndarray) -> Table:
    found, wanted = pieces_of(config), pieces_of(config.model_copy(update={"features": names}))
    if wanted.feature_names != names:
        missing = next((name for name in names if name not in wanted.feature_names), names[0])
        raise DataError(f"{data.source}: the model takes a column {missing!r}, which these data have not")
    read = [read_targets(piece) for piece in found.pieces]
    table, starts = targets_table(found, read, config, data.task)
    none = np.empty(0, np.int64)
    _, digest, _ = fit_pieces(found, starts, none, config, _here, fits=False)
    if content_digest(table, digest) != data.digest:
        raise _changed(data)
    return replace(
        table,
        feature_names=names,
        features=_features(wanted, starts, rows),
        target=table.target[rows],
    )


def _here(function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
    return [function(argument) for argument in arguments]


def _features(found: Pieces, starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float64 [S, F] of ascending rows [S]; pieces without any are not opened."""
    features = np.empty((len(rows), len(found.feature_names)))
    for piece, (start, stop) in zip(found.pieces, itertools.pairwise(starts), strict=True):
        low, high = np.searchsorted(rows, [start, stop])
        if low == high:
            continue
        for block in piece.features():
            end = low + int(np.searchsorted(rows[low:high], start + len(block)))
            features[low:end] = block[rows[low:end] - start]
            low, start = end, start + len(block)
    return features


def _changed(data: PreparedData) -> InputError:
    return InputError(f"{data.source} has changed since a model was trained on it")
