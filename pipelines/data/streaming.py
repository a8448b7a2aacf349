"""Preparing a data set that is larger than memory: three readings of its pieces, each by whoever has it.

1. **Targets**: the target column alone. From all targets together follow, by the code that tables in memory go through, the samples kept
   and their splits.
2. **Statistics**: all features, in blocks; each piece gives the moments of its training rows and a digest of all of them. The
   moments are merged in the order of the pieces, and `Preprocessing` is fitted to them.
3. **Samples**: all features again, transformed and written to the splits' files, each piece to rows of its own.

A piece is read in this process, or by a task on an actor; that changes no bit. What is held here is 8 bytes of target for each row, with
the row numbers of the splits, and one block. Where actors read, no features pass through the driver but five example rows a piece.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, DataError, nearest
from orchestrator.losses.base import Task
from pipelines.data.columns import check_same_kind
from pipelines.data.files import no_rows, some
from pipelines.data.pieces import Piece, Pieces
from pipelines.data.preprocessing import Preprocessing
from pipelines.data.statistics import Moments, fit_moments
from pipelines.data.stored import SPLITS, SplitWriter, StoredSplits, offsets
from pipelines.data.table import Table

_MOST_LABELS = 10_000
"""Different texts in a target column that are still told one by one; the limit of classes lies far below."""
_EXAMPLES = 5

_A = TypeVar("_A")
_R = TypeVar("_R")
Mapping = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
"""Applies a function to each argument, here or elsewhere; the results in the order of the arguments."""


class PieceTargets(NamedTuple):
    """The target column of a piece: values [S], or for text `names` [K] and the index of each row's, int32 [S]."""

    values: np.ndarray
    names: np.ndarray | None


class PieceStatistics(NamedTuple):
    """What is known of a piece's features.

    Attributes:
        moments: of its training rows. digest: SHA-256 of all of its rows. examples: its first training rows, float64 [up to 5, F].
    """

    moments: Moments
    digest: bytes
    examples: np.ndarray


@dataclass(frozen=True, eq=False)
class _Measuring:
    """Second reading: a piece, its training rows (from 0, ascending), and whether PCA follows."""

    piece: Piece
    n_features: int
    train: np.ndarray
    with_products: bool


@dataclass(frozen=True, eq=False)
class _Writing:
    """Third reading: a piece, its rows in each split, where in the splits' files they go, and how they are transformed."""

    piece: Piece
    preprocessing: dict[str, np.ndarray]
    folder: Path
    rows: dict[str, np.ndarray]
    first: dict[str, int]
    n_rows: dict[str, int]


@contextmanager
def readers(config: DataConfig, address: str | None = None) -> Iterator[Mapping]:
    """Whoever reads the pieces: this process, or ``data.readers`` Ray actors for as long as the block runs."""
    if config.readers is None:
        yield lambda function, arguments: [function(argument) for argument in arguments]
        return
    from actors.ray_fleet.tasks import RayTasks

    with RayTasks(config.readers, address=address) as tasks:

        def mapped(function: Callable[[_A], _R], arguments: Sequence[_A]) -> list[_R]:
            found = dict(tasks.run(function, arguments))
            return [found[index] for index in range(len(arguments))]

        yield mapped


def read_targets(piece: Piece) -> PieceTargets:
    """First reading of a piece.

    Raises:
        DataError: a value is missing, or there are too many different texts.
    """
    blocks: list[np.ndarray] = []
    codes: dict[str, int] = {}
    for values in piece.targets():
        if values.dtype.kind != "U":
            blocks.append(values)
            continue
        distinct, inverse = np.unique(values, return_inverse=True)
        numbers = [codes.setdefault(str(label), len(codes)) for label in distinct]
        if len(codes) > _MOST_LABELS:
            raise DataError(
                f"{piece.name}: the target has more than {_MOST_LABELS:,} different texts: no classes"
            )
        blocks.append(np.array(numbers, np.int32)[inverse])
    values = np.concatenate(blocks) if blocks else np.empty(0)
    return PieceTargets(values, np.array(list(codes), np.str_) if codes else None)


def measure(asked: _Measuring) -> PieceStatistics:
    """Second reading of a piece: blocks of its training rows, merged in their order."""
    moments = Moments.none(asked.n_features, with_products=asked.with_products)
    digest = hashlib.sha256()
    examples: list[np.ndarray] = []
    start = 0
    for values in asked.piece.features():
        digest.update(np.ascontiguousarray(values, "<f8").tobytes())
        chosen = values[_within(asked.train, start, len(values))]
        moments = moments.merged(Moments.of(chosen, with_products=asked.with_products))
        if sum(map(len, examples)) < _EXAMPLES:
            examples.append(chosen[:_EXAMPLES].copy())
        start += len(values)
    found = np.concatenate(examples) if examples else np.empty((0, asked.n_features))
    return PieceStatistics(moments, digest.digest(), found[:_EXAMPLES])


def write_samples(asked: _Writing) -> dict[str, tuple[int, str]]:
    """Third reading of a piece: (rows, SHA-256) of what it wrote to each split."""
    preprocessing = Preprocessing.from_arrays(asked.preprocessing)
    writers = {
        split: SplitWriter(
            asked.folder / f"{split}.npy", asked.n_rows[split], preprocessing.n_features, asked.first[split]
        )
        for split in SPLITS
    }
    start = 0
    for values in asked.piece.features():
        for split, writer in writers.items():
            chosen = _within(asked.rows[split], start, len(values))
            if len(chosen):
                writer.write(preprocessing.transform(values[chosen]))
        start += len(values)
    for split, writer in writers.items():
        if writer.n_written != len(asked.rows[split]):
            raise DataError(f"{asked.piece.name}: has changed while it was read: {start} rows now")
    return {split: writer.close() for split, writer in writers.items()}


