"""The files of a submission book: an append-only journal of events, and one file an answer. Bytes and disks only; no rules, no threads.

::

    <run folder>/
      submissions.jsonl        a header, then one event a line, each with a checksum (CRC-32); synced to disk before it counts
      answers/<token>.json     {"question": ..., "answer": [{"<decimal>": p}, ...]}, a dict per circuit; whole or not at all. Without a
                               question, and in books of version 0.1.0, it is the list alone

A line is written by one ``write`` and synced before anybody is told of it, so a process that is killed leaves at most a half-written last
line, which nobody was told of; it is cut off when the file is opened. Any other damage is refused: guessing would be paid for.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from orchestrator.errors import QfleetError

FORMAT = 1
JOURNAL = "submissions.jsonl"
ANSWERS = "answers"
_HEAD = b'{"qfleet_submissions":'
_LOCK_POLL_SECONDS = 0.05

Answer = list[dict[str, float]]
"""Outcome -> probability, one dict per circuit in circuit order."""


class Recorded(NamedTuple):
    """What an answer file holds: the answer, and what was asked if that was kept (see `actors.ionq.question`)."""

    answer: Answer
    question: dict[str, Any] | None


class BookError(QfleetError):
    """The book cannot be read or written. Nothing more is submitted: what is not on disk might be paid for twice."""


class BookInUseError(BookError):
    """Another process (or another object of this one) holds the book."""

    exit_code = 2


class BookDamagedError(BookError):
    """A line of the book is not what was written there."""

    def __init__(self, path: str, line: int, problem: str) -> None:
        super().__init__(path, line, problem)
        self.path = path
        self.line = line
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"{self.path}, line {self.line}: {self.problem}. Only a half-written last line is mended; restore the file from a copy, "
            "or start a new run after comparing with the provider's list of jobs"
        )


class AnswerMissingError(BookError):
    """The book says that a submission is answered, but its answer file is absent or altered: fetch it from the provider again."""

    def __init__(self, token: str, provider_id: str, problem: str) -> None:
        super().__init__(token, provider_id, problem)
        self.token = token
        self.provider_id = provider_id
        self.problem = problem

    def __str__(self) -> str:
        return f"the answer to submission {self.token} is lost ({self.problem}); job {self.provider_id} at the provider has it"


class BookFile:
    """The journal, open for appending and locked against every other process. Not for several threads at once.

    Args:
        folder: the run's folder; made if absent.
        lock_seconds: how long to wait for a writer that is about to end; that of a killed driver ends a moment after it.

    Attributes:
        events: what the journal held when it was opened, in order.
        run_token: 32 hexadecimal digits, drawn when the journal was begun.

    Raises:
        BookInUseError: another holds it; BookDamagedError: a line is damaged; BookError: it cannot be opened or locked.
    """

    def __init__(self, folder: Path, lock_seconds: float = 0.0) -> None:
        self.path = folder / JOURNAL
        self.run_token = ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise BookError(f"{self.path} cannot be opened: {error}") from None
        try:
            self._lock(time.monotonic() + lock_seconds)
            self.events, self._size = self._recovered()
            if self._size == 0:
                self.run_token = secrets.token_hex(16)
                self.append([{"qfleet_submissions": FORMAT, "run": self.run_token}])
                _sync_folder(folder)
        except OSError as error:
            os.close(self._fd)
            raise BookError(f"{self.path} cannot be read: {error}") from None
        except BaseException:
            os.close(self._fd)
            raise

    def append(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Write `events` with one write and return when they are on disk.

        Raises:
            BookError: they could not be written; the file is to be opened anew, which tells what it holds.
        """
        data = b"".join(encoded(event) for event in events)
        try:
            rest = memoryview(data)
            while rest:  # a disk that becomes full takes a part, and refuses the next
                rest = rest[os.write(self._fd, rest) :]
            os.fsync(self._fd)
        except OSError as error:
            # Best effort: opening the file anew cuts off a part of a line, but not whole lines that nobody was told of.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
                os.fsync(self._fd)
            raise BookError(
                f"{self.path} cannot be written: {error}. Nothing is submitted that is not recorded there; make room, then resume the run"
            ) from None
        self._size += len(data)

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._fd)

    def _lock(self, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BookInUseError(
                        f"{self.path} is held by another process, which submits for this run; wait for it or stop it first"
                    ) from None
                time.sleep(_LOCK_POLL_SECONDS)
            except OSError as error:  # some network file systems have no locks
                raise BookError(
                    f"{self.path} cannot be locked ({error}), and two writers could pay twice; set run.directory to a folder on "
                    "another disk"
                ) from None

    def _recovered(self) -> tuple[list[dict[str, Any]], int]:
        """Events and size, after a half-written last line has been cut off."""
        with self.path.open("rb") as file:
            content = file.read()
        journal = _decoded(self.path, content)
        self.run_token = journal.run_token
        if journal.size != len(content):
            os.ftruncate(self._fd, journal.size)
            os.fsync(self._fd)
        return journal.events, journal.size


class Journal(NamedTuple):
    """What a journal says.

    Attributes:
        run_token: of its header; empty if there is none yet. events: in order.
        size: bytes of its whole lines.
    """

    run_token: str
    events: list[dict[str, Any]]
    size: int


def read_journal(folder: Path) -> Journal:
    """What the journal in `folder` says now, without holding it; whoever writes is not disturbed.

    Raises:
        BookDamagedError: a line is damaged; BookError: there is none, or it cannot be read.
    """
    path = folder / JOURNAL
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BookError(f"{path} cannot be read: {error.strerror}") from None
    return _decoded(path, content)


def _decoded(path: Path, content: bytes) -> Journal:
    """The whole lines of a journal; a half-written last one is left out."""
    size = content.rfind(b"\n") + 1
    if not size and content.rstrip(b"\0")[: len(_HEAD)] != _HEAD[: len(content.rstrip(b"\0"))]:
        raise BookDamagedError(str(path), 1, "it is not the first line of a submission book")
    lines = content[:size].split(b"\n")[:-1]
    events = [_event(path, line + b"\n", number) for number, line in enumerate(lines, start=1)]
    if not events:
        return Journal("", [], size)
    version = events[0].get("qfleet_submissions")
    if version != FORMAT:
        raise BookError(
            f"{path} has format {version!r}; this version of qfleet reads {FORMAT}: use the version that wrote it"
        )
    return Journal(str(events[0].get("run")), events[1:], size)


def _event(path: Path, line: bytes, number: int) -> dict[str, Any]:
    event: dict[str, Any]
    try:
        event = json.loads(line)
        checksum = event.pop("crc")
    except (ValueError, AttributeError, TypeError, KeyError):
        raise BookDamagedError(str(path), number, "it is not an event with a checksum") from None
    if encoded(event) != line:
        raise BookDamagedError(str(path), number, f"its checksum {checksum!r} does not fit")
    return event


def encoded(event: Mapping[str, Any]) -> bytes:
    """The line of `event`, its checksum last."""
    text = json.dumps(event, separators=(",", ":"))
    return f'{text[:-1]},"crc":"{zlib.crc32(text.encode()):08x}"}}\n'.encode()


class AnswerFiles:
    """The answers, one file a submission. Any thread may write or read any of them.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / ANSWERS

    def write(self, token: str, answer: Sequence[Mapping[str, float]], question: str | None = None) -> str:
        """Put the answer on disk, with the question (JSON) if it is given, and return their digest (SHA-256, hexadecimal).

        Raises:
            BookError: it cannot be written; an answer of an earlier time is untouched.
        """
        path = self._path(token)
        try:
            text = orjson.dumps([dict(each) for each in answer], option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as error:
            raise BookError(f"the answer {path} is not a list of probabilities: {error}") from None
        if b"null" in text:  # what orjson makes of NaN and infinity; no key of an answer has letters
            raise BookError(
                f"the answer {path} is not a list of probabilities: it holds what is no finite number"
            )
        content = text if question is None else b'{"question":%b,"answer":%b}' % (question.encode(), text)
        aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(exist_ok=True)
                _sync_folder(self.folder.parent)
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            _sync_folder(self.folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise BookError(
                f"the answer {path} cannot be written: {error}. The provider keeps it; make room, then resume the run"
            ) from None
        return hashlib.sha256(content).hexdigest()

    def read(self, token: str, provider_id: str, digest: str) -> Answer:
        """The answer whose digest is `digest`.

        Raises:
            AnswerMissingError: its file is absent, unreadable or altered.
        """
        return self.read_whole(token, provider_id, digest).answer

    def read_whole(self, token: str, provider_id: str, digest: str) -> Recorded:
        """The answer whose digest is `digest`, and what was asked.

        Raises:
            AnswerMissingError: their file is absent, unreadable or altered.
        """
        path = self._path(token)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise AnswerMissingError(token, provider_id, f"{path}: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise AnswerMissingError(token, provider_id, f"{path} is not what was written there")
        found = orjson.loads(content)
        return (
            Recorded(found["answer"], found["question"]) if isinstance(found, dict) else Recorded(found, None)
        )

    def remove_leftovers(self) -> None:
        """Remove what writers that were killed have left half-written."""
        for path in self.folder.glob(".*.json.*"):
            with contextlib.suppress(OSError):
                path.unlink()

    def _path(self, token: str) -> Path:
        return self.folder / f"{token}.json"


def _sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
