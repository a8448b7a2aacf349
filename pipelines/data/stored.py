"""StoredSplits: prepared samples in files, of which training takes rows through the page cache: float64 [S, F], one .npy a split.

The files are made in a folder of their own beside the runs, and moved into the run's folder when there is one. Writers fill disjoint ranges
of rows, each with a SHA-256 of its own, so that several of them may write one file at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from orchestrator.errors import CheckpointError, StorageError

SPLITS = ("train", "validation", "test")
_PREFIX = ".preparing-"
_CHUNK = 1 << 22


class StoredSplits:
    """The files of one data set.

    Args:
        folder: where they are. rows: of each split. n_features: F.

    Attributes:
        folder, rows, n_features: as given, `folder` as it is now.
        parts: (rows, SHA-256 of their bytes) of each split, in order; empty until they are written.
    """

    def __init__(self, folder: Path, rows: Mapping[str, int], n_features: int) -> None:
        self.folder, self.rows, self.n_features = folder, dict(rows), n_features
        self.parts: dict[str, list[tuple[int, str]]] = {split: [] for split in SPLITS}
        self._finalizer: Any = None
        self._lock: IO[bytes] | None = None

    @classmethod
    def create(cls, parent: Path | None, rows: Mapping[str, int], n_features: int) -> StoredSplits:
        """Files of zeros in a new folder, which goes with this object unless it is moved.

        Args:
            parent: a folder on the disk where the run will be; None: the system's temporary folder.

        Raises:
            StorageError: they cannot be made.
        """
        try:
            if parent is not None:
                parent.mkdir(parents=True, exist_ok=True)
                _remove_left_over(parent)
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            made = cls(folder, rows, n_features)
            made._lock = (folder / ".lock.new").open("wb")
            made._finalizer = weakref.finalize(made, shutil.rmtree, folder, ignore_errors=True)
            fcntl.flock(made._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (folder / ".lock.new").rename(folder / ".lock")  # never to be found free
            for split in SPLITS:
                made._make(split)
        except OSError as error:
            raise StorageError(
                f"{parent or tempfile.gettempdir()}: cannot hold the prepared data: {error}"
            ) from None
        return made

    def _make(self, split: str) -> None:
        n = self.rows[split]
        with self._path(split).open("wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f8", "fortran_order": False, "shape": (n, self.n_features)}
            )
            file.truncate(file.tell() + n * self.n_features * 8)

    def features(self, split: str) -> np.ndarray:
        """float64 [S, F] of a split, read-only, mapped from its file."""
        if self.rows[split] == 0:
            return np.empty((0, self.n_features))
        return np.asarray(np.load(self._path(split), mmap_mode="r", allow_pickle=False))

    def move_to(self, folder: Path) -> None:
        """Have the files in the run's folder.

        Raises:
            StorageError: they cannot be moved.
        """
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for split in SPLITS:
                with self._path(split).open("rb+") as file:
                    os.fsync(file.fileno())
                shutil.move(self._path(split), folder / f"{split}.npy")
        except OSError as error:
            raise StorageError(f"{folder}: cannot hold the prepared data: {error}") from None
        if self._finalizer is not None:
            self._finalizer()
        if self._lock is not None:
            self._lock.close()
        self.folder = folder

    def to_plain(self) -> dict[str, Any]:
        """What `open` needs beside the files, JSON-able."""
        return {
            "n_features": self.n_features,
            "parts": {split: [list(part) for part in parts] for split, parts in self.parts.items()},
        }

    @classmethod
    def open(cls, folder: Path, plain: Mapping[str, Any]) -> StoredSplits:
        """The files of a run, each byte compared with what was written.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        parts = {split: [(int(n), str(digest)) for n, digest in plain["parts"][split]] for split in SPLITS}
        found = cls(
            folder, {split: sum(n for n, _ in parts[split]) for split in SPLITS}, int(plain["n_features"])
        )
        found.parts = parts
        for split in SPLITS:
            found._check(split)
        return found

    def _check(self, split: str) -> None:
        path, row_bytes = self._path(split), self.n_features * 8
        try:
            n_bytes = self.rows[split] * row_bytes
            with path.open("rb") as file:
                start = path.stat().st_size - n_bytes
                if start < 0 or np.lib.format.read_magic(file) != (1, 0):
                    raise ValueError("cut short")
                shape, _, kind = np.lib.format.read_array_header_1_0(file)
                if shape != (self.rows[split], self.n_features) or kind != np.float64 or file.tell() != start:
                    raise ValueError("another shape")
                for n, digest in self.parts[split]:
                    if _digest(file, n * row_bytes) != digest:
                        raise ValueError("its content is not what was written")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be used: {error}") from None

    def _path(self, split: str) -> Path:
        return self.folder / f"{split}.npy"


class SplitWriter:
    """Writes consecutive rows of one split.

    Args:
        path: the split's file, made by `StoredSplits.create`. n_rows: of the whole split. first: the first row to write.
    """

    def __init__(self, path: Path, n_rows: int, n_features: int, first: int) -> None:
        self._file = path.open("rb+")
        row_bytes = n_features * 8
        self._file.seek(path.stat().st_size - (n_rows - first) * row_bytes)
        self._digest = hashlib.sha256()
        self.n_written = 0

    def write(self, values: np.ndarray) -> None:
        """The next rows, float64 [B, F]."""
        content = np.ascontiguousarray(values, "<f8").tobytes()
        self._file.write(content)
        self._digest.update(content)
        self.n_written += len(values)

    def close(self) -> tuple[int, str]:
        """(rows written, their SHA-256), all of it on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self.n_written, self._digest.hexdigest()


def copy_stored(source: Path, target: Path) -> None:
    """Have the prepared files of one run's ``data/`` in another's; on one disk they are one file with two names.

    They are never written again, so that neither run can change them for the other.
    """
    for split in SPLITS:
        path = source / f"{split}.npy"
        if path.is_file():
            target.mkdir(parents=True, exist_ok=True)
            (target / path.name).unlink(missing_ok=True)
            try:
                os.link(path, target / path.name)
            except OSError:
                shutil.copyfile(path, target / path.name)


def _digest(file: IO[bytes], n_bytes: int) -> str:
    digest = hashlib.sha256()
    while n_bytes:
        chunk = file.read(min(n_bytes, _CHUNK))
        if not chunk:
            break
        digest.update(chunk)
        n_bytes -= len(chunk)
    return digest.hexdigest()


def _remove_left_over(parent: Path) -> None:
    """Remove what processes left there that were killed while they prepared: nobody holds its lock."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            with (folder / ".lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # it is in use, or has no lock yet
            continue


def offsets(parts: Sequence[int]) -> list[int]:
    """Where each part begins when they follow one another."""
    return [0, *np.cumsum(parts).tolist()][:-1]
