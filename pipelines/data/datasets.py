"""Data sets: from a name or a file to checked, split and prepared samples.

`load` gives the columns with a digest of their content; `prepare` filters and draws samples, splits them, fits the
`Preprocessing` to the training split and applies it to all of them. Whatever is wrong is refused before anything starts.

Row numbers in messages are data rows counted from 1; row numbers in arrays count from 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, DataError, nearest
from orchestrator.losses.base import Task
from orchestrator.training.reports import Samples
from pipelines.data.files import Columns, read_columns, some
from pipelines.data.preprocessing import Preprocessing
from pipelines.data.splits import draw, split_positions
from pipelines.data.targets import select_targets


@dataclass(frozen=True, eq=False)
class Table:
    """A loaded data set.

    Attributes:
        feature_names: F names.
        features: float64 [S, F], raw and finite.
        target_name: name of the target column.
        target: [S]; bool, int64, float64 or str.
        label_names: name of each integer label 0, 1, ... where the data set gives them (built-ins), else None.
        source: ``sklearn/<name>``, or the path as configured.
        digest: SHA-256 of names and values, in order, the same for the same content in any file format.
        ignored: columns of the file left out because they are not numeric or are a row index.
    """

    feature_names: tuple[str, ...]
    features: np.ndarray
    target_name: str
    target: np.ndarray
    label_names: tuple[str, ...] | None
    source: str
    digest: str
    ignored: tuple[str, ...] = ()


class SplitRows(NamedTuple):
    """Row numbers of the loaded table (from 0, ascending), int64, of each split."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class PreparedData:
    """Samples as the model takes them.

    Attributes:
        train, validation, test: features in radians [S, F] and targets [S]; rows in the order of the table.
        rows: where each of them came from.
        preprocessing: fitted to the training split (or the one given).
        feature_names: names of the raw columns, F_raw.
        class_names: K names in the order of the class indices; None for regression.
        target_name, source, digest, ignored: of the loaded `Table`.
        task: what the targets were prepared for.
        raw_example: float64 [up to 5, F_raw], the first raw rows of the training split, for signatures and input examples.
    """

    train: Samples
    validation: Samples
    test: Samples
    rows: SplitRows
    preprocessing: Preprocessing
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...] | None
    target_name: str
    source: str
    digest: str
    ignored: tuple[str, ...]
    task: Task
    raw_example: np.ndarray

    @property
    def n_features(self) -> int:
        """Features per sample, as the model's feature map takes them."""
        return self.preprocessing.n_features

    @property
    def constant_features(self) -> tuple[str, ...]:
        """Raw columns that are constant on the training split and so mapped to 0."""
        return tuple(self.feature_names[index] for index in self.preprocessing.constant)


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
    if config.name is not None:
        if config.target is not None:
            raise ConfigError(
                "data.target", config.target, f"is for files; data.name = {config.name!r} has its own"
            )
        columns, label_names = _builtin(config.name, config.features)
        source = f"sklearn/{config.name}"
    else:
        if config.path is None or config.target is None:
            raise ConfigError("data.path", config.path, "give data.name, or data.path and data.target")
        columns, label_names = read_columns(config.path, config.target, config.features), None
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
    )


def prepare(
    config: DataConfig,
    *,
    task: Task,
    seed: int,
    n_features: int | None = None,
    preprocessing: Preprocessing | None = None,
    table: Table | None = None,
) -> PreparedData:
    """Load, filter, draw, split and preprocess; the same result for the same data, config and seed.

    Regression targets stay in the unit of the file: nothing is standardised behind the user's back, so predictions and
    losses are in that unit too (a model whose outputs cannot reach it needs a head or ``model.output_scale``).

    Args:
        config: the ``data`` section.
        task: what the loss asks for: ``binary``, ``multiclass`` (int64 class indices) or ``regression`` (float64 values).
        seed: of the split and of the draw of ``data.max_samples``; 0 <= seed < 2**64.
        n_features: features that the model takes; checked if given.
        preprocessing: an already fitted one (resume, evaluation), used instead of fitting.
        table: data at hand, in place of what the configuration names.

    Raises:
        ConfigError: a ``data.*`` key cannot work with these data, or they do not fit the model.
        DataError: the data cannot be used for the task.
    """
    table = table or load(config)
    if preprocessing is None:
        _check_n_features(config, table, n_features)
    rows, targets, class_names = select_targets(table, config, task)
    kept = draw(rows, targets, class_names, config, seed)
    rows, targets = rows[kept], targets[kept]
    split = split_positions(rows, targets, class_names, config, seed)
    raw = [table.features[rows[part]] for part in split]
    if preprocessing is None:
        preprocessing = Preprocessing.fit(raw[0], config, table.feature_names)
    else:
        _check_fits(preprocessing, table, n_features)
    train, validation, test = (
        Samples(preprocessing.transform(values), targets[part])
        for values, part in zip(raw, split, strict=True)
    )
    return PreparedData(
        train=train,
        validation=validation,
        test=test,
        rows=SplitRows(*(rows[part] for part in split)),
        preprocessing=preprocessing,
        feature_names=table.feature_names,
        class_names=class_names,
        target_name=table.target_name,
        source=table.source,
        digest=table.digest,
        ignored=table.ignored,
        task=task,
        raw_example=raw[0][:5],
    )


