"""On what a model is evaluated: a split of its run, or another data set that has its feature columns.

Columns are found by name, in any order. Labels must be names of the model's classes. Row numbers count from 0 in arrays.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, DataError, InputError, nearest
from pipelines.data import benchmarks
from pipelines.data.table import Table, load, table_from_arrays
from pipelines.evaluate.own_rows import prepared_rows, raw_rows
from pipelines.evaluate.scores import samples_of_split
from pipelines.evaluate.subjects import Subject

Data = str | Path | tuple[Any, Any]
"""A built-in data set, a file or a folder; or features [S, F_raw] (an array, or a data frame) with targets [S] or None."""

_BUILT_IN = tuple(
    name
    for part in get_args(DataConfig.model_fields["name"].annotation)
    for name in get_args(part)
    if name != "arrays"
)
_MOST_REMEMBERED = 1_000_000
"""Training samples that other data are searched for."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The samples a model is evaluated on.

    Attributes:
        label: of the split or the data set, as it stands in names of files and runs.
        source: where they are from, for people.
        features: float64 [S, F], prepared for the model. targets: [S], class indices or values; None: nobody knows.
        rows: int64 [S], of the data set.
        is_split: a split of the run, and not other data.
        n_seen: of the samples, those the model was trained on; None where that cannot be known.
    """

    label: str
    source: str
    features: np.ndarray
    targets: np.ndarray | None
    rows: np.ndarray
    is_split: bool
    n_seen: int | None

    @property
    def digest(self) -> str:
        """SHA-256 of features and targets."""
        found = hashlib.sha256(np.ascontiguousarray(self.features, "<f8").tobytes())
        if self.targets is not None:
            found.update(np.ascontiguousarray(self.targets).tobytes())
        return found.hexdigest()


def choose(
    subject: Subject,
    data: Data | None,
    split: str | None,
    target_column: str | None,
    *,
    may_lack_targets: bool,
) -> Choice:
    """The samples that are asked for.

    Args:
        split: of the run; None: ``test``. data: in place of a split.
        target_column: of `data`; None: as in training, ``target`` for a model.
        may_lack_targets: `data` without that column is taken for what has no targets yet.

    Raises:
        InputError: there are none such, or they do not fit the model.
    """
    if data is None:
        if target_column is not None:
            raise InputError(
                f"--target-column {target_column}: is for --data; a split has the target of its run"
            )
        return _split(subject, split or "test")
    if split is not None:
        raise InputError(f"--split {split} is of the run, and --data other data: leave one of the two out")
    table = _table(subject, data, target_column, may_lack_targets)
    return _of_table(subject, table, data)


def _split(subject: Subject, split: str) -> Choice:
    if subject.prepared is None:
        raise InputError(f"{subject.uri} is a model, which comes without its data: name some with --data")
    found, data = samples_of_split(subject.prepared, split), subject.prepared.data
    rows = getattr(data.rows, split)
    n_seen = len(rows) if split == "train" else 0
    return Choice(split, f"{data.source}, {split} split", found.features, found.targets, rows, True, n_seen)


def _of_table(subject: Subject, table: Table, data: Data) -> Choice:
    predictor = subject.predictor
    features = predictor.preprocessing.transform(table.features)
    predictor.model.inputs(features)  # a row that cannot be encoded is refused now
    targets: np.ndarray | None = None
    if subject.predictor.loss.task == "autoencoder":
        targets = np.zeros(len(features))
    elif table.target_name:
        targets = _targets(table, predictor.class_names)
    return Choice(
        label="arrays" if isinstance(data, tuple) else re.sub(r"[^\w.-]+", "_", Path(data).stem or "data"),
        source=table.source,
        features=features,
        targets=targets,
        rows=np.arange(len(features)),
        is_split=False,
        n_seen=_n_seen(subject, features),
    )


def _n_seen(subject: Subject, features: np.ndarray) -> int | None:
    """How many of prepared features [S, F] the model was trained on, as far as their content tells."""
    if subject.prepared is None or len(subject.prepared.data.train.targets) > _MOST_REMEMBERED:
        return None
    trained = subject.prepared.data.train.features
    known = {row.tobytes() for row in np.ascontiguousarray(trained, np.float64)}
    return sum(row.tobytes() in known for row in np.ascontiguousarray(features))


def _table(subject: Subject, data: Data, target_column: str | None, may_lack_targets: bool) -> Table:
    """The data set, its features in the order of the model's."""
    names = subject.predictor.feature_names
    if isinstance(data, tuple):
        return _ordered(table_from_arrays(*data), names)
    wanted = _target_name(subject, target_column)
    has_targets = subject.predictor.loss.task != "autoencoder"
    config = _config(subject, str(data), wanted if has_targets else None)
    try:
        return load(config)
    except ConfigError as error:
        if error.key != "data.target":
            raise _in_words(error, data) from None
        if not (may_lack_targets and target_column is None):
            raise _no_target(error, data) from None
    try:
        return load(config.model_copy(update={"target": None}))
    except ConfigError as error:
        raise _in_words(error, data) from None


def _target_name(subject: Subject, target_column: str | None) -> str:
    if target_column is not None:
        return target_column
    of_run = None if subject.prepared is None else subject.prepared.data.target_name
    return of_run or "target"


