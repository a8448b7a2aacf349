"""A disk that takes no more, told as what it is: an error of the run's folder, after which the run can be resumed."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.errors import StorageError

_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
"""Full, over quota, past the largest file allowed, failing, read-only: what has nothing to do with which file it was."""


@contextmanager
def disk_told(how_to_go_on: Callable[[], str | None]) -> Iterator[None]:
    """Raise errors of the disk as a StorageError, with what was noted on them, or else how to go on; others as they are."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        told = StorageError(f"the run cannot be written any more: {error}; make room, then resume it")
        how = how_to_go_on()
        for note in getattr(error, "__notes__", [] if how is None else [f"Continue with: {how}"]):
            told.add_note(note)
        raise told from error
