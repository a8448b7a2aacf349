"""The live status of a run, ``status.json`` of its folder: written by the driver once a second, read by whoever watches.

A small file that is replaced whole, so that a reader never sees half of it. It is not made durable: after a power cut the run is
resumed from its checkpoints, and writes it anew. docs/watching.md lists what is in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

STATUS = "status.json"
STARTING, WAITING, TRAINING, VALIDATING, FINISHING = (
    "starting",
    "waiting for resources",
    "training",
    "validating",
    "finishing",
)
FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
DEAD, SILENT = "dead", "silent"
"""What a reader makes of an old heartbeat; never written."""
ENDED = (FINISHED, STOPPED, FAILED, DEAD)
OLD_SECONDS = 10.0
"""Age at which a heartbeat is old: the driver writes one a second."""


def write_status(folder: Path, status: Mapping[str, Any]) -> None:
    """Replace the file.

    Raises:
        OSError: the disk refuses; the old file stands.
    """
    aside = folder / f".{STATUS}.{os.getpid()}"
    try:
        aside.write_text(json.dumps(status) + "\n", encoding="utf-8")
        aside.replace(folder / STATUS)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def read_status(folder: Path) -> dict[str, Any] | None:
    """What the driver wrote last; None where there is no such file, or it is not one of ours."""
    try:
        status = json.loads((folder / STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return status if isinstance(status, dict) and "state" in status and "heartbeat_at" in status else None


def is_alive(pid: int) -> bool:
    """Whether a process of this machine has this id, and has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    with contextlib.suppress(
        OSError, IndexError
    ):  # a zombie has ended; where there is no /proc it counts as alive
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return True


def judged_state(
    status: Mapping[str, Any],
    now: float | None = None,
    host: str | None = None,
    alive: Callable[[int], bool] = is_alive,
) -> str:
    """The state, as a reader should take it: `DEAD` where the heartbeat is old and the process gone from this host, `SILENT` where it is
    old and nothing more can be said.

    Args:
        now: Unix seconds. host: this machine's name. alive: whether a process of it is.
    """
    state = str(status["state"])
    age = (time.time() if now is None else now) - float(status["heartbeat_at"])
    if state in ENDED or age <= OLD_SECONDS:
        return state
    is_here = status.get("host") == (host or socket.gethostname())
    return DEAD if is_here and not alive(int(status.get("pid", 0))) else SILENT
