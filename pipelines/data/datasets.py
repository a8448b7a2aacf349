"""Data sets: from a loaded table to split and prepared samples.

`prepare` filters and draws samples, splits them, fits the
`Preprocessing` to the training split and applies it to all of them. Whatever is wrong is refused before anything starts.

Row numbers in messages are data rows counted from 1; row numbers in arrays count from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, DataError, InputError
from orchestrator.losses.base import Task
from orchestrator.training.reports import Samples
from pipelines.data.images import ImageTransform, image_transform
from pipelines.data.pieces import Pieces, pieces_of, raw_bytes
from pipelines.data.preprocessing import Preprocessing
from pipelines.data.splits import draw, split_positions
from pipelines.data.stored import SPLITS, StoredSplits
from pipelines.data.streaming import (
    Mapping,
    content_digest,
    fit_pieces,
    read_targets,
    readers,
    targets_table,
    write_pieces,
)
from pipelines.data.table import Table, load
from pipelines.data.targets import select_targets


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
        target_name: of the loaded `Table`, empty where the task has no targets; source, digest, ignored: of the table.
        task: what the targets were prepared for.
        raw_example: float64 [up to 5, F_raw], the first raw rows of the training split, for signatures and input examples.
        images: how image files become raw features, where they did.
        stored: the files that the features are mapped from; None where they are in memory.
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
    images: ImageTransform | None = None
    stored: StoredSplits | None = None

    @property
    def n_features(self) -> int:
        """Features per sample, as the model's feature map takes them."""
        return self.preprocessing.n_features

    @property
    def constant_features(self) -> tuple[str, ...]:
        """Raw columns that are constant on the training split and so mapped to 0."""
        return tuple(self.feature_names[index] for index in self.preprocessing.constant)


def prepare(
    config: DataConfig,
    *,
    task: Task,
    seed: int,
    n_features: int | None = None,
    preprocessing: Preprocessing | None = None,
    table: Table | None = None,
    suggest: Callable[[int], str | None] = lambda n: f"model.n_qubits = {n}",
    parent: Path | None = None,
    address: str | None = None,
) -> PreparedData:
    """Load, filter, draw, split and preprocess; the same result for the same data, config and seed.

    Regression targets stay in the unit of the file: nothing is standardised behind the user's back, so predictions and
    losses are in that unit too (a model whose outputs cannot reach it needs a head or ``model.output_scale``).

    Args:
        config: the ``data`` section.
        task: what the loss asks for: ``binary``, ``multiclass`` (int64 class indices), ``regression`` (float64 values) or
            ``autoencoder`` (none).
        seed: of the split and of the draw of ``data.max_samples``; 0 <= seed < 2**64.
        n_features: features that the model takes; checked if given.
        preprocessing: an already fitted one (resume, evaluation), used instead of fitting.
        table: data at hand, in place of what the configuration names.
        suggest: how the model would be made to take so many features, if it can be; for error messages.
        parent: where the files of a data set larger than memory are made, best on the disk of the run; None: the temporary folder.
        address: Ray cluster of ``data.readers``; None: the usual one.

    Raises:
        ConfigError: a ``data.*`` key cannot work with these data, or they do not fit the model.
        DataError: the data cannot be used for the task.
        StorageError: prepared samples cannot be stored.
    """
    found = _streamed(config) if table is None else None
    if found is not None:
        with readers(config, address) as mapped:
            asked = _Asked(config, task, seed, n_features, preprocessing, suggest)
            return _prepare_pieces(found, asked, parent, mapped)
    table = table or load(config)
    if preprocessing is None:
        _check_n_features(config, table, n_features, suggest)
    rows, targets, class_names = select_targets(table, config, task)
    kept = draw(rows, targets, class_names, config, seed)
    rows, targets = rows[kept], targets[kept]
    own_test = rows >= len(table.target) - table.n_test if table.n_test else None
    split = split_positions(rows, targets, class_names, config, seed, own_test)
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
        target_name="" if task == "autoencoder" else table.target_name,
        source=table.source,
        digest=table.digest,
        ignored=table.ignored,
        task=task,
        raw_example=raw[0][:5],
        images=image_transform(config),
    )


