"""Where the time of jobs went that a service answered, and what would have been otherwise: numbers from the recorded spans of a run.

A *wave* is what the dispatcher was asked for in one call; the driver waits for all of it before it goes on. What-if figures replay each
wave with `pipelines.schedule`, other waits or other slots put in, and leave the time between waves, when the driver is at work, as it
was. The replay of what really happened stands beside the measured time, and says how far the model can be believed.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from orchestrator.jobs import JobPhases
from orchestrator.protocols import JobSpan
from pipelines.display.formatting import format_duration, format_percent
from pipelines.schedule import JobTimes, makespan

PHASES = ("serialise", "submit", "queue", "execution", "fetch", "decode")
"""Of `JobPhases`, those that add up to a job."""


class PhaseFigures(NamedTuple):
    """One phase over all jobs: its share of their time, and seconds of a job (sum, median, 90th percentile)."""

    share: float
    total: float
    median: float
    p90: float


@dataclass(frozen=True)
class LatencyReport:
    """Latency of a run's jobs, those of this process.

    Attributes:
        n_jobs: jobs that the service was asked for; n_served: jobs whose answers were on record, in no figure but those of the replay.
        n_waves: calls of the dispatcher that they came in.
        job: a whole job; phases: figures by phase.
        measured_seconds: from the start of the first job to the end of the last.
        driver_seconds: of these, between waves.
        replayed_seconds: what the model makes of the recorded waits and slots. It takes one wave after the other: where gradients are
            stale and waves overlap, it and `what_if` are upper bounds.
        what_if: seconds by scenario.
    """

    n_jobs: int
    n_served: int
    n_waves: int
    job: PhaseFigures
    phases: Mapping[str, PhaseFigures]
    measured_seconds: float
    driver_seconds: float
    replayed_seconds: float
    what_if: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "jobs": self.n_jobs,
            "served_from_record": self.n_served,
            "waves": self.n_waves,
            "job_seconds": self.job._asdict(),
            "phases": {name: figures._asdict() for name, figures in self.phases.items()},
            "measured_seconds": self.measured_seconds,
            "between_waves_seconds": self.driver_seconds,
            "replayed_seconds": self.replayed_seconds,
            "what_if_seconds": dict(self.what_if),
        }

    def jobs_text(self) -> str:
        """How many jobs the figures are of, and what one took."""
        served = f" ({self.n_served} more were on record)" if self.n_served else ""
        typical = (
            f"median {format_duration(self.job.median)}, 90th percentile {format_duration(self.job.p90)}"
        )
        return f"{self.n_jobs} jobs{served}, {typical}"

    def shares_text(self) -> str:
        """The largest share first: ``"queue 61.0 %, execution 30.2 %, ..."``."""
        ordered = sorted(self.phases.items(), key=lambda item: -item[1].share)
        return ", ".join(f"{name} {format_percent(figures.share)}" for name, figures in ordered)

    def what_if_text(self) -> str:
        """``"38 s; latency x 0: 4.0 s; ..."``, from the time that jobs took together."""
        scenarios = "; ".join(f"{name}: {format_duration(seconds)}" for name, seconds in self.what_if.items())
        return f"{format_duration(self.measured_seconds)} as it was; {scenarios}"


def latency_report(spans: Sequence[JobSpan], n_workers: int, jobs_in_flight: int) -> LatencyReport | None:
    """What the spans say; None where no backend reported phases, or no service was asked.

    Args:
        spans: of a dispatcher's timeline.
        n_workers: workers that they ran on.
        jobs_in_flight: jobs that a worker had in hand at the same time.
    """
    told = [(span, span.phases) for span in spans if span.phases is not None]
    asked = np.array([phases[: len(PHASES)] for _, phases in told if not phases.is_served])
    if not len(asked):
        return None
    whole = asked.sum(axis=1)
    waves = _waves([span for span, _ in told])
    bounds = [(min(s.started_at for s in wave), max(s.finished_at for s in wave)) for wave in waves]
    # Where gradients are stale, a wave may begin before the one before it has ended.
    ends = accumulate((end for _, end in bounds), max)
    between = sum(max(begin - before, 0.0) for before, (begin, _) in zip(ends, bounds[1:], strict=False))
    n_workers = max(n_workers, 1)

    def replayed(wait: Callable[[JobPhases], float], n_slots: int) -> float:
        jobs = [[_times(span.phases, wait) for span in wave if span.phases is not None] for wave in waves]
        return between + sum(makespan(wave, n_workers, n_slots) for wave in jobs)

    return LatencyReport(
        n_jobs=len(asked),
        n_served=len(told) - len(asked),
        n_waves=len(waves),
        job=_figures(whole, whole),
        phases={name: _figures(asked[:, i], whole) for i, name in enumerate(PHASES)},
        measured_seconds=max(end for _, end in bounds) - min(begin for begin, _ in bounds),
        driver_seconds=between,
        replayed_seconds=replayed(_recorded_wait, jobs_in_flight),
        what_if={
            "latency x 0": replayed(_execution, jobs_in_flight),
            "concurrency x 2": replayed(_recorded_wait, 2 * jobs_in_flight),
            "both": replayed(_execution, 2 * jobs_in_flight),
        },
    )


def write_spans(spans: Sequence[JobSpan], path: Path) -> None:
    """One line of CSV a job, in order of completion: worker, times (Unix seconds) and phases (seconds)."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["worker", "job_id", "asked_at", "started_at", "finished_at", *JobPhases._fields])
        for span in spans:
            if span.phases is not None:
                phases = [*span.phases[:-1], int(span.phases.is_served)]
                table.writerow(
                    [span.worker, span.job_id, span.asked_at, span.started_at, span.finished_at, *phases]
                )


def _waves(spans: Sequence[JobSpan]) -> list[list[JobSpan]]:
    """The spans by call of the dispatcher, each call's in the order in which its jobs began."""
    ordered = sorted(spans, key=lambda span: (span.asked_at, span.started_at))
    return [list(wave) for _, wave in groupby(ordered, key=lambda span: span.asked_at)]


def _recorded_wait(phases: JobPhases) -> float:
    """What was not computed here between the first and the last byte."""
    on_the_way = phases.submit + phases.queue + phases.execution + phases.fetch
    return max(on_the_way - max(phases.processor_before - phases.serialise, 0.0), 0.0)


def _execution(phases: JobPhases) -> float:
    """With a service that answers as soon as it has executed."""
    return phases.execution


def _times(phases: JobPhases, wait: Callable[[JobPhases], float]) -> JobTimes:
    return JobTimes(phases.processor_before, wait(phases), phases.processor_after)


def _figures(seconds: np.ndarray, whole: np.ndarray) -> PhaseFigures:
    total = float(seconds.sum())
    median, p90 = (float(q) for q in np.quantile(seconds, (0.5, 0.9)))
    return PhaseFigures(total / max(float(whole.sum()), 1e-12), total, median, p90)
