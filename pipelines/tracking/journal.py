"""What a run has to tell, on disk first: the metric journal and the spool.

The training process writes here and nowhere else; `pipelines.tracking.writer` ships from here. So the tracking server may be slow, down or
gone: nothing is lost, and nothing is sent twice in a form that MLflow would keep twice.

    runs/<name>/metrics.jsonl   one line per `log` call; append only
    runs/<name>/tracking.json   what has been shipped, and what else is to be shipped (replaced atomically)
    runs/<name>/artifacts/      files as they are to appear in MLflow
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import math
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.errors import InputError

logger = logging.getLogger(__name__)

_READ_BYTES = 1 << 20

PARENT_TAG = "mlflow.parentRunId"


class MetricPoint(NamedTuple):
    """One value of one metric. MLflow keeps a point once, however often the identical four are sent."""

    key: str
    value: float
    step: int
    timestamp_ms: int


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class MetricJournal:
    """Append-only JSONL of metric points; a (key, step) is kept once, with its first value and timestamp.

    A run that crashed repeats the steps since its last checkpoint. Because those points are in the journal already they are not
    written again, so what MLflow got before the crash and what it gets after it are the same points. Each `log` call is one
    unbuffered ``write``: SIGKILL loses nothing, a power cut at most what came after the last `sync`. A half-written last line is
    cut off when the journal is opened. One process at a time may write (an advisory lock says so).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._steps: dict[str, set[int]] = {}
        self._n_points = 0
        self._fd: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._take_lock(self._fd)
            self._size = self._recover(self._fd)
        except BaseException:
            self.close()
            raise

    @property
    def n_points(self) -> int:
        """Points in the journal, those of earlier processes included."""
        return self._n_points

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._size

    def log(self, metrics: Mapping[str, float], step: int, timestamp_ms: int | None = None) -> int:
        """Append the metrics that are new at this step; returns how many were."""
        if os.getpid() != self._pid:  # a forked child shares the file, and must leave it alone
            return 0
        with self._lock:
            if self._fd is None:
                raise ValueError(f"{self.path} is closed")
            new = {
                key: float(value) for key, value in metrics.items() if step not in self._steps.get(key, ())
            }
            if new:
                stamp = now_ms() if timestamp_ms is None else timestamp_ms
                self._append(self._fd, _encode(new, int(step), stamp))
                self._remember(new, int(step))
            return len(new)

    def sync(self) -> None:
        """Return once everything logged so far is on the disk itself."""
        with self._lock:
            if self._fd is None:
                return
            fd = os.dup(self._fd)
        try:  # without the lock: a slow disk must not hold up `log` in another thread
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Sync and close; may be called again."""
        with self._lock:
            fd, self._fd = self._fd, None
            if fd is not None:
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)

    def __enter__(self) -> MetricJournal:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _append(self, fd: int, line: bytes) -> None:
        try:
            written = os.write(fd, line)
            if written != len(line):
                raise OSError(
                    errno.ENOSPC, f"{written} of {len(line)} bytes written; is the disk full?", str(self.path)
                )
        except OSError:
            os.ftruncate(fd, self._size)  # a later line must not be glued to half a one
            raise
        self._size += len(line)

    def _take_lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{self.path.parent} is in use: another process is writing {self.path.name}; wait for it or stop it first"
            ) from None
        except OSError:
            pass  # some network file systems have no locks; the journal works without

    def _recover(self, fd: int) -> int:
        """Cut off a half-written tail, learn what is there; returns the size."""
        end = 0
        for point_or_end in _scan(fd):
            if isinstance(point_or_end, int):
                end = point_or_end
            else:
                self._remember({point_or_end.key: point_or_end.value}, point_or_end.step)
        size = os.fstat(fd).st_size
        if size != end:
            logger.info("%s: %d bytes of a half-written last line dropped", self.path, size - end)
            os.ftruncate(fd, end)
        return end

    def _remember(self, metrics: Mapping[str, float], step: int) -> None:
        for key in metrics:
            self._steps.setdefault(key, set()).add(step)
        self._n_points += len(metrics)


def read_points(path: str | Path, offset: int = 0, max_points: int = 1000) -> tuple[list[MetricPoint], int]:
    """Points of whole lines from byte `offset` on, about `max_points` of them, and the offset after them.

    A half-written last line is left for the next call; a line that is not ours (a damaged block) is skipped. An offset beyond the
    file's end means that the file was replaced: reading begins anew.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return [], 0
    try:
        if offset > os.fstat(fd).st_size:
            offset = 0
        points: list[MetricPoint] = []
        for point_or_end in _scan(fd, offset):
            if isinstance(point_or_end, int):
                offset = point_or_end
                if len(points) >= max_points:
                    break
            else:
                points.append(point_or_end)
        return points, offset
    finally:
        os.close(fd)