class _Asked(NamedTuple):
    """Arguments of `prepare`."""

    config: DataConfig
    task: Task
    seed: int
    n_features: int | None
    preprocessing: Preprocessing | None
    suggest: Callable[[int], str | None]


def _streamed(config: DataConfig) -> Pieces | None:
    """The pieces of a data set that is not to be read whole; None for one that is."""
    if config.path is None or config.streaming is False:
        return None
    if config.streaming is True or config.readers is not None:
        return pieces_of(config)
    try:
        found = pieces_of(config)
        is_large = raw_bytes(found) > config.memory_limit_gb * 2**30
    except InputError:  # said better by whoever reads all of it
        return None
    return found if is_large else None


def _prepare_pieces(found: Pieces, asked: _Asked, parent: Path | None, mapped: Mapping) -> PreparedData:
    """As `prepare`, for pieces: the same splits, and the same features but for the rounding of what is fitted."""
    config, task, seed = asked.config, asked.task, asked.seed
    read = mapped(read_targets, found.pieces)
    table, starts = targets_table(found, read, config, task)
    if asked.preprocessing is None:
        _check_n_features(config, table, asked.n_features, asked.suggest)
    else:
        _check_fits(asked.preprocessing, table, asked.n_features)
    rows, targets, class_names = select_targets(table, config, task)
    kept = draw(rows, targets, class_names, config, seed)
    rows, targets = rows[kept], targets[kept]
    split = split_positions(rows, targets, class_names, config, seed)
    fits = asked.preprocessing is None
    of_splits = SplitRows(*(rows[part] for part in split))
    fitted, digest, examples = fit_pieces(found, starts, of_splits.train, config, mapped, fits=fits)
    preprocessing = asked.preprocessing or fitted
    assert preprocessing is not None
    stored = write_pieces(found, starts, of_splits, preprocessing, parent, mapped)
    train, validation, test = (
        Samples(stored.features(name), targets[part]) for name, part in zip(SPLITS, split, strict=True)
    )
    return PreparedData(
        train=train,
        validation=validation,
        test=test,
        rows=of_splits,
        preprocessing=preprocessing,
        feature_names=table.feature_names,
        class_names=class_names,
        target_name="" if task == "autoencoder" else table.target_name,
        source=table.source,
        digest=content_digest(table, digest),
        ignored=table.ignored,
        task=task,
        raw_example=examples,
        images=image_transform(config),
        stored=stored,
    )


def dataset_summary(prepared: PreparedData) -> dict[str, Any]:
    """What the tracker keeps of a data set: small and JSON-able."""
    splits = {"train": prepared.train, "validation": prepared.validation, "test": prepared.test}
    summary: dict[str, Any] = {
        "source": prepared.source,
        "digest": prepared.digest,
        "task": prepared.task,
        "target": prepared.target_name or None,
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


def _check_n_features(
    config: DataConfig, table: Table, n_features: int | None, suggest: Callable[[int], str | None]
) -> None:
    """Refuse, with what to set, data whose features are not as many as the model takes."""
    n_raw = len(table.feature_names)
    n_given = config.n_components or n_raw
    if n_features is None or n_given == n_features:
        return
    fitting = suggest(n_given)
    options = [fitting] if fitting else []
    if n_features <= n_raw:
        options.insert(0, f"data.n_components = {n_features}")
    what = f"{n_raw} feature column{'s' if n_raw > 1 else ''}"
    if config.n_components is None and n_features > n_raw:
        raise DataError(f"{table.source} has {what}, too few for a model of {n_features}{_set(options)}")
    given = (
        f"components of {table.source}'s {what}"
        if config.n_components
        else f"all {what} of {table.source} are used"
    )
    raise ConfigError(
        "data.n_components",
        config.n_components,
        f"{given}, but the model takes {n_features} features{_set(options)}",
    )


def _set(options: list[str]) -> str:
    return f": set {' or '.join(options)}" if options else "; take other columns or another feature map"


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
