"""``qfleet jobs``: the jobs of a Ray cluster, from any machine: list, status, logs, stop, attach."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from actors.cluster_jobs import COMMAND_KEY, DIRECTORY_KEY, RUN_KEY, JobsApi, JobState
from orchestrator.errors import ClusterError, ConfigError
from pipelines.display.formatting import format_duration, qfleet_command
from pipelines.launch.cluster import connect, find
from pipelines.launch.follow import how_to_go_on
from pipelines.launch.submit import see_to_its_end


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Do what was asked. Returns what ``--json`` prints.

    Raises:
        InputError: no such job. ClusterError: no answer, or no access. SubmittedJobError: the followed job ended otherwise than well.
    """
    if getattr(options, "last", None) is not None and options.last < 1:
        raise ConfigError("--last", options.last, "must be at least 1 line", "1")
    api = connect(options.address)
    states = api.states()
    out = sys.stderr if options.json else sys.stdout
    if options.action == "list":
        print(table(states) or f"no job has been submitted to {api.address}", file=out)
        return {"address": api.address, "jobs": [as_json(state) for state in states]}
    state = find(states, options.job, api.address)
    if options.action == "status":
        print(as_text(state, time.time()), file=out)
    elif options.action == "logs":
        text = last_lines(api.logs(state.id), options.last)
        print(text, end="", file=out)
        return as_json(state) | {"logs": text}
    elif options.action == "stop":
        state = stop(api, state, options.wait)
        print(
            f"{state.id} is {state.status}{how_to_go_on(state) if state.status != 'SUCCEEDED' else ''}",
            file=out,
        )
    else:
        skip = len(api.logs(state.id)) if options.from_now else 0
        state = see_to_its_end(api, state.id, out, skip=skip, pending_seconds=options.pending_seconds)
        print(f"{state.id} has {state.status}", file=out)
    return as_json(state)


def stop(api: JobsApi, state: JobState, seconds: float) -> JobState:
    """Ask the job to save its state and end, and wait for that; a job that has ended is left alone.

    Raises:
        ClusterError: it has not ended in time; it was asked to all the same.
    """
    if not state.is_over:
        api.stop(state.id)
    deadline = time.monotonic() + seconds
    while not state.is_over:
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{state.id} was asked to stop and has not ended in {format_duration(seconds)}; "
                f"'{qfleet_command('jobs', 'status', state.id)}' shows when it has"
            )
        time.sleep(0.5)
        state = api.state(state.id) or state
    return state


def last_lines(text: str, n: int | None) -> str:
    """The last `n` lines of a text; all of it for None."""
    return text if n is None else "".join(text.splitlines(keepends=True)[-n:])


def table(states: Sequence[JobState]) -> str:
    """One line a job, the newest last; empty without jobs."""
    if not states:
        return ""
    rows = [("JOB", "STATE", "RUN", "STARTED", "LASTED", "EXIT CODE")]
    for state in states:
        code = "–" if state.exit_code is None else str(state.exit_code)
        rows.append(
            (state.id, state.status, _run(state), _clock(state.started_at), _lasted(state, time.time()), code)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def as_text(state: JobState, now: float) -> str:
    """All that is known of one job, its environment excepted."""
    rows = {
        "job": state.id,
        "state": state.status + ("" if state.exit_code is None else f", exit code {state.exit_code}"),
        "command": state.entrypoint,
        "run": _run(state),
        "directory": state.metadata.get(DIRECTORY_KEY, "–"),
        "started": _clock(state.started_at),
        "lasted": _lasted(state, now),
    }
    if state.status in ("PENDING", "FAILED") and state.message:
        rows["message"] = state.message.strip().splitlines()[0]
    return "\n".join(f"{label:<10} {value}" for label, value in rows.items())


def as_json(state: JobState) -> dict[str, Any]:
    """The same as plain values."""
    figures = asdict(state) | {"metadata": None, "run_name": state.metadata.get(RUN_KEY)}
    del figures["metadata"]
    return figures | {
        "directory": state.metadata.get(DIRECTORY_KEY),
        "command": state.metadata.get(COMMAND_KEY),
    }


def _run(state: JobState) -> str:
    return state.metadata.get(RUN_KEY, "–")


def _clock(seconds: float | None) -> str:
    return "–" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _lasted(state: JobState, now: float) -> str:
    if state.started_at is None:
        return "–"
    return format_duration((state.ended_at or now) - state.started_at)


if __name__ == "__main__":
    from pipelines.cli import main

    sys.exit(main(["jobs", *sys.argv[1:]]))
