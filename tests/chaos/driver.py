"""What is done in a driver's process of a chaos test, before the command.

A note is made of what will happen to its actors, and it waits for who strikes it, so that no strike comes after the last step.
"""

from __future__ import annotations

import faulthandler
import json
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.protocols import FleetEvent


def prepare(events: Path, gate: Path) -> None:
    """SIGUSR1: where every thread stands.

    Args:
        events: takes what happens to the actors of this process's fleets, as it happens.
        gate: holds the last step that may be sent out; without it all may.
    """
    faulthandler.register(signal.SIGUSR1)
    _note_events(events)
    _wait_at(gate)


def _wait_at(gate: Path) -> None:
    from orchestrator.coordinator import Coordinator, PendingEvaluation
    from orchestrator.planning.plan import EvaluationPlan

    submit = Coordinator.submit

    def submitting(coordinator: Coordinator, plan: EvaluationPlan, *arguments: Any) -> PendingEvaluation:
        while gate.exists() and plan.step > int(gate.read_text()):
            time.sleep(0.005)
        return submit(coordinator, plan, *arguments)

    Coordinator.submit = submitting  # type: ignore[method-assign]


def _note_events(path: Path) -> None:
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