def _config(subject: Subject, data: str, target: str | None) -> DataConfig:
    """How `data` is loaded: as the run's own was, as far as that applies."""
    names = subject.predictor.feature_names
    if data in _BUILT_IN:
        generated = data in benchmarks.NAMES
        return DataConfig(
            name=data,  # type: ignore[arg-type]
            features=names,
            dimension=len(names) if generated else None,
        )
    if not Path(data).expanduser().exists() and not re.search(r"[*?\[]", data):
        close = nearest(data, _BUILT_IN)
        problem = f"no such file or folder, and no built-in data set; there are {', '.join(_BUILT_IN)}"
        raise ConfigError("--data", data, problem, close)
    own = None if subject.prepared is None else subject.prepared.config.data
    if own is not None and own.image_size is not None:
        return DataConfig(path=data, image_size=own.image_size, image_fit=own.image_fit)
    return DataConfig(path=data, target=target, features=names)


def _in_words(error: ConfigError, data: Data) -> InputError:
    """What `load` refuses, in the words of the command line."""
    hint = f"; did you mean {error.suggestion!r}?" if error.suggestion else ""
    if error.key == "data.features":
        return DataError(f"{data}: the model takes a column {error.value!r}: {error.problem}{hint}")
    return ConfigError("--data", str(data), error.problem, error.suggestion)


def _no_target(error: ConfigError, data: Data) -> InputError:
    hint = f"; did you mean {error.suggestion!r}?" if error.suggestion else ""
    return DataError(
        f"{data}: has no target column {error.value!r} ({error.problem}{hint}): name it with --target-column, or ask for "
        "predictions alone with --output FILE"
    )


def _ordered(table: Table, names: tuple[str, ...]) -> Table:
    """Arrays are taken in the order of training; the columns of a data frame by name."""
    if set(names) <= set(table.feature_names):
        places = [table.feature_names.index(name) for name in names]
        return replace(table, feature_names=names, features=table.features[:, places])
    if table.features.shape[1] != len(names) or table.feature_names != tuple(
        f"x{i}" for i in range(len(names))
    ):
        missing = next(name for name in names if name not in table.feature_names)
        raise DataError(
            f"the data have {table.features.shape[1]} feature columns, the model takes {len(names)}; {missing!r} is not among them"
        )
    return replace(table, feature_names=names)


def _targets(table: Table, class_names: tuple[str, ...] | None) -> np.ndarray:
    """Class indices int64 [S], or values float64 [S]."""
    if class_names is None:
        if table.target.dtype.kind == "U":
            raise DataError(
                f"{table.source}: target column {table.target_name!r} holds text ({str(table.target[0])!r}), the model predicts a number"
            )
        return table.target.astype(np.float64)
    labels = _labels(table)
    distinct, codes = np.unique(labels, return_inverse=True)
    place = {name: i for i, name in enumerate(class_names)}
    unknown = [str(label) for label in distinct if str(label) not in place]
    if unknown:
        rows = np.flatnonzero(labels == unknown[0])
        close = nearest(unknown[0], class_names)
        hint = f"; did you mean {close!r}?" if close else ""
        raise DataError(
            f"{table.source}: target column {table.target_name!r} holds {unknown[0]!r} (data row {rows[0] + 1}, {len(rows)} in all), "
            f"which is no class of the model: {', '.join(map(repr, class_names))}{hint}"
        )
    return np.array([place[str(label)] for label in distinct], np.int64)[codes]


def _labels(table: Table) -> np.ndarray:
    """Labels [S] as text, in the words of class names."""
    target = table.target
    if table.label_names is not None:
        return np.array(table.label_names)[target]
    if target.dtype.kind == "b":
        return np.where(target, "true", "false")
    if target.dtype.kind == "f" and np.array_equal(target, np.rint(target)):
        target = target.astype(np.int64)
    return target.astype(str)


def same_samples(
    own: Subject, choice: Choice, other: Subject, data: Data | None, target_column: str | None
) -> Choice:
    """The samples of `choice`, which are `own`'s, as `other` takes them.

    Raises:
        InputError: they cannot be found again, lack columns that it takes, or it knows other classes.
    """
    _check_same_classes(own, other)
    found = _of_split(own, choice, other) if data is None else _of_data(other, data, target_column)
    if found.targets is None or choice.targets is None:
        return found
    return replace(found, targets=_renamed(own, choice.targets, other))


def _of_data(other: Subject, data: Data, target_column: str | None) -> Choice:
    return _of_table(other, _table(other, data, target_column, True), data)


def _of_split(own: Subject, choice: Choice, other: Subject) -> Choice:
    assert own.prepared is not None
    data = own.prepared.data
    theirs = None if other.prepared is None else other.prepared.data
    if theirs is not None and theirs.digest == data.digest:
        features = prepared_rows(theirs, choice.rows)
        if features is not None:
            n_seen = int(np.isin(choice.rows, theirs.rows.train).sum())
            return replace(choice, features=features, n_seen=n_seen)
    if data.source == "arrays":
        raise InputError(
            f"{own.name} was trained on arrays, which are not kept: {other.name} cannot be run on its samples"
        )
    try:
        part = raw_rows(own.prepared.config.data, data, other.predictor.feature_names, choice.rows)
    except ConfigError as error:
        raise _in_words(error, data.source) from None
    return replace(_of_table(other, part, choice.label), rows=choice.rows)


def _check_same_classes(own: Subject, other: Subject) -> None:
    mine, theirs = own.predictor.class_names, other.predictor.class_names
    if (mine is None) != (theirs is None) or set(mine or ()) != set(theirs or ()):
        raise InputError(
            f"{own.name} and {other.name} do not predict the same: {', '.join(mine or ('values',))}; {', '.join(theirs or ('values',))}"
        )


def _renamed(own: Subject, targets: np.ndarray, other: Subject) -> np.ndarray:
    """Class indices of `own` as those of `other`."""
    mine, theirs = own.predictor.class_names, other.predictor.class_names
    if mine is None or theirs is None:
        return targets
    return np.array([theirs.index(name) for name in mine], np.int64)[targets]
