"""One fleet for the trainings of a study, in place of one that each of them starts and stops.

The fleet lives in the Ray cluster by a name (`actors.ray_fleet.shared`); a study has at most one at a time, since two might not fit.
Trainings that cost money have actors of their own: a named fleet keeps one book for all its runs, and a training pays from its own.
Ray itself is started once, whatever the trainings need.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

from orchestrator.config import FleetConfig, TrainingConfig
from orchestrator.protocols import Backend
from pipelines.compose import build_backend, ray_fleet_options


class StudyFleet:
    """The fleet of a study; a context manager, which stops it.

    Args:
        folder: of the study; the fleet's name follows from it, so that what a killed process left running is found and stopped.
        say: told what is started.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        digest = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:8]
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).lstrip("._-")[:40]
        self.name = f"{stem or 'study'}-{digest}"
        self._say = say
        self._running: tuple[Any, ...] | None = None
        self._connected_to: str | None = None
        self._fleets: Any = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._fleets = self._running = None

    def of(self, config: TrainingConfig) -> FleetConfig:
        """The fleet section that a training of `config` is to use, its fleet started.

        Raises:
            FleetError: the cluster cannot be reached, or has no room.
        """
        fleet = config.fleet
        if fleet.dispatcher == "serial" or fleet.is_shared:
            return fleet
        self._connect(fleet.address)
        backend = build_backend(config)
        if backend.capabilities.is_paid:
            self.stop()
            return fleet
        self._start(config, backend)
        return fleet.model_copy(update={"name": self.name})

    def stop(self) -> None:
        """End the fleet, if one runs; a later training gets a new one."""
        if self._running is not None:
            self._running = None
            self._fleets.stop(self.name)

    def _connect(self, address: str | None) -> None:
        if self._fleets is not None and self._connected_to == address:
            return
        self._stack.close()
        self._fleets = self._running = None
        from actors.ray_fleet.connection import connect, release
        from actors.ray_fleet.shared_start import NamedFleets

        connection = connect(address)
        self._stack.callback(release, connection)
        self._fleets, self._connected_to = self._stack.enter_context(NamedFleets(address)), address
        self._stack.callback(self.stop)

    def _start(self, config: TrainingConfig, backend: Backend) -> None:
        from actors.shared_fleet.description import describe

        wanted = (describe(backend), ray_fleet_options(config.fleet))
        if self._running == wanted:
            return
        self.stop()
        if self.name in self._fleets.names():  # of a process that was killed
            self._fleets.stop(self.name)
        self._say(f"starting {config.fleet.size} Ray actors, backend {config.backend.name}")
        self._fleets.start(self.name, partial(_backend, config), ray_fleet_options(config.fleet))
        self._running = wanted


def _backend(config: TrainingConfig, stack: ExitStack) -> Backend:
    """The backend, made in the fleet's process."""
    return build_backend(config)
