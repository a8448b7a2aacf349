"""``qfleet circuits RUN``: questions to the circuit log of a run; see docs/data.md."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.errors import InputError
from pipelines.data.circuit_reader import CircuitLog, Group, Precision, Value
from pipelines.display.formatting import format_count, format_duration, format_usd, format_value
from pipelines.report import print_sections

_LONG = 12
"""Characters of a job's id or a long name that are shown."""


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Print what the log says. Returns what ``--json`` prints.

    Raises:
        InputError: there is no such run, log or sample, or the filter or the output cannot be.
    """
    if options.top < 1:
        raise InputError(f"--top {options.top}: should be 1 or more; nearest valid: 1")
    log = CircuitLog.open(options.run, options.directory)
    groups = log.by(options.by, options.where)
    found: dict[str, Any] = {"run": log.folder.name, "by": options.by, "groups": groups}
    found["slowest_jobs"] = log.slowest_jobs(options.top, options.where)
    if log.has_values:
        found["noisiest"] = log.noisiest(options.top, options.where)
        found["precision"] = log.precision(options.where)
    if options.sample is not None:
        found["sample"] = log.sample(options.sample, options.split)
    if options.output is not None:
        found["rows"] = log.export(Path(options.output), options.where)
    if not options.json:
        _print(found, options)
    return {
        name: [asdict(each) for each in value] if isinstance(value, list) else value
        for name, value in found.items()
    }


def _print(found: dict[str, Any], options: argparse.Namespace) -> None:
    groups: list[Group] = found["groups"]
    circuits, shots = sum(each.circuits for each in groups), sum(each.shots for each in groups)
    title = f"{found['run']}: {format_count(circuits)} circuits, {format_count(shots)} shots, "
    title += format_usd(sum(each.usd for each in groups))
    sections: dict[str, dict[str, Any]] = {f"By {options.by}": _group_rows(_largest(groups, options))}
    if found["slowest_jobs"]:
        sections["Slowest jobs"] = _job_rows(found["slowest_jobs"])
    if found.get("noisiest"):
        sections["Noisiest values"] = _value_rows(found["noisiest"])
    if found.get("precision"):
        sections["Standard error reached"] = _precision_rows(found["precision"])
    if "sample" in found:
        heading = f"Sample {options.sample} of {options.split}"
        sections[heading] = _sample_rows(found["sample"]) or {"not evaluated yet": ""}
    footer = [f"{found['rows']:,} rows in {options.output}"] if "rows" in found else []
    print_sections(title, sections, footer)


def _largest(groups: Sequence[Group], options: argparse.Namespace) -> Sequence[Group]:
    """The last steps, or the groups of most circuits, as many as are asked for."""
    if options.by == "step":
        return groups[-options.top :]
    return sorted(groups, key=lambda each: -each.circuits)[: options.top]


def _group_rows(groups: Sequence[Group]) -> dict[str, dict[str, str]]:
    return {
        _short(each.key): {
            "circuits": format_count(each.circuits),
            "shots": format_count(each.shots),
            "jobs": format_count(each.jobs),
            "cost": format_usd(each.usd),
            "execution": _duration(each.execution_seconds),
        }
        for each in groups
    }


def _job_rows(jobs: Sequence[Group]) -> dict[str, dict[str, str]]:
    return {
        _short(each.key): {
            "circuits": format_count(each.circuits),
            "cost": format_usd(each.usd),
            "queue": _duration(each.queue_seconds),
            "execution": _duration(each.execution_seconds),
            "in all": _duration(each.job_seconds),
        }
        for each in jobs
    }


def _value_rows(values: Sequence[Value]) -> dict[str, dict[str, str]]:
    return {
        f"{index}. {each.observable}": {
            "step": str(each.step),
            "for": each.purpose or "–",
            "sample": str(each.sample),
            "moved": str(each.displacement),
            "value": format_value(each.value),
            "± error": "–" if each.standard_error is None else format_value(each.standard_error),
        }
        for index, each in enumerate(values, 1)
    }


def _precision_rows(found: Sequence[Precision]) -> dict[str, dict[str, str]]:
    return {
        f"{each.purpose or '–'}, {each.target}, {each.shots} shots": {
            "values": format_count(each.values),
            "error": format_value(each.standard_error),
            "shots for 0.01": format_count(each.shots_for_one_percent),
        }
        for each in found
    }


def _sample_rows(values: Sequence[Value]) -> dict[str, dict[str, str]]:
    """A row a step, a column an observable; of a sample of several states, a row each."""
    rows: dict[str, dict[str, str]] = {}
    several = len({each.place for each in values if each.step == values[0].step}) > 1
    for each in values:
        label = f"step {each.step}" + (f", state {each.place}" if several else "")
        error = "" if each.standard_error is None else f" ±{each.standard_error:.2f}"
        rows.setdefault(label, {})[each.observable] = f"{each.value:.3f}{error}"
    return rows


def _short(key: str | int | None) -> str:
    if key is None:
        return "–"
    text = str(key)
    return text if len(text) <= 2 * _LONG else text[:_LONG]


def _duration(seconds: float | None) -> str:
    return "–" if seconds is None else format_duration(seconds)


if __name__ == "__main__":
    import sys

    from pipelines.cli import main

    sys.exit(main(["circuits", *sys.argv[1:]]))
