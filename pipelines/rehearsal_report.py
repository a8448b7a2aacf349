"""A rehearsal for people: its distributions as a table, and all that was assumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from actors.ionq.emulator.timing import GateTimes, Lognormal, Recorded
from pipelines.display.formatting import format_count, format_duration, format_metric, metric_label
from pipelines.quote_report import in_dollars

if TYPE_CHECKING:
    from actors.backends.ionq import IonQBackend
    from pipelines.rehearsal_run import Conditions

Figures = Mapping[str, Any]
Section = dict[str, str | Mapping[str, str]]

_COUNTS = {
    "jobs": "accepted",
    "failed": "failed",
    "resent": "sent in their place",
    "duplicates": "duplicates",
    "skipped": "samples left out",
    "simulated": "simulated in place",
}

_ENDINGS = {"done": "came to their end", "budget": "ended by the budget", "failure": "ended by failures"}


def sections(outcome: Figures) -> dict[str, Section]:
    """Everything found, under headings."""
    found: dict[str, Section] = {
        "Time": {
            "the run": _spread(outcome["seconds"], format_duration),
            "a step": _spread(outcome["step_seconds"], format_duration),
        },
        "Cost": {"billed": _spread(outcome["usd"], in_dollars)},
        "Money": _money(outcome),
        "Jobs": {
            label: _spread(outcome[name], _count)
            for name, label in _COUNTS.items()
            if _is_worth(outcome, name)
        },
        "Scores (best parameters)": {
            _label(name): _spread(figures, partial(format_metric, name))
            for name, figures in outcome["metrics"].items()
        },
        "Rehearsals": _endings(outcome),
        "Assumed": dict(outcome["assumed"]),
    }
    return {heading: rows for heading, rows in found.items() if rows}


def footer(folder: str) -> list[str]:
    """Lines below the table."""
    return [f"files    {folder}: rehearsal.json, rehearsal.png", "nothing was sent to IonQ, and nothing paid"]


def _is_worth(outcome: Figures, name: str) -> bool:
    """Whether to show a count: the usual ones always, what a failure policy did where it did something."""
    return name not in ("skipped", "simulated") or outcome[name]["most"] > 0


def _spread(figures: Figures | None, text: Callable[[float], str]) -> dict[str, str]:
    if figures is None:
        return {"median": "none"}
    return {
        "median": text(figures["median"]),
        "10 to 90 %": _range(text(figures["p10"]), text(figures["p90"])),
        "all": _range(text(figures["least"]), text(figures["most"])),
    }


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _label(name: str) -> str:
    split, _, measure = name.rpartition("/")
    return f"{split} {metric_label(measure)}"


def _money(outcome: Figures) -> Section:
    quoted, budget = outcome["quote"], outcome["budget_usd"]
    found: Section = {
        "quoted": f"none: {quoted['refused']}"
        if "refused" in quoted
        else _range(in_dollars(quoted["least"]), in_dollars(quoted["most"])),
        "budget.max_usd": "none" if budget is None else in_dollars(budget),
    }
    if outcome["budget_steps"] is not None:
        steps = outcome["budget_steps"]
        found["the budget ends it after"] = f"{_count(steps['median'])} of {outcome['steps']} steps"
    return found


def _endings(outcome: Figures) -> Section:
    found: Section = {
        text: str(outcome["endings"][kind]) for kind, text in _ENDINGS.items() if kind in outcome["endings"]
    }
    reasons = [run["reason"] for run in outcome["runs"] if run["ended_by"] == "failure"]
    return found | ({"the first failure": reasons[0]} if reasons else {})


def _count(value: float) -> str:
    return format_count(round(value))


def assumptions(conditions: Conditions, backend: IonQBackend) -> dict[str, str]:
    """All that a rehearsal takes for granted, by subject."""
    failures = (
        f"{100 * conditions.failures:g} % of jobs fail" if conditions.failures else "no job fails by chance"
    )
    rules = conditions.faults.rules
    faults = f", and {len(rules)} rules of the fault plan" if rules else ""
    return {
        "queue": _queue(conditions),
        "execution": _execution(conditions, backend),
        "machine": "runs one job at a time, this run's alone, in the order in which they leave the queue"
        if backend.capabilities.is_paid
        else "runs all jobs side by side",
        "requests": f"{1000 * conditions.latency_seconds:g} ms each; a job that is done is noticed at the next look, at most 2 s later",
        "failures": f"{failures}{faults}; failed jobs are free, and are sent again",
        "jobs in flight": str(backend.jobs_in_flight),
        "this machine": "its own work takes no time",
        "shots": "drawn anew in each rehearsal; initial parameters and batches are the run's own",
    }


def _queue(conditions: Conditions) -> str:
    queue = conditions.queue
    if isinstance(queue, Lognormal):
        return (
            f"{format_duration(queue.median)} for half of the jobs, {format_duration(queue.p90)} for nine in ten (lognormal, "
            "independent from job to job)"
        )
    if isinstance(queue, Recorded):
        return (
            f"as {len(queue.seconds)} jobs of another run waited, drawn at random (median {format_duration(queue.median)}), their "
            "waiting for one another included"
        )
    return f"{format_duration(queue)} for every job" if queue else "none: every job has its turn at once"


def _execution(conditions: Conditions, backend: IonQBackend) -> str:
    times = conditions.execution
    if not isinstance(times, GateTimes):
        return f"{format_duration(times)} for every job"
    if not backend.target.startswith("qpu."):
        return "none: gate times are of machines"
    return (
        f"gates as billed, one after the other: {1e6 * times.one_qubit:g} µs on one qubit, {1e6 * times.two_qubit:g} µs on two (published "
        f"of Aria), and {1e3 * times.per_shot:g} ms a shot to cool, prepare and read out (a guess)"
    )
