"""What a fleet timeline shows, as figures: of every worker when it was there, when it computed and what, and what happened to it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orchestrator.protocols import FleetEvent

COMPUTED, COMPILED, SERVED, SIMULATED = (
    "computed",
    "compiled first",
    "served from the record",
    "simulated instead",
)
"""Kinds of jobs."""
_ENDS = ("lost", "left")


@dataclass
class TimelineRow:
    """One worker; times in seconds since the start of the timeline.

    Attributes:
        n_jobs: jobs it did. here: when it came and when it was gone.
        busy: [n, 2], sorted and disjoint, when it computed; of_kind: the same by kind of job, without `COMPUTED`.
        begins: [m], when its jobs began.
        rests: [k, 2], when it was left alone after failures. marks: (time, kind of event), without what belongs to rests.
    """

    worker: str
    n_jobs: int
    here: tuple[float, float]
    busy: np.ndarray
    of_kind: dict[str, np.ndarray] = field(default_factory=dict)
    begins: np.ndarray = field(default_factory=lambda: np.empty(0))
    rests: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    marks: list[tuple[float, str]] = field(default_factory=list)

    @property
    def seconds_here(self) -> float:
        """How long it was there."""
        return max(self.here[1] - self.here[0], 1e-9)

    @property
    def used(self) -> float:
        """Share of the time that it was there in which it computed."""
        return float(np.sum(self.busy[:, 1] - self.busy[:, 0])) / self.seconds_here


def timeline_rows(
    records: Iterable[tuple[Any, ...]], events: Sequence[FleetEvent] = ()
) -> tuple[list[TimelineRow], float]:
    """The workers in natural order, and the seconds from the first job's start to the last one's end; no rows where no job was done.

    Args:
        records: (worker, job_id, started_at, finished_at, ...), Unix seconds, in any order: spans of a dispatcher.
        events: of the same dispatcher; without them every worker was there all the time.
    """
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    kinds: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        worker, _job_id, started_at, finished_at, *_ = record
        bounds = (started_at, max(finished_at, started_at))
        spans[worker].append(bounds)
        if (kind := _kind(record)) != COMPUTED:
            kinds[worker][kind].append(bounds)
    if not spans:
        return [], 0.0
    start = min(begin for bounds in spans.values() for begin, _ in bounds)
    end = max(stop for bounds in spans.values() for _, stop in bounds)
    span = max(end - start, 1e-9)
    told: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for event in events:
        if event.worker:
            told[event.worker].append((event.at - start, event.kind))
    rows = []
    for worker in sorted(spans.keys() | told.keys(), key=_natural):
        busy = np.array(spans.get(worker, np.empty((0, 2)))).reshape(-1, 2) - start
        here = _here(told[worker], busy, span)
        if here is None:
            continue
        of_kind = {kind: union(np.array(bounds) - start) for kind, bounds in kinds[worker].items()}
        rests, marks = _happened(told[worker], here, span)
        row = TimelineRow(worker, len(busy), here, union(busy), of_kind, np.sort(busy[:, 0]), rests, marks)
        rows.append(row)
    return rows, span


def union(intervals: np.ndarray) -> np.ndarray:
    """[n, 2] sorted intervals that do not overlap, from any [m, 2]."""
    if not len(intervals):
        return intervals
    ordered = intervals[np.argsort(intervals[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ordered[:, 1])
    is_new = np.concatenate([[True], ordered[1:, 0] > reach[:-1]])
    firsts = np.flatnonzero(is_new)
    lasts = np.append(firsts[1:], len(ordered)) - 1
    return np.stack([ordered[firsts, 0], reach[lasts]], axis=1)


def covered_shares(intervals: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of each slice between `edges` that the disjoint, sorted intervals cover: exact, from the cumulated time."""
    if not len(intervals):
        return np.zeros(len(edges) - 1)
    lengths = intervals[:, 1] - intervals[:, 0]
    done = np.cumsum(lengths)
    times = intervals.ravel()
    cumulated = np.stack([done - lengths, done], axis=1).ravel()
    covered = np.diff(np.interp(edges, times, cumulated))
    return np.clip(covered / np.diff(edges), 0.0, 1.0)


def _kind(record: tuple[Any, ...]) -> str:
    """What a span says of its job; of plain tuples nothing is known."""
    if str(getattr(record, "backend", "")).startswith("fallback:"):
        return SIMULATED
    phases = getattr(record, "phases", None)
    if phases is not None and phases.is_served:
        return SERVED
    return COMPUTED if getattr(record, "cache_hit", True) else COMPILED


def _here(told: Sequence[tuple[float, str]], busy: np.ndarray, span: float) -> tuple[float, float] | None:
    """From when to when a worker was there; None: not while jobs were done."""
    came = [at for at, kind in told if kind == "joined"]
    went = [at for at, kind in told if kind in _ENDS]
    first = min(came) if came else 0.0
    last = max(went) if went else span
    if len(busy):  # an event is noted a little after what it tells of
        first, last = min(first, float(busy[:, 0].min())), max(last, float(busy[:, 1].max()))
    first, last = max(first, 0.0), min(last, span)
    return (first, last) if first < last or len(busy) else None


def _happened(
    told: Sequence[tuple[float, str]], here: tuple[float, float], span: float
) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Rests [k, 2] and the other events within the timeline; who was there from the beginning has not joined."""
    rests: list[tuple[float, float]] = []
    marks: list[tuple[float, str]] = []
    began: float | None = None
    for at, kind in told:
        if kind == "resting":
            began = at if began is None else began
        elif began is not None and kind in ("back", *_ENDS):
            rests.append((max(began, 0.0), min(at, span)))
            began = None
        if kind not in ("resting", "back") and 0.0 < at <= span:
            marks.append((at, kind))
    if began is not None:
        rests.append((max(began, 0.0), here[1]))
    return np.array([rest for rest in rests if rest[1] > rest[0]]).reshape(-1, 2), marks


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key that puts actor-2 before actor-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
