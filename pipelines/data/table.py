"""Table: a loaded data set, whole and checked, from a built-in name, a file, or arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, DataError, nearest
from pipelines.data import benchmarks
from pipelines.data.files import Columns, read_columns, some
from pipelines.data.filters import Filter
from pipelines.data.images import class_folders, image_transform, samples_of


@dataclass(frozen=True, eq=False)
class Table:
    """A loaded data set.

    Attributes:
        feature_names: F names.
        features: float64 [S, F], raw and finite.
        target_name: name of the target column; empty where there is none, and `target` is zeros.
        target: [S]; bool, int64, float64 or str.
        label_names: name of each integer label 0, 1, ... where the data set gives them (built-ins), else None.
        source: ``sklearn/<name>``, ``benchmark/<name>-<dimension>``, or the path as configured.
        digest: SHA-256 of names and values, in order, the same for the same content in any file format.
        ignored: columns of the file left out because they are not numeric or are a row index.
        n_test: how many of the last rows are the test split that comes with the data set; 0: it has none of its own.
    """

    feature_names: tuple[str, ...]
    features: np.ndarray
    target_name: str
    target: np.ndarray
    label_names: tuple[str, ...] | None
    source: str
    digest: str
    ignored: tuple[str, ...] = ()
    n_test: int = 0


def load(config: DataConfig) -> Table:
    """The configured data set, whole and as it is.

    Raises:
        ConfigError: a ``data.*`` key names something that is not there.
        DataError: the file is damaged, or its columns are not numeric or not complete.
    """
    if config.name == "arrays":
        raise ConfigError(
            "data.name",
            config.name,
            "stands for arrays given in Python: Trainer(config, data=(features, targets))",
        )
    if config.name is not None and config.target is not None:
        raise ConfigError(
            "data.target", config.target, f"is for files; data.name = {config.name!r} has its own"
        )
    label_names: tuple[str, ...] | None = None
    n_test = 0
    if config.name in benchmarks.NAMES:
        columns, n_test = _benchmark(config)
        source = f"benchmark/{config.name}-{config.dimension}"
    elif config.dimension is not None:
        problem = f"is for generated data sets: data.name = one of {', '.join(benchmarks.NAMES)}"
        raise ConfigError("data.dimension", config.dimension, problem)
    elif config.name is not None:
        columns, label_names = _builtin(config.name, config.features)
        source = f"sklearn/{config.name}"
    else:
        if config.path is None:
            raise ConfigError("data.path", config.path, "give data.name, or data.path and data.target")
        columns = _from_files(config)
        source = config.path
    return Table(
        columns.feature_names,
        columns.features,
        columns.target_name,
        columns.target,
        label_names,
        source,
        content_digest(columns, label_names),
        columns.ignored,
        n_test,
    )


def table_from_arrays(features: Any, targets: Any | None) -> Table:
    """Arrays or a data frame given in Python, as a `Table`.

    Args:
        features: [S, F]; column names are taken from a data frame.
        targets: [S]; bool, integers, floats or strings; None where nothing is to be predicted.

    Raises:
        DataError: wrong shapes, or a value that is not finite (row counted from 1).
    """
    try:
        values = np.array(features, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the features are not numbers: {error}") from None
    target_name, target = "target", np.asarray(targets)
    if targets is None:
        target_name, target = "", np.zeros(values.shape[:1])
    if values.ndim != 2 or target.shape != values.shape[:1] or not values.size:
        raise DataError(
            f"features of shape {values.shape} and targets of shape {target.shape}: wanted [S, F] and [S]"
        )
    names = tuple(
        str(name) for name in getattr(features, "columns", [f"x{i}" for i in range(values.shape[1])])
    )
    kinds = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}
    target = target.astype(kinds[target.dtype.kind]) if target.dtype.kind in kinds else target.astype(str)
    for row, column in np.argwhere(~np.isfinite(values)):
        raise DataError(f"features: row {row + 1}, column {names[column]!r} is {values[row, column]}")
    if target.dtype.kind == "f" and not np.isfinite(target).all():
        row = int(np.flatnonzero(~np.isfinite(target))[0])
        raise DataError(f"targets: row {row + 1} is {target[row]}")
    columns = Columns(names, values, target_name, target)
    return Table(names, values, target_name, target, None, "arrays", content_digest(columns))


def content_digest(columns: Columns, label_names: Sequence[str] | None = None) -> str:
    """SHA-256 over names, shapes, kinds and values in order: any change of the data that are used changes it."""
    target = columns.target
    header = {
        "features": columns.feature_names,
        "shape": columns.features.shape,
        "target": columns.target_name,
        "kind": target.dtype.kind,
        "labels": label_names,
    }
    digest = hashlib.sha256(json.dumps(header).encode())
    digest.update(np.ascontiguousarray(columns.features, dtype="<f8").tobytes())
    if target.dtype.kind == "U":
        digest.update(json.dumps(target.tolist()).encode())
    else:
        digest.update(target.astype({"b": "<u1", "i": "<i8", "f": "<f8"}[target.dtype.kind]).tobytes())
    return digest.hexdigest()


def _from_files(config: DataConfig) -> Columns:
    """The table that ``data.path`` names; of a folder of images, their pixels and the names of their folders."""
    assert config.path is not None
    transform = image_transform(config)
    if transform is None:
        where = Filter.parse(config.filter) if config.filter is not None else None
        return read_columns(config.path, config.target, config.features, where)
    files, labels = samples_of(class_folders(config.path))
    return Columns(transform.feature_names, transform(files), "class", labels)


def _builtin(name: str, features: Sequence[str] | None) -> tuple[Columns, tuple[str, ...]]:
    """One of scikit-learn's bundled real data sets, and the names of its classes."""
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    names = tuple(str(column) for column in bunch.feature_names)
    values, target = np.asarray(bunch.data, dtype=np.float64), np.asarray(bunch.target, dtype=np.int64)
    return _chosen(name, names, values, target, features), tuple(str(label) for label in bunch.target_names)


def _benchmark(config: DataConfig) -> tuple[Columns, int]:
    """A generated data set, and how many of its last rows are its published test split.

    Refused is what would change that split without a word: the published figures belong to it.
    """
    assert config.name is not None
    default = DataConfig.model_fields["test_fraction"].default
    if config.test_fraction != default:
        problem = f"{config.name} comes with its published test split: leave this key out"
        raise ConfigError("data.test_fraction", config.test_fraction, problem, str(default))
    if config.max_samples is not None:
        problem = f"{config.name} is used whole, with its published split: leave this key out"
        raise ConfigError("data.max_samples", config.max_samples, problem)
    made = benchmarks.generate(config.name, config.dimension)
    names = tuple(f"x{index}" for index in range(made.features.shape[1]))
    return _chosen(config.name, names, made.features, made.labels, config.features), made.n_test


def _chosen(
    name: str,
    names: tuple[str, ...],
    values: np.ndarray,
    target: np.ndarray,
    features: Sequence[str] | None,
) -> Columns:
    """The columns that ``data.features`` names, all of them if it is absent."""
    chosen = names if features is None else tuple(features)
    for column in chosen:
        if column not in names:
            problem = f"no such column in {name}, which has {some(names)}"
            raise ConfigError("data.features", column, problem, nearest(column, names))
    if not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError("data.features", list(chosen), "names no column, or one twice")
    return Columns(chosen, values[:, [names.index(column) for column in chosen]], "target", target)
