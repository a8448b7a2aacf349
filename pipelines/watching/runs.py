"""What can be said of runs from their folders alone, whoever drives them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pipelines.display.formatting import qfleet_command
from pipelines.run_folder import RunFolder
from pipelines.watching.status_file import (
    DEAD,
    FAILED,
    FINISHED,
    SILENT,
    STOPPED,
    judged_state,
    read_status,
)

UNKNOWN = "unknown"
"""A run that ended, if it did, before there were status files, and is not finished."""


def run_status(folder: RunFolder, now: float | None = None) -> dict[str, Any]:
    """The status of a run as a reader should take it: what the driver wrote last, its state judged by the heartbeat's age, and, where it
    can be resumed, how.

    Args:
        now: Unix seconds.
    """
    now = time.time() if now is None else now
    status = read_status(folder.path)
    if status is None:
        status = _from_result(folder)
    else:
        status["state"] = judged_state(status, now)
        status["heartbeat_age_seconds"] = round(max(now - float(status["heartbeat_at"]), 0.0), 3)
    status["folder"] = str(folder.path)
    is_resumable = status["state"] in (DEAD, STOPPED, FAILED, UNKNOWN)
    status["resume"] = qfleet_command("resume", folder.handle) if is_resumable else None
    return status


def all_runs(directory: str) -> list[RunFolder]:
    """The runs under `directory`, the newest first."""
    parent = Path(directory)
    if not parent.is_dir():
        return []
    found = [(made_at, path) for path in parent.iterdir() if (made_at := _made_at(path)) is not None]
    return [RunFolder(path) for _, path in sorted(found, reverse=True)]


def state_text(status: dict[str, Any]) -> str:
    """The state in words: for a dead run how to go on, for a silent one since when."""
    state = str(status["state"])
    if state == DEAD:
        return f"dead (resume with {status['resume']})"
    if state == SILENT:
        from pipelines.display.formatting import format_elapsed

        return f"silent for {format_elapsed(status['heartbeat_age_seconds'])} (on {status.get('host')}, process {status.get('pid')})"
    return state


def _from_result(folder: RunFolder) -> dict[str, Any]:
    """Of a run without a status file."""
    recorded = folder.recorded_result()
    if recorded is None:
        return {"run": folder.name, "state": UNKNOWN}
    return {
        "run": folder.name,
        "state": FINISHED,
        "circuits": recorded["circuits"],
        "shots": recorded["shots"],
        "cost_usd": recorded["cost_usd"],
        "metrics": recorded["metrics"],
    }


def _made_at(path: Path) -> float | None:
    """Unix seconds; None for what is no run, is gone meanwhile, or may not be looked into."""
    try:
        return (path / "config.toml").stat().st_mtime
    except OSError:
        return None
