"""A new SQLite store, made whole or not at all.

MLflow fills one in dozens of steps, which take seconds. A process that is stopped among them would leave a file that no MLflow can open
any more; so it is filled under another name, and gets its own when it is done.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "sqlite:///"


def make_whole(uri: str, fill: Callable[[str], object]) -> None:
    """Make the file of a SQLite store that is not there yet; nothing for other stores.

    Where several processes want the same new store, one makes it and the others wait.

    Args:
        uri: tracking URI. fill: makes a store of the URI that it is given.

    Raises:
        OSError: the file cannot be made; and what `fill` raises.
    """
    path = _file_of(uri)
    if path is None or _is_there(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(path.parent):
        if _is_there(path):
            return
        aside = path.with_name(f".{path.name}.new")
        _remove(aside)  # of one who was stopped
        try:
            fill(f"{_PREFIX}{aside.absolute()}")
            os.replace(aside, path)
        finally:
            _remove(aside)


def _file_of(uri: str) -> Path | None:
    """The file of a SQLite store; None for one in memory, one whose name is written in a way of its own, and other stores."""
    if not uri.startswith(_PREFIX):
        return None
    name = uri.removeprefix(_PREFIX).partition("?")[0]
    if name in ("", ":memory:") or name.startswith("file:") or "%" in name:
        return None
    return Path(name)


def _is_there(path: Path) -> bool:
    """Whether the file has begun to be a store; SQLite takes an empty one for none."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _remove(aside: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        aside.with_name(aside.name + suffix).unlink(missing_ok=True)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process makes a store in this folder; the end of a process ends its turn."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