def dataset_summary(prepared: PreparedData) -> dict[str, Any]:
    """What the tracker keeps of a data set: small and JSON-able."""
    splits = {"train": prepared.train, "validation": prepared.validation, "test": prepared.test}
    summary: dict[str, Any] = {
        "source": prepared.source,
        "digest": prepared.digest,
        "task": prepared.task,
        "target": prepared.target_name,
        "n_rows": {name: len(samples.targets) for name, samples in splits.items()},
        "n_raw_features": len(prepared.feature_names),
        "n_features": prepared.n_features,
        "n_constant_features": len(prepared.constant_features),
        "ignored_columns": list(prepared.ignored[:20]),
    }
    names = prepared.class_names
    if names is not None:
        counts = {
            name: np.bincount(samples.targets, minlength=len(names)) for name, samples in splits.items()
        }
        summary["class_counts"] = {
            name: {label: int(count) for label, count in zip(names, counted, strict=True)}
            for name, counted in counts.items()
        }
    return summary


def table_from_arrays(features: Any, targets: Any) -> Table:
    """Arrays or a data frame given in Python, as a `Table`.

    Args:
        features: [S, F]; column names are taken from a data frame.
        targets: [S]; bool, integers, floats or strings.

    Raises:
        DataError: wrong shapes, or a value that is not finite (row counted from 1).
    """
    try:
        values = np.array(features, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the features are not numbers: {error}") from None
    target = np.asarray(targets)
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
    columns = Columns(names, values, "target", target)
    return Table(names, values, "target", target, None, "arrays", content_digest(columns))


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


def _builtin(name: str, features: Sequence[str] | None) -> tuple[Columns, tuple[str, ...]]:
    """One of scikit-learn's bundled real data sets, and the names of its classes."""
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    names = tuple(str(column) for column in bunch.feature_names)
    chosen = names if features is None else tuple(features)
    for column in chosen:
        if column not in names:
            problem = f"no such column in {name}, which has {some(names)}"
            raise ConfigError("data.features", column, problem, nearest(column, names))
    if not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError("data.features", list(chosen), "names no column, or one twice")
    values = np.asarray(bunch.data, dtype=np.float64)[:, [names.index(column) for column in chosen]]
    columns = Columns(chosen, values, "target", np.asarray(bunch.target, dtype=np.int64))
    return columns, tuple(str(label) for label in bunch.target_names)


def _check_n_features(config: DataConfig, table: Table, n_features: int | None) -> None:
    """Refuse, with what to set, data whose features are not as many as the model takes."""
    n_raw = len(table.feature_names)
    n_given = config.n_components or n_raw
    if n_features is None or n_given == n_features:
        return
    options = [f"model.n_qubits = {n_given}"]
    if n_features <= n_raw:
        options.insert(0, f"data.n_components = {n_features}")
    what = f"{n_raw} feature column{'s' if n_raw > 1 else ''}"
    if config.n_components is None and n_features > n_raw:
        raise DataError(f"{table.source} has {what}, too few for a model of {n_features}: set {options[0]}")
    given = (
        f"components of {table.source}'s {what}"
        if config.n_components
        else f"all {what} of {table.source} are used"
    )
    raise ConfigError(
        "data.n_components",
        config.n_components,
        f"{given}, but the model takes {n_features} features; set {' or '.join(options)}",
    )


def _check_fits(preprocessing: Preprocessing, table: Table, n_features: int | None) -> None:
    if preprocessing.n_raw_features != len(table.feature_names):
        raise DataError(
            f"{table.source} has {len(table.feature_names)} feature columns, "
            f"but the stored preprocessing was fitted to {preprocessing.n_raw_features}"
        )
    if n_features is not None and preprocessing.n_features != n_features:
        raise DataError(
            f"the stored preprocessing gives {preprocessing.n_features} features, but the model takes {n_features}"
        )
