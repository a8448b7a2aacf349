"""What is to be learned: the target column as class indices or as values, whichever the loss takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, DataError, nearest
from orchestrator.losses.base import Task
from pipelines.data.files import some

if TYPE_CHECKING:
    from pipelines.data.table import Table

MAX_CLASSES = 100  # more distinct labels than this is a measured value or an identifier, not a class


def select_targets(
    table: Table, config: DataConfig, task: Task
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...] | None]:
    """(rows kept int64 [S], their targets [S], class names or None); zeros for targets where the task has none."""
    if task == "autoencoder" and config.classes is None:
        return np.arange(len(table.target)), np.zeros(len(table.target)), None
    if not table.target_name:
        raise DataError(f"{table.source}: has no targets, which the loss or data.classes asks for")
    if task == "autoencoder":  # classes say which samples there are, and nothing is learnt of them
        rows, _, _ = _classified(table, config, task)
        return rows, np.zeros(len(rows)), None
    if task != "regression":
        return _classified(table, config, task)
    if config.classes is not None:
        raise ConfigError("data.classes", list(config.classes), "means nothing to a regression loss")
    if table.target.dtype.kind == "U":
        raise DataError(
            f"{table.source}: target column {table.target_name!r} holds text ({str(table.target[0])!r} in data row 1); "
            "a regression loss needs numbers"
        )
    values = table.target.astype(np.float64)
    if np.ptp(values) == 0:
        raise DataError(f"{table.source}: target column {table.target_name!r} is {values[0]:g} in every row")
    return np.arange(len(values)), values, None


def _classified(
    table: Table, config: DataConfig, task: Task
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    labels = _labels(table)
    distinct, codes = np.unique(labels, return_inverse=True)
    if len(distinct) > MAX_CLASSES:
        raise DataError(
            f"{table.source}: target column {table.target_name!r} has {len(distinct)} different values, more than "
            f'{MAX_CLASSES} classes; a measured value needs a regression loss (loss.name = "mse")'
        )
    names = _class_names(table, distinct)
    order = (
        _chosen_classes(config, names, distinct) if config.classes is not None else list(range(len(names)))
    )
    chosen = tuple(names[index] for index in order)
    if len(chosen) < 2:
        raise DataError(
            f"{table.source}: one class only, {chosen[0]!r} in column {table.target_name!r}: nothing to tell apart"
        )
    if task == "binary" and len(chosen) > 2:
        raise DataError(
            f"{table.source}: column {table.target_name!r} has {len(chosen)} classes ({some(chosen)}), but the loss "
            f'takes two; choose two, e.g. data.classes = {list(chosen[:2])}, or loss.name = "cross_entropy"'
        )
    position = np.full(len(names), -1, dtype=np.int64)
    position[order] = np.arange(len(order))
    targets = position[codes]
    rows = np.flatnonzero(targets >= 0)
    return rows, targets[rows], chosen


def _labels(table: Table) -> np.ndarray:
    """Labels [S] as bool, int64 or str; whole numbers stored as floats count as whole numbers."""
    target = table.target
    if target.dtype.kind != "f":
        return target
    broken = np.flatnonzero((target != np.rint(target)) | (np.abs(target) > 2**53))
    if len(broken):
        raise DataError(
            f"{table.source}: target column {table.target_name!r} is {target[broken[0]]:g} in data row {broken[0] + 1}: "
            'no class label; a measured value needs a regression loss (loss.name = "mse")'
        )
    return target.astype(np.int64)


def _class_names(table: Table, distinct: np.ndarray) -> list[str]:
    if table.label_names is not None:
        return [table.label_names[int(label)] for label in distinct]
    if distinct.dtype.kind == "b":
        return [str(bool(label)).lower() for label in distinct]
    return [str(label) for label in distinct]


def _chosen_classes(config: DataConfig, names: Sequence[str], distinct: np.ndarray) -> list[int]:
    """Position among `names` of each of ``data.classes``, given by name or by integer label."""
    by_name = {name: index for index, name in enumerate(names)}
    by_label = (
        {} if distinct.dtype.kind == "U" else {int(label): index for index, label in enumerate(distinct)}
    )
    order: list[int] = []
    for wanted in config.classes or ():
        index = by_name.get(str(wanted), by_label.get(wanted) if isinstance(wanted, int) else None)
        if index is None:
            problem = f"no such class; there are {some(names)}"
            raise ConfigError("data.classes", wanted, problem, nearest(wanted, names))
        if index in order:
            raise ConfigError("data.classes", list(config.classes or ()), f"names {names[index]!r} twice")
        order.append(index)
    if len(order) < 2:
        raise ConfigError("data.classes", list(config.classes or ()), f"give two or more of {some(names)}")
    return order
