"""``qfleet status [RUN]``: how runs are, read from their folders. Imports nothing heavy, so that it answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from pipelines.display.board import money_figures
from pipelines.display.formatting import (
    format_count,
    format_duration,
    format_elapsed,
    format_metric,
    format_percent,
    format_rate,
    format_usd,
    format_value,
)
from pipelines.run_folder import RunFolder
from pipelines.watching.runs import all_runs, run_status, state_text
from pipelines.watching.status_file import ENDED

_SHOWN_RUNS = 50
"""Lines of the list; ``--json`` holds all runs."""


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Print how all runs are, or one. Returns what ``--json`` prints.

    Raises:
        InputError: there is no such run.
    """
    if options.run is not None:
        status = run_status(RunFolder.find(options.run, options.directory))
        if not options.json:
            _print_one(status)
        return status
    runs = [run_status(folder) for folder in all_runs(options.directory)]
    if not options.json:
        for line in run_lines(runs[:_SHOWN_RUNS]):
            print(line)
        if not runs:
            print(f"no runs in {options.directory}")
        elif len(runs) > _SHOWN_RUNS:
            print(f"... and {len(runs) - _SHOWN_RUNS} older ones")
    return {"runs": runs}


def run_lines(runs: Sequence[dict[str, Any]]) -> list[str]:
    """A head and one line a run, in columns; what ends a line may be long."""
    if not runs:
        return []
    rows = [("run", "step", "loss", "circuits", "spent", "left", "state")]
    for status in runs:
        left = status.get("seconds_left")
        rows.append(
            (
                str(status["run"]),
                f"{status['step']}/{status['n_steps']}" if "step" in status else "–",
                format_value(status["loss"]) if "loss" in status else "–",
                format_count(status["circuits"]) if "circuits" in status else "–",
                format_usd(_spent(status)) if "circuits" in status else "–",
                "–" if left is None else format_elapsed(left),
                state_text(status),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = (False, True, True, True, True, True, False)
    return [
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def sections(status: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The details of one run under headings."""
    found = {"Run": _about(status), "Training": _training(status), "Work": _work(status)}
    if workers := status.get("workers"):
        found["Actors"] = {worker["worker"]: worker_text(worker) for worker in workers[:20]}
        if len(workers) > 20:
            found["Actors"]["..."] = f"{len(workers) - 20} more: qfleet top"
    if events := (status.get("events") or [])[-5:]:
        texts = [f"{_age(status, event['at'])} ago: {event_text(event)}" for event in events]
        found["Newest events"] = {str(i): text for i, text in enumerate(texts, start=1)}
    if messages := status.get("messages"):
        found["Messages"] = {str(i): text for i, text in enumerate(messages, start=1)}
    return {heading: rows for heading, rows in found.items() if rows}


def worker_text(worker: dict[str, Any]) -> str:
    """State, jobs and rate of an actor, on one line."""
    rate = worker.get("circuits_per_second")
    parts = [worker["state"], f"{worker['jobs_done']:,} jobs", f"{worker['jobs_in_flight']} in flight"]
    parts.append("–" if rate is None else format_rate(rate, 1.0, "circuits"))
    if worker["failures"]:
        parts.append(f"{worker['failures']} failed, the last: {worker['last_error']}")
    return ", ".join(parts)


def event_text(event: dict[str, Any]) -> str:
    """Who, what, and why."""
    what = f"{event['worker'] or 'the fleet'}: {event['kind']}"
    return f"{what}, {event['text']}" if event["text"] else what


def _about(status: dict[str, Any]) -> dict[str, str]:
    rows = {"state": state_text(status)}
    for key in ("reason", "activity"):
        if status.get(key):
            rows[key] = str(status[key])
    if status.get("resume") and "resume with" not in rows["state"]:
        rows["continue with"] = str(status["resume"])
    if "pid" in status:
        rows["driver"] = f"process {status['pid']} on {status['host']}"
        rows["heard of"] = f"{format_elapsed(status['heartbeat_age_seconds'])} ago"
    if status.get("ray_job_id"):
        rows["Ray job"] = str(status["ray_job_id"])
    return rows | {"folder": str(status["folder"])}


def _training(status: dict[str, Any]) -> dict[str, str]:
    rows: dict[str, str] = {}
    if "step" in status:
        rows["step"] = f"{status['step']:,} of {status['n_steps']:,}"
        rows["epoch"] = f"{status['epoch']} of {status['n_epochs']}"
        rows["batch loss"] = format_value(status["loss"])
        rows["gradient norm"] = format_value(status["gradient_norm"])
    for name, value in (status.get("metrics") or {}).items():
        rows[name] = format_metric(name, value)
    if best := status.get("best"):
        rows["best"] = (
            f"{best['metric']} {format_metric(best['metric'], best['value'])} (epoch {best['epoch']})"
        )
    if status.get("elapsed_seconds") is not None:
        rows["time"] = format_duration(status["elapsed_seconds"])
    if status.get("seconds_left") is not None:
        rows["time left"] = f"about {format_elapsed(status['seconds_left'])}"
    return rows


def _work(status: dict[str, Any]) -> dict[str, str]:
    rows: dict[str, str] = {}
    if "circuits" in status:
        rows["circuits"] = format_count(status["circuits"])
        rows["shots"] = format_count(status["shots"]) if status["shots"] else "none (exact)"
    is_going_on = status["state"] not in ENDED
    if is_going_on and status.get("circuits_per_second") is not None:
        rows["speed"] = format_rate(status["circuits_per_second"], 1.0, "circuits")
    if "circuits" in status:
        from pipelines.spending import Spending

        booked = status.get("spending")
        rows["cost"] = (
            " · ".join(money_figures(Spending(**booked))) if booked else format_usd(status["cost_usd"])
        )
    if status.get("jobs_done"):
        rows["jobs"] = (
            f"{status['jobs_done']:,} done, {status['jobs_retried']} retried; {status['workers_lost']} actors lost"
        )
    if is_going_on and status.get("utilisation") is not None:
        rows["actors busy"] = format_percent(status["utilisation"])
    if status.get("cache_hit_rate") is not None:
        rows["cache hits"] = format_percent(status["cache_hit_rate"])
    return rows


def _spent(status: dict[str, Any]) -> float:
    booked = status.get("spending")
    return float(booked["spent"] if booked else status["cost_usd"])


def _age(status: dict[str, Any], at: float) -> str:
    """How long ago something was, seen from the reader's clock."""
    now = float(status["heartbeat_at"]) + float(status["heartbeat_age_seconds"])
    return format_elapsed(max(now - at, 0.0))


def _print_one(status: dict[str, Any]) -> None:
    import sys

    from pipelines.display.tables import result_table

    result_table(f"{status['run']}: {status['state']}", sections(status), file=sys.stdout)
