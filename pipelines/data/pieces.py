"""Pieces: the parts of a data set that are larger than memory together, each read alone, by whoever has it, block by block.

A piece is a file, or some of the images of a folder. It pickles, so that it may be read where its bits are at hand. How a piece is cut into
blocks follows from the number of features alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from orchestrator.config import DataConfig
from pipelines.data.columns import Rows, feature_values, target_values
from pipelines.data.files import check_alike, check_wanted, choose_features, chosen_files, columns_to_read
from pipelines.data.filters import Filter
from pipelines.data.images import ImageTransform, class_folders, image_transform, samples_of
from pipelines.data.readers import DataFile
from pipelines.data.sources import SourceFile

_BLOCK_VALUES = 1 << 18
_BLOCK_ROWS = (16, 8192)
_IMAGES = 512
"""Images of a piece."""


class Piece(Protocol):
    """A part of a data set."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def targets(self) -> Iterator[np.ndarray]:
        """Blocks of the target column, as `columns.target_values` gives it; zeros where there is none."""
        ...

    def features(self) -> Iterator[np.ndarray]:
        """Blocks of raw features, float64 [B, F], finite; the same rows."""
        ...


class Pieces(NamedTuple):
    """A data set that may be larger than memory.

    Attributes:
        pieces: in the order of their rows. feature_names: F names. target_name: empty where there is none.
        ignored: columns left out. source: the path as configured.
    """

    pieces: Sequence[Piece]
    feature_names: tuple[str, ...]
    target_name: str
    ignored: tuple[str, ...]
    source: str


def block_rows(n_features: int) -> int:
    """Rows of a block: about 2 MiB of float64."""
    low, high = _BLOCK_ROWS
    return min(max(_BLOCK_VALUES // max(n_features, 1), low), high)


@dataclass(frozen=True)
class FilePiece:
    """A file."""

    source: SourceFile
    feature_names: tuple[str, ...]
    target_name: str
    where: Filter | None

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.source.path)

    def targets(self) -> Iterator[np.ndarray]:
        """See `Piece`. Reads the target column alone."""
        file, before = DataFile(self.source), 0
        column = self.target_name or self.feature_names[0]
        for table in file.blocks([column], self.where, block_rows(1)):
            rows = Rows(before, self.where is not None)
            before += len(table)
            if self.target_name:
                yield target_values(file.path, column, table.column(column), rows)
            else:
                yield np.zeros(len(table))

    def features(self) -> Iterator[np.ndarray]:
        """See `Piece`. Reads the feature columns alone."""
        file, before = DataFile(self.source), 0
        names = self.feature_names
        for table in file.blocks(names, self.where, block_rows(len(names))):
            rows = Rows(before, self.where is not None)
            before += len(table)
            values = np.empty((len(table), len(names)))
            for index, name in enumerate(names):
                values[:, index] = feature_values(file.path, name, table.column(name), rows)
            yield values


@dataclass(frozen=True)
class ImagePiece:
    """Some images of a folder."""

    files: tuple[Path, ...]
    labels: np.ndarray
    transform: ImageTransform

    @property
    def name(self) -> str:
        """The first of them."""
        return str(self.files[0])

    def targets(self) -> Iterator[np.ndarray]:
        """See `Piece`. Reads nothing."""
        yield self.labels

    def features(self) -> Iterator[np.ndarray]:
        """See `Piece`."""
        n = block_rows(self.transform.size**2)
        for start in range(0, len(self.files), n):
            yield self.transform(self.files[start : start + n])


def pieces_of(config: DataConfig) -> Pieces:
    """The files or images that ``data.path`` names. Opens each file, reads the first rows of one.

    Raises:
        ConfigError, DataError: as of `files.read_columns`.
    """
    assert config.path is not None
    transform = image_transform(config)
    if transform is not None:
        files, labels = samples_of(class_folders(config.path))
        pieces = [
            ImagePiece(tuple(files[i : i + _IMAGES]), labels[i : i + _IMAGES], transform)
            for i in range(0, len(files), _IMAGES)
        ]
        return Pieces(pieces, transform.feature_names, "class", (), config.path)
    where = Filter.parse(config.filter) if config.filter is not None else None
    check_wanted(config.target, config.features)
    sources, first = chosen_files(config.path, where)
    names, ignored = _features_of(first, config)
    for source in sources:
        if source.path != first.path:
            file = DataFile(source)
            check_alike(file, first, config.features)
            columns_to_read(file, config.target, names)
    return Pieces(
        [FilePiece(source, names, config.target or "", where) for source in sources],
        names,
        config.target or "",
        ignored,
        config.path,
    )


def raw_bytes(found: Pieces) -> int:
    """About what the raw features of all rows take as float64, before any filter."""
    n_features = len(found.feature_names)
    n_values = 0
    for piece in found.pieces:
        if isinstance(piece, FilePiece):
            n_values += DataFile(piece.source).n_values(n_features)
        elif isinstance(piece, ImagePiece):
            n_values += n_features * len(piece.files)
    return 8 * n_values


def _features_of(first: DataFile, config: DataConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(feature columns, columns left out), by the first file; where they are not given, by its first rows."""
    wanted = columns_to_read(first, config.target, config.features)
    if config.features is not None:
        return tuple(config.features), ()
    for table in first.blocks(wanted, None, _BLOCK_ROWS[1]):
        return choose_features(first, table, config.target)
    return choose_features(first, first.read(wanted), config.target)
