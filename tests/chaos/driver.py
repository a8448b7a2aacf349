"""What is done in a driver's process of a chaos test, before the command: a note is made of what will happen to its actors."""

from __future__ import annotations

import faulthandler
import json
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.protocols import FleetEvent


def note_events(path: Path) -> None:
    """Have every fleet of this process write down, as it happens, what happens to its actors; SIGUSR1: where every thread stands."""
    faulthandler.register(signal.SIGUSR1)
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
