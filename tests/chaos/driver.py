"""What a driver's process does in a chaos test: the command line itself, and beside it a note of what happened to its actors."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from orchestrator.protocols import FleetEvent

MODULES = [
    "tests.chaos.driver",
    "pipelines.cli",
    "pipelines.trainer",
    "pipelines.plots",
    "actors.ray_fleet",
    "actors.ionq.session",
]
"""What a process of the forkserver has imported before it begins."""


def drive(
    folder: Path,
    environment: Mapping[str, str],
    arguments: Sequence[str],
    events: Path,
    out: Connection,
    err: Connection,
) -> None:
    """``qfleet arguments`` in `folder`; its output goes into pipes, which no limit on the size of files concerns."""
    os.chdir(folder)
    os.environ.update(environment)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    out.close()
    err.close()
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    faulthandler.register(signal.SIGUSR1)
    _note_events(events)
    from pipelines.cli import main

    sys.exit(main(arguments))


def _note_events(path: Path) -> None:
    """Have every fleet of this process write down, as it happens, what happens to its actors."""
    from actors.ray_fleet import RayFleet

    begin = RayFleet.__init__

    def beginning(
        fleet: RayFleet, *arguments: Any, on_event: Callable[[FleetEvent], None] | None = None, **named: Any
    ) -> None:
        def told(event: FleetEvent) -> None:
            with suppress(OSError), path.open("a") as file:  # a disk may be full
                file.write(json.dumps(event._asdict()) + "\n")
            if on_event is not None:
                on_event(event)

        begin(fleet, *arguments, on_event=told, **named)

    RayFleet.__init__ = beginning  # type: ignore[method-assign]
