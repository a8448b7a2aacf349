"""``qfleet benchmark fleet``: real Ray actors of this machine: how they scale, what their loss costs, and whether memory stays bounded."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError, nearest

PARTS = ("local", "latency", "churn", "soak")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the parts the command line names. Returns what ``--json`` prints.

    Raises:
        ConfigError: an option is refused; nothing has been measured. FleetError: the actors do not start.
    """
    parts = _checked(options)
    from pipelines.benchmark import fleet_churn, fleet_scaling, fleet_soak, machine
    from pipelines.report import print_sections

    described = machine.describe()
    outcome: dict[str, Any] = {"benchmark": "fleet", "machine": described}
    warning = machine.warning(described)
    if warning:
        _say(warning)
    if "local" in parts:
        outcome["local"] = fleet_scaling.local(2, options.seconds, _say)
    if "latency" in parts:
        outcome["latency"] = fleet_scaling.latency(options.actors, options.latency, _say)
    if "churn" in parts:
        outcome["churn"] = fleet_churn.run(Path(options.output), _say)
    if "soak" in parts:
        outcome["soak"] = fleet_soak.run(options.batches, options.circuits, _say)
    print_sections("fleet", _sections(outcome), to_stdout=not options.json)
    return outcome


def _checked(options: argparse.Namespace) -> list[str]:
    parts = options.part or list(PARTS)
    for part in parts:
        if part not in PARTS:
            raise ConfigError("--part", part, f"known: {', '.join(PARTS)}", nearest(part, PARTS))
    for name in ("seconds", "latency"):
        if not 0 < getattr(options, name) < math.inf:
            raise ConfigError(f"--{name}", getattr(options, name), "should be greater than 0", "1")
    for name, least in (("actors", 2), ("batches", 10), ("circuits", 10)):
        if getattr(options, name) < least:
            raise ConfigError(f"--{name}", getattr(options, name), f"should be at least {least}", str(least))
    return parts


def _sections(outcome: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The figures for people."""
    sections: dict[str, dict[str, str]] = {}
    if (local := outcome.get("local")) is not None:
        sections[f"1 to {local['actors']} actors of this machine, {local['workload']}"] = {
            "speed-up": f"{local['speed_up']:.2f} x",
            "wall time": f"{local['seconds_1']:.2f} s on 1, {local['seconds_n']:.2f} s on {local['actors']}",
            "engine's share of the actors' time": f"{local['busy']:.1%}",
            "driver's processor time": f"{local['driver_cores']:.1%} of a core",
            "jobs": f"{local['jobs']} of {local['circuits_per_job']:,} circuits",
        }
    if (found := outcome.get("latency")) is not None:
        sections[f"1 to {found['actors']} actors, jobs of {found['job_seconds']:g} s"] = {
            "speed-up": f"{found['speed_up']:.1f} x",
            "jobs per second": f"{found['jobs_per_second_1']:.1f} on 1, {found['jobs_per_second_n']:.1f} on {found['actors']}",
            "driver, a job more": f"{found['job_overhead_ms']:.2f} ms",
            "starting the actors": f"{found['start_seconds']:.1f} s",
        }
    if (churn := outcome.get("churn")) is not None:
        sections["Actors killed and added in the middle of a step"] = {
            "answers": f"{churn['jobs']} jobs, {churn['jobs_lost']} lost, the bits of a serial dispatcher",
            "killed, jobs done again": f"{churn['actors_killed']}, {churn['jobs_retried']}",
            "jobs per second": ", ".join(
                f"{rate:.1f} on {n}" for n, rate in churn["jobs_per_second"].items()
            ),
            "timeline": ", ".join(churn["files"]),
        }
    if (soak := outcome.get("soak")) is not None:
        memory, flight = soak["memory"], soak["in_flight"]
        grown = ", ".join(f"{name} {mib:+.1f} MiB" for name, mib in memory["growth_mib"].items())
        sections["Memory and jobs in flight"] = {
            "work": f"{memory['batches']:,} batches, {memory['circuits']:,} circuits",
            "growth in the second half": f"{grown} (bound: {memory['bound_mib']:g} MiB)",
            "in flight": f"{flight['in_flight']} jobs of {flight['job_seconds']:g} s, done in {flight['seconds']:.2f} s",
        }
    return sections


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