def read_history(path: str | Path) -> dict[str, list[tuple[int, float]]]:
    """``{key: [(step, value), ...]}`` of the whole journal, by step."""
    points, _ = read_points(path, 0, max_points=2**62)
    history: dict[str, list[tuple[int, float]]] = {}
    for point in points:
        history.setdefault(point.key, []).append((point.step, point.value))
    return {key: sorted(pairs, key=lambda pair: pair[0]) for key, pairs in history.items()}


def _scan(fd: int, offset: int = 0) -> Iterator[MetricPoint | int]:
    """The points of each whole line, and after each line the offset of its end."""
    rest = b""
    while chunk := os.pread(fd, _READ_BYTES, offset + len(rest)):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield from _decode(line)
            offset += len(line) + 1
            yield offset


def _encode(metrics: Mapping[str, float], step: int, timestamp_ms: int) -> bytes:
    values = {key: value if math.isfinite(value) else str(value) for key, value in metrics.items()}
    record = {"step": step, "time_ms": timestamp_ms, "metrics": values}
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _decode(line: bytes) -> list[MetricPoint]:
    try:
        record = json.loads(line)
        step, stamp = int(record["step"]), int(record["time_ms"])
        return [MetricPoint(key, float(value), step, stamp) for key, value in record["metrics"].items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # a damaged line costs its own points only


@dataclass
class SpoolState:
    """tracking.json: everything needed to go on shipping in another process, and no credentials.

    Attributes:
        token: made once per run folder; ``run_name-token`` is the tag by which a run is found again.
        uri, uri_given: tracking URI as resolved and as the user wrote it, both without credentials.
        shipped_bytes: how much of the journal the server has.
        files: sha256 of each shipped file of the artifacts folder, by relative path.
        datasets: MLflow data set records, each with ``shipped``.
        model: what `Tracker.log_model` was asked to log; shipped when model_id is set.
        status: status the MLflow run is to get; shipped_status: the one it has.
        refused: what the server refused for good, in words.
        parent: folder of the run that this one stands below, relative to its own; None: of none.
        title: the run's name in MLflow's lists; empty: `run_name`.
        registrations: names under which the model is to be registered, each with ``alias`` (or None), and the ``version`` it got there
            as ``model_id``; it is done while that is the model of the run.
    """

    version: int = 1
    token: str = field(default_factory=lambda: secrets.token_hex(6))
    run_name: str = ""
    uri: str | None = None
    uri_given: str | None = None
    experiment: str = ""
    experiment_id: str | None = None
    run_id: str | None = None
    started_ms: int = field(default_factory=now_ms)
    ended_ms: int | None = None
    status: str = "RUNNING"
    shipped_status: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    shipped_tags: dict[str, str] = field(default_factory=dict)
    shipped_bytes: int = 0
    n_shipped_points: int = 0
    files: dict[str, str] = field(default_factory=dict)
    datasets: list[dict[str, Any]] = field(default_factory=list)
    model: dict[str, Any] | None = None
    model_id: str | None = None
    refused: dict[str, str] = field(default_factory=dict)
    parent: str | None = None
    title: str = ""
    registrations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def pending_registrations(self) -> list[dict[str, Any]]:
        """Those that the server has not got, of a run that has a model to register."""
        if self.model is None or "model" in self.refused:
            return []
        return [
            each
            for each in self.registrations
            if (each["model_id"] is None or each["model_id"] != self.model_id)
            and registration_words(each) not in self.refused
        ]

    def forget_shipped(self) -> None:
        """Nothing is on the server: another server, or the run was deleted there."""
        self.experiment_id = self.run_id = self.model_id = self.shipped_status = None
        self.shipped_bytes = self.n_shipped_points = 0
        self.files, self.shipped_tags, self.refused = {}, {}, {}
        self.tags.pop(PARENT_TAG, None)
        for dataset in self.datasets:
            dataset["shipped"] = False
        for each in self.registrations:
            each["version"] = each["model_id"] = None


class Spool:
    """The state above, kept in a file that is replaced atomically; usable from several threads."""

    def __init__(self, run_dir: str | Path) -> None:
        self.run_dir = Path(run_dir).absolute()
        self.path = self.run_dir / "tracking.json"
        self.artifacts = self.run_dir / "artifacts"
        self.lock = threading.RLock()
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.state = self._load()

    def save(self, durable: bool = False) -> None:
        """Write the state; `durable` waits for the disk (only the token has to survive a power cut)."""
        with self.lock:
            text = json.dumps(asdict(self.state), indent=1, allow_nan=False)
            replace_file(self.path, text.encode(), durable)

    def put_file(self, source: str | Path, folder: str = "", mask: tuple[bytes, ...] = ()) -> list[str]:
        """Copy a file, or a folder's files, below the artifacts folder; returns their relative paths.

        `mask` names byte strings (credentials) that are blotted out of the copy.
        """
        source = Path(source).absolute()
        base = source.parent
        if not folder and source.is_relative_to(self.artifacts):
            base = self.artifacts  # it lies where it belongs
        paths = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
        return [self._copy(path, _inside(folder) / path.relative_to(base), mask) for path in paths]

    def put_text(self, text: str, file: str) -> str:
        """Write `text` to `file` below the artifacts folder; returns the relative path."""
        relative = _inside(file)
        replace_file(self.artifacts / relative, text.encode())
        return relative.as_posix()

    def unshipped_files(self) -> list[str]:
        """Relative paths below the artifacts folder whose content the server does not have, oldest first."""
        if not self.artifacts.is_dir():
            return []
        paths = [p for p in self.artifacts.rglob("*") if p.is_file() and not p.name.startswith(".tmp-")]
        paths.sort(key=lambda path: (path.stat().st_mtime_ns, path.as_posix()))
        names = [(path, path.relative_to(self.artifacts).as_posix()) for path in paths]
        return [name for path, name in names if self.state.files.get(name) != file_sha256(path)]

    def find_parent(self) -> None:
        """Tag the run with its parent's id as soon as MLflow knows the parent, and anew if it has another one there since.

        The parent's own folder tells.
        """
        with self.lock:
            if self.state.parent is None:
                return
            try:
                parent = json.loads((self.run_dir / self.state.parent / "tracking.json").read_text())
            except (OSError, ValueError):
                return
            if parent.get("run_id") and parent.get("uri") == self.state.uri:
                self.state.tags[PARENT_TAG] = parent["run_id"]

    def _copy(self, source: Path, relative: Path, mask: tuple[bytes, ...]) -> str:
        target = self.artifacts / relative
        if (data := _masked(source, mask)) is not None:
            replace_file(target, data)
        elif target != source:
            _copy_aside(source, target)
        return relative.as_posix()

    def _load(self) -> SpoolState:
        try:
            values = json.loads(self.path.read_text())
            known = {each.name for each in fields(SpoolState)}
            return SpoolState(**{key: value for key, value in values.items() if key in known})
        except FileNotFoundError:
            return SpoolState()
        except (ValueError, TypeError, AttributeError):
            aside = self.path.with_suffix(".json.damaged")
            os.replace(self.path, aside)
            logger.warning("%s could not be read and was set aside as %s", self.path, aside.name)
            return SpoolState()


def registration_words(registration: Mapping[str, Any]) -> str:
    """A registration as it is spoken of, among what the server refused for one."""
    alias = "" if registration["alias"] is None else f"@{registration['alias']}"
    return f"registration as {registration['name']}{alias}"


def replace_file(path: Path, data: bytes, durable: bool = False) -> None:
    """Write beside and rename: a reader sees the old content or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".tmp-{threading.get_ident()}-{path.name}")
    with open(aside, "wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(aside, path)


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inside(relative: str) -> Path:
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{relative!r} is no path below the artifacts folder")
    return path


def _masked(source: Path, mask: tuple[bytes, ...], limit: int = 4 << 20) -> bytes | None:
    """The content with `mask` blotted out, None if there is nothing to blot (or the file is too big to be a text)."""
    if not mask or source.stat().st_size > limit:
        return None
    data = masked = source.read_bytes()
    for each in mask:
        masked = masked.replace(each, b"***")
    return masked if masked != data else None


def _copy_aside(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".tmp-{threading.get_ident()}-{target.name}")
    shutil.copyfile(source, aside)
    os.replace(aside, target)
