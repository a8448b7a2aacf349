"""Structured logs: records of our own loggers as JSON lines, with the run, step, job and worker that they belong to.

What the console shows is unchanged: a record that would not have reached it without these lines does not reach it now.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, Self, TextIO

from orchestrator.redaction import redact_uri

FIELDS = ("run", "step", "job", "worker")
"""Of a line, where they are known; beside ``time``, ``level``, ``logger``, ``message`` and ``error``."""
_OURS = ("orchestrator", "actors", "pipelines")
_context: ContextVar[Mapping[str, Any]] = ContextVar("qfleet_log_context", default={})  # noqa: B039 (never changed)


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Records of this thread within the block carry these of `FIELDS`; a microsecond."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def log_fields() -> dict[str, Any]:
    """What records of this thread carry now, to be handed to another process."""
    return dict(_context.get())


class JsonLog:
    """Writes records as JSON lines until it is closed.

    Args:
        target: a file to append to, made with its folder; or an open stream, which is left open.
        fields: of `FIELDS`, of every line; may be changed as the run goes on.
        redact: takes credentials out of a text.
        is_beside: what the console has always shown it still shows; False: the lines take the place of it.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(
        self,
        target: Path | TextIO,
        fields: Mapping[str, Any] | None = None,
        redact: Callable[[str], str] = redact_uri,
        *,
        is_beside: bool = True,
    ) -> None:
        self.fields: dict[str, Any] = dict(fields or {})
        self.is_beside = is_beside
        self._redact = redact
        self._owned: TextIO | None = None
        if isinstance(target, Path):
            target.parent.mkdir(parents=True, exist_ok=True)
            is_torn = _ends_in_mid_line(target)
            self._owned = target = target.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
            if is_torn:
                target.write("\n")
        self._stream = target
        _tap.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write no more."""
        _tap.drop(self)
        if self._owned is not None:
            with suppress(OSError):
                self._owned.close()

    def write(self, record: logging.LogRecord) -> None:
        """One line; a disk that is full loses it and nothing else. Records that belong to another run are left out."""
        context = _context.get()
        mine = self.fields.get("run")
        if mine is not None and context.get("run", mine) != mine:
            return
        line = line_of(record, {**self.fields, **context}, self._redact)
        with suppress(OSError, ValueError):  # ValueError: the stream is closed
            self._stream.write(line + "\n")


def line_of(record: logging.LogRecord, fields: Mapping[str, Any], redact: Callable[[str], str]) -> str:
    """The JSON object of a record, on one line. Fields of the record itself (``extra=``) come before `fields`."""
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    content: dict[str, Any] = {
        "time": f"{seconds}.{int(record.created % 1 * 1e6):06d}Z",
        "level": record.levelname,
        "logger": record.name,
        "message": redact(record.getMessage()),
    }
    for name in FIELDS:
        value = getattr(record, name, fields.get(name))
        if value is not None:
            content[name] = value
    if record.exc_info and record.exc_info[0] is not None:
        content["error"] = redact(logging.Formatter().formatException(record.exc_info))
    return json.dumps(content, ensure_ascii=False, default=str)


class _Before(NamedTuple):
    """What one of our loggers was like."""

    level: int
    does_propagate: bool
    handlers: list[logging.Handler]


class _Tap(logging.Handler):
    """Hears our loggers from `INFO` on, for every open `JsonLog`, and hands on to the console's handlers what was theirs before."""

    def __init__(self) -> None:
        super().__init__()
        self._logs: list[JsonLog] = []
        self._before: dict[str, _Before] = {}
        self._changing = threading.Lock()

    def add(self, log: JsonLog) -> None:
        with self._changing:
            if not self._logs:
                for logger in map(logging.getLogger, _OURS):
                    self._before[logger.name] = _Before(logger.level, logger.propagate, logger.handlers)
                    if logger.getEffectiveLevel() > logging.INFO:
                        logger.setLevel(logging.INFO)
                    logger.propagate, logger.handlers = False, [self]
            self._logs = [*self._logs, log]

    def drop(self, log: JsonLog) -> None:
        with self._changing:
            if log not in self._logs:
                return
            self._logs = [other for other in self._logs if other is not log]
            if not self._logs:
                for logger in map(logging.getLogger, _OURS):
                    before = self._before.pop(logger.name)
                    logger.propagate, logger.handlers = before.does_propagate, before.handlers
                    logger.setLevel(before.level)

    def emit(self, record: logging.LogRecord) -> None:
        logs = self._logs
        try:
            for log in logs:
                log.write(record)
        except Exception:  # arguments that do not fit their message are no harm to who logs
            self.handleError(record)
        if any(log.is_beside for log in logs) and not getattr(record, "is_shown", False):
            self._hand_on(record)

    def _hand_on(self, record: logging.LogRecord) -> None:
        """What Python would have done with the record, from our logger upwards, with its level, handlers and propagation of before."""
        before = self._before.get(record.name.partition(".")[0])
        if before is None or record.levelno < self._level_before(record):
            return
        for handler in before.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)
        root = logging.getLogger()
        has_handler = bool(before.handlers) or _has_handlers_below_ours(record.name)
        if before.does_propagate and (root.handlers or not has_handler):
            root.callHandlers(record)  # where there is no handler at all, Python's last resort

    def _level_before(self, record: logging.LogRecord) -> int:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            before = self._before.get(logger.name)
            level = logger.level if before is None else before.level
            if level:
                return level
            logger = logger.parent
        return logging.NOTSET


def _has_handlers_below_ours(name: str) -> bool:
    """Whether the logger has handlers, or one above it that is below our own."""
    logger = logging.getLogger(name)
    while logger.parent is not None and logger.name not in _OURS:
        if logger.handlers:
            return True
        logger = logger.parent
    return False


_tap = _Tap()


def _ends_in_mid_line(path: Path) -> bool:
    """Whether whoever wrote the file last was killed in the middle of a line."""
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"