def targets_table(
    found: Pieces, read: Sequence[PieceTargets], config: DataConfig, task: Task
) -> tuple[Table, np.ndarray]:
    """The data set with its targets and without its features, and where each piece's rows begin, int64 [pieces + 1].

    Raises:
        DataError: there are no rows, or the pieces hold targets of several kinds.
    """
    starts = np.concatenate([[0], np.cumsum([len(each.values) for each in read])]).astype(np.int64)
    if starts[-1] == 0:
        raise no_rows(found.source, config.filter)
    filled = [(piece, each) for piece, each in zip(found.pieces, read, strict=True) if len(each.values)]
    kinds = [(Path(piece.name), each.values if each.names is None else each.names) for piece, each in filled]
    check_same_kind(kinds, found.target_name)
    label_names = None
    if filled[0][1].names is None:
        target = np.concatenate([each.values for _, each in filled])
    else:
        names = np.unique(np.concatenate([each.names for _, each in filled if each.names is not None]))
        label_names = tuple(str(name) for name in names)
        target = np.concatenate(
            [np.searchsorted(names, each.names)[each.values] for _, each in filled if each.names is not None]
        )
        _check_text(found, label_names, target, config, task)
    table = Table(
        found.feature_names, np.empty((len(target), 0)), found.target_name, target, label_names, found.source, "",
        found.ignored,
    )  # fmt: skip
    return table, starts


def _check_text(
    found: Pieces, names: Sequence[str], target: np.ndarray, config: DataConfig, task: Task
) -> None:
    """Refuse what a column of text is refused for, before its labels stand for numbers."""
    if task == "regression" and config.classes is None:
        raise DataError(
            f"{found.source}: target column {found.target_name!r} holds text ({names[int(target[0])]!r} in data row 1); "
            "a regression loss needs numbers"
        )
    for wanted in config.classes or ():
        if str(wanted) not in names:
            problem = f"no such class; there are {some(names)}"
            raise ConfigError("data.classes", wanted, problem, nearest(wanted, names))


def fit_pieces(
    found: Pieces, starts: np.ndarray, train: np.ndarray, config: DataConfig, mapped: Mapping, *, fits: bool
) -> tuple[Preprocessing | None, bytes, np.ndarray]:
    """(preprocessing if it `fits`, digest of all features, first training rows).

    Args:
        train: row numbers of the training split, ascending.
    """
    with_products = fits and config.n_components is not None
    n_features = len(found.feature_names)
    asked = [
        _Measuring(piece, n_features, _within(train, start, stop - start), with_products)
        for piece, (start, stop) in zip(found.pieces, itertools.pairwise(starts), strict=True)
    ]
    measured: list[PieceStatistics] = mapped(measure, asked)
    moments = Moments.none(n_features, with_products=with_products)
    for each in measured:
        moments = moments.merged(each.moments)
    digest = hashlib.sha256(b"".join(each.digest for each in measured)).digest()
    examples = np.concatenate([each.examples for each in measured])[:_EXAMPLES]
    return fit_moments(moments, config, found.feature_names) if fits else None, digest, examples


def write_pieces(
    found: Pieces,
    starts: np.ndarray,
    rows: Sequence[np.ndarray],
    preprocessing: Preprocessing,
    parent: Path | None,
    mapped: Mapping,
) -> StoredSplits:
    """The prepared samples of all splits, in files.

    Args:
        rows: row numbers of the training, validation and test split, ascending. parent: see `StoredSplits.create`.
    """
    n_rows = {split: len(part) for split, part in zip(SPLITS, rows, strict=True)}
    stored = StoredSplits.create(parent, n_rows, preprocessing.n_features)
    own = [
        {split: _within(part, start, stop - start) for split, part in zip(SPLITS, rows, strict=True)}
        for start, stop in itertools.pairwise(starts)
    ]
    first = {split: offsets([len(each[split]) for each in own]) for split in SPLITS}
    arrays = preprocessing.to_arrays()
    asked = [
        _Writing(piece, arrays, stored.folder, each, {split: first[split][i] for split in SPLITS}, n_rows)
        for i, (piece, each) in enumerate(zip(found.pieces, own, strict=True))
    ]
    for written in mapped(write_samples, asked):
        for split in SPLITS:
            stored.parts[split].append(written[split])
    return stored


def content_digest(table: Table, features: bytes) -> str:
    """SHA-256 of names, targets and the digest of the features: any change of the data that are used changes it.

    Not that of the same table in memory, whose values are hashed in one go.
    """
    target = table.target
    header = {
        "features": table.feature_names,
        "rows": len(target),
        "target": table.target_name,
        "kind": target.dtype.kind,
        "labels": table.label_names,
        "pieces": features.hex(),
    }
    digest = hashlib.sha256(json.dumps(header).encode())
    digest.update(target.astype({"b": "<u1", "i": "<i8", "f": "<f8"}[target.dtype.kind]).tobytes())
    return digest.hexdigest()


def _within(rows: np.ndarray, start: int, n: int) -> np.ndarray:
    """Those of the ascending `rows` that are among the `n` from `start` on, counted from there."""
    low, high = np.searchsorted(rows, [start, start + n])
    return rows[low:high] - start
